//! Why a backup was not made, not found, or not brought back.
//!
//! Each variant has one remedy, so the command line can name it.

use std::io;
use std::path::PathBuf;

use bowline_store::{RestoreObstacle, StoreError};

use crate::data::DataError;

/// A backup's refusal. Whatever it is, the live store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The destination is no folder and no bucket.
    #[error("the destination `{given}`: {problem}")]
    Destination {
        /// As it was given.
        given: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The bucket refused, or is away.
    #[error("the bucket: {0}")]
    Bucket(#[from] object_store::Error),
    /// A file or folder.
    #[error("{path}: {cause}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// There is none of that id, or none at all.
    #[error("there is no backup{}", .0.as_ref().map(|id| format!(" {id}")).unwrap_or_default())]
    Missing(Option<String>),
    /// A manifest that this binary can't read.
    #[error("the manifest of backup {id}: {problem}")]
    Manifest {
        /// The backup.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// A file is not the one that was written.
    #[error("{file} of the backup is damaged: {problem}")]
    Damaged {
        /// The file.
        file: String,
        /// What was expected and found.
        problem: String,
    },
    /// What the backup holds is not what its manifest says, or has faults.
    #[error("the backup holds a store with faults: {0}")]
    Faulty(String),
    /// The store is another engine's.
    #[error("the backup is of a {found} store, and the target is {wanted}")]
    Engine {
        /// The backup's.
        found: String,
        /// The target's.
        wanted: &'static str,
    },
    /// A store is there already.
    #[error("there is a store already: {0}")]
    Occupied(String),
    /// Nodes use the target.
    #[error(transparent)]
    InUse(RestoreObstacle),
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Whoever watched the restore ended it.
    #[error("the restore was ended at step {0}")]
    Ended(String),
}

impl BackupError {
    /// The error of a file, for `map_err`.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { path, cause }
    }

    /// Whether the backup itself, and not what is around it, is why.
    pub fn is_verdict(&self) -> bool {
        matches!(self, Self::Damaged { .. } | Self::Faulty(_) | Self::Manifest { .. } | Self::Missing(_))
    }
}
