//! The indexing process: for each chain it takes the lease, works as long as it holds it, and leaves the chain to
//! another process when it stops or dies. What keeps two processes from writing the same is not the lease but the
//! checkpoint that each write names; the lease only keeps them from doing the same work.

use std::sync::Arc;
use std::time::Duration;

use bowline_evm::{Bounds, Rpc, endpoint_addresses};
use bowline_runtime::{Clock, Shutdown, Tasks};
use bowline_store::{Lease, LineStore, StoreError};
use bowline_ves::{SecretKey, SequencerSigner};
use futures_util::future::join_all;
use tokio::time::Instant;
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
        let mut held = None;
        while !shutdown.has_begun() {
            let pause = tokio::select! {
                pause = self.term(chain, &mut held) => pause,
                () = shutdown.begun() => break,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.begun() => {}
            }
        }
        if let Some(lease) = held {
            chain.store.release_lease(&lease).await.ok();
        }
    }

    /// One try to get the lease, and all the work as long as it is held. Returns after how long to try again.
    async fn term(&self, chain: &Chain, held: &mut Option<Lease>) -> Duration {
        let (third, chain_id) = (self.lease_time / 3, chain.config.chain_id);
        let lease = match self.take(chain).await {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                // Another process indexes the chain: this one shows how far that is.
                chain.progress.is(ChainState::Idle);
                if let Ok(checkpoint) = chain.store.chain_checkpoint(chain_id).await {
                    chain.progress.stored(checkpoint.as_ref());
                }
                return third;
            }
            Err(error) => {
                chain.progress.is(ChainState::Away);
                chain.progress.failed(Some(error.to_string()));
                if !error.is_known_absence() {
                    tracing::warn!(component = "indexer", chain_id, %error, "Lease can't be taken");
                }
                return third;
            }
        };
        *held = Some(lease.clone());
        let mut work = Work::new(chain);
        tokio::select! {
            () = self.hold(chain, &lease, third) => {}
            () = work.run() => {}
        }
        *held = None;
        tracing::warn!(component = "indexer", chain_id, "Another process may index this chain now");
        third
    }

    async fn take(&self, chain: &Chain) -> Result<Option<Lease>, StoreError> {
        let name = lease_name(chain.config.chain_id);
        chain.store.take_lease(&name, self.holder, self.lease_time, chain.clock.now()).await
    }

    /// Renews the lease; returns once it is lost, or could not be renewed for as long as it lasts.
    async fn hold(&self, chain: &Chain, lease: &Lease, third: Duration) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(third).await;
            match self.take(chain).await {
                Ok(Some(now)) if now.epoch == lease.epoch => renewed = Instant::now(),
                Ok(_) => return,
                Err(error) => {
                    if !error.is_known_absence() {
                        tracing::warn!(component = "indexer", %error, "Lease could not be renewed");
                    }
                    if renewed.elapsed() > self.lease_time {
                        return;
                    }
                }
            }
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
