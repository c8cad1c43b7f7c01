//! What a store keeps of a source outside: how far its logs are on the line, and by which block that is known.
//! Whether a step may be taken is decided here, for both stores.

use bowline_types::{EvmHash, StreamId, Timestamp};

use crate::{StoreError, VerifiedBatch};

/// How far a chain is on the line: every log up to this block, that block's own included, is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainCheckpoint {
    /// The chain's id by EIP-155.
    pub chain_id: u64,
    /// The stream that its logs are on.
    pub stream: StreamId,
    /// The last block; none before the first one.
    pub block: Option<BlockMark>,
    /// How many reorganizations were written down: it enters the names of events, so that a log which comes back
    /// in the block that it was taken out of is an event of its own.
    pub generation: u64,
    /// When it last moved.
    pub updated_at: Timestamp,
}

/// A block that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockMark {
    /// Its number.
    pub number: u64,
    /// Its hash.
    pub hash: EvmHash,
    /// The stream's last sequence number when everything up to this block, and nothing after it, was written.
    pub head: u64,
}

/// One step of a chain's indexer: what is to be written, and how far that brings it.
#[derive(Debug, Clone)]
pub struct ChainAdvance {
    /// The chain's id.
    pub chain_id: u64,
    /// The stream; all of the batch's events are of it.
    pub stream: StreamId,
    /// The generation and the block that the step starts from, which must be the stored ones.
    pub expected: (u64, Option<(u64, EvmHash)>),
    /// The generation afterwards: the same, or one more with a reorganization.
    pub generation: u64,
    /// Marks of blocks above this number are taken away first: the chain has other blocks there now.
    pub forget_above: Option<u64>,
    /// Blocks that are known now, ascending: number, hash, and how many of the batch's events come up to and with
    /// this block. The last one is the new checkpoint; none leaves the highest mark that is left as the checkpoint.
    pub marks: Vec<(u64, EvmHash, u64)>,
}

/// Marks of a chain that are kept.
pub(crate) const MARKS_MAX: i64 = 1_024;

/// Whether a step can be taken at all: what it must be, whatever the store holds.
pub(crate) fn check_step(advance: &ChainAdvance, batch: &VerifiedBatch) -> Result<(), StoreError> {
    let refuse = |problem: &str| Err(StoreError::Internal(format!("chain {}: {problem}", advance.chain_id)));
    let count = batch.events.len() as u64;
    if advance.chain_id == 0 || i64::try_from(advance.chain_id).is_err() {
        return refuse("no chain has that id");
    }
    if batch.events.iter().any(|event| event.envelope.stream != advance.stream) {
        return refuse("an event of the step is of another stream");
    }
    if !advance.marks.is_sorted_by(|a, b| a.0 < b.0 && a.2 <= b.2)
        || advance.marks.iter().any(|mark| mark.2 > count)
    {
        return refuse("the step's marks are not in order");
    }
    let from = advance.forget_above.map(|above| (above, true)).or(advance.expected.1.map(|at| (at.0, false)));
    let goes_back = match (from, advance.marks.first()) {
        // After a reorganization the highest block that is left may be marked anew.
        (Some((above, true)), Some(first)) => first.0 < above,
        (Some((at, false)), Some(first)) => first.0 <= at,
        _ => false,
    };
    if goes_back {
        return refuse("the step's marks are not above its beginning");
    }
    let (before, after) = (advance.expected.0, advance.generation);
    if after != before && Some(after) != before.checked_add(1) {
        return refuse("the step skips a generation");
    }
    Ok(())
}
