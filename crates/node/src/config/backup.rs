//! Where backups lie, and how old the newest may be: for `bowline backup` and `bowline doctor`.
//!
//! A node makes no backups by itself; a timer of the system runs `bowline backup create`.

use serde::{Deserialize, Serialize};

use crate::backup::DestinationOptions;

/// Backups of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupConfig {
    /// A folder, or `s3://BUCKET/PREFIX`; credentials come from the `AWS_…` variables.
    pub destination: Option<String>,
    /// The address of an S3-compatible server that is not Amazon's.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// Hours that the newest backup may be old.
    pub age_hours_max: u64,
}

impl Default for BackupConfig {
    fn default() -> Self {
        // A day, and two hours for a backup that takes its time.
        Self { destination: None, endpoint: None, region: None, age_hours_max: 26 }
    }
}

impl BackupConfig {
    /// The destination, if one is set.
    pub fn destination(&self) -> Option<DestinationOptions> {
        let location = self.destination.clone()?;
        Some(DestinationOptions { location, endpoint: self.endpoint.clone(), region: self.region.clone() })
    }
}
