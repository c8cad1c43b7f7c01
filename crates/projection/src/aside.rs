//! Poison: an event that a projection can never take is put aside as a dead letter, and the projection goes on.
//!
//! That breaks the order at this one event, so it happens only where it is asked for, after the projection has refused the
//! same event several times in a row, and never silently: the letter names the follower and the event, and it is durable
//! before the cursor moves. If there is no room for the letter, the projection waits.

use std::collections::HashMap;

use bowline_store::{
    DeadLetter, LetterFilter, LetterLimits, LetterOrder, LetterReason, LetterStatus, LettersKept, LineStore,
    NewDeadLetter, StoreError, StoredEvent,
};
use bowline_types::{StreamId, Timestamp};

use crate::projector::ProjectError;

/// Letters that are projected again in one pass.
const RETRIED_MAX: usize = 100;

/// When a projection's poison is put aside.
#[derive(Debug)]
pub struct Aside {
    tries_max: u32,
    limits: LetterLimits,
    count: fn(&[NewDeadLetter], LettersKept),
    /// The event that each stream fails on, and how often it did in a row.
    failing: HashMap<StreamId, (u64, u32)>,
}

impl Aside {
    /// After so many tries of the same event in a row, within the limits of all dead letters. `count` hears what was
    /// kept, for the letters' own metrics.
    pub fn after(tries_max: u32, limits: LetterLimits, count: fn(&[NewDeadLetter], LettersKept)) -> Self {
        Self { tries_max: tries_max.max(1), limits, count, failing: HashMap::new() }
    }

    /// Counts a failure; whether it was the last one.
    pub(crate) fn is_due(&mut self, stream: StreamId, sequence_number: u64) -> bool {
        let (number, tries) = self.failing.entry(stream).or_insert((sequence_number, 0));
        if *number != sequence_number {
            (*number, *tries) = (sequence_number, 0);
        }
        *tries = tries.saturating_add(1);
        *tries >= self.tries_max
    }

    /// Keeps the letter of an event.
    pub(crate) async fn keep(
        &mut self,
        follower: &'static str,
        event: &StoredEvent,
        problem: &str,
        store: &dyn LineStore,
        now: Timestamp,
    ) -> Result<(), ProjectError> {
        let (number, stream) = (event.receipt.sequence_number, event.envelope.stream);
        let letter = NewDeadLetter {
            follower: follower.to_owned(),
            sequence_number: Some(number),
            ..NewDeadLetter::of(&event.envelope, LetterReason::HandlerError, problem)
        };
        let letters = vec![letter];
        let kept = store.keep_letters(letters.clone(), self.limits, now).await?;
        (self.count)(&letters, kept);
        if kept.refused > 0 {
            let problem =
                format!("event {number} can't be put aside, there is no room for its letter: {problem}");
            return Err(ProjectError::Retry(problem));
        }
        self.failing.remove(&stream);
        tracing::error!(component = "projection", follower, %stream, number, problem, "Event put aside");
        Ok(())
    }
}

/// The follower's letters that somebody retries, the oldest first.
pub(crate) async fn retried(follower: &str, store: &dyn LineStore) -> Result<Vec<DeadLetter>, StoreError> {
    let filter = LetterFilter {
        follower: Some(follower.to_owned()),
        status: Some(LetterStatus::Retrying),
        ..LetterFilter::default()
    };
    store.letters(filter, LetterOrder::Oldest(None), RETRIED_MAX).await
}
