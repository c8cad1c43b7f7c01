//! EVM networks on the line: each log of the contracts that are watched becomes an event of its chain's stream.
use bowline_runtime::{Clock, Tasks};
use bowline_store::LineStore;
use bowline_types::StreamId;
use bowline_ves::{SecretKey, SequencerSigner};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
/// Stub.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Stub.
    pub status_address: Option<std::net::SocketAddr>,
}
impl Config {
    /// Stub.
    pub fn is_on(&self) -> bool {
        false
    }
    /// Stub.
    pub fn problems(&self) -> Vec<String> {
        Vec::new()
    }
    /// Stub.
    pub fn add_environment(&mut self, _lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), Vec<String>> {
        Ok(())
    }
    /// Stub.
    pub fn environment_names() -> Vec<String> {
        Vec::new()
    }
}
/// Stub.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// Stub.
    pub store: Arc<dyn LineStore>,
    /// Stub.
    pub clock: Arc<dyn Clock>,
    /// Stub.
    pub signer: Arc<SequencerSigner>,
    /// Stub.
    pub key: Arc<SecretKey>,
}
/// Stub.
#[derive(Debug)]
pub struct Service;
impl Service {
    /// Stub.
    pub fn build(_: &Config, _: Dependencies) -> Result<(Self, Handle), String> {
        Ok((Self, Handle))
    }
    /// Stub.
    pub fn spawn(self, _: &Tasks) {}
}
/// Stub.
#[derive(Debug, Clone)]
pub struct Handle;
impl Handle {
    /// Stub.
    pub fn status(&self) -> Vec<ChainStatus> {
        Vec::new()
    }
}
/// Stub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainState {
    /// Stub.
    Starting,
    /// Stub.
    Syncing,
    /// Stub.
    Live,
    /// Stub.
    Away,
    /// Stub.
    Idle,
}
/// Stub.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChainStatus {
    /// Stub.
    pub chain_id: u64,
    /// Stub.
    pub name: String,
    /// Stub.
    pub stream: StreamId,
    /// Stub.
    pub state: ChainState,
    /// Stub.
    pub start_block: u64,
    /// Stub.
    pub block: Option<u64>,
    /// Stub.
    pub block_hash: Option<bowline_types::EvmHash>,
    /// Stub.
    pub generation: u64,
    /// Stub.
    pub head: Option<u64>,
    /// Stub.
    pub target: Option<u64>,
    /// Stub.
    pub lag_blocks: Option<u64>,
    /// Stub.
    pub percent: Option<f64>,
    /// Stub.
    pub blocks_per_sec: f64,
    /// Stub.
    pub logs_per_sec: f64,
    /// Stub.
    pub eta_secs: Option<u64>,
    /// Stub.
    pub last_error: Option<String>,
    /// Stub.
    pub updated_at: Option<bowline_types::Timestamp>,
}
