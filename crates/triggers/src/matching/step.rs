//! A step of a lane: how what a page comes to is written, and what becomes of a page that takes too long.
//!
//! Jobs that are too many for one transaction come first, and are the same if they come again; the last transaction
//! moves the cursor. An event is blamed for its evaluation alone, never for a store that is slow.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::Shutdown;
use bowline_store::{MatchCommit, ProcessedEvent, StoreError};
use bowline_types::EventId;
use tokio::time::timeout;

use super::lane::Lane;
use super::log::{Begun, End};
use super::page::Outcome;
use super::{FOLLOWER, Shared};

/// A page that was held against the triggers.
pub(super) struct Step {
    pub(super) from: u64,
    pub(super) first: EventId,
    pub(super) outcome: Outcome,
    pub(super) begun: Begun,
}

/// A page that took too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Late {
    pub(super) from: u64,
    pub(super) first: EventId,
    pub(super) events: usize,
    /// How long its events were evaluated, without the store.
    pub(super) evaluated: Duration,
}

/// How writing ended.
enum Written {
    All,
    /// The shutdown began before the last transaction.
    CutOff,
    /// A transaction took too long.
    Late,
}

impl Lane {
    /// Writes a step and returns how many events it had, or that it took too long. Between two transactions it ends
    /// if the shutdown has begun.
    pub(super) async fn write(
        &mut self,
        step: Step,
        shutdown: &Shutdown,
    ) -> Result<Result<u64, Late>, StoreError> {
        let Step { from, first, outcome, begun } = step;
        match self.commit(from, &outcome, shutdown).await {
            Ok(Written::All) => {
                begun.told(outcome.processed.len());
                outcome.tell(&self.shared);
                self.stride.succeeded();
                Ok(Ok(outcome.processed.len() as u64))
            }
            Ok(Written::CutOff) => Ok(Ok(0)),
            Ok(Written::Late) => {
                begun.end(End::Timeout);
                let events = outcome.processed.len();
                Ok(Err(Late { from, first, events, evaluated: Duration::ZERO }))
            }
            Err(error) => {
                // Of a step that another process was faster with nothing has failed.
                if !matches!(error, StoreError::CursorMoved { .. }) {
                    begun.end(End::Failed);
                }
                Err(error)
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
        let Late { from, first, events, evaluated } = late;
        let problem = format!("a step with {events} events took more than {} s", limit.as_secs());
        shared.log.trouble("Events can't be matched in time", &StoreError::OutcomeUnknown(problem));
        if events > 1 || evaluated < limit / 2 {
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
        if !self.hold_lease().await? {
            return Ok(0);
        }
        let step = MatchCommit { to: from + 1, processed: vec![row], ..self.empty_step(from) };
        shared.store.commit_matches(step, shared.clock.now()).await?;
        self.stride.succeeded();
        shared.log.set_aside(&first, from + 1, &problem);
        Ok(1)
    }

    /// Writes a step, with a time limit for each of its transactions.
    async fn commit(
        &mut self,
        from: u64,
        outcome: &Outcome,
        shutdown: &Shutdown,
    ) -> Result<Written, StoreError> {
        let shared = Arc::clone(&self.shared);
        let Shared { store, clock, config, pressure, .. } = &*shared;
        let limit = Duration::from_secs(config.step_secs_max);
        let mut step = MatchCommit { retracted: outcome.retracted.clone(), ..self.empty_step(from) };
        let mut parts = outcome.jobs.chunks(config.step_jobs_max).peekable();
        while let Some(part) = parts.next() {
            step.jobs = part.to_vec();
            if parts.peek().is_none() {
                break;
            }
            let Ok(written) = timeout(limit, store.commit_matches(step.clone(), clock.now())).await else {
                return Ok(Written::Late);
            };
            written?;
            pressure.add(part.len());
            if shutdown.has_begun() {
                return Ok(Written::CutOff);
            }
            // Cancelled once: what came back since would be cancelled again.
            step.retracted.clear();
        }
        let to = from + outcome.processed.len() as u64;
        (step.to, step.state) = (to, self.recall.take_changes());
        step.processed = outcome.processed.clone();
        let jobs = step.jobs.len();
        let Ok(written) = timeout(limit, store.commit_matches(step, clock.now())).await else {
            return Ok(Written::Late);
        };
        written?;
        pressure.add(jobs);
        self.cursor = Some(to);
        Ok(Written::All)
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
