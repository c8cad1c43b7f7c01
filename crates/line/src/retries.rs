//! Retries: dead letters go through the same intake again as the events that they hold.
//!
//! A letter whose event is taken now, or was taken meanwhile, is deleted; one that is refused again stays, with the
//! new reason, and has failed after its last try. What a follower put aside is on the line already: it is handed to
//! that follower, which takes it when it comes round. Exactly-once is the line's own: two retries append once.

use std::sync::Arc;

use bowline_runtime::Clock;
use bowline_store::{
    AppendOutcome, DeadLetter, LetterFilter, LetterOrder, LetterReason, LineStore, RetryEnd, StoreError,
};
use bowline_types::LetterId;
use bowline_ves::{Envelope, Rejection};
use metrics::counter;

use crate::appender::AppendError;
use crate::intake::Intake;
use crate::letters::{letter_reason, measure};
use crate::metrics::{DLQ_REMOVED, DLQ_RETRIES};

/// Letters that one call retries at most.
pub const RETRIES_AT_ONCE_MAX: usize = 100;

/// What became of one letter.
#[derive(Debug, Clone)]
pub struct Retried {
    /// The letter as it was before.
    pub letter: DeadLetter,
    /// What became of it.
    pub outcome: RetryOutcome,
}

/// What became of a retried letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RetryOutcome {
    /// Its event has this number; the letter is gone.
    Taken(u64),
    /// Its event was refused again.
    Refused(Rejection),
    /// It was handed to the follower that put it aside.
    Handed,
}

/// The dead letters of a line; cheap to clone.
#[derive(Debug, Clone)]
pub struct Letters {
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    intake: Intake,
}

impl Letters {
    pub(crate) fn new(store: Arc<dyn LineStore>, clock: Arc<dyn Clock>, intake: Intake) -> Self {
        Self { store, clock, intake }
    }

    /// Letters that match, in that order, `limit` at most.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(
        &self,
        filter: LetterFilter,
        order: LetterOrder,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.letters(filter, order, limit).await
    }

    /// How many letters match.
    ///
    /// # Errors
    /// The store's.
    pub async fn count(&self, filter: LetterFilter) -> Result<u64, StoreError> {
        self.store.count_letters(filter).await
    }

    /// One letter.
    ///
    /// # Errors
    /// The store's.
    pub async fn get(&self, id: LetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.store.letter(id).await
    }

    /// Deletes letters; how many there were.
    ///
    /// # Errors
    /// The store's.
    pub async fn delete(&self, ids: Vec<LetterId>) -> Result<u64, StoreError> {
        let deleted = self.store.delete_letters(ids).await?;
        counter!(DLQ_REMOVED, "by" => "delete").increment(deleted);
        self.measure().await;
        Ok(deleted)
    }

    /// Tries letters again, in the order given; those that are being tried elsewhere or are gone are left out.
    ///
    /// # Errors
    /// The line is overloaded or the store away: then it is as if nobody had tried.
    pub async fn retry(&self, ids: Vec<LetterId>) -> Result<Vec<Retried>, AppendError> {
        let begun = self.store.begin_retries(ids, self.clock.now()).await?;
        let ids: Vec<LetterId> = begun.iter().map(|letter| letter.id).collect();
        let (own, handed): (Vec<_>, Vec<_>) =
            begun.into_iter().partition(|letter| letter.letter.follower.is_empty());
        match self.take(own).await {
            Ok(mut retried) => {
                let ends = retried.iter().map(|one| (one.letter.id, end_of(&one.outcome))).collect();
                // The events are on the line already, and trying the letters again tells so.
                let ended = self.store.end_retries(ends).await;
                ended.map_err(|error| StoreError::OutcomeUnknown(error.to_string()))?;
                retried.extend(
                    handed.into_iter().map(|letter| Retried { letter, outcome: RetryOutcome::Handed }),
                );
                count(&retried);
                self.measure().await;
                Ok(retried)
            }
            Err(error) => {
                let undone = ids.into_iter().map(|id| (id, RetryEnd::Undone)).collect();
                // If this fails too, the office frees the letters later.
                drop(self.store.end_retries(undone).await);
                Err(error)
            }
        }
    }

    /// The gauges only; what was done is done.
    async fn measure(&self) {
        if let Err(error) = measure(self.store.as_ref()).await {
            tracing::debug!(component = "line", %error, "Letters not counted");
        }
    }

    async fn take(&self, letters: Vec<DeadLetter>) -> Result<Vec<Retried>, AppendError> {
        let mut retried: Vec<Option<RetryOutcome>> = Vec::with_capacity(letters.len());
        let (mut envelopes, mut places) = (Vec::new(), Vec::new());
        for (index, letter) in letters.iter().enumerate() {
            match Envelope::parse(&letter.letter.payload) {
                Ok(envelope) => {
                    places.push(index);
                    envelopes.push(envelope);
                    retried.push(None);
                }
                Err(malformed) => retried.push(Some(RetryOutcome::Refused(malformed.rejection))),
            }
        }
        if !envelopes.is_empty() {
            let taken = self.intake.take_again(envelopes).await?;
            for (place, outcome) in places.into_iter().zip(taken.outcomes) {
                if let Some(slot) = retried.get_mut(place) {
                    *slot = Some(match outcome {
                        AppendOutcome::Accepted(receipt) | AppendOutcome::Replayed(receipt) => {
                            RetryOutcome::Taken(receipt.sequence_number)
                        }
                        AppendOutcome::Rejected(rejection) => RetryOutcome::Refused(rejection),
                    });
                }
            }
        }
        let pairs = letters.into_iter().zip(retried);
        Ok(pairs.filter_map(|(letter, outcome)| outcome.map(|outcome| Retried { letter, outcome })).collect())
    }
}

fn end_of(outcome: &RetryOutcome) -> RetryEnd {
    match outcome {
        RetryOutcome::Taken(_) => RetryEnd::Taken,
        RetryOutcome::Refused(rejection) => {
            let reason = letter_reason(rejection).unwrap_or(LetterReason::Unknown);
            RetryEnd::Refused(reason, rejection.message().replace('\0', "\u{fffd}"))
        }
        RetryOutcome::Handed => RetryEnd::Undone,
    }
}

fn count(retried: &[Retried]) {
    for one in retried {
        let outcome = match one.outcome {
            RetryOutcome::Taken(_) => "taken",
            RetryOutcome::Refused(_) => "refused",
            RetryOutcome::Handed => "handed",
        };
        counter!(DLQ_RETRIES, "outcome" => outcome).increment(1);
        if matches!(one.outcome, RetryOutcome::Taken(_)) {
            counter!(DLQ_REMOVED, "by" => "retry").increment(1);
        }
    }
}
