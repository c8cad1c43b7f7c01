//! Keeps the list in Redis equal to the due jobs of the store: hands over due jobs, and repairs what either side lost.
//!
//! A round is safe in several processes at once and may end anywhere. A job counts as handed over before it is pushed;
//! one that does not arrive is missed after a while and handed over again. A job that is pushed twice is there once.

use std::sync::{Mutex, PoisonError};

use bowline_store::{JobFilter, JobState, JobStore, StoreError};
use bowline_types::Timestamp;
use uuid::Uuid;

use super::entry::{BuriedJob, buried, id_of};
use super::{LETTERS_MAX, QueueError, RedisQueue};

/// Jobs that one round hands over at most.
const HANDED_MAX: usize = 200;

/// Jobs that one round compares at most, on either side.
const COMPARED_MAX: usize = 500;

/// Dead letters that are read at a time.
const LETTERS_READ: usize = 200;

/// Microseconds after which a job that was handed over must have arrived.
const ARRIVED_AFTER: i64 = 5_000_000;

/// Microseconds between two comparisons of the jobs, and of the dead letters.
const JOBS_EVERY: i64 = 1_000_000;
const LETTERS_EVERY: i64 = 10_000_000;

/// What a round did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Jobs that were handed over.
    pub handed: u64,
    /// Jobs of dead workers that wait again.
    pub returned: u64,
    /// Jobs that Redis had lost.
    pub repaired: u64,
    /// Entries of jobs that do not wait any more.
    pub dropped: u64,
    /// Whether Redis had lost everything.
    pub was_lost: bool,
    /// Whether there is more to hand over at once.
    pub more: bool,
}

/// Why a round ended early; the next one goes on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RelayError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis did not.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// How far the comparisons are.
#[derive(Debug, Default)]
pub(super) struct RelayProgress(Mutex<Progress>);

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    jobs_at: Option<Timestamp>,
    letters_at: Option<Timestamp>,
    after: Option<(Timestamp, Uuid)>,
    offset: usize,
    /// Whether the dead letters differed the last time.
    letters_differ: bool,
}

impl RelayProgress {
    fn read(&self) -> Progress {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn is_due(last: Option<Timestamp>, every: i64, now: Timestamp) -> bool {
    last.is_none_or(|last| now.micros().saturating_sub(last.micros()).abs() >= every)
}

/// One round.
///
/// # Errors
/// The store or Redis did not answer; nothing is lost by it.
pub async fn relay_once(
    store: &dyn JobStore,
    queue: &RedisQueue,
    now: Timestamp,
) -> Result<Relayed, RelayError> {
    let mut relayed = Relayed::default();
    if queue.was_lost().await? && queue.start_over().await? {
        relayed.was_lost = true;
        relayed.repaired = store.take_back(None).await?;
        // The dead letters are shown anew, too.
        queue
            .0
            .rounds
            .change(|progress| *progress = Progress { letters_differ: true, ..Progress::default() });
    }
    let progress = queue.0.rounds.read();
    if is_due(progress.jobs_at, JOBS_EVERY, now) {
        queue.0.rounds.change(|progress| progress.jobs_at = Some(now));
        relayed.returned = queue.return_taken_of_dead_workers().await?;
        relayed.repaired += repair(store, queue, progress.after, now).await?;
        relayed.dropped = drop_ghosts(store, queue, progress.offset).await?;
    }
    if is_due(progress.letters_at, LETTERS_EVERY, now) {
        queue.0.rounds.change(|progress| progress.letters_at = Some(now));
        compare_letters(store, queue, progress.letters_differ, now).await?;
    }
    let jobs = store.hand_over(HANDED_MAX, now).await?;
    if let Err(error) = queue.push(&jobs).await {
        // If this fails too, a later comparison finds the jobs that did not arrive.
        let ids = jobs.iter().map(|job| job.job.job_id).collect();
        store.take_back(Some(ids)).await?;
        return Err(error.into());
    }
    relayed.handed = jobs.len() as u64;
    relayed.more = jobs.len() == HANDED_MAX;
    Ok(relayed)
}

/// Takes back jobs that were handed over and are nowhere in Redis.
async fn repair(
    store: &dyn JobStore,
    queue: &RedisQueue,
    after: Option<(Timestamp, Uuid)>,
    now: Timestamp,
) -> Result<u64, RelayError> {
    let before = Timestamp::from_micros(now.micros().saturating_sub(ARRIVED_AFTER));
    let page = store.handed(before, after, COMPARED_MAX).await?;
    let next = if page.len() == COMPARED_MAX { page.last().copied() } else { None };
    queue.0.rounds.change(|progress| progress.after = next);
    let ids: Vec<Uuid> = page.iter().map(|(_, job_id)| *job_id).collect();
    let missing = queue.missing(&ids).await?;
    if missing.is_empty() {
        return Ok(0);
    }
    Ok(store.take_back(Some(missing)).await?)
}

/// Removes entries of jobs that do not wait any more: they were cancelled, or claimed past Redis.
async fn drop_ghosts(store: &dyn JobStore, queue: &RedisQueue, offset: usize) -> Result<u64, RelayError> {
    let entries = queue.entries(offset, COMPARED_MAX).await?;
    let seen = entries.len();
    let entries: Vec<(Uuid, String)> =
        entries.into_iter().filter_map(|entry| id_of(&entry).map(|job_id| (job_id, entry))).collect();
    let mut dropped = 0;
    if !entries.is_empty() {
        let still = store.still_handed(entries.iter().map(|(job_id, _)| *job_id).collect()).await?;
        let still: std::collections::HashSet<Uuid> = still.into_iter().collect();
        let ghosts: Vec<_> = entries.into_iter().filter(|(job_id, _)| !still.contains(job_id)).collect();
        if !ghosts.is_empty() {
            dropped = queue.drop_entries(&ghosts).await?;
        }
    }
    let kept = seen.saturating_sub(usize::try_from(dropped).unwrap_or(seen));
    let next = if seen == COMPARED_MAX { offset + kept } else { 0 };
    queue.0.rounds.change(|progress| progress.offset = next);
    Ok(dropped)
}

/// Shows the dead letters anew if their number is wrong twice in a row: a worker may be about to show its own.
async fn compare_letters(
    store: &dyn JobStore,
    queue: &RedisQueue,
    differed: bool,
    now: Timestamp,
) -> Result<(), RelayError> {
    let dead = store.queue_depth(now).await?.dead.min(LETTERS_MAX);
    let differ = queue.depth().await?.dead != dead;
    if differ && differed {
        queue.show_all(&letters(store).await?).await?;
    }
    queue.0.rounds.change(|progress| progress.letters_differ = differ && !differed);
    Ok(())
}

/// The newest dead letters as entries, the oldest of them first.
async fn letters(store: &dyn JobStore) -> Result<Vec<(Uuid, String)>, RelayError> {
    let mut filter = JobFilter { state: Some(JobState::Dead), limit: LETTERS_READ, ..JobFilter::default() };
    let mut letters = Vec::new();
    while (letters.len() as u64) < LETTERS_MAX {
        let page = store.jobs(filter.clone()).await?;
        let Some(last) = page.last() else { break };
        filter.before = Some((last.created_at, last.job.job_id));
        letters.extend(page.into_iter().map(|job| {
            let failed_at = job.ended_at.unwrap_or(job.due_at);
            (job.job.job_id, buried(&BuriedJob { job, failed_at }))
        }));
    }
    letters.reverse();
    Ok(letters)
}
