//! A commitment's place in the chain, and corrections, as a store keeps them.

use bowline_types::{BatchId, StreamId};
use bowline_ves::Commitment;

use crate::CommitmentOrigin;

/// Where a commitment stands, and what was said about it since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChainPlace {
    /// Counts the stream's commitments and corrections, from 1.
    pub position: u64,
    /// The correction to rely on instead.
    pub corrected_by: Option<BatchId>,
    /// Why it was corrected, or of a correction why it was made.
    pub reason: Option<String>,
}

/// A correction to insert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCorrection {
    /// The correction; it names the commitment that it corrects.
    pub commitment: Commitment,
    /// The tree's upper levels.
    pub upper_levels: Vec<u8>,
    /// Who had asked for the commitment that it corrects.
    pub origin: CommitmentOrigin,
    /// Why, for people.
    pub reason: String,
}

/// Which part of a chain to read, in its order.
#[derive(Debug, Clone, Copy)]
pub struct ChainQuery {
    /// The stream.
    pub stream: StreamId,
    /// Only what stands behind this position.
    pub after: u64,
    /// Only corrections.
    pub corrections_only: bool,
    /// So many at most.
    pub limit: usize,
}
