//! A reputation registry on a private chain, which emits what a test tells it.
//!
//! It checks nothing: a test counts what it has given.

use std::sync::atomic::{AtomicU64, Ordering};

use bowline_neighbours::{Feedback, ReputationRegistry};
use serde_json::{Value, json};

use crate::evm::Anvil;
use crate::site::until;

/// The registry; each of its feedbacks has an index of its own, from 1.
pub(crate) struct Registry<'a> {
    chain: &'a Anvil,
    contract: ReputationRegistry,
    given: AtomicU64,
}

impl<'a> Registry<'a> {
    /// Puts a registry on the chain.
    pub(crate) async fn deploy(chain: &'a Anvil) -> Self {
        Self { chain, contract: ReputationRegistry::deploy(chain).await, given: AtomicU64::new(0) }
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
        let sent =
            self.chain.call("eth_getTransactionCount", json!([self.contract.account(), "pending"])).await;
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
        let feedback = Feedback {
            agent_id: agent,
            index,
            value,
            decimals: 2,
            tag1: tag,
            tag2: "of a test",
            endpoint: "https://agent.example/mcp",
            uri: "ipfs://feedback",
            hash: [7; 32],
        };
        (index, self.contract.give(&feedback))
    }

    /// The settings of a node that indexes it.
    pub(crate) fn chain_settings(&self) -> Value {
        let zero = format!("0x{}", "0".repeat(40));
        json!({
            "chain_id": 31337, "rpc_urls": self.chain.url(), "poll_ms": 50, "requests_per_sec": 0,
            "registries": { "identity": zero, "reputation": self.contract.address(), "validation": zero },
        })
    }
}
