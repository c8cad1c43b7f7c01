//! The one configuration tree: defaults, then a file, then the environment, then flags.
//!
//! Every subsystem owns its part; this module only joins them, and it is the only one that reads the
//! environment. A key that is not known is an error that names the nearest one that is.

mod backup;
mod environment;
mod load;
mod redis;
mod roles;
mod secrets;

use std::path::PathBuf;

use bowline_types::Secret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::backup::BackupConfig;
pub use self::environment::{ENVIRONMENT, EnvironmentName, UNSERVED};
pub use self::load::ConfigError;
pub use self::redis::RedisConfig;
pub use self::roles::{Role, Roles};
pub(crate) use self::secrets::parse_secrets_key;

/// Everything that an operator may set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data folder: the embedded database, keys, the lock.
    pub data: PathBuf,
    /// Which of a node's parts run in this process.
    pub roles: Roles,
    /// Where the line is kept.
    pub store: StoreConfig,
    /// Where Redis is, if there is one.
    pub redis: RedisConfig,
    /// The data folder's disk.
    pub disk: DiskConfig,
    /// Who signs receipts.
    pub sequencer: SequencerConfig,
    /// Ordering, limits, commitments.
    pub line: bowline_line::Config,
    /// Anchors on an outside chain.
    pub anchor: bowline_anchor::Config,
    /// Chains on the line.
    pub indexer: bowline_indexer::Config,
    /// Rules over the line, and what they set off.
    pub triggers: bowline_triggers::Config,
    /// The payloads' schemas.
    pub schemas: bowline_schemas::Config,
    /// The gateway.
    pub api: bowline_gateway::Config,
    /// Logs.
    pub log: LogConfig,
    /// Backups of the store.
    pub backup: BackupConfig,
    /// Seconds that a stopping node takes at most to answer what it has begun.
    pub drain_secs_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            roles: Roles::default(),
            store: StoreConfig::default(),
            redis: RedisConfig::default(),
            disk: DiskConfig::default(),
            sequencer: SequencerConfig::default(),
            line: bowline_line::Config::default(),
            anchor: bowline_anchor::Config::default(),
            indexer: bowline_indexer::Config::default(),
            triggers: bowline_triggers::Config::default(),
            schemas: bowline_schemas::Config::default(),
            api: bowline_gateway::Config::default(),
            log: LogConfig::default(),
            backup: BackupConfig::default(),
            drain_secs_max: 25,
        }
    }
}

/// Where the line is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// `postgres://…`; without it the line is kept in `bowline.db` in the data folder.
    pub url: Option<Secret>,
    /// Connections to PostgreSQL at most.
    pub connections_max: u32,
    /// Connections that read the embedded database.
    pub readers: usize,
    /// Milliseconds to wait for a free connection before the database counts as away.
    pub acquire_ms_max: u64,
    /// Milliseconds that one statement may run.
    pub statement_ms_max: u64,
    /// Milliseconds that one statement may wait for a lock.
    pub lock_ms_max: u64,
    /// What `pg_stat_activity` shows; by the roles of the process if absent.
    pub application_name: Option<String>,
    /// Whether missing migrations are applied when the node starts.
    pub migrate_on_startup: bool,
    /// Tries to reach the database when the node starts.
    pub startup_tries_max: u32,
    /// Seconds between two of them.
    pub startup_retry_secs: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            url: None,
            connections_max: 10,
            readers: 4,
            acquire_ms_max: 3_000,
            statement_ms_max: 30_000,
            lock_ms_max: 10_000,
            application_name: None,
            migrate_on_startup: true,
            startup_tries_max: 10,
            startup_retry_secs: 3,
        }
    }
}

/// What is kept free on the data folder's disk, for the embedded database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    /// MiB that are free at least; with less the node takes no events until there is more. 0: only when the disk
    /// is full.
    pub free_mib_min: u64,
    /// MiB of a file that only takes room, and is given up when the disk is full, so that what must be finished
    /// then can be: folding in the database's log, a revocation, a restart. 0: no such file.
    pub ballast_mib: u64,
}

impl Default for DiskConfig {
    fn default() -> Self {
        // The database's log is folded in at 16 MiB; the free room is four times that.
        Self { free_mib_min: 64, ballast_mib: 16 }
    }
}

/// Who signs receipts. What is not set is made on the first start and kept in the data folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SequencerConfig {
    /// The sequencer's id.
    pub id: Option<Uuid>,
    /// Its Ed25519 seed, 32 bytes in hex.
    pub signing_key: Option<Secret>,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStyle {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Logs, on stderr.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A filter such as `info` or `bowline_line=debug,info`.
    pub filter: String,
    /// How a line looks.
    pub format: LogStyle,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogStyle::Text }
    }
}

impl Config {
    /// What `pg_stat_activity` shows of a process with these settings.
    pub fn application_name(&self) -> String {
        self.store.application_name.clone().unwrap_or_else(|| self.roles.application_name().to_owned())
    }

    /// What is wrong with the values; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.api.problems();
        problems.extend(self.redis.problems());
        problems.extend(self.anchor.problems());
        problems.extend(self.indexer.problems());
        problems.extend(self.triggers.problems());
        if let Some(key) = &self.triggers.secrets_key
            && let Err(problem) = parse_secrets_key(key.reveal())
        {
            problems.push(format!("triggers.secrets_key (BOWLINE_SECRETS_KEY) {problem}"));
        }
        let limits = &self.line.limits;
        if limits.batch_events_max > limits.pending_events_max {
            problems.push(
                "line.limits.batch_events_max is larger than pending_events_max: such a batch could never be \
                 committed"
                    .to_owned(),
            );
        }
        if let Some(url) = &self.store.url
            && !["postgres://", "postgresql://"].iter().any(|scheme| url.reveal().starts_with(scheme))
        {
            problems
                .push("store.url (DATABASE_URL) does not begin with postgres:// or postgresql://".to_owned());
        }
        problems
    }
}
