//! Makes commitments without being asked: when a stream has so many uncommitted events, or when the oldest of
//! them has waited for so long. A reconciler: it looks at what is there and does what is due, on every wake-up and
//! on a timer.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::{Clock, Shutdown};
use bowline_store::{CommitmentFilter, CommitmentOrigin, LineStore, ReadQuery, StreamHead};
use bowline_types::StreamId;
use metrics::{counter, gauge};

use crate::commitments::{CommitError, CommitRange, Commitments};
use crate::config::{AutoCommit, CommitmentPolicy};
use crate::metrics::{FOLLOWER_ERRORS, FOLLOWER_LAG};

/// The committer's name among the followers in the metrics.
const FOLLOWER: &str = "commitments";

/// Every append is a wake-up; for so long they gather.
const GATHER: Duration = Duration::from_millis(100);

/// Between two looks at the lag when nothing is committed automatically.
const LAG_PERIOD: Duration = Duration::from_secs(5);

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
    /// Commits what is due, and says how much is not committed yet, until the shutdown begins.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), crate::Error> {
        let idle = self.policy.auto == AutoCommit::Off;
        let (pause, wait) =
            if idle { (LAG_PERIOD, Duration::ZERO) } else { (self.poll.min(GATHER), self.poll) };
        let mut grown = self.store.tail().watch_any();
        gauge!(FOLLOWER_LAG, "follower" => FOLLOWER).set(0.0);
        counter!(FOLLOWER_ERRORS, "follower" => FOLLOWER).absolute(0);
        while !shutdown.has_begun() {
            grown.borrow_and_update();
            if let Err(error) = self.activate().await {
                counter!(FOLLOWER_ERRORS, "follower" => FOLLOWER).increment(1);
                tracing::warn!(component = "line", %error, "Automatic commitments fell back, retrying");
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.begun() => break,
            }
            tokio::select! {
                _ = tokio::time::timeout(wait, grown.changed()) => {}
                () = shutdown.begun() => {}
            }
        }
        Ok(())
    }

    async fn activate(&self) -> Result<(), CommitError> {
        let (mut lag, mut failure) = (0, None);
        for head in self.store.streams().await? {
            match self.reconcile(&head).await {
                Ok(uncommitted) => lag += uncommitted,
                // One stream's trouble must not hold up the others.
                Err(error) => {
                    lag += head.head.saturating_sub(head.committed);
                    failure = Some(error);
                }
            }
        }
        gauge!(FOLLOWER_LAG, "follower" => FOLLOWER).set(lag as f64);
        failure.map_or(Ok(()), Err)
    }

    /// Commits the stream if that is due; returns how many of its events stay uncommitted.
    async fn reconcile(&self, head: &StreamHead) -> Result<u64, CommitError> {
        let uncommitted = head.head.saturating_sub(head.committed);
        let wanted =
            self.policy.auto != AutoCommit::Off && self.due(head).await? && self.ours(head.stream).await?;
        if !wanted {
            return Ok(uncommitted);
        }
        match self.commitments.commit(head.stream, CommitRange::default(), CommitmentOrigin::Automatic).await
        {
            Ok(record) => Ok(head.head.saturating_sub(record.commitment.sequence_end)),
            // Another process was faster, which is as good.
            Err(CommitError::NothingToCommit { .. } | CommitError::Raced) => Ok(0),
            Err(error) => Err(error),
        }
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
        let first = self
            .store
            .commitments(CommitmentFilter { stream, from: 0, unanchored_only: false, limit: 1 })
            .await?;
        Ok(last.iter().chain(&first).all(|record| record.origin != CommitmentOrigin::Client))
    }
}
