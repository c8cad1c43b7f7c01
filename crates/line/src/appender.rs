//! The group-commit sequencer: everything that waits is written by the next transaction, and one `fsync`
//! serves everyone in it.
//!
//! While one batch is on its way to the disk, the next one gathers: under load batches grow, when idle an
//! event goes alone and at once. The number of waiting events is bounded; beyond it callers are told to come
//! back. Guards invariant 1: nobody hears of a number before it is durable.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use bowline_runtime::{Clock, Shutdown};
use bowline_store::{AppendOutcome, AppendReport, LineStore, StoreError, VerifiedBatch};
use bowline_types::{Code, StreamId};
use bowline_ves::{SequencerSigner, VerifiedEvent};
use metrics::{counter, gauge, histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::metrics::{
    APPEND_WAIT_SECONDS, EVENTS_REPLAYED, EVENTS_SEQUENCED, PENDING, PENDING_REFUSED, count_rejection,
};

/// Why a batch was not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Too many events wait for their commit; nothing was done.
    #[error("{pending_max} events are waiting for their commit already; try again in {retry_after_secs} s")]
    Overloaded {
        /// The limit.
        pending_max: usize,
        /// When there is likely to be room.
        retry_after_secs: u64,
    },
    /// The node is stopping; nothing was done.
    #[error("the node is draining")]
    Draining,
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AppendError {
    /// The code that a client sees.
    pub const fn code(&self) -> Code {
        match self {
            Self::Overloaded { .. } | Self::Draining => Code::ServiceUnavailable,
            Self::Store(error) => error.code(),
        }
    }
}

/// Appends verified events; cheap to clone.
#[derive(Debug, Clone)]
pub struct Appender {
    queue: mpsc::UnboundedSender<Request>,
    room: Arc<Semaphore>,
    pending_max: usize,
}

struct Request {
    events: Vec<VerifiedEvent>,
    keys_epoch: u64,
    reply: oneshot::Sender<Result<AppendReport, StoreError>>,
    since: Instant,
    /// Gives the room back when the request is answered.
    _room: Room,
}

/// The room of a waiting request, counted for as long as it is taken: the caller may be gone before.
struct Room {
    events: usize,
    _permit: OwnedSemaphorePermit,
}

impl Room {
    fn take(permit: OwnedSemaphorePermit, events: usize) -> Self {
        gauge!(PENDING).increment(events as f64);
        Self { events, _permit: permit }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        gauge!(PENDING).decrement(self.events as f64);
    }
}

impl Appender {
    /// Appends a batch in its order and answers when it is durable.
    ///
    /// # Errors
    /// See [`AppendError`]. Unless the store says that the outcome is unknown, nothing was written.
    pub async fn append(&self, batch: VerifiedBatch) -> Result<AppendReport, AppendError> {
        let VerifiedBatch { events, keys_epoch } = batch;
        let count = events.len();
        let wanted = u32::try_from(count).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.room).try_acquire_many_owned(wanted).map_err(|_| {
            counter!(PENDING_REFUSED).increment(count as u64);
            AppendError::Overloaded { pending_max: self.pending_max, retry_after_secs: 1 }
        })?;
        let (reply, answer) = oneshot::channel();
        let room = Room::take(permit, count);
        let request = Request { events, keys_epoch, reply, since: Instant::now(), _room: room };
        self.queue.send(request).map_err(|_| AppendError::Draining)?;
        Ok(answer.await.map_err(|_| AppendError::Draining)??)
    }
}

/// The task that owns the queue.
#[derive(Debug)]
pub(crate) struct Sequencer {
    queue: mpsc::UnboundedReceiver<Request>,
    store: Arc<dyn LineStore>,
    signer: Arc<SequencerSigner>,
    clock: Arc<dyn Clock>,
    group_events_max: usize,
    /// A request that did not fit into the last group.
    held: Option<Request>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("events", &self.events.len()).finish_non_exhaustive()
    }
}

pub(crate) fn build(
    store: Arc<dyn LineStore>,
    signer: Arc<SequencerSigner>,
    clock: Arc<dyn Clock>,
    pending_max: usize,
    group_events_max: usize,
) -> (Appender, Sequencer) {
    // The semaphore bounds the queue by events; the channel itself need not.
    let (sender, queue) = mpsc::unbounded_channel();
    let appender = Appender { queue: sender, room: Arc::new(Semaphore::new(pending_max)), pending_max };
    (appender, Sequencer { queue, store, signer, clock, group_events_max, held: None })
}

