//! Commitments as they go into a store and come out of it, and what a store refuses of them.

use bowline_types::{EvmHash, StreamId, Timestamp};
use bowline_ves::Commitment;

use crate::StoreError;

/// Who asked for a commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitmentOrigin {
    /// A client, over the API: automatic commitments stay off this stream unless told otherwise.
    Client,
    /// The node's own policy by count or age.
    Automatic,
}

impl CommitmentOrigin {
    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Automatic => "automatic",
        }
    }
}

/// A commitment as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitmentRecord {
    /// The commitment.
    pub commitment: Commitment,
    /// Who asked for it.
    pub origin: CommitmentOrigin,
    /// Where it stands in its stream's chain.
    pub chain: crate::ChainPlace,
    /// Where it is on an outside chain, once that is final.
    pub anchor: Option<crate::AnchorMark>,
}

/// Which commitments to list, ascending by their first sequence number.
#[derive(Debug, Clone, Copy)]
pub struct CommitmentFilter {
    /// The stream.
    pub stream: StreamId,
    /// Only commitments that begin at this sequence number or later.
    pub from: u64,
    /// Only those that carry no [`crate::AnchorMark`].
    pub unanchored_only: bool,
    /// So many at most.
    pub limit: usize,
}

/// Whether a commitment found its place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertCommitment {
    /// It is the stream's last commitment now.
    Inserted,
    /// Another one was inserted since its predecessor was read; nothing was changed.
    Superseded,
}

/// The refusal of a commitment to events that are not there: nobody could ever prove one of them.
pub(crate) fn beyond_head(commitment: &Commitment, head: u64) -> StoreError {
    let (stream, end) = (commitment.stream, commitment.sequence_end);
    StoreError::Internal(format!("a commitment up to {end} of stream {stream}, whose head is {head}"))
}

/// The refusal of a correction that does not fit what it names.
pub(crate) fn corrects_nothing(commitment: &Commitment) -> StoreError {
    let (stream, start, end) = (commitment.stream, commitment.sequence_start, commitment.sequence_end);
    StoreError::Internal(format!(
        "a correction over {start} to {end} of stream {stream} that corrects nothing there"
    ))
}

/// What a commitment carries of its anchor once that is final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnchorMark {
    /// The chain.
    pub chain_id: u64,
    /// The transaction; none if only the contract's word is known.
    pub tx_hash: Option<EvmHash>,
    /// The block.
    pub block_number: Option<u64>,
    /// When it was found to be final.
    pub anchored_at: Timestamp,
}
