//! How a lane commits a matched page, and how it goes on after a page that takes too long.
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
use super::log::{BegunEvents, EventEnd};
use super::page::Outcome;
use super::{FOLLOWER, MatchingContext};

/// A page that was held against the triggers.
pub(super) struct MatchedPage {
    pub(super) from: u64,
    pub(super) first: EventId,
    pub(super) outcome: Outcome,
    pub(super) begun: BegunEvents,
}

/// A page that took too long.
#[derive(Debug, Clone, Copy)]
pub(super) struct LatePage {
    pub(super) from: u64,
    pub(super) first: EventId,
    pub(super) events: usize,
    /// How long its events were evaluated, without the store.
    pub(super) evaluated: Duration,
}

/// How a commit ended.
enum CommitEnd {
    All,
    /// The shutdown began before the last transaction.
    CutOff,
    /// A transaction took too long.
    Late,
}

impl Lane {
    /// Commits a page and returns how many events it had, or that it took too long. Between two transactions it ends if
    /// the shutdown has begun.
    pub(super) async fn write(
        &mut self,
        page: MatchedPage,
        shutdown: &Shutdown,
    ) -> Result<Result<u64, LatePage>, StoreError> {
        let MatchedPage { from, first, outcome, begun } = page;
        match self.commit(from, &outcome, shutdown).await {
            Ok(CommitEnd::All) => {
                begun.ended_one_by_one(outcome.processed.len());
                outcome.record(&self.context);
                self.page_sizer.succeeded();
                Ok(Ok(outcome.processed.len() as u64))
            }
            Ok(CommitEnd::CutOff) => Ok(Ok(0)),
            Ok(CommitEnd::Late) => {
                begun.end(EventEnd::Timeout);
                let events = outcome.processed.len();
                Ok(Err(LatePage { from, first, events, evaluated: Duration::ZERO }))
            }
            Err(error) => {
                // A page that another process matched first is no failure.
                if !matches!(error, StoreError::CursorMoved { .. }) {
                    begun.end(EventEnd::Failed);
                }
                Err(error)
            }
        }
    }

    /// Makes the next page smaller. A single event that takes too long `tries_max` times is set aside; returns how many
    /// were.
    pub(super) async fn took_too_long(&mut self, late: LatePage) -> Result<u64, StoreError> {
        let context = Arc::clone(&self.context);
        self.forget();
        self.page_sizer.shrink(late.events);
        let limit = Duration::from_secs(context.config.step_secs_max);
        let LatePage { from, first, events, evaluated } = late;
        let problem = format!("a step with {events} events took more than {} s", limit.as_secs());
        context.log.trouble("Events can't be matched in time", &StoreError::OutcomeUnknown(problem));
        if events > 1 || evaluated < limit / 2 {
            return Ok(0);
        }
        let tries = self.page_sizer.blame(from);
        if tries < context.config.tries_max {
            return Ok(0);
        }
        let problem = format!("took more than {} s alone, {tries} times in a row", limit.as_secs());
        let row = ProcessedEvent {
            event_id: first,
            sequence_number: from + 1,
            processed_at: context.clock.now(),
            duration_us: u64::try_from(limit.as_micros()).unwrap_or(u64::MAX),
            triggers_matched: 0,
            actions_enqueued: 0,
            problem: Some(problem.clone()),
        };
        if !self.hold_lease().await? {
            return Ok(0);
        }
        let step = MatchCommit { to: from + 1, processed: vec![row], ..self.empty_step(from) };
        context.store.commit_matches(step, context.clock.now()).await?;
        self.page_sizer.succeeded();
        context.log.set_aside(&first, from + 1, &problem);
        Ok(1)
    }

    /// Commits a page, with a time limit for each of its transactions.
    async fn commit(
        &mut self,
        from: u64,
        outcome: &Outcome,
        shutdown: &Shutdown,
    ) -> Result<CommitEnd, StoreError> {
        let context = Arc::clone(&self.context);
        let MatchingContext { store, clock, config, pressure, .. } = &*context;
        let limit = Duration::from_secs(config.step_secs_max);
        let mut step = MatchCommit { retracted: outcome.retracted.clone(), ..self.empty_step(from) };
        let mut parts = outcome.jobs.chunks(config.step_jobs_max).peekable();
        while let Some(part) = parts.next() {
            step.jobs = part.to_vec();
            if parts.peek().is_none() {
                break;
            }
            let Ok(written) = timeout(limit, store.commit_matches(step.clone(), clock.now())).await else {
                return Ok(CommitEnd::Late);
            };
            written?;
            pressure.add(part.len());
            if shutdown.has_begun() {
                return Ok(CommitEnd::CutOff);
            }
            // Cancelled once: what came back since would be cancelled again.
            step.retracted.clear();
        }
        let to = from + outcome.processed.len() as u64;
        (step.to, step.state) = (to, self.state_cache.take_changes());
        step.processed = outcome.processed.clone();
        let jobs = step.jobs.len();
        let Ok(written) = timeout(limit, store.commit_matches(step, clock.now())).await else {
            return Ok(CommitEnd::Late);
        };
        written?;
        pressure.add(jobs);
        self.cursor = Some(to);
        Ok(CommitEnd::All)
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
            processor: self.context.instance.clone(),
        }
    }
}
