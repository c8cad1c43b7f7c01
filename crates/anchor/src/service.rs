//! The anchoring process: takes the lease, works as long as it holds it, and leaves the work to another process
//! when it stops or dies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bowline_runtime::{Clock, Shutdown, Tasks};
use bowline_store::{Lease, LineStore, StoreError};
use metrics::gauge;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::{Chain, Config};
use crate::handle::{Handle, Shared, seconds_between};
use crate::metrics::{LEADER, OLDEST, PENDING, UNDER_WAY};
use crate::steps::Steps;
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
        while !shutdown.has_begun() {
            let pause = tokio::select! {
                pause = self.term(&chain) => pause,
                () = shutdown.begun() => break,
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.begun() => {}
            }
        }
        let held = self.shared.lease().take();
        if let Some(lease) = held {
            self.shared.store.release_lease(&lease).await.ok();
        }
        gauge!(LEADER).set(0.0);
        Ok(())
    }

    /// One try to get the lease, and all the work as long as it is held. Returns after how long to try again.
    async fn term(&self, chain: &(Chain, Rpc)) -> Duration {
        let third = Duration::from_millis(self.shared.config.lease_secs * 1_000 / 3);
        let taken = self.take().await;
        if let Err(error) = &taken {
            tracing::warn!(component = "anchor", %error, "Lease can't be taken");
        }
        let Ok(Some(lease)) = taken else {
            // Another process anchors: this one shows how that goes on.
            show_backlog(&self.shared).await.ok();
            return third;
        };
        *self.shared.lease() = Some(lease.clone());
        gauge!(LEADER).set(1.0);
        tracing::info!(component = "anchor", epoch = lease.epoch, "This process anchors now");
        let mut work = Work::new(Arc::clone(&self.shared), chain.clone(), lease.clone(), self.steps.clone());
        tokio::select! {
            () = self.hold(&lease, third) => {}
            () = work.run() => {}
        }
        tracing::warn!(component = "anchor", epoch = lease.epoch, "Another process may anchor now");
        // What was in this process's way may not be in another one's.
        (*self.shared.lease(), *self.shared.trouble()) = (None, None);
        gauge!(LEADER).set(0.0);
        third
    }

    async fn take(&self) -> Result<Option<Lease>, StoreError> {
        let Shared { config, store, clock, holder, .. } = &*self.shared;
        store.take_lease(LEASE, *holder, Duration::from_secs(config.lease_secs), clock.now()).await
    }

    /// Renews the lease; returns once it is lost, or could not be renewed for as long as it lasts.
    async fn hold(&self, lease: &Lease, third: Duration) {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(third).await;
            match self.take().await {
                Ok(Some(now)) if now.epoch == lease.epoch => renewed = Instant::now(),
                Ok(_) => return,
                Err(error) => {
                    tracing::warn!(component = "anchor", %error, "Lease could not be renewed");
                    if renewed.elapsed() > Duration::from_secs(self.shared.config.lease_secs) {
                        return;
                    }
                }
            }
        }
    }
}

/// Shows what waits in the metrics.
pub(crate) async fn show_backlog(shared: &Shared) -> Result<bowline_store::AnchorBacklog, StoreError> {
    let backlog = shared.store.anchor_backlog().await?;
    gauge!(PENDING).set(backlog.pending as f64);
    gauge!(UNDER_WAY).set(backlog.under_way as f64);
    let age = backlog.oldest.map_or(0, |oldest| seconds_between(oldest, shared.clock.now()));
    gauge!(OLDEST).set(age as f64);
    Ok(backlog)
}
