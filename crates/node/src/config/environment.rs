//! The environment names and the settings that they stand for: the one table.
//! No other file of the workspace reads the environment of a node.

use super::load::Source;

/// An environment variable and the setting that it sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnvironmentName {
    /// The variable.
    pub name: &'static str,
    /// The setting's path in the tree, with dots.
    pub path: &'static str,
    /// What a number is to be multiplied by: the variable may count in another unit than the setting.
    pub times: u64,
}

const fn name(name: &'static str, path: &'static str) -> EnvironmentName {
    EnvironmentName { name, path, times: 1 }
}

/// A variable in seconds for a setting in milliseconds.
const fn seconds(name: &'static str, path: &'static str) -> EnvironmentName {
    EnvironmentName { name, path, times: 1_000 }
}

/// Every variable that is read. Where two stand for one setting, the later one wins.
pub const ENVIRONMENT: &[EnvironmentName] = &[
    name("BOWLINE_DATA", "data"),
    name("BOWLINE_ROLES", "roles"),
    name("DATABASE_URL", "store.url"),
    name("DB_MAX_CONNECTIONS", "store.connections_max"),
    seconds("DB_ACQUIRE_TIMEOUT", "store.acquire_ms_max"),
    name("MAX_DB_CONNECTIONS", "store.connections_max"),
    name("DB_ACQUIRE_TIMEOUT_MS", "store.acquire_ms_max"),
    name("DB_STATEMENT_TIMEOUT_MS", "store.statement_ms_max"),
    name("DB_LOCK_TIMEOUT_MS", "store.lock_ms_max"),
    name("DB_APPLICATION_NAME", "store.application_name"),
    name("DB_MIGRATE_ON_STARTUP", "store.migrate_on_startup"),
    name("DB_STARTUP_MAX_RETRIES", "store.startup_tries_max"),
    name("DB_STARTUP_RETRY_DELAY_SECS", "store.startup_retry_secs"),
    name("BOWLINE_DISK_FREE_MIB_MIN", "disk.free_mib_min"),
    name("BOWLINE_DISK_BALLAST_MIB", "disk.ballast_mib"),
    name("REDIS_URL", "redis.url"),
    name("REDIS_HOST", "redis.host"),
    name("REDIS_PORT", "redis.port"),
    name("REDIS_PASSWORD", "redis.password"),
    name("SERVER_HOST", "api.host"),
    name("SERVER_PORT", "api.port"),
    name("HOST", "api.host"),
    name("PORT", "api.port"),
    name("AUTH_MODE", "api.auth.mode"),
    name("BOOTSTRAP_ADMIN_API_KEY", "api.auth.bootstrap_admin_api_key"),
    name("JWT_SECRET", "api.auth.jwt_secret"),
    name("JWT_ISSUER", "api.auth.jwt_issuer"),
    name("JWT_AUDIENCE", "api.auth.jwt_audience"),
    name("ADMIN_IP_ALLOWLIST", "api.admin_ip_allowlist"),
    name("METRICS_IP_ALLOWLIST", "api.metrics_ip_allowlist"),
    name("TRUST_PROXY_HEADERS", "api.trust_proxy_headers"),
    name("TRUST_PROXY_ALLOWLIST", "api.trust_proxy_allowlist"),
    name("RATE_LIMIT_PER_MINUTE", "api.rate_limits.per_minute"),
    name("RATE_LIMIT_WINDOW_SECONDS", "api.rate_limits.window_secs"),
    name("RATE_LIMIT_MAX_ENTRIES", "api.rate_limits.entries_max"),
    name("SCHEMA_VALIDATION_MODE", "schemas.mode"),
    name("CACHE_SCHEMA_MAX", "schemas.cached_max"),
    name("CACHE_SCHEMA_TTL_SECS", "schemas.cached_secs"),
    name("REQUEST_TIMEOUT_SECS", "line.limits.request_secs_max"),
    name("MAX_BODY_SIZE_BYTES", "line.limits.body_bytes_max"),
    name("MAX_EVENTS_PER_BATCH", "line.limits.batch_events_max"),
    name("MAX_EVENT_PAYLOAD_SIZE", "line.limits.event_payload_bytes_max"),
    name("CACHE_AGENT_KEY_MAX", "line.agent_keys_cached_max"),
    name("CACHE_AGENT_KEY_TTL_SECS", "line.agent_key_ttl_secs"),
    name("L2_RPC_URL", "anchor.rpc_url"),
    name("L2_CHAIN_ID", "anchor.chain_id"),
    name("SET_REGISTRY_ADDRESS", "anchor.contract"),
    name("SEQUENCER_PRIVATE_KEY", "anchor.private_key"),
    name("ANCHOR_INTERVAL_SECS", "anchor.interval_secs"),
    name("ANCHOR_BATCH_THRESHOLD", "anchor.batch_threshold"),
    name("ANCHOR_TRANSACTION_COMMITMENTS_MAX", "anchor.transaction_commitments_max"),
    name("ANCHOR_FINALITY_CONFIRMATIONS", "anchor.finality_confirmations"),
    name("ANCHOR_FINALITY_POLL_SECS", "anchor.finality_poll_secs"),
    name("ANCHOR_RECONCILE_SECS", "anchor.reconcile_secs"),
    name("ANCHOR_FEE_GWEI_MAX", "anchor.fee_gwei_max"),
    name("ANCHOR_GAS_MAX", "anchor.gas_max"),
    name("ANCHOR_REPLACE_AFTER_SECS", "anchor.replace_after_secs"),
    name("ANCHOR_CALL_SECS_MAX", "anchor.call_secs_max"),
    name("ANCHOR_BREAKER_OPEN_SECS", "anchor.breaker_open_secs"),
    name("ANCHOR_LEASE_SECS", "anchor.lease_secs"),
    name("ANCHOR_POLL_MS", "anchor.poll_ms"),
    name("INDEXER_STATUS_ADDRESS", "indexer.status_address"),
    name("BOWLINE_SECRETS_KEY", "triggers.secrets_key"),
    name("TELOXIDE_TOKEN", "triggers.delivery.telegram_bot_token"),
    name("TELEGRAM_BOT_TOKEN", "triggers.delivery.telegram_bot_token"),
    name("VES_SEQUENCER_ID", "sequencer.id"),
    name("VES_SEQUENCER_SIGNING_KEY", "sequencer.signing_key"),
    name("RUST_LOG", "log.filter"),
    name("LOG_FORMAT", "log.format"),
    name("BOWLINE_BACKUP_DESTINATION", "backup.destination"),
];

/// Names that operators of the original sequencer set and that this version does not serve. A node that finds
/// one says so in its log when it starts.
pub const UNSERVED: &[&str] =
    &["READ_DATABASE_URL", "GRPC_PORT", "PAYLOAD_ENCRYPTION_MODE", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// The process's environment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process;

impl Source for Process {
    fn get(&self, name: &str) -> Option<String> {
        // An empty variable is how many deployments spell "not set".
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}
