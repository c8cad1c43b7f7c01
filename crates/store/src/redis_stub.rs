//! Stub.
use crate::{JobRecord, JobStore, RedisProbe, StoreError};
use bowline_types::{Secret, Timestamp};
use std::time::Duration;
use uuid::Uuid;
/// Stub.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// Stub.
    pub url: Secret,
    /// Stub.
    pub timeout_ms_max: u64,
    /// Stub.
    pub heartbeat_ms_max: u64,
}
impl RedisConfig {
    /// Stub.
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: Secret::new(url), timeout_ms_max: 2000, heartbeat_ms_max: 30000 }
    }
}
/// Stub.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueueError {
    /// Stub.
    #[error("{0}")]
    Away(String),
    /// Stub.
    #[error("{0}")]
    Refused(String),
}
impl QueueError {
    /// Stub.
    pub fn is_known_absence(&self) -> bool {
        false
    }
}
/// Stub.
#[derive(Debug, Clone)]
pub struct RedisQueue(std::sync::Arc<RedisProbe>);
/// Stub.
#[derive(Debug)]
pub struct QueueWaiter;
impl QueueWaiter {
    /// Stub.
    pub async fn wait(&mut self, at_most: Duration) {
        tokio::time::sleep(at_most).await
    }
}
/// Stub.
#[derive(Debug, Clone)]
pub struct BuriedJob {
    /// Stub.
    pub job: JobRecord,
    /// Stub.
    pub failed_at: Timestamp,
}
/// Stub.
#[derive(Debug, Clone, Copy)]
pub struct RedisDepth {
    /// Stub.
    pub waiting: u64,
    /// Stub.
    pub dead: u64,
}
/// Stub.
#[derive(Debug, Clone, Default)]
pub struct Relayed {
    /// Stub.
    pub handed: u64,
    /// Stub.
    pub returned: u64,
    /// Stub.
    pub repaired: u64,
    /// Stub.
    pub dropped: u64,
    /// Stub.
    pub was_lost: bool,
    /// Stub.
    pub more: bool,
}
/// Stub.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Stub.
    #[error(transparent)]
    Store(StoreError),
    /// Stub.
    #[error(transparent)]
    Queue(QueueError),
}
/// Stub.
pub async fn relay_once(_: &dyn JobStore, _: &RedisQueue, _: Timestamp) -> Result<Relayed, RelayError> {
    Ok(Relayed::default())
}
fn away<T>() -> Result<T, QueueError> {
    Err(QueueError::Away("stub".to_owned()))
}
impl RedisQueue {
    /// Stub.
    pub async fn connect(config: RedisConfig) -> Result<Self, QueueError> {
        Ok(Self(std::sync::Arc::new(RedisProbe::new(config.url.reveal()).map_err(QueueError::Refused)?)))
    }
    /// Stub.
    pub async fn ping(&self) -> Result<(), QueueError> {
        self.0.ping(Duration::from_secs(2)).await.map_err(QueueError::Away)
    }
    /// Stub.
    pub fn waiter(&self) -> QueueWaiter {
        QueueWaiter
    }
    /// Stub.
    pub async fn push(&self, _: &[JobRecord]) -> Result<u64, QueueError> {
        away()
    }
    /// Stub.
    pub async fn take(&self, _: &str, _: usize) -> Result<Vec<Uuid>, QueueError> {
        away()
    }
    /// Stub.
    pub async fn heartbeat(&self, _: &str) -> Result<(), QueueError> {
        away()
    }
    /// Stub.
    pub async fn settle(&self, _: &str, _: &[Uuid]) -> Result<(), QueueError> {
        away()
    }
    /// Stub.
    pub async fn give_back(&self, _: &str) -> Result<u64, QueueError> {
        away()
    }
    /// Stub.
    pub async fn bury(&self, _: &[BuriedJob]) -> Result<(), QueueError> {
        away()
    }
    /// Stub.
    pub async fn unbury(&self, _: &[Uuid]) -> Result<(), QueueError> {
        away()
    }
    /// Stub.
    pub async fn depth(&self) -> Result<RedisDepth, QueueError> {
        away()
    }
}
