//! How each chain is doing, as far as this process knows; asking costs nothing and waits for nobody.
//!
//! The work tells it what it sees and writes; from that come lag, speed and the lines of the log about progress.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bowline_evm::{Block, EndpointState, Rpc};
use bowline_store::{BlockMark, ChainCheckpoint};
use bowline_types::{EvmHash, StreamId, Timestamp, chain_stream};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::metrics::ChainMetrics;

/// Between two lines of the log about progress.
const PROGRESS_TIME: Duration = Duration::from_secs(10);
/// A rate is taken over at least so long.
const RATE_TIME_MIN: Duration = Duration::from_secs(1);

/// What a chain's indexer is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChainState {
    /// Nothing was asked yet.
    Starting,
    /// It reads what lies back.
    Syncing,
    /// It has read all that counts, and waits for the next block.
    Live,
    /// The chain or the store can't be asked, or something is in the way.
    Away,
    /// Another process indexes the chain.
    Idle,
}

/// How a chain is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChainStatus {
    /// Its id.
    pub chain_id: u64,
    /// Its name for people.
    pub name: String,
    /// The stream that its logs are on.
    pub stream: StreamId,
    /// What its indexer is doing.
    pub state: ChainState,
    /// The first block by the settings.
    pub start_block: u64,
    /// The last block whose logs are on the line.
    pub block: Option<u64>,
    /// That block's hash.
    pub block_hash: Option<EvmHash>,
    /// When that block was made, seconds since 1970; none until this process has seen it.
    pub block_timestamp: Option<u64>,
    /// How many reorganizations were written down.
    pub generation: u64,
    /// The chain's last block, as far as an endpoint said.
    pub head: Option<u64>,
    /// The last block that counts: with so many confirmations, or final.
    pub target: Option<u64>,
    /// Blocks that count and are not on the line yet.
    pub lag_blocks: Option<u64>,
    /// How much of the way from the first block to the last one is done.
    pub percent: Option<f64>,
    /// Blocks a second, of late.
    pub blocks_per_sec: f64,
    /// Logs a second, of late.
    pub logs_per_sec: f64,
    /// Seconds until all that counts is on the line, at that speed.
    pub eta_secs: Option<u64>,
    /// The endpoints and their circuit breakers.
    pub endpoints: Vec<EndpointState>,
    /// Why the last round ended early, if it did.
    pub last_error: Option<String>,
    /// When the checkpoint last moved.
    pub updated_at: Option<Timestamp>,
}

/// The indexer of this process, to be looked at; cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle(pub(crate) Arc<[Watched]>);

impl Handle {
    /// Each chain, in the order of the settings.
    pub fn status(&self) -> Vec<ChainStatus> {
        self.0.iter().map(Watched::status).collect()
    }
}

/// What a step brought onto the line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Indexed {
    /// Its last block.
    pub(crate) number: u64,
    pub(crate) hash: EvmHash,
    /// When that was made, seconds since 1970.
    pub(crate) time: Option<u64>,
    pub(crate) logs: u64,
}

/// A chain and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) rpc: Rpc,
    pub(crate) progress: Arc<Progress>,
}

impl Watched {
    fn status(&self) -> ChainStatus {
        ChainStatus { endpoints: self.rpc.endpoints(), ..self.progress.lock().status.clone() }
    }
}

/// What the work on a chain tells.
#[derive(Debug)]
pub(crate) struct Progress {
    metrics: ChainMetrics,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    status: ChainStatus,
    since: Instant,
    blocks: u64,
    logs: u64,
    told: Instant,
}

impl Progress {
    pub(crate) fn new(chain_id: u64, name: String, start_block: u64, metrics: ChainMetrics) -> Self {
        let status = ChainStatus {
            chain_id,
            name,
            stream: chain_stream(chain_id),
            state: ChainState::Starting,
            start_block,
            block: None,
            block_hash: None,
            block_timestamp: None,
            generation: 0,
            head: None,
            target: None,
            lag_blocks: None,
            percent: None,
            blocks_per_sec: 0.0,
            logs_per_sec: 0.0,
            eta_secs: None,
            endpoints: Vec::new(),
            last_error: None,
            updated_at: None,
        };
        let now = Instant::now();
        Self { metrics, inner: Mutex::new(Inner { status, since: now, blocks: 0, logs: 0, told: now }) }
    }

    pub(crate) fn metrics(&self) -> &ChainMetrics {
        &self.metrics
    }

    pub(crate) fn state(&self) -> ChainState {
        self.lock().status.state
    }

