//! Poison: an event that a follower can never take is put aside as a dead letter, and the follower goes on.
//!
//! That breaks the follower's order at this one event, so it happens only where it was asked for, after the follower
//! has refused the same event several times in a row, and never silently: the letter names the follower and the
//! event, and it is durable before the cursor moves. If there is no room for the letter, the follower waits.

use std::collections::HashMap;
use std::sync::Arc;

use bowline_runtime::Clock;
use bowline_store::{
    DeadLetter, LetterFilter, LetterLimits, LetterOrder, LetterReason, LetterStatus, LineStore,
    NewDeadLetter, RetryEnd, StoredEvent,
};
use bowline_types::StreamId;
use metrics::counter;

use crate::config::DeadLetterConfig;
use crate::follower::{FollowError, Follower};
use crate::letters::{count_kept, limits, new_letter};
use crate::metrics::DLQ_REMOVED;

/// Letters that are taken back in one pass.
const TAKEN_BACK_MAX: usize = 100;

/// When a follower's poison is put aside.
#[derive(Debug)]
pub struct PutAside {
    tries_max: u32,
    limits: LetterLimits,
    clock: Arc<dyn Clock>,
    /// The event that each stream fails on, and how often it did in a row.
    failing: HashMap<StreamId, (u64, u32)>,
}

impl PutAside {
    /// After so many tries of the same event in a row, within the limits of all dead letters.
    pub fn after(tries_max: u32, config: &DeadLetterConfig, clock: Arc<dyn Clock>) -> Self {
        Self { tries_max: tries_max.max(1), limits: limits(config), clock, failing: HashMap::new() }
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
        follower: &str,
        event: &StoredEvent,
        problem: &str,
        store: &dyn LineStore,
    ) -> Result<(), FollowError> {
        let number = event.receipt.sequence_number;
        let letter = NewDeadLetter {
            follower: follower.to_owned(),
            sequence_number: Some(number),
            ..new_letter(&event.envelope, LetterReason::HandlerError, problem)
        };
        let letters = vec![letter];
        let kept = store.keep_letters(letters.clone(), self.limits, self.clock.now()).await?;
        count_kept(&letters, kept);
        if kept.refused > 0 {
            let problem =
                format!("event {number} can't be put aside, there is no room for its letter: {problem}");
            return Err(FollowError::Retry(problem));
        }
        self.failing.remove(&event.envelope.stream);
        let stream = event.envelope.stream;
        tracing::error!(component = "line", follower, %stream, number, problem, "Event put aside");
        Ok(())
    }

    /// Gives the follower what somebody retries of the events that it had put aside.
    pub(crate) async fn take_back<F: Follower>(
        &self,
        follower: &mut F,
        store: &dyn LineStore,
    ) -> Result<(), FollowError> {
        let filter = LetterFilter {
            follower: Some(follower.name().to_owned()),
            status: Some(LetterStatus::Retrying),
            ..LetterFilter::default()
        };
        for letter in store.letters(filter, LetterOrder::Oldest(None), TAKEN_BACK_MAX).await? {
            let end = take_again(follower, store, &letter).await?;
            if end == RetryEnd::Taken {
                counter!(DLQ_REMOVED, "by" => "retry").increment(1);
            }
            store.end_retries(vec![(letter.id, end)]).await?;
        }
        Ok(())
    }
}

async fn take_again<F: Follower>(
    follower: &mut F,
    store: &dyn LineStore,
    letter: &DeadLetter,
) -> Result<RetryEnd, FollowError> {
    let (stream, event_id) = (letter.letter.stream, letter.letter.event_id);
    let Some(event) = store.event(stream, event_id).await? else {
        let problem = format!("stream {stream} has no event {event_id}");
        return Ok(RetryEnd::Refused(LetterReason::HandlerError, problem));
    };
    match follower.take(stream, &[event]).await {
        Ok(()) => Ok(RetryEnd::Taken),
        Err(FollowError::Poison { problem, .. }) => {
            Ok(RetryEnd::Refused(LetterReason::HandlerError, problem.replace('\0', "\u{fffd}")))
        }
        Err(error @ FollowError::Retry(_)) => Err(error),
    }
}
