//! A stream's commitments as the line makes them, without events: the leaves are made up.

use alloy_primitives::B256;
use bowline_anchor::abi::BowlineAnchor::{self, commitBatchCall, commitCall, correctCall};
use bowline_types::{BatchId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{Commitment, Hash, Tree, stream_hash};

/// The end of a stream that nobody else has.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    stream: StreamId,
    /// The number of the next event; 0 after the last one of all.
    pub(crate) next: u64,
    pub(crate) state_root: Hash,
}

impl Line {
    /// A stream whose first commitment begins at `start`.
    pub(crate) fn starting_at(start: u64) -> Line {
        let stream = StreamId::new(TenantId::random(), StoreId::random());
        Line { stream, next: start, state_root: Hash::ZERO }
    }

    /// Its name on the chain.
    pub(crate) fn id(&self) -> B256 {
        word(stream_hash(self.stream))
    }

    /// Commits to its next `count` events.
    pub(crate) fn commit(&mut self, count: u32) -> Commitment {
        let sealed = self.seal(self.next, count);
        self.next = sealed.sequence_end.wrapping_add(1);
        sealed
    }

    /// Corrects a range.
    pub(crate) fn correct(&mut self, start: u64, count: u32) -> Commitment {
        self.seal(start, count).correcting(BatchId::random())
    }

    fn seal(&mut self, start: u64, count: u32) -> Commitment {
        let end = start + (u64::from(count) - 1);
        let leaf = |number: u64| {
            let mut bytes = *self.state_root.as_bytes();
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            Hash::new(bytes)
        };
        let tree = Tree::new((start..=end).map(leaf).collect());
        let (prev, now) = (self.state_root, Timestamp::from_micros(0));
        let sealed = Commitment::seal(BatchId::random(), self.stream, &tree, start, end, prev, now).unwrap();
        self.state_root = sealed.new_state_root;
        sealed
    }
}

pub(crate) fn word(hash: Hash) -> B256 {
    B256::new(*hash.as_bytes())
}

/// A commitment or correction as the contract takes it.
pub(crate) fn on_chain(commitment: &Commitment) -> BowlineAnchor::Commitment {
    BowlineAnchor::Commitment {
        streamId: word(stream_hash(commitment.stream)),
        start: commitment.sequence_start,
        end: commitment.sequence_end,
        count: commitment.leaf_count,
        correction: commitment.corrects.is_some(),
        root: word(commitment.merkle_root),
        prevStateRoot: word(commitment.prev_state_root),
        newStateRoot: word(commitment.new_state_root),
    }
}

/// The call for one commitment.
pub(crate) fn commit(commitment: &Commitment) -> commitCall {
    let BowlineAnchor::Commitment { streamId, start, end, count, root, prevStateRoot, newStateRoot, .. } =
        on_chain(commitment);
    commitCall { streamId, start, end, count, root, prevStateRoot, newStateRoot }
}

/// The call for one correction.
pub(crate) fn correct(commitment: &Commitment) -> correctCall {
    let commitCall { streamId, start, end, count, root, prevStateRoot, newStateRoot } = commit(commitment);
    correctCall { streamId, start, end, count, root, prevStateRoot, newStateRoot }
}

/// The call for several.
pub(crate) fn batch<'a>(commitments: impl IntoIterator<Item = &'a Commitment>) -> commitBatchCall {
    commitBatchCall { commitments: commitments.into_iter().map(on_chain).collect() }
}