    /// What it is doing now; a change to `Live` is worth a line of the log.
    pub(crate) fn is(&self, state: ChainState) {
        let mut inner = self.lock();
        let before = std::mem::replace(&mut inner.status.state, state);
        if before != state && state == ChainState::Live {
            let (chain_id, block) = (inner.status.chain_id, inner.status.block);
            drop(inner);
            tracing::info!(component = "indexer", chain_id, block, "Indexing is live");
        }
    }

    /// The round ended early, or did not.
    pub(crate) fn failed(&self, error: Option<String>) {
        self.lock().status.last_error = error;
    }

    /// What the store says.
    pub(crate) fn stored(&self, checkpoint: Option<&ChainCheckpoint>) {
        let mut inner = self.lock();
        let block = checkpoint.and_then(|checkpoint| checkpoint.block);
        if inner.status.block_hash != block.map(|block| block.hash) {
            inner.status.block_timestamp = None;
        }
        inner.status.block = block.map(|block| block.number);
        inner.status.block_hash = block.map(|block| block.hash);
        inner.status.generation = checkpoint.map_or(0, |checkpoint| checkpoint.generation);
        inner.status.updated_at = checkpoint.map(|checkpoint| checkpoint.updated_at);
    }

    /// What the chain says.
    pub(crate) fn seen(&self, head: &Block, target: Option<u64>, now: Timestamp) {
        let mut inner = self.lock();
        (inner.status.head, inner.status.target) = (Some(head.number()), target);
        if inner.status.block_hash == Some(head.hash()) {
            inner.status.block_timestamp = Some(head.timestamp());
        }
        inner.reckon();
        let status = &inner.status;
        self.metrics.at(status.head, status.block, status.lag_blocks);
        if status.lag_blocks == Some(0) {
            self.metrics.synced(now);
        }
    }

    /// The checkpoint moved.
    pub(crate) fn moved(&self, indexed: Indexed, now: Timestamp) {
        let Indexed { number, hash, time, logs } = indexed;
        let mut inner = self.lock();
        let before = inner.status.block.unwrap_or(inner.status.start_block.saturating_sub(1));
        inner.blocks += number.saturating_sub(before);
        inner.logs += logs;
        inner.status.block = Some(number);
        inner.status.block_hash = Some(hash);
        inner.status.block_timestamp = time;
        inner.status.updated_at = Some(now);
        inner.reckon();
        let status = &inner.status;
        self.metrics.at(status.head, status.block, status.lag_blocks);
        self.metrics.synced(now);
        if inner.status.state == ChainState::Syncing && inner.told.elapsed() >= PROGRESS_TIME {
            inner.told = Instant::now();
            let status = inner.status.clone();
            drop(inner);
            tell(&status);
        }
    }

    /// The line was taken back to that block.
    pub(crate) fn went_back(&self, generation: u64, block: BlockMark) {
        let mut inner = self.lock();
        inner.status.generation = generation;
        (inner.status.block, inner.status.block_hash) = (Some(block.number), Some(block.hash));
        inner.status.block_timestamp = None;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn reckon(&mut self) {
        let elapsed = self.since.elapsed();
        if elapsed >= RATE_TIME_MIN {
            self.status.blocks_per_sec = self.blocks as f64 / elapsed.as_secs_f64();
            self.status.logs_per_sec = self.logs as f64 / elapsed.as_secs_f64();
        }
        if elapsed >= PROGRESS_TIME {
            (self.since, self.blocks, self.logs) = (Instant::now(), 0, 0);
        }
        let status = &mut self.status;
        let Some(target) = status.target else { return };
        let begin = status.start_block.saturating_sub(1);
        let block = status.block.unwrap_or(begin);
        let lag = target.saturating_sub(block);
        let (whole, done) = (target.saturating_sub(begin), block.saturating_sub(begin).min(target));
        status.lag_blocks = Some(lag);
        status.percent = Some(match whole {
            0 => 100.0,
            whole => (done as f64 / whole as f64 * 1_000.0).round().min(1_000.0) / 10.0,
        });
        let is_moving = status.blocks_per_sec > 0.0;
        status.eta_secs = is_moving.then(|| (lag as f64 / status.blocks_per_sec).ceil() as u64);
    }
}

fn tell(status: &ChainStatus) {
    tracing::info!(
        component = "indexer",
        chain_id = status.chain_id,
        block = status.block,
        target = status.target,
        percent = status.percent,
        blocks_per_sec = status.blocks_per_sec.round(),
        logs_per_sec = status.logs_per_sec.round(),
        eta_secs = status.eta_secs,
        lag_blocks = status.lag_blocks,
        "Indexing progress"
    );
}
