//! Opens the store that the configuration names, and waits for a database that is still starting.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bowline_store::{
    AppliedMigration, LineStore, PostgresConfig, PostgresStore, Schema, SqliteConfig, SqliteStore, StoreError,
};

use crate::config::StoreConfig;

/// The store could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("the {engine} store could not be opened: {cause}")]
pub struct StoreOpenError {
    /// Which engine.
    pub engine: &'static str,
    /// Why.
    pub cause: StoreError,
}

/// The tables of the line and of every subsystem that this binary has.
pub fn schema() -> Schema {
    Schema::with(&[])
}

/// Opens PostgreSQL if the configuration has a URL, else the embedded database. Migrations that were applied
/// come along.
///
/// # Errors
/// The store stayed away, or its schema does not fit.
pub async fn open_store(
    config: &StoreConfig,
    database: PathBuf,
    migrate: bool,
) -> Result<(Arc<dyn LineStore>, Vec<AppliedMigration>), StoreOpenError> {
    let Some(url) = &config.url else {
        let sqlite = SqliteConfig { path: database, readers: config.readers, migrate, schema: schema() };
        let opened = SqliteStore::open(sqlite).await;
        let (store, applied) = opened.map_err(|cause| StoreOpenError { engine: "SQLite", cause })?;
        return Ok((Arc::new(store), applied));
    };
    let postgres = PostgresConfig {
        url: url.reveal().to_owned(),
        connections_max: config.connections_max,
        acquire_ms_max: config.acquire_ms_max,
        statement_ms_max: config.statement_ms_max,
        lock_ms_max: config.lock_ms_max,
        application_name: config.application_name.clone().unwrap_or_else(|| "bowline".to_owned()),
        migrate,
        schema: schema(),
    };
    for attempt in 1.. {
        match PostgresStore::open(postgres.clone()).await {
            Ok((store, applied)) => return Ok((Arc::new(store), applied)),
            Err(cause) if cause.retryable() && attempt < config.startup_tries_max => {
                tracing::warn!(component = "node", %cause, attempt, "Database not ready, waiting");
                tokio::time::sleep(Duration::from_secs(config.startup_retry_secs)).await;
            }
            Err(cause) => return Err(StoreOpenError { engine: "PostgreSQL", cause }),
        }
    }
    Err(StoreOpenError { engine: "PostgreSQL", cause: StoreError::Unavailable("no try was made".to_owned()) })
}
