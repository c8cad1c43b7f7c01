//! Dead letters and corrections of the tampered store: they go to SQLite as they are, unless letters are refused.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bowline_store::{
    ChainQuery, CommitmentRecord, CorrectionStore, DeadLetter, DeadLetterStore, InsertCommitment, LetterAges,
    LetterFilter, LetterLimits, LetterOrder, LetterReason, LetterStatus, LettersKept, LettersSwept,
    NewCorrection, NewDeadLetter, RetryEnd, StoreError,
};
use bowline_types::{LetterId, Timestamp};

use super::TamperedStore;

#[async_trait]
impl CorrectionStore for TamperedStore {
    async fn insert_correction(&self, new: NewCorrection) -> Result<InsertCommitment, StoreError> {
        self.store.insert_correction(new).await
    }

    async fn chain(&self, query: ChainQuery) -> Result<Vec<CommitmentRecord>, StoreError> {
        self.store.chain(query).await
    }
}

#[async_trait]
impl DeadLetterStore for TamperedStore {
    async fn keep_letters(
        &self,
        letters: Vec<NewDeadLetter>,
        limits: LetterLimits,
        now: Timestamp,
    ) -> Result<LettersKept, StoreError> {
        if self.letters_away.load(Ordering::SeqCst) {
            return Err(StoreError::Unavailable("for the test".to_owned()));
        }
        self.store.keep_letters(letters, limits, now).await
    }

    async fn letters(
        &self,
        filter: LetterFilter,
        order: LetterOrder,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.letters(filter, order, limit).await
    }

    async fn letter(&self, id: LetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.store.letter(id).await
    }

    async fn count_letters(&self, filter: LetterFilter) -> Result<u64, StoreError> {
        self.store.count_letters(filter).await
    }

    async fn tally_letters(&self) -> Result<Vec<(LetterStatus, LetterReason, u64)>, StoreError> {
        self.store.tally_letters().await
    }

    async fn begin_retries(&self, ids: Vec<LetterId>, now: Timestamp) -> Result<Vec<DeadLetter>, StoreError> {
        self.store.begin_retries(ids, now).await
    }

    async fn end_retries(&self, ends: Vec<(LetterId, RetryEnd)>) -> Result<(), StoreError> {
        self.store.end_retries(ends).await
    }

    async fn delete_letters(&self, ids: Vec<LetterId>) -> Result<u64, StoreError> {
        self.store.delete_letters(ids).await
    }

    async fn sweep_letters(&self, ages: LetterAges) -> Result<LettersSwept, StoreError> {
        self.store.sweep_letters(ages).await
    }
}
