//! A reputation registry on a private chain, which emits what a test tells it.
//!
//! It checks nothing: a test counts what it has given.

use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{B256, Bytes, U256};
use alloy_sol_types::{SolCall as _, sol};
use serde_json::{Value, json};

use crate::evm::Anvil;
use crate::site::until;

const ARTIFACT: &str = include_str!("../../../../contracts/artifacts/test/ERC8004Reputation.json");

sol! {
    struct Feedback {
        uint256 agentId;
        uint64 index;
        int128 value;
        uint8 decimals;
        string tag1;
        string tag2;
        string endpoint;
        string uri;
        bytes32 hash;
    }
    function give(Feedback calldata f) public;
}

/// The registry; each of its feedbacks has an index of its own, from 1.
pub(crate) struct Registry<'a> {
    chain: &'a Anvil,
    account: String,
    address: String,
    given: AtomicU64,
}

impl<'a> Registry<'a> {
    /// Puts a registry on the chain.
    pub(crate) async fn deploy(chain: &'a Anvil) -> Self {
        let artifact: Value = serde_json::from_str(ARTIFACT).unwrap();
        let account = chain.call("eth_accounts", json!([])).await[0].as_str().unwrap().to_owned();
        let code = artifact["bytecode"].as_str().unwrap().trim_start_matches("0x");
        let transaction = json!({ "from": account, "data": format!("0x{code}"), "gas": "0x989680" });
        let hash = chain.call("eth_sendTransaction", json!([transaction])).await;
        let receipt = async || chain.call("eth_getTransactionReceipt", json!([hash])).await;
        until(async || !receipt().await.is_null()).await;
        let address = receipt().await["contractAddress"].as_str().unwrap().to_owned();
        Self { chain, account, address, given: AtomicU64::new(0) }
    }

    /// Feedbacks that were given.
    pub(crate) fn given(&self) -> u64 {
        self.given.load(Ordering::Relaxed)
    }

    /// Gives an agent feedback with a value of two decimals; returns its index.
    pub(crate) async fn give(&self, agent: u64, value: i128, tag: &str) -> u64 {
        let (index, transaction) = self.transaction(agent, value, tag);
        self.chain.call("eth_sendTransaction", json!([transaction])).await;
        index
    }

    /// The same, in a block of its own when this returns; returns the signed transaction, which may be mined again.
    pub(crate) async fn give_signed(&self, agent: u64, value: i128, tag: &str) -> Value {
        let (_, mut transaction) = self.transaction(agent, value, tag);
        let sent = self.chain.call("eth_getTransactionCount", json!([self.account, "pending"])).await;
        for (name, value) in [
            ("type", json!("0x2")),
            ("chainId", json!("0x7a69")),
            ("nonce", sent),
            ("maxFeePerGas", json!("0xb2d05e00")),
            ("maxPriorityFeePerGas", json!("0x1")),
        ] {
            transaction[name] = value;
        }
        let signed = self.chain.call("eth_signTransaction", json!([transaction])).await;
        let hash = self.chain.call("eth_sendRawTransaction", json!([signed])).await;
        until(async || !self.chain.call("eth_getTransactionReceipt", json!([hash])).await.is_null()).await;
        signed
    }

    fn transaction(&self, agent: u64, value: i128, tag: &str) -> (u64, Value) {
        let index = self.given.fetch_add(1, Ordering::Relaxed) + 1;
        let f = Feedback {
            agentId: U256::from(agent),
            index,
            value,
            decimals: 2,
            tag1: tag.to_owned(),
            tag2: "of a test".to_owned(),
            endpoint: "https://agent.example/mcp".to_owned(),
            uri: "ipfs://feedback".to_owned(),
            hash: B256::repeat_byte(7),
        };
        let data = Bytes::from(giveCall { f }.abi_encode());
        (index, json!({ "from": self.account, "to": self.address, "data": data, "gas": "0x7a120" }))
    }

    /// The settings of a node that indexes it.
    pub(crate) fn chain_settings(&self) -> Value {
        let zero = format!("0x{}", "0".repeat(40));
        json!({
            "chain_id": 31337, "rpc_urls": self.chain.url(), "poll_ms": 50, "requests_per_sec": 0,
            "registries": { "identity": zero, "reputation": self.address, "validation": zero },
        })
    }
}
