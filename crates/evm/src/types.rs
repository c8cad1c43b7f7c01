//! The parts of a chain's answers that are asked for here; everything else of them is passed over, so that a chain
//! with fields and transaction types of its own is readable too.

use alloy_primitives::{Address, B256, Bytes, U64, U128};
use bowline_types::{EvmAddress, EvmHash};
use serde::Deserialize;

/// A block's header.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    number: U64,
    hash: B256,
    parent_hash: B256,
    timestamp: U64,
    #[serde(default)]
    base_fee_per_gas: Option<U128>,
}

impl Block {
    /// Its number.
    pub fn number(&self) -> u64 {
        self.number.to()
    }

    /// Its hash.
    pub fn hash(&self) -> EvmHash {
        EvmHash::new(self.hash.0)
    }

    /// The hash of the block before it.
    pub fn parent_hash(&self) -> EvmHash {
        EvmHash::new(self.parent_hash.0)
    }

    /// Seconds since 1970.
    pub fn timestamp(&self) -> u64 {
        self.timestamp.to()
    }

    /// The base fee, wei a unit of gas; none on a chain without EIP-1559.
    pub fn base_fee(&self) -> Option<u128> {
        self.base_fee_per_gas.map(|fee| fee.to())
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    transaction_hash: B256,
    block_number: U64,
    block_hash: B256,
    #[serde(default)]
    status: Option<U64>,
    gas_used: U64,
    #[serde(default)]
    effective_gas_price: Option<U128>,
    #[serde(default)]
    contract_address: Option<Address>,
}

impl Receipt {
    /// The transaction.
    pub fn tx_hash(&self) -> EvmHash {
        EvmHash::new(self.transaction_hash.0)
    }

    /// Its block's number.
    pub fn block_number(&self) -> u64 {
        self.block_number.to()
    }

    /// Its block's hash.
    pub fn block_hash(&self) -> EvmHash {
        EvmHash::new(self.block_hash.0)
    }

    /// Whether it had its effect. A receipt that does not say so did not.
    pub fn succeeded(&self) -> bool {
        self.status == Some(U64::from(1))
    }

    /// Gas that it used.
    pub fn gas_used(&self) -> u64 {
        self.gas_used.to()
    }

    /// What it paid for a unit, wei.
    pub fn gas_price(&self) -> Option<u128> {
        self.effective_gas_price.map(|price| price.to())
    }

    /// The contract that it made.
    pub fn contract(&self) -> Option<EvmAddress> {
        self.contract_address.map(|address| EvmAddress::new(address.0.0))
    }
}

/// An event of a contract.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    address: Address,
    /// The event and its indexed values.
    pub topics: Vec<B256>,
    /// Its other values.
    pub data: Bytes,
    transaction_hash: B256,
    block_hash: B256,
    block_number: U64,
    log_index: U64,
    #[serde(default)]
    block_timestamp: Option<U64>,
    #[serde(default)]
    removed: bool,
}

impl Log {
    /// The contract.
    pub fn address(&self) -> EvmAddress {
        EvmAddress::new(self.address.0.0)
    }

    /// The transaction.
    pub fn tx_hash(&self) -> EvmHash {
        EvmHash::new(self.transaction_hash.0)
    }

    /// Its block's hash.
    pub fn block_hash(&self) -> EvmHash {
        EvmHash::new(self.block_hash.0)
    }

    /// Its block's number.
    pub fn block_number(&self) -> u64 {
        self.block_number.to()
    }

    /// Its place among the logs of its block.
    pub fn index(&self) -> u64 {
        self.log_index.to()
    }

    /// Its block's time, seconds since 1970, if the endpoint says so with the log.
    pub fn block_timestamp(&self) -> Option<u64> {
        self.block_timestamp.map(|timestamp| timestamp.to())
    }

    /// Whether the endpoint says that the chain took it back.
    pub fn is_removed(&self) -> bool {
        self.removed
    }
}
