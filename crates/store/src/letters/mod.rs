//! What a store keeps of events that were not taken.
//!
//! Letters are the operators' working list and no part of the line: they come and go, and none is ever needed to
//! read or prove an event.

pub(crate) mod postgres;
pub(crate) mod records;
pub(crate) mod sqlite;

use std::fmt::Debug;

use async_trait::async_trait;
use bowline_types::{LetterId, Timestamp};

use crate::StoreError;
use crate::letters::records::{
    DeadLetter, LetterAges, LetterFilter, LetterLimits, LetterOrder, LetterReason, LetterStatus, LettersKept,
    LettersSwept, NewDeadLetter, RetryEnd,
};

/// Where dead letters live.
#[async_trait]
pub trait DeadLetterStore: Debug + Send + Sync + 'static {
    /// Keeps letters, in one transaction.
    ///
    /// - A letter of the same stream, event and follower is updated: its last error, its payload, how often it
    ///   came. It is pending again if it was resolved, and stays failed if it had failed.
    /// - A new one is kept if there is room in its stream and in all; the oldest resolved letters of all streams
    ///   make room, and if that is not enough it is refused: what waits for somebody is not thrown away.
    async fn keep_letters(
        &self,
        letters: Vec<NewDeadLetter>,
        limits: LetterLimits,
        now: Timestamp,
    ) -> Result<LettersKept, StoreError>;

    /// Letters that match, in that order, `limit` at most.
    async fn letters(
        &self,
        filter: LetterFilter,
        order: LetterOrder,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// One letter.
    async fn letter(&self, id: LetterId) -> Result<Option<DeadLetter>, StoreError>;

    /// How many letters match.
    async fn count_letters(&self, filter: LetterFilter) -> Result<u64, StoreError>;

    /// How many letters there are of each status and reason.
    async fn tally_letters(&self) -> Result<Vec<(LetterStatus, LetterReason, u64)>, StoreError>;

    /// Marks those of the letters as being retried that nobody else retries, and returns them.
    async fn begin_retries(&self, ids: Vec<LetterId>, now: Timestamp) -> Result<Vec<DeadLetter>, StoreError>;

    /// Says how tries ended, in one transaction.
    async fn end_retries(&self, ends: Vec<(LetterId, RetryEnd)>) -> Result<(), StoreError>;

    /// Deletes letters; how many there were.
    async fn delete_letters(&self, ids: Vec<LetterId>) -> Result<u64, StoreError>;

    /// Brings the letters up to date: an event that is on the line by now resolves its letter (not a follower's,
    /// which is about an event on the line), what is too old goes, and a try that was broken off is undone.
    async fn sweep_letters(&self, ages: LetterAges) -> Result<LettersSwept, StoreError>;
}
