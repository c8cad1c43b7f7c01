//! The loop of a lease: of several processes one works, and another one takes over when it dies.
//!
//! A term begins when the lease is taken and ends when it is lost, when it could not be renewed for as long as it lasts,
//! or when the work ends by itself. Work that writes names its lease in each transaction ([`bowline_store::Tx::hold`]), so
//! a process that slept through the end of its term does no harm when it wakes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bowline_runtime::{Clock, Shutdown};
use bowline_store::{Lease, LineStore, StoreError};
use tokio::time::Instant;
use uuid::Uuid;

/// The work of the process that holds a lease.
#[async_trait]
pub trait Term: Send {
    /// Works under the lease. The future is dropped when the lease is lost or the shutdown begins, so it MUST bear to
    /// end at any await.
    async fn lead(&mut self, lease: &Lease);

    /// Another process holds the lease, as of this try.
    async fn stand_by(&mut self) {}

    /// The term is over: another process may lead now.
    fn ended(&mut self, _lease: &Lease) {}

    /// The lease can't be taken or renewed now; the loop tries again.
    fn failed(&mut self, error: &StoreError);
}

/// Takes a lease again and again, and works while it holds it.
#[derive(Debug)]
pub struct Leader {
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    name: String,
    holder: Uuid,
    ttl: Duration,
}

impl Leader {
    /// For the lease of that name, which lasts `ttl` without a renewal. It is renewed after each third of that.
    pub fn new(
        store: Arc<dyn LineStore>,
        clock: Arc<dyn Clock>,
        name: impl Into<String>,
        holder: Uuid,
        ttl: Duration,
    ) -> Self {
        Self { store, clock, name: name.into(), holder, ttl }
    }

    /// Leads whenever it may until the shutdown begins, then gives the lease back.
    pub async fn run(&self, term: &mut dyn Term, shutdown: &Shutdown) {
        let mut held = None;
        while !shutdown.has_begun() {
            tokio::select! {
                () = self.serve(term, &mut held) => {}
                () = shutdown.begun() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(self.ttl / 3) => {}
                () = shutdown.begun() => {}
            }
        }
        if let Some(lease) = held {
            // A lease that is not given back runs out by itself.
            self.store.release_lease(&lease).await.ok();
        }
    }

    /// One try to get the lease, and all the work as long as it is held.
    async fn serve(&self, term: &mut dyn Term, held: &mut Option<Lease>) {
        let lease = match self.take().await {
            Ok(Some(lease)) => lease,
            Ok(None) => return term.stand_by().await,
            Err(error) => return term.failed(&error),
        };
        *held = Some(lease.clone());
        let failure = tokio::select! {
            failure = self.hold(&lease) => failure,
            () = term.lead(&lease) => None,
        };
        *held = None;
        if let Some(error) = failure {
            term.failed(&error);
        }
        term.ended(&lease);
    }

    async fn take(&self) -> Result<Option<Lease>, StoreError> {
        self.store.take_lease(&self.name, self.holder, self.ttl, self.clock.now()).await
    }

    /// Renews the lease; returns once it is lost, or could not be renewed for as long as it lasts, with the last
    /// failure.
    async fn hold(&self, lease: &Lease) -> Option<StoreError> {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(self.ttl / 3).await;
            match self.take().await {
                Ok(Some(now)) if now.epoch == lease.epoch => renewed = Instant::now(),
                Ok(_) => return None,
                Err(error) if renewed.elapsed() > self.ttl => return Some(error),
                Err(error) if error.is_known_absence() => {}
                Err(error) => {
                    tracing::warn!(component = "projection", lease = self.name, %error, "Lease could not be renewed");
                }
            }
        }
    }
}
