//! Backups of a store: made while nodes write, checked, listed, brought back.
//!
//! A backup is a folder of compressed files with a manifest that is written last: without one it does not exist.
//! It lies in a folder or in an S3-compatible bucket. Nothing is put in a store's place that was not read whole,
//! compared with its manifest and audited first.

mod create;
mod destination;
mod error;
mod keep;
mod manifest;
mod restore;
mod rows;
mod transfer;
mod verify;

pub use self::create::{BackupSource, CreateOptions, create_backup};
pub use self::destination::{Destination, DestinationOptions};
pub use self::error::BackupError;
pub use self::keep::{list, newest, prune};
pub use self::manifest::{BackupFile, BackupId, FileRole, Manifest, StreamMark};
pub use self::restore::{RestoreOptions, RestoreStep, RestoreTo, RestoreWatch, Restored, restore_backup};
pub use self::verify::{Scratch, VerifiedBackup, verify_backup};

/// Told how many bytes are done, of how many where that is known.
pub(crate) type Progress<'p> = &'p mut (dyn FnMut(u64, Option<u64>) + Send);
