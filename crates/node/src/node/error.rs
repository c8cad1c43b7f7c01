//! Why a node did not start, or ended badly.

use bowline_runtime::{TaskError, TelemetryError};
use bowline_store::StoreError;

use crate::config::ConfigError;
use crate::data::DataError;
use crate::store::StoreOpenError;

/// The node could not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The store, when it was opened.
    #[error(transparent)]
    Open(#[from] StoreOpenError),
    /// The store, later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// A listener.
    #[error(transparent)]
    Http(#[from] bowline_http::Error),
    /// A task that must not end ended.
    #[error(transparent)]
    Task(#[from] TaskError),
}
