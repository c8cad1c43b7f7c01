//! The indexing process: for each chain it takes the lease, works as long as it holds it, and leaves the chain to
//! another process when it stops or dies. What keeps two processes from writing the same is not the lease but the
//! checkpoint that each write names; the lease only keeps them from doing the same work.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bowline_evm::{Bounds, Rpc, endpoint_addresses};
use bowline_projection::{Leader, Term};
use bowline_runtime::{Clock, Shutdown, Tasks};
use bowline_store::{Lease, LineStore, StoreError};
use bowline_ves::{SecretKey, SequencerSigner};
use futures_util::future::join_all;
use uuid::Uuid;

use crate::chain::{Chain, Work};
use crate::config::{ChainConfig, Config};
use crate::handle::{ChainState, Handle, Progress, Watched};
use crate::metrics::ChainMetrics;
use crate::range::RangeSize;

/// Bytes of one answer at most; what is larger is asked for in parts, down to one block.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The name of the lease of a chain.
pub fn lease_name(chain_id: u64) -> String {
    format!("indexer/{chain_id}")
}

/// What indexing needs.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// Where events and checkpoints go.
    pub store: Arc<dyn LineStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The sequencer's key, as the line's appender has it.
    pub signer: Arc<SequencerSigner>,
    /// The key that signs the chains' events; processes may have different ones.
    pub key: Arc<SecretKey>,
}

/// The indexing process, not yet running.
#[derive(Debug)]
pub struct Service {
    chains: Vec<Chain>,
    holder: Uuid,
    lease_time: Duration,
}

impl Service {
    /// Puts it together; nothing runs yet, and nothing is asked of a chain.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn build(config: &Config, dependencies: Dependencies) -> Result<(Self, Handle), String> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(problems.join("; "));
        }
        let chains: Result<Vec<(Chain, Rpc)>, String> =
            config.chains.iter().map(|chain| build_chain(config, chain, &dependencies)).collect();
        let (chains, rpcs): (Vec<Chain>, Vec<Rpc>) = chains?.into_iter().unzip();
        let watched = chains.iter().zip(rpcs);
        let watched = watched.map(|(chain, rpc)| Watched { rpc, progress: Arc::clone(&chain.progress) });
        let handle = Handle(watched.collect());
        let lease_time = Duration::from_secs(config.lease_secs);
        Ok((Self { chains, holder: Uuid::new_v4(), lease_time }, handle))
    }

    /// Starts the task, if there is a chain.
    pub fn spawn(self, tasks: &Tasks) {
        if !self.chains.is_empty() {
            tasks.spawn("indexer", self.run(tasks.shutdown().clone()));
        }
    }

    /// Indexes until the shutdown begins.
    ///
    /// # Errors
    /// None so far: whatever goes wrong is tried again.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), StoreError> {
        if self.chains.is_empty() {
            shutdown.begun().await;
            return Ok(());
        }
        tracing::info!(component = "indexer", chains = self.chains.len(), "Started Ponder indexer");
        join_all(self.chains.iter().map(|chain| self.serve(chain, &shutdown))).await;
        Ok(())
    }

    async fn serve(&self, chain: &Chain, shutdown: &Shutdown) {
        let name = lease_name(chain.config.chain_id);
        let (store, clock) = (Arc::clone(&chain.store), Arc::clone(&chain.clock));
        let leader = Leader::new(store, clock, name, self.holder, self.lease_time);
        leader.run(&mut Indexing { chain }, shutdown).await;
    }
}

/// The work of the process that holds a chain's lease.
struct Indexing<'c> {
    chain: &'c Chain,
}

#[async_trait]
impl Term for Indexing<'_> {
    async fn lead(&mut self, _lease: &Lease) {
        Work::new(self.chain).run().await;
    }

    /// Another process indexes the chain: this one shows how far that is.
    async fn stand_by(&mut self) {
        let Chain { progress, store, config, .. } = self.chain;
        progress.is(ChainState::Idle);
        if let Ok(checkpoint) = store.chain_checkpoint(config.chain_id).await {
            progress.stored(checkpoint.as_ref());
        }
    }

    fn ended(&mut self, _lease: &Lease) {
        let chain_id = self.chain.config.chain_id;
        tracing::warn!(component = "indexer", chain_id, "Another process may index this chain now");
    }

    fn failed(&mut self, error: &StoreError) {
        let (chain_id, progress) = (self.chain.config.chain_id, &self.chain.progress);
        progress.is(ChainState::Away);
        progress.failed(Some(error.to_string()));
        if !error.is_known_absence() {
            tracing::warn!(component = "indexer", chain_id, %error, "Lease can't be taken");
        }
    }
}

fn build_chain(
    config: &Config,
    chain: &ChainConfig,
    dependencies: &Dependencies,
) -> Result<(Chain, Rpc), String> {
    let Dependencies { store, clock, signer, key } = dependencies;
    let (chain_id, title) = (chain.chain_id, chain.title());
    let bounds = Bounds { requests_per_sec: chain.requests_per_sec, answer_bytes_max: ANSWER_BYTES_MAX };
    let addresses = endpoint_addresses(&chain.rpc_urls)?;
    let purpose = format!("indexer/{chain_id}");
    let rpc = Rpc::bounded(&purpose, &addresses, config.patience(), bounds, Some(chain_id), clock)?;
    let decoder = Arc::new(chain.decoder()?);
    let metrics = ChainMetrics::declare(chain_id, &decoder.names());
    let progress = Progress::new(chain_id, title.clone(), chain.start_block, metrics);
    let chain = Chain {
        config: chain.clone(),
        title,
        each: rpc.each(),
        contracts: decoder.addresses().into(),
        decoder,
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        sequencer: Arc::clone(signer),
        key: Arc::clone(key),
        progress: Arc::new(progress),
        range: Arc::new(RangeSize::new(chain.range_max)),
    };
    Ok((chain, rpc))
}
