//! The calls that a chain is asked with: what they are named, take and give. What an answer means is for whoever asks;
//! which endpoint it comes from is in `rpc`.

use alloy_primitives::{Address, B256, Bytes, U64, U128, U256};
use bowline_types::{EvmAddress, EvmHash};
use serde_json::json;

use crate::error::RpcError;
use crate::rpc::{GET_LOGS, Rpc};
use crate::types::{Block, Log, Receipt};

/// What a node answers if it has no opinion on tips: 1 gwei.
const TIP_DEFAULT: u128 = 1_000_000_000;

impl Rpc {
    /// The chain's id.
    pub async fn chain_id(&self) -> Result<u64, RpcError> {
        self.ask::<U64>("eth_chainId", json!([])).await.map(|id| id.to())
    }

    /// The last block.
    pub async fn latest(&self) -> Result<Block, RpcError> {
        self.ask("eth_getBlockByNumber", json!(["latest", false])).await
    }

    /// The last block that the chain can't take back, by its own rules; none if it knows of none yet.
    pub async fn finalized(&self) -> Result<Option<Block>, RpcError> {
        self.ask("eth_getBlockByNumber", json!(["finalized", false])).await
    }

    /// The block of that number; none if the chain has not got there.
    pub async fn block(&self, number: u64) -> Result<Option<Block>, RpcError> {
        self.ask("eth_getBlockByNumber", json!([U64::from(number), false])).await
    }

    /// How many transactions of an account are in blocks: the nonce of its next one.
    pub async fn nonce(&self, account: EvmAddress) -> Result<u64, RpcError> {
        let params = json!([address(account), "latest"]);
        self.ask::<U64>("eth_getTransactionCount", params).await.map(|nonce| nonce.to())
    }

    /// What an account has, wei.
    pub async fn balance(&self, account: EvmAddress) -> Result<U256, RpcError> {
        self.ask("eth_getBalance", json!([address(account), "latest"])).await
    }

    /// A contract's code; empty if there is none.
    pub async fn code(&self, contract: EvmAddress) -> Result<Bytes, RpcError> {
        self.ask("eth_getCode", json!([address(contract), "latest"])).await
    }

    /// What a call of a contract would return now.
    pub async fn call(&self, contract: EvmAddress, data: Vec<u8>) -> Result<Bytes, RpcError> {
        self.call_at(contract, data, None).await
    }

    /// What a call of a contract would have returned after that block; now if there is none.
    pub async fn call_at(
        &self,
        contract: EvmAddress,
        data: Vec<u8>,
        block: Option<u64>,
    ) -> Result<Bytes, RpcError> {
        let call = json!({"to": address(contract), "data": Bytes::from(data)});
        let block = block.map_or(json!("latest"), |number| json!(U64::from(number)));
        self.ask("eth_call", json!([call, block])).await
    }

    /// The gas that a transaction would use; without a contract it makes one.
    pub async fn estimate_gas(
        &self,
        from: EvmAddress,
        to: Option<EvmAddress>,
        data: &[u8],
    ) -> Result<u64, RpcError> {
        let mut call = json!({"from": address(from), "data": Bytes::copy_from_slice(data)});
        if let Some(to) = to {
            call["to"] = json!(address(to));
        }
        self.ask::<U64>("eth_estimateGas", json!([call])).await.map(|gas| gas.to())
    }

    /// The tip that the endpoint advises, wei a unit of gas.
    pub async fn tip(&self) -> Result<u128, RpcError> {
        match self.ask::<U128>("eth_maxPriorityFeePerGas", json!([])).await {
            Ok(tip) => Ok(tip.to()),
            Err(RpcError::Refused { .. }) => Ok(TIP_DEFAULT),
            Err(error) => Err(error),
        }
    }

    /// Hands a signed transaction to the chain.
    pub async fn broadcast(&self, raw: &[u8]) -> Result<(), RpcError> {
        let params = json!([Bytes::copy_from_slice(raw)]);
        self.ask::<B256>("eth_sendRawTransaction", params).await.map(drop)
    }

    /// Whether the endpoint knows a transaction, in a block or waiting for one.
    pub async fn knows(&self, tx_hash: EvmHash) -> Result<bool, RpcError> {
        let params = json!([B256::from(*tx_hash.as_bytes())]);
        self.ask::<Option<serde::de::IgnoredAny>>("eth_getTransactionByHash", params)
            .await
            .map(|found| found.is_some())
    }

    /// How a transaction ended; none as long as it is in no block.
    pub async fn receipt(&self, tx_hash: EvmHash) -> Result<Option<Receipt>, RpcError> {
        self.ask("eth_getTransactionReceipt", json!([B256::from(*tx_hash.as_bytes())])).await
    }

    /// What a contract logged in one block, of that event and with that first indexed value.
    pub async fn logs(
        &self,
        contract: EvmAddress,
        block: u64,
        topics: &[Vec<B256>],
    ) -> Result<Vec<Log>, RpcError> {
        let block = U64::from(block);
        let filter =
            json!({"address": address(contract), "fromBlock": block, "toBlock": block, "topics": topics});
        self.ask(GET_LOGS, json!([filter])).await
    }

    /// What these contracts logged from a block to another one, both included. An endpoint that is behind may leave
    /// out what it has not got, so whoever asks compares the blocks' hashes.
    pub async fn logs_in_range(
        &self,
        contracts: &[EvmAddress],
        from: u64,
        to: u64,
    ) -> Result<Vec<Log>, RpcError> {
        let contracts: Vec<Address> = contracts.iter().copied().map(address).collect();
        let (from, to) = (U64::from(from), U64::from(to));
        self.ask(GET_LOGS, json!([{"address": contracts, "fromBlock": from, "toBlock": to}])).await
    }

    /// What these contracts logged in the block of that hash; an endpoint that does not know it refuses (EIP-234).
    pub async fn logs_in_block(
        &self,
        contracts: &[EvmAddress],
        block_hash: EvmHash,
    ) -> Result<Vec<Log>, RpcError> {
        let contracts: Vec<Address> = contracts.iter().copied().map(address).collect();
        let block_hash = B256::from(*block_hash.as_bytes());
        self.ask(GET_LOGS, json!([{"address": contracts, "blockHash": block_hash}])).await
    }
}

fn address(address: EvmAddress) -> Address {
    Address::from(*address.as_bytes())
}
