//! Makes commitments without being asked: when a stream has so many uncommitted events, or when the oldest of
//! them has waited for so long. A reconciler: it looks at what is there and does what is due, on every wake-up and
//! on a timer.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::{Clock, Shutdown};
use bowline_store::{CommitmentFilter, CommitmentOrigin, LineStore, ReadQuery, StreamHead};
use bowline_types::StreamId;

use crate::commitments::{CommitError, CommitRange, Commitments};
use crate::config::{AutoCommit, CommitmentPolicy};

/// The automatic committer.
#[derive(Debug)]
pub(crate) struct Committer {
    pub(crate) policy: CommitmentPolicy,
    pub(crate) store: Arc<dyn LineStore>,
    pub(crate) commitments: Commitments,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) poll: Duration,
}

impl Committer {
    /// Commits what is due until the shutdown begins.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), crate::Error> {
        if self.policy.auto == AutoCommit::Off {
            shutdown.begun().await;
            return Ok(());
        }
        let mut grown = self.store.tail().watch_any();
        while !shutdown.has_begun() {
            grown.borrow_and_update();
            if let Err(error) = self.activate().await {
                tracing::warn!(component = "line", %error, "Automatic commitments fell back, retrying");
            }
            tokio::select! {
                // Every append is a wake-up; a pause lets them gather.
                () = tokio::time::sleep(self.poll.min(Duration::from_millis(100))) => {}
                () = shutdown.begun() => break,
            }
            tokio::select! {
                _ = tokio::time::timeout(self.poll, grown.changed()) => {}
                () = shutdown.begun() => {}
            }
        }
        Ok(())
    }

    async fn activate(&self) -> Result<(), CommitError> {
        for head in self.store.streams().await? {
            if self.due(&head).await? && self.ours(head.stream).await? {
                match self
                    .commitments
                    .commit(head.stream, CommitRange::default(), CommitmentOrigin::Automatic)
                    .await
                {
                    // Another process was faster, which is as good.
                    Ok(_) | Err(CommitError::NothingToCommit { .. } | CommitError::Raced) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    async fn due(&self, head: &StreamHead) -> Result<bool, CommitError> {
        let uncommitted = head.head.saturating_sub(head.committed);
        if uncommitted == 0 || uncommitted >= self.policy.events.max(1) {
            return Ok(uncommitted > 0);
        }
        let oldest = self.store.read(ReadQuery::from(head.stream, head.committed + 1, 1)).await?;
        let since = oldest.events.first().map_or(head.updated_at, |event| event.receipt.sequenced_at);
        let age_micros = i64::try_from(self.policy.age_secs.saturating_mul(1_000_000)).unwrap_or(i64::MAX);
        Ok(self.clock.now().micros().saturating_sub(since.micros()) >= age_micros)
    }

    /// Whether the stream's commitments are ours to make: a client's first one claims the stream.
    async fn ours(&self, stream: StreamId) -> Result<bool, CommitError> {
        if self.policy.auto == AutoCommit::All {
            return Ok(true);
        }
        let last = self.store.last_commitment(stream).await?;
        let first = self.store.commitments(CommitmentFilter { stream, from: 0, limit: 1 }).await?;
        Ok(last.iter().chain(&first).all(|record| record.origin != CommitmentOrigin::Client))
    }
}
