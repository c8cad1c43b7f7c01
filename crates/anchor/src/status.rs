//! How anchoring is doing, in one answer: what waits, what is on its way, who does it, and what is in the way.
//!
//! Figures of the store and of the chain are asked for when somebody wants to know, so every node tells the same,
//! also one that only watches. What is in the way of the work itself is known to the process that does it.

use bowline_types::{BatchId, EvmAddress, EvmHash, StreamId, Timestamp};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::registry::Kind;
use bowline_evm::EndpointState;

/// What is in the way of all anchoring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// A stable word, such as `INSUFFICIENT_FUNDS`.
    pub code: String,
    /// The cause, for people.
    pub message: String,
    /// What mends it.
    pub fix: String,
    /// Since when.
    pub since: Timestamp,
}

/// A stream that is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
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

/// A transaction that is not final.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnderWay {
    /// The send.
    pub send_id: Uuid,
    /// `open` or `mined`.
    pub state: String,
    /// The account's nonce that it holds.
    pub nonce: Option<u64>,
    /// Its newest transaction, or the one that was mined.
    pub tx_hash: Option<EvmHash>,
    /// How many transactions were signed for it.
    pub transactions: u64,
    /// How many commitments it anchors.
    pub commitments: u64,
    /// When it was recorded.
    pub created_at: Timestamp,
    /// Its block.
    pub block_number: Option<u64>,
    /// Blocks on top of that one, if the chain could be asked.
    pub confirmations: Option<u64>,
}

/// Who anchors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The process's id in the lease.
    pub holder: Uuid,
    /// Whether it is the process that answers.
    pub is_this_process: bool,
    /// Until when it holds the lease unless it renews it.
    pub expires_at: Timestamp,
}

/// What the chain says now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainState {
    /// Its id.
    pub chain_id: u64,
    /// Its last block.
    pub block_number: u64,
    /// That block's time.
    pub block_time: Timestamp,
    /// The base fee, wei a unit of gas.
    pub base_fee_wei: Option<String>,
    /// What the contract is; none if it is nothing that is known.
    pub kind: Option<Kind>,
    /// Why it can't be used.
    pub contract_problem: Option<String>,
    /// Whether the account may commit.
    pub may_commit: Option<bool>,
    /// What the account has, wei.
    pub balance_wei: String,
}

/// How anchoring is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Whether this node is set up to anchor.
    pub configured: bool,
    /// The chain that it is to anchor to.
    pub chain_id: Option<u64>,
    /// The contract there.
    pub contract: Option<EvmAddress>,
    /// The account that commits.
    pub sender: Option<EvmAddress>,
    /// The chain that the store's anchors go to, once it was chosen.
    pub chosen_chain_id: Option<u64>,
    /// The contract there.
    pub chosen_contract: Option<EvmAddress>,
    /// The endpoints and their circuit breakers.
    pub endpoints: Vec<EndpointState>,
    /// What the chain says, or why it can't be asked: `{"problem":"…"}` in JSON.
    #[serde(with = "answered")]
    pub chain: Result<ChainState, String>,
    /// Who anchors; none if nobody ever did.
    pub holder: Option<Holder>,
    /// Commitments that are on no chain and in no transaction.
    pub pending: u64,
    /// Commitments in transactions that are not final.
    pub under_way: u64,
    /// Commitments that are final.
    pub anchored: u64,
    /// Seconds since the oldest commitment was made that is not final.
    pub oldest_secs: Option<u64>,
    /// Transactions that are not final, by nonce; the first 100.
    pub transactions: Vec<UnderWay>,
    /// Streams that are set aside; the first 100.
    pub blocked: Vec<Blocked>,
    /// What is in the way of all anchoring, as far as this process knows.
    pub trouble: Option<Trouble>,
    /// Seconds that a commitment waits at most before it is sent.
    pub interval_secs: u64,
    /// Blocks on top that make a transaction final.
    pub finality_confirmations: u64,
    /// Seconds after which a transaction that no block takes is replaced.
    pub replace_after_secs: u64,
    /// Wei a unit of gas that a transaction may cost.
    pub fee_cap_wei: String,
}

/// The chain's answer in JSON.
mod answered {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::ChainState;

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Answered {
        State(Box<ChainState>),
        Problem { problem: String },
    }

    pub(super) fn serialize<S: Serializer>(
        chain: &Result<ChainState, String>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let answered = match chain {
            Ok(state) => Answered::State(Box::new(state.clone())),
            Err(problem) => Answered::Problem { problem: problem.clone() },
        };
        answered.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Result<ChainState, String>, D::Error> {
        Ok(match Answered::deserialize(deserializer)? {
            Answered::State(state) => Ok(*state),
            Answered::Problem { problem } => Err(problem),
        })
    }
}
