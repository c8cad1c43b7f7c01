//! What a store keeps of anchors: which contract they go to, transactions on their way, and where each
//! commitment stands on the chain.
//!
//! A *send* is one call of the contract for some commitments. It holds one nonce of its sender for life, and every
//! signed transaction that was ever made for it: the same call, with other fees. A commitment is in one send at most
//! that is not void.

use bowline_types::{BatchId, EvmAddress, EvmHash, StreamId, Timestamp};
use bowline_ves::Hash;
use uuid::Uuid;

use bowline_store::CommitmentRecord;

/// The contract that anchors go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnchorTarget {
    /// The chain's id by EIP-155.
    pub chain_id: u64,
    /// The contract; zero of anchors that somebody else made and reported.
    pub contract: EvmAddress,
}

/// Where a send is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendState {
    /// Recorded, maybe broadcast, in no block that is known.
    Open,
    /// In a block that may still be taken back.
    Mined,
    /// Final: its commitments are marked as anchored.
    Anchored,
    /// It has no effect and never will: its commitments are pending again, or in another send.
    Void,
}

impl SendState {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Mined, Self::Anchored, Self::Void];

    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Mined => "mined",
            Self::Anchored => "anchored",
            Self::Void => "void",
        }
    }

    /// The state of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Whose transaction it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendOrigin {
    /// This store's anchoring made it.
    Own,
    /// It was found on the chain: a node died before it could write it down, or the store was restored.
    Adopted,
    /// Somebody else made and reported it.
    Reported,
}

impl SendOrigin {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Own, Self::Adopted, Self::Reported];

    /// The word in the database and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Adopted => "adopted",
            Self::Reported => "reported",
        }
    }

    /// The origin of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|origin| origin.as_str() == word)
    }
}

/// A signed transaction, kept before it is broadcast so that the very same bytes can be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorTransaction {
    /// Its hash.
    pub tx_hash: EvmHash,
    /// Its EIP-2718 bytes.
    pub raw: Vec<u8>,
    /// `maxFeePerGas`, wei.
    pub fee_max: u128,
    /// `maxPriorityFeePerGas`, wei.
    pub tip: u128,
    /// When it was signed.
    pub recorded_at: Timestamp,
}

/// Where a transaction was mined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinedAt {
    /// The transaction; none if only the contract's word is known.
    pub tx_hash: Option<EvmHash>,
    /// The block's number.
    pub block_number: u64,
    /// The block's hash; none if only the contract's word is known.
    pub block_hash: Option<EvmHash>,
    /// What the whole transaction used.
    pub gas_used: Option<u64>,
    /// What it paid for each unit, wei.
    pub gas_price: Option<u128>,
}

/// A call of the contract for some commitments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorSend {
    /// Names it.
    pub send_id: Uuid,
    /// Where it goes.
    pub target: AnchorTarget,
    /// Whose it is.
    pub origin: SendOrigin,
    /// The account that sends it; zero if it is not ours.
    pub sender: EvmAddress,
    /// The account's nonce; none if it is not ours.
    pub nonce: Option<u64>,
    /// The call's data; empty once it is final or void.
    pub call: Vec<u8>,
    /// Gas limit of its transactions.
    pub gas_limit: u64,
    /// Where it is.
    pub state: SendState,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Where it was mined.
    pub mined: Option<MinedAt>,
    /// When it became final or void.
    pub settled_at: Option<Timestamp>,
    /// Why it is void.
    pub reason: Option<String>,
    /// What was signed for it, oldest first; none any more once it is final, and without raw bytes once it is void.
    pub transactions: Vec<AnchorTransaction>,
    /// Its commitments, in the order of the call.
    pub batch_ids: Vec<BatchId>,
}

/// What becomes of a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendChange {
    /// A transaction with other fees was signed for it.
    Replaced(AnchorTransaction),
    /// It was mined.
    Mined(MinedAt),
    /// The block that held it is gone.
    Reopened,
    /// It is final: its commitments get their [`AnchorMark`].
    Anchored,
    /// It will never have an effect, for that reason: its commitments are pending again.
    Void(String),
}

/// A stream with commitments that are on no chain and in no send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingStream {
    /// The stream.
    pub stream: StreamId,
    /// How many.
    pub count: u64,
    /// When the oldest of them was made.
    pub oldest: Timestamp,
}

/// Why a stream's commitments can't be anchored until somebody looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorBlock {
    /// The stream.
    pub stream: StreamId,
    /// The commitment that was refused.
    pub batch_id: BatchId,
    /// A stable word, such as `FORKED`.
    pub code: String,
    /// The cause, for people.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// A commitment with what became of its anchor, for lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchorRow {
    /// The commitment.
    pub commitment: CommitmentRecord,
    /// Its send that is not void, without calls and raw transactions; none if it is pending.
    pub send: Option<AnchorSend>,
    /// How many commitments share that send's transaction.
    pub shared_by: u64,
}

/// Which commitments to list with their anchors.
#[derive(Debug, Clone, Copy)]
pub struct AnchorFilter {
    /// The stream.
    pub stream: StreamId,
    /// Only what stands behind this position of its chain.
    pub after: u64,
    /// So many at most.
    pub limit: usize,
}

/// What the contract should know of a stream: the end of what is marked as anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnchoredEnd {
    /// The stream.
    pub stream: StreamId,
    /// The position of the last anchored commitment in its chain.
    pub position: u64,
    /// That commitment.
    pub batch_id: BatchId,
    /// Its state root.
    pub state_root: Hash,
}

/// All that waits to be anchored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AnchorBacklog {
    /// Commitments that are on no chain and in no send.
    pub pending: u64,
    /// Commitments in sends that are not final.
    pub under_way: u64,
    /// Commitments that are final.
    pub anchored: u64,
    /// When the oldest commitment was made that is not final.
    pub oldest: Option<Timestamp>,
}

/// Somebody else's anchor, as they report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportedAnchor {
    /// The commitment.
    pub batch_id: BatchId,
    /// The chain.
    pub chain_id: u64,
    /// The transaction.
    pub tx_hash: EvmHash,
    /// The block, if it was told.
    pub block_number: Option<u64>,
    /// The gas, if it was told.
    pub gas_used: Option<u64>,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportOutcome {
    /// It is recorded, and the commitment marked.
    Recorded,
    /// The same was recorded before.
    Known,
    /// Another transaction is recorded.
    Conflict(Option<EvmHash>),
    /// A send of this store's own anchoring holds the commitment.
    UnderWay,
    /// There is no such commitment.
    NoCommitment,
}

/// A commitment whose mark and sends tell different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnchorBreak {
    /// The stream and the first number; none if there is no such commitment.
    pub place: Option<(StreamId, u64)>,
    /// The commitment.
    pub batch_id: BatchId,
    /// Whether it has a mark that no anchored send gave; else one gave it a mark that is not there.
    pub is_marked: bool,
}
