//! A step of a lane: how what a page comes to is written, and what becomes of a page that takes too long.
//!
//! Jobs that are too many for one transaction come first, and are the same if they come again; the last transaction
//! moves the cursor. It never blames an event for a store that is slow.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::Shutdown;
use bowline_store::{MatchCommit, ProcessedEvent, StateKey, StoreError};
use bowline_types::EventId;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::lane::Lane;
use super::log::{Begun, End};
use super::page::Outcome;
use super::{FOLLOWER, Shared};

/// A page that was held against the triggers.
pub(super) struct Step {
    pub(super) from: u64,
    pub(super) first: EventId,
    /// Events of the page; the outcome may be of fewer.
    pub(super) events: usize,
    pub(super) outcome: Outcome,
    pub(super) begun: Begun,
    /// When it has taken too long.
    pub(super) deadline: Instant,
}

/// A page that took too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Late {
    pub(super) from: u64,
    pub(super) first: EventId,
    pub(super) events: usize,
}

impl Lane {
    /// Writes a step and returns how many events it had, or that it took too long. Between two transactions it ends
    /// if the shutdown has begun.
    pub(super) async fn write(
        &mut self,
        step: Step,
        shutdown: &Shutdown,
    ) -> Result<Result<u64, Late>, StoreError> {
        let Step { from, first, events, outcome, begun, deadline } = step;
        let written = timeout_at(deadline, self.commit(from, &outcome, shutdown)).await;
        match written {
            Ok(Ok(true)) => {
                begun.told(outcome.processed.len());
                outcome.tell(&self.shared);
                self.stride.succeeded();
                Ok(Ok(outcome.processed.len() as u64))
            }
            Ok(Ok(false)) => Ok(Ok(0)),
            Ok(Err(error)) => {
                // Of a step that another process was faster with nothing has failed.
                if !matches!(error, StoreError::CursorMoved { .. }) {
                    begun.end(End::Failed);
                }
                Err(error)
            }
            Err(_) => {
                begun.end(End::Timeout);
                Ok(Err(Late { from, first, events }))
            }
        }
    }

    /// Makes the next step smaller. A single event that takes too long again and again is set aside, and returned as
    /// one that is done.
    pub(super) async fn took_too_long(&mut self, late: Late) -> Result<u64, StoreError> {
        let shared = Arc::clone(&self.shared);
        self.forget();
        self.stride.shrink(late.events);
        let limit = Duration::from_secs(shared.config.step_secs_max);
        let Late { from, first, events } = late;
        let problem = format!("a step with {events} events took more than {} s", limit.as_secs());
        shared.log.trouble("Events can't be matched in time", &StoreError::OutcomeUnknown(problem));
        if events > 1 || !self.store_is_well(from, limit).await {
            return Ok(0);
        }
        let tries = self.stride.blame(from);
        if tries < shared.config.tries_max {
            return Ok(0);
        }
        let problem = format!("took more than {} s alone, {tries} times in a row", limit.as_secs());
        let row = ProcessedEvent {
            event_id: first,
            sequence_number: from + 1,
            processed_at: shared.clock.now(),
            duration_us: u64::try_from(limit.as_micros()).unwrap_or(u64::MAX),
            triggers_matched: 0,
            actions_enqueued: 0,
            problem: Some(problem.clone()),
        };
        let step = MatchCommit { to: from + 1, processed: vec![row], ..self.empty_step(from) };
        shared.store.commit_matches(step, shared.clock.now()).await?;
        self.stride.succeeded();
        shared.log.set_aside(&first, from + 1, &problem);
        Ok(1)
    }

    /// Whether the store reads and writes what matching needs, apart from the event that took too long.
    async fn store_is_well(&self, cursor: u64, limit: Duration) -> bool {
        let Shared { store, clock, .. } = &*self.shared;
        let nobodys = StateKey {
            trigger_id: Uuid::nil(),
            condition_id: Uuid::nil(),
            stream: self.stream,
            subject: String::new(),
        };
        let ask = async {
            store.trigger_state(vec![nobodys]).await?;
            store.queue_depth(clock.now()).await?;
            store.commit_matches(self.empty_step(cursor), clock.now()).await
        };
        matches!(timeout(limit / 2, ask).await, Ok(Ok(())))
    }

    /// Writes a step; false if the shutdown began before its last transaction.
    async fn commit(
        &mut self,
        from: u64,
        outcome: &Outcome,
        shutdown: &Shutdown,
    ) -> Result<bool, StoreError> {
        let shared = Arc::clone(&self.shared);
        let Shared { store, clock, config, pressure, .. } = &*shared;
        let mut step = MatchCommit { retracted: outcome.retracted.clone(), ..self.empty_step(from) };
        let mut parts = outcome.jobs.chunks(config.step_jobs_max).peekable();
        while let Some(part) = parts.next() {
            step.jobs = part.to_vec();
            if parts.peek().is_none() {
                break;
            }
            store.commit_matches(step.clone(), clock.now()).await?;
            pressure.add(part.len());
            if shutdown.has_begun() {
                return Ok(false);
            }
            // Cancelled once: what came back since would be cancelled again.
            step.retracted.clear();
        }
        let to = from + outcome.processed.len() as u64;
        (step.to, step.state) = (to, self.recall.take_changes());
        step.processed = outcome.processed.clone();
        let jobs = step.jobs.len();
        store.commit_matches(step, clock.now()).await?;
        pressure.add(jobs);
        self.cursor = Some(to);
        Ok(true)
    }

    /// A step that changes nothing.
    fn empty_step(&self, from: u64) -> MatchCommit {
        MatchCommit {
            follower: FOLLOWER,
            stream: self.stream,
            from,
            to: from,
            state: Vec::new(),
            jobs: Vec::new(),
            retracted: Vec::new(),
            processed: Vec::new(),
            processor: self.shared.instance.clone(),
        }
    }
}