impl Sequencer {
    /// Serves until the shutdown begins, and then whatever was handed over before it.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), crate::Error> {
        loop {
            // Under load the queue is never empty, so the signal is looked at before every group. What was
            // handed over before is still served, and everyone later is told that the node drains.
            if shutdown.has_begun() {
                self.queue.close();
            }
            let first = match self.held.take() {
                Some(held) => held,
                None => tokio::select! {
                    biased;
                    request = self.queue.recv() => match request {
                        Some(request) => request,
                        None => return Ok(()),
                    },
                    () = shutdown.begun(), if !self.queue.is_closed() => continue,
                },
            };
            let group = self.gather(first);
            self.commit(group).await;
        }
    }

    /// The first request and all that wait behind it, up to the group's limit.
    fn gather(&mut self, first: Request) -> Vec<Request> {
        let mut events = first.events.len();
        let mut group = vec![first];
        while events < self.group_events_max
            && let Ok(next) = self.queue.try_recv()
        {
            if events + next.events.len() > self.group_events_max {
                self.held = Some(next);
                break;
            }
            events += next.events.len();
            group.push(next);
        }
        group
    }

    async fn commit(&self, mut group: Vec<Request>) {
        let shares: Vec<Share> = group.iter().map(|request| Share::of(&request.events)).collect();
        // If the store refuses a group, each request is tried alone, so that none fails for its neighbours.
        let spare = (group.len() > 1).then(|| group.iter().map(|r| r.events.clone()).collect::<Vec<_>>());
        let events = group.iter_mut().flat_map(|r| std::mem::take(&mut r.events)).collect();
        // The group is as old as its oldest request.
        let keys_epoch = group.iter().map(|request| request.keys_epoch).min().unwrap_or_default();
        match (self.write(events, keys_epoch).await, spare) {
            (Ok(report), _) => answer_each(group, shares, report),
            (Err(error @ (StoreError::Internal(_) | StoreError::KeysChanged { .. })), Some(spare)) => {
                if let StoreError::Internal(problem) = &error {
                    tracing::error!(component = "line", %problem, requests = group.len(), "Group commit failed, trying each request alone");
                }
                for (request, events) in group.into_iter().zip(spare) {
                    let alone = self.write(events, request.keys_epoch).await;
                    answer(request, alone);
                }
            }
            (Err(error @ StoreError::KeysChanged { .. }), None) => {
                group.into_iter().for_each(|request| answer(request, Err(error.clone())));
            }
            (Err(error), _) => {
                if !error.is_known_absence() {
                    tracing::warn!(component = "line", %error, requests = group.len(), "Group commit failed");
                }
                group.into_iter().for_each(|request| answer(request, Err(error.clone())));
            }
        }
    }

    async fn write(&self, events: Vec<VerifiedEvent>, keys_epoch: u64) -> Result<AppendReport, StoreError> {
        let batch = VerifiedBatch { events, keys_epoch };
        self.store.append(batch, Arc::clone(&self.signer), self.clock.now()).await
    }
}

/// What of a group's report is one request's.
struct Share {
    events: usize,
    streams: HashSet<StreamId>,
}

impl Share {
    fn of(events: &[VerifiedEvent]) -> Self {
        Self { events: events.len(), streams: events.iter().map(|event| event.envelope.stream).collect() }
    }
}

fn answer_each(group: Vec<Request>, shares: Vec<Share>, report: AppendReport) {
    let AppendReport { outcomes, heads } = report;
    let mut outcomes = outcomes.into_iter();
    for (request, share) in group.into_iter().zip(shares) {
        let outcomes: Vec<AppendOutcome> = outcomes.by_ref().take(share.events).collect();
        let named = share.streams.into_iter();
        let heads = named.filter_map(|stream| heads.get(&stream).map(|head| (stream, *head))).collect();
        answer(request, Ok(AppendReport { outcomes, heads }));
    }
}

fn answer(request: Request, result: Result<AppendReport, StoreError>) {
    if let Ok(report) = &result {
        count(report);
        histogram!(APPEND_WAIT_SECONDS).record(request.since.elapsed());
    }
    let Request { reply, _room: room, .. } = request;
    // Who hears the answer may be back at once, and finds the room that was theirs.
    drop(room);
    // The client may have hung up; what was committed stays committed.
    drop(reply.send(result));
}

fn count(report: &AppendReport) {
    let (mut accepted, mut replayed) = (0, 0);
    for outcome in &report.outcomes {
        match outcome {
            AppendOutcome::Accepted(_) => accepted += 1,
            AppendOutcome::Replayed(_) => replayed += 1,
            AppendOutcome::Rejected(rejection) => count_rejection(rejection),
        }
    }
    counter!(EVENTS_SEQUENCED).increment(accepted);
    counter!(EVENTS_REPLAYED).increment(replayed);
}
