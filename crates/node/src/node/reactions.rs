//! What follows from events: triggers, the queue, and deliveries.
//!
//! Both halves meet in the store and nowhere else, so either may run in a process of its own.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bowline_deliveries::{Deliveries, RedisConfig, RedisQueue};
use bowline_runtime::Tasks;
use bowline_triggers::TriggerOwners;
use uuid::Uuid;

use super::Error;
use crate::config::{Config, ConfigError, Role, Roles, parse_secrets_key};
use crate::data::DataFolder;

/// Triggers and deliveries, not yet running.
#[derive(Debug)]
pub(super) struct Reactions {
    matching: bowline_triggers::Service,
    pub(super) triggers: bowline_triggers::Handle,
    pub(super) deliveries: Deliveries,
    pub(super) redis: Option<RedisQueue>,
    grace: Duration,
}

impl Reactions {
    /// Puts them together.
    pub(super) async fn build(
        config: &Config,
        data: &DataFolder,
        line: &bowline_line::Handle,
    ) -> Result<Self, Error> {
        let refuse = |problem| ConfigError::Problems(vec![problem]);
        // A little more than deliveries under way are given, so that they end by themselves.
        let grace = Duration::from_secs(config.triggers.delivery.drain_secs + 2);
        let secrets_key = secrets_key(config, data)?;
        let instance = instance();
        let redis = redis(config).await?;
        let deliveries = Deliveries::build(
            &config.triggers.delivery,
            bowline_deliveries::Dependencies {
                store: Arc::clone(&line.store),
                clock: Arc::clone(&line.clock),
                queue: redis.clone(),
                owners: vec![Arc::new(TriggerOwners::new(Arc::clone(&line.store)))],
                secrets_key,
                instance: instance.clone(),
            },
        )
        .map_err(refuse)?;
        let (matching, triggers) = bowline_triggers::Service::build(
            &config.triggers,
            bowline_triggers::Dependencies {
                store: Arc::clone(&line.store),
                clock: Arc::clone(&line.clock),
                actions: deliveries.actions(),
                instance,
            },
        )
        .map_err(refuse)?;
        Ok(Self { matching, triggers, deliveries, redis, grace })
    }

    /// How long what is under way may take to end.
    pub(super) fn grace(&self) -> Duration {
        self.grace
    }

    /// Starts what is a role of this process.
    pub(super) fn spawn(self, roles: Roles, tasks: &Tasks) {
        if roles.has(Role::Triggers) {
            self.matching.spawn_matching(tasks);
        }
        if roles.has(Role::Worker) {
            self.deliveries.spawn_workers(tasks);
        }
    }
}

/// The key under which secrets are kept: as configured, else from the data folder, else made and kept there.
fn secrets_key(config: &Config, data: &DataFolder) -> Result<[u8; 32], Error> {
    let key = match &config.triggers.secrets_key {
        Some(key) => key.clone(),
        None => {
            if config.store.url.is_some() && !config.roles.is_all() {
                tracing::warn!(
                    component = "node",
                    "triggers.secrets_key (BOWLINE_SECRETS_KEY) is not set: the other processes of this store can't \
                     open the secrets of actions that this one keeps"
                );
            }
            data.secrets_key()?
        }
    };
    let name = "triggers.secrets_key (BOWLINE_SECRETS_KEY, or DATA/secrets.key)";
    parse_secrets_key(key.reveal())
        .map_err(|problem| ConfigError::Problems(vec![format!("{name} {problem}")]).into())
}

/// This process's name: the machine's and the process's number for operators, and a word of chance, since both may be the
/// same after a restart in a container.
fn instance() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = Some(host.trim()).filter(|host| !host.is_empty()).unwrap_or("bowline").to_owned();
    let chance = Uuid::new_v4().simple().to_string();
    format!("{host}-{}-{}", std::process::id(), &chance[..8])
}

/// Redis, if there is one. It is not asked yet: a node starts without it, too.
async fn redis(config: &Config) -> Result<Option<RedisQueue>, ConfigError> {
    let Some(url) = config.redis.address() else { return Ok(None) };
    let queue = RedisQueue::connect(RedisConfig::at(url.reveal())).await;
    queue
        .map(Some)
        .map_err(|problem| ConfigError::Problems(vec![format!("redis.url (REDIS_URL): {problem}")]))
}
