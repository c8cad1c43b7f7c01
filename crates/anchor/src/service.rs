//! The anchoring process: takes the lease, works as long as it holds it, and leaves the work to another process
//! when it stops or dies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bowline_projection::{Leader, Term};
use bowline_runtime::{Clock, Shutdown, Tasks};
use bowline_store::{Lease, LineStore, StoreError};
use metrics::gauge;
use uuid::Uuid;

use crate::config::{Chain, Config};
use crate::handle::{Handle, Shared, seconds_between};
use crate::metrics::{LEADER, OLDEST, PENDING, UNDER_WAY};
use crate::steps::Steps;
use crate::tables;
use crate::work::Work;
use bowline_evm::Rpc;

/// The lease's name.
pub const LEASE: &str = "anchors";

/// What anchoring needs.
#[derive(Debug, Clone)]
pub struct Dependencies {
    /// Where commitments and their anchors are.
    pub store: Arc<dyn LineStore>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who listens to the steps of the work; nobody in a node.
    pub steps: Option<Arc<dyn Steps>>,
}

/// The anchoring process, not yet running.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    steps: Option<Arc<dyn Steps>>,
}

impl Service {
    /// Puts it together; nothing runs yet, and nothing is asked of the chain.
    ///
    /// # Errors
    /// What is wrong with the settings.
    pub fn build(config: &Config, dependencies: Dependencies) -> Result<(Self, Handle), String> {
        crate::metrics::declare();
        let Dependencies { store, clock, steps } = dependencies;
        let chain = config.chain()?;
        let chain = chain.map(|chain| {
            let rpc = Rpc::new("anchor", &chain.addresses, config.patience(), Some(config.chain_id), &clock)?;
            Ok::<_, String>((chain, rpc))
        });
        let shared = Arc::new(Shared {
            config: config.clone(),
            tables: tables::open(&store.engine()),
            store,
            clock,
            chain: chain.transpose()?,
            holder: Uuid::new_v4(),
            lease: Mutex::new(None),
            trouble: Mutex::new(None),
            round_began: Mutex::new(None),
        });
        Ok((Self { shared: Arc::clone(&shared), steps }, Handle(shared)))
    }

    /// Starts the task, if anchoring is set up.
    pub fn spawn(self, tasks: &Tasks) {
        if self.shared.chain.is_some() {
            tasks.spawn("anchors", self.run(tasks.shutdown().clone()));
        }
    }

    /// Anchors until the shutdown begins.
    ///
    /// # Errors
    /// None so far: whatever goes wrong is tried again.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), StoreError> {
        let Some(chain) = self.shared.chain.clone() else {
            shutdown.begun().await;
            return Ok(());
        };
        let Shared { config, store, clock, holder, .. } = &*self.shared;
        let ttl = Duration::from_secs(config.lease_secs);
        let leader = Leader::new(Arc::clone(store), Arc::clone(clock), LEASE, *holder, ttl);
        let mut anchoring = Anchoring { shared: Arc::clone(&self.shared), chain, steps: self.steps };
        leader.run(&mut anchoring, &shutdown).await;
        *self.shared.lease() = None;
        gauge!(LEADER).set(0.0);
        Ok(())
    }
}

/// The work of the process that holds the lease.
struct Anchoring {
    shared: Arc<Shared>,
    chain: (Chain, Rpc),
    steps: Option<Arc<dyn Steps>>,
}

#[async_trait]
impl Term for Anchoring {
    async fn lead(&mut self, lease: &Lease) {
        *self.shared.lease() = Some(lease.clone());
        gauge!(LEADER).set(1.0);
        tracing::info!(component = "anchor", epoch = lease.epoch, "This process anchors now");
        let chain = self.chain.clone();
        Work::new(Arc::clone(&self.shared), chain, lease.clone(), self.steps.clone()).run().await;
    }

    /// Another process anchors: this one shows how that goes on.
    async fn stand_by(&mut self) {
        show_backlog(&self.shared).await.ok();
    }

    fn ended(&mut self, lease: &Lease) {
        tracing::warn!(component = "anchor", epoch = lease.epoch, "Another process may anchor now");
        // What was in this process's way may not be in another one's.
        (*self.shared.lease(), *self.shared.trouble()) = (None, None);
        gauge!(LEADER).set(0.0);
    }

    fn failed(&mut self, error: &StoreError) {
        tracing::warn!(component = "anchor", %error, "Lease can't be taken");
    }
}

/// Shows what waits in the metrics.
pub(crate) async fn show_backlog(shared: &Shared) -> Result<crate::tables::AnchorBacklog, StoreError> {
    let backlog = shared.tables.anchor_backlog().await?;
    gauge!(PENDING).set(backlog.pending as f64);
    gauge!(UNDER_WAY).set(backlog.under_way as f64);
    let age = backlog.oldest.map_or(0, |oldest| seconds_between(oldest, shared.clock.now()));
    gauge!(OLDEST).set(age as f64);
    Ok(backlog)
}
