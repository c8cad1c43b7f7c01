//! Where the newest backup is: a source that the doctor asks, so that whatever makes backups can answer.
//!
//! A folder knows only when its files were written; whether a backup can be restored is for its maker to check.

use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use bowline_line::checks::BackupFacts;
use bowline_runtime::Seen;
use bowline_types::Timestamp;

/// Whoever knows of backups.
pub(super) trait BackupSource {
    /// The newest one.
    fn newest(&self) -> Seen<BackupFacts>;
}

/// A folder with a file or a folder a backup.
#[derive(Debug)]
pub(super) struct BackupFolder(pub(super) PathBuf);

impl BackupSource for BackupFolder {
    fn newest(&self) -> Seen<BackupFacts> {
        let place = self.0.display().to_string();
        let entries = fs::read_dir(&self.0).map_err(|error| format!("{place}: {error}"))?;
        let written = entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok());
        Ok(BackupFacts { newest: written.max().map(moment), place })
    }
}

fn moment(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
