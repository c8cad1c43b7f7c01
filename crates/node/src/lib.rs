//! The composition root: one configuration, one data folder, and every subsystem put together in order.
//!
//! [`Node::build`] reads like a table of contents; [`Node::run`] starts what was built and takes it down in
//! the reverse order. Nothing here decides anything about events.

mod audit;
mod backup;
mod config;
mod data;
mod disk;
mod metrics;
mod node;
mod process;
mod store;

pub use audit::{AuditReport, AuditScope, FINDINGS_MAX, Finding, FindingKind, Findings, audit};
pub use backup::{
    BackupError, BackupFile, BackupId, BackupSource, CreateOptions, Destination, DestinationOptions,
    FileRole, Manifest, RestoreOptions, RestoreStep, RestoreTo, RestoreWatch, Restored, Scratch, StreamMark,
    VerifiedBackup, create_backup, list as list_backups, newest as newest_backup, prune as prune_backups,
    restore_backup, verify_backup,
};
pub use config::{
    BackupConfig, Config, ConfigError, DiskConfig, ENVIRONMENT, EnvironmentName, LogConfig, LogStyle,
    RedisConfig, Role, Roles, SequencerConfig, StoreConfig, UNSERVED,
};
pub use data::{DataError, DataFolder};
pub use node::{Error, Node};
pub use store::{StoreOpenError, open_store, schema};
