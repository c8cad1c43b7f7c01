//! The contract that anchors go to: what it is, what it knows, what a call of it looks like and why it refuses one.
//!
//! There are two kinds. [`Kind::Bowline`] keeps one history a stream and refuses every other one.
//! [`Kind::Original`] only refuses an id that it has seen: with it, order and forks are this side's care alone.

use crate::tables::{AnchorTarget, MinedAt};
use alloy_primitives::{B256, Bytes};
use alloy_sol_types::{Revert, SolCall, SolError, SolEvent, SolInterface};
use bowline_types::{EvmAddress, StreamId, Timestamp};
use bowline_ves::{Commitment, Hash, stream_hash};

use crate::abi::BowlineAnchor::{self, BowlineAnchorErrors};
use crate::abi::OriginalAnchor;
use crate::handle::seconds;
use bowline_evm::{Rpc, RpcError, shortened};

/// Which interface a contract has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `contracts/BowlineAnchor.sol`.
    Bowline,
    /// The contract of the sequencer that Bowline is compatible with.
    Original,
}

/// Why the contract can't be used, or what it said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The chain can't be asked.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// There is no contract at the address.
    #[error("there is no contract at {0}")]
    NoContract(EvmAddress),
    /// There is one, of another kind.
    #[error("the contract at {0} is neither a BowlineAnchor nor one with the original's interface")]
    Unknown(EvmAddress),
    /// It answered something that its interface does not allow.
    #[error("the contract at {contract} answered what `{function}` can't: {problem}")]
    Garbled {
        /// The contract.
        contract: EvmAddress,
        /// What was called.
        function: &'static str,
        /// What is wrong with the answer.
        problem: String,
    },
}

/// The end of a stream on the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnChainHead {
    /// The last state root; zero if there is nothing.
    pub state_root: Hash,
    /// The highest sequence number under a commitment.
    pub end: u64,
    /// Commitments and corrections so far: the position of the last one.
    pub length: u64,
    /// The block of the last one.
    pub block_number: u64,
}

/// Where a contract has a commitment, as far as it keeps that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnChainPlace {
    /// The block; none if the contract does not keep it.
    pub block_number: Option<u64>,
    /// That block's time.
    pub block_time: Option<Timestamp>,
}

/// Why a call would be reverted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable word.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// A contract on a chain; cheap to clone.
#[derive(Debug, Clone)]
pub struct Registry {
    rpc: Rpc,
    target: AnchorTarget,
    kind: Kind,
    /// After which block it is asked; the last one if none is named.
    block: Option<u64>,
}

