//! The commitments of an export, in the order of their chain.
//!
//! A file holds the run of the chain that lies in its range as a whole. Corrections between two of them stand there
//! too, also of commitments outside of the range, so that the run has no gap; behind the run only those that correct
//! a commitment of the file. What is added to the chain after the export began is left out.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use bowline_store::{ChainQuery, CommitmentFilter, LineStore, StoreError};
use bowline_types::StreamId;
use bowline_ves::Commitment;

use crate::state::Api;

/// Commitments read at a time.
const COMMITMENTS_PER_READ: usize = 100;

/// Reads a chain piece by piece.
pub(super) struct ChainReader<'a> {
    store: &'a dyn LineStore,
    query: ChainQuery,
    range: RangeInclusive<u64>,
    /// The position of the last commitment when the export began.
    last: u64,
    ready: VecDeque<Commitment>,
    run: Run,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Run {
    /// No commitment of the range has come yet.
    Ahead,
    Within,
    /// A commitment was left out that lies beyond the range.
    Behind,
}

impl<'a> ChainReader<'a> {
    pub(super) async fn open(
        api: &'a Api,
        stream: StreamId,
        range: RangeInclusive<u64>,
    ) -> Result<Self, StoreError> {
        let store = api.line.store.as_ref();
        let last = store.last_commitment(stream).await?.map_or(0, |last| last.chain.position);
        let first = store
            .commitments(CommitmentFilter { stream, from: *range.start(), unanchored_only: false, limit: 1 })
            .await?;
        let after = first.first().map_or(last, |first| first.chain.position - 1);
        let query = ChainQuery { stream, after, corrections_only: false, limit: COMMITMENTS_PER_READ };
        Ok(Self { store, query, range, last, ready: VecDeque::new(), run: Run::Ahead })
    }

    /// The next commitment to write after the event of that number; none if another event comes first.
    pub(super) async fn next_at(&mut self, number: u64) -> Result<Option<Commitment>, StoreError> {
        while self.fill().await? {
            let Some(next) = self.ready.front() else { break };
            let within = self.range.contains(&next.sequence_start) && self.range.contains(&next.sequence_end);
            let wanted = match (next.corrects, within) {
                (None, true) if next.sequence_end > number => return Ok(None),
                (None, true) => true,
                (None, false) => {
                    // What lies beyond the range ends the run once all of it was written.
                    if number < *self.range.end() {
                        return Ok(None);
                    }
                    self.run = Run::Behind;
                    self.query.corrections_only = true;
                    false
                }
                (Some(_), true) => true,
                (Some(_), false) => self.run == Run::Within,
            };
            let next = self.ready.pop_front();
            if wanted {
                if self.run == Run::Ahead {
                    self.run = Run::Within;
                }
                return Ok(next);
            }
        }
        Ok(None)
    }

    /// Whether there is a commitment to look at.
    async fn fill(&mut self) -> Result<bool, StoreError> {
        if self.ready.is_empty() && self.query.after < self.last {
            let records = self.store.chain(self.query).await?;
            self.query.after = records.last().map_or(self.last, |record| record.chain.position);
            let known = records.into_iter().filter(|record| record.chain.position <= self.last);
            self.ready.extend(known.map(|record| record.commitment));
        }
        Ok(!self.ready.is_empty())
    }
}
