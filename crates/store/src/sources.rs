//! What a store keeps of a source outside: how far its logs are on the line, and by which block that is known.

use bowline_types::{EvmHash, StreamId, Timestamp};

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