impl Registry {
    /// Finds out what is at an address.
    ///
    /// # Errors
    /// That there is nothing, or nothing that is known; or the chain's.
    pub async fn find(rpc: Rpc, target: AnchorTarget) -> Result<Self, RegistryError> {
        let contract = target.contract;
        if rpc.code(contract).await?.is_empty() {
            return Err(RegistryError::NoContract(contract));
        }
        let found = |kind| Self { rpc: rpc.clone(), target, kind, block: None };
        let version = BowlineAnchor::BOWLINE_ANCHORCall {}.abi_encode();
        match rpc.call(contract, version).await {
            Ok(answer) if answer.len() == 32 && answer.last() == Some(&1) => return Ok(found(Kind::Bowline)),
            Ok(_) | Err(RpcError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let known = OriginalAnchor::isAnchoredCall { batchId: B256::ZERO }.abi_encode();
        match rpc.call(contract, known).await {
            Ok(answer) if answer.len() == 32 => Ok(found(Kind::Original)),
            Ok(_) | Err(RpcError::Refused { .. }) => Err(RegistryError::Unknown(contract)),
            Err(error) => Err(error.into()),
        }
    }

    /// Which interface it has.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same contract as it was after that block.
    #[must_use]
    pub fn at(&self, block: u64) -> Self {
        Self { block: Some(block), ..self.clone() }
    }

    /// Where it is.
    pub fn target(&self) -> AnchorTarget {
        self.target
    }

    /// Whether that account may commit, if the contract can say so.
    pub async fn allows(&self, account: EvmAddress) -> Result<bool, RegistryError> {
        match self.kind {
            Kind::Original => Ok(true),
            Kind::Bowline => {
                let account = account.as_bytes().into();
                self.view("isCommitter", &BowlineAnchor::isCommitterCall { account }).await
            }
        }
    }

    /// The ends of streams, in their order; only of [`Kind::Bowline`], none otherwise.
    pub async fn heads(&self, streams: &[StreamId]) -> Result<Vec<OnChainHead>, RegistryError> {
        if self.kind == Kind::Original {
            return Ok(Vec::new());
        }
        let stream_ids = streams.iter().map(|stream| word(&stream_hash(*stream))).collect();
        let found = self.view("heads", &BowlineAnchor::headsCall { streamIds: stream_ids }).await?;
        self.as_many("heads", found.len(), streams.len())?;
        let head = |head: BowlineAnchor::Head| OnChainHead {
            state_root: Hash::new(head.stateRoot.0),
            end: head.end,
            length: head.length,
            block_number: head.blockNumber,
        };
        Ok(found.into_iter().map(head).collect())
    }

    /// In which block each of these commitments was anchored, exactly as it is; zero if the chain does not say,
    /// none if it was not.
    pub async fn known(&self, commitments: &[&Commitment]) -> Result<Vec<Option<u64>>, RegistryError> {
        let places = self.places(commitments).await?;
        Ok(places.into_iter().map(|place| place.map(|place| place.block_number.unwrap_or(0))).collect())
    }

    /// Where each of these commitments was anchored, exactly as it is; none if it was not.
    pub async fn places(
        &self,
        commitments: &[&Commitment],
    ) -> Result<Vec<Option<OnChainPlace>>, RegistryError> {
        match self.kind {
            Kind::Bowline => {
                let roots = commitments.iter().map(|c| word(&c.new_state_root)).collect();
                let found =
                    self.view("anchorsOf", &BowlineAnchor::anchorsOfCall { newStateRoots: roots }).await?;
                self.as_many("anchorsOf", found.len(), commitments.len())?;
                let place = |anchor: BowlineAnchor::Anchor| OnChainPlace {
                    block_number: Some(anchor.blockNumber),
                    block_time: Some(seconds(anchor.time)),
                };
                Ok(found.into_iter().map(|a| (a.blockNumber > 0).then(|| place(a))).collect())
            }
            Kind::Original => {
                let mut found = Vec::with_capacity(commitments.len());
                for commitment in commitments {
                    found.push(self.known_to_original(commitment).await?);
                }
                Ok(found)
            }
        }
    }

    async fn known_to_original(
        &self,
        commitment: &Commitment,
    ) -> Result<Option<OnChainPlace>, RegistryError> {
        let batch_id = padded(commitment.batch_id.as_bytes());
        if !self.view("isAnchored", &OriginalAnchor::isAnchoredCall { batchId: batch_id }).await? {
            return Ok(None);
        }
        let root = OriginalAnchor::verifyEventsRootCall {
            batchId: batch_id,
            eventsRoot: word(&commitment.merkle_root),
        };
        let place = OnChainPlace { block_number: None, block_time: None };
        Ok(self.view("verifyEventsRoot", &root).await?.then_some(place))
    }

    /// The transaction that anchored a commitment in that block, from the contract's log; none if the log of that
    /// block is not to be had.
    pub async fn place(&self, commitment: &Commitment, block: u64) -> Result<Option<MinedAt>, RegistryError> {
        let topics = match self.kind {
            Kind::Original => return Ok(None),
            Kind::Bowline => [
                vec![BowlineAnchor::Committed::SIGNATURE_HASH, BowlineAnchor::Corrected::SIGNATURE_HASH],
                vec![word(&stream_hash(commitment.stream))],
                vec![word(&commitment.new_state_root)],
            ],
        };
        let logs = match self.rpc.logs(self.target.contract, block, &topics).await {
            Ok(logs) => logs,
            Err(RpcError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(logs.first().map(|log| MinedAt {
            tx_hash: Some(log.tx_hash()),
            block_number: block,
            block_hash: Some(log.block_hash()),
            gas_used: None,
            gas_price: None,
        }))
    }

    /// The call that anchors these commitments, in this order.
    pub fn encode(&self, commitments: &[&Commitment]) -> Vec<u8> {
        match self.kind {
            Kind::Bowline => {
                let commitments = commitments.iter().map(|c| wire(c)).collect();
                BowlineAnchor::commitBatchCall { commitments }.abi_encode()
            }
            Kind::Original => encode_original(commitments),
        }
    }

    /// What a reverted call says, if an endpoint's refusal is a revert.
    pub fn refusal(&self, error: &RpcError) -> Option<Refusal> {
        let RpcError::Refused { message, revert, .. } = error else { return None };
        let says_revert = message.to_ascii_lowercase().contains("revert");
        match revert {
            Some(data) => Some(explain(data, message)),
            None if says_revert => Some(Refusal { code: "REVERTED", message: message.clone() }),
            None => None,
        }
    }

    async fn view<C: SolCall>(&self, function: &'static str, call: &C) -> Result<C::Return, RegistryError> {
        let contract = self.target.contract;
        let answer = self.rpc.call_at(contract, call.abi_encode(), self.block).await?;
        C::abi_decode_returns(&answer).map_err(|error| RegistryError::Garbled {
            contract,
            function,
            problem: error.to_string(),
        })
    }

    fn as_many(&self, function: &'static str, found: usize, asked: usize) -> Result<(), RegistryError> {
        if found == asked {
            return Ok(());
        }
        let problem = format!("{found} answers to {asked} questions");
        Err(RegistryError::Garbled { contract: self.target.contract, function, problem })
    }
}

/// Solidity's own `Error(string)`, the contract's errors, or the bytes.
fn explain(data: &Bytes, message: &str) -> Refusal {
    if let Ok(error) = BowlineAnchorErrors::abi_decode(data) {
        let (code, message) = match error {
            BowlineAnchorErrors::NotCommitter(e) => {
                ("NOT_COMMITTER", format!("{} may not commit to the contract", e.sender))
            }
            BowlineAnchorErrors::NotOwner(e) => {
                ("NOT_OWNER", format!("{} does not own the contract", e.sender))
            }
            BowlineAnchorErrors::NotContiguous(e) => (
                "NOT_CONTIGUOUS",
                format!("the chain expects the stream to go on at {}, not at {}", e.expected, e.given),
            ),
            BowlineAnchorErrors::NotChained(e) => (
                "NOT_CHAINED",
                format!("the stream's state root on the chain is {}, not {}", e.expected, e.given),
            ),
            BowlineAnchorErrors::BadRange(e) => {
                ("BAD_RANGE", format!("{} to {} does not have {} events", e.start, e.end, e.count))
            }
            BowlineAnchorErrors::BadStateRoot(e) => {
                ("BAD_STATE_ROOT", format!("the state root is {}, not {}", e.expected, e.given))
            }
        };
        return Refusal { code, message };
    }
    let message = match Revert::abi_decode(data) {
        Ok(revert) => shortened(&revert.reason),
        Err(_) if data.is_empty() => message.to_owned(),
        Err(_) => shortened(&format!("{message}: {data}")),
    };
    Refusal { code: "REVERTED", message }
}

fn wire(commitment: &Commitment) -> BowlineAnchor::Commitment {
    BowlineAnchor::Commitment {
        streamId: word(&stream_hash(commitment.stream)),
        start: commitment.sequence_start,
        end: commitment.sequence_end,
        count: commitment.leaf_count,
        correction: commitment.corrects.is_some(),
        root: word(&commitment.merkle_root),
        prevStateRoot: word(&commitment.prev_state_root),
        newStateRoot: word(&commitment.new_state_root),
    }
}

fn encode_original(commitments: &[&Commitment]) -> Vec<u8> {
    let ids = |id: fn(&Commitment) -> B256| commitments.iter().map(|c| id(c)).collect::<Vec<_>>();
    let numbers = |number: fn(&Commitment) -> u64| commitments.iter().map(|c| number(c)).collect::<Vec<_>>();
    OriginalAnchor::anchorBatchCall {
        batchIds: ids(|c| padded(c.batch_id.as_bytes())),
        tenantIds: ids(|c| padded(c.stream.tenant_id.as_bytes())),
        storeIds: ids(|c| padded(c.stream.store_id.as_bytes())),
        eventsRoots: ids(|c| word(&c.merkle_root)),
        stateRoots: ids(|c| word(&c.new_state_root)),
        sequenceStarts: numbers(|c| c.sequence_start),
        sequenceEnds: numbers(|c| c.sequence_end),
        eventCounts: commitments.iter().map(|c| c.leaf_count).collect(),
    }
    .abi_encode()
}

fn word(hash: &Hash) -> B256 {
    B256::from(*hash.as_bytes())
}

/// A UUID as the original's contract takes it: 16 bytes and 16 zeros.
fn padded(uuid: &[u8; 16]) -> B256 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid);
    B256::from(bytes)
}
