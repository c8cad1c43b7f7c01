//! A registry of reputation on a private chain, which emits the feedback that it is told: what indexers' tests and
//! benchmarks work on. It checks nothing; whoever gives feedback counts it.

use alloy_primitives::{B256, Bytes, U256};
use alloy_sol_types::{SolCall as _, sol};
use serde_json::{Value, json};

use crate::{Anvil, soon};

const ARTIFACT: &str = include_str!("../../../contracts/artifacts/test/ERC8004Reputation.json");

/// Gas of putting the registry on a chain, and of one feedback, and then some.
const DEPLOY_GAS: u64 = 10_000_000;
const FEEDBACK_GAS: u64 = 500_000;

mod abi {
    use super::sol;

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
        function give(Feedback calldata f) external;
        function giveMany(Feedback calldata f, uint256 count) external;
    }
}

/// Feedback for an agent.
#[derive(Debug, Clone, Copy)]
pub struct Feedback<'a> {
    /// The agent's number in the registry of identities.
    pub agent_id: u64,
    /// Which one of its giver's, from 1.
    pub index: u64,
    /// The value without its decimal point.
    pub value: i128,
    /// Digits after the decimal point.
    pub decimals: u8,
    /// The first tag.
    pub tag1: &'a str,
    /// The second one.
    pub tag2: &'a str,
    /// Where the agent was asked.
    pub endpoint: &'a str,
    /// Where more is said.
    pub uri: &'a str,
    /// The hash of that.
    pub hash: [u8; 32],
}

impl Feedback<'_> {
    fn to_abi(self) -> abi::Feedback {
        abi::Feedback {
            agentId: U256::from(self.agent_id),
            index: self.index,
            value: self.value,
            decimals: self.decimals,
            tag1: self.tag1.to_owned(),
            tag2: self.tag2.to_owned(),
            endpoint: self.endpoint.to_owned(),
            uri: self.uri.to_owned(),
            hash: B256::from(self.hash),
        }
    }
}

/// The registry, and the account that gives feedback.
#[derive(Debug, Clone)]
pub struct ReputationRegistry {
    account: String,
    address: String,
}

impl ReputationRegistry {
    /// Puts a registry on the chain, of the chain's first account.
    pub async fn deploy(chain: &Anvil) -> Self {
        let artifact: Value = serde_json::from_str(ARTIFACT).unwrap();
        let account = chain.call("eth_accounts", json!([])).await[0].as_str().unwrap().to_owned();
        let code = artifact["bytecode"].as_str().unwrap().trim_start_matches("0x");
        let transaction =
            json!({ "from": account, "data": format!("0x{code}"), "gas": format!("{DEPLOY_GAS:#x}") });
        let hash = chain.call("eth_sendTransaction", json!([transaction])).await;
        let receipt = async || Some(chain.call("eth_getTransactionReceipt", json!([hash])).await);
        let receipt = soon(async || receipt().await.filter(|receipt| !receipt.is_null())).await;
        Self { account, address: receipt["contractAddress"].as_str().unwrap().to_owned() }
    }

    /// Where it is: `0x` and 40 digits.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Who gives feedback.
    pub fn account(&self) -> &str {
        &self.account
    }

    /// The transaction that gives feedback, to be sent.
    pub fn give(&self, feedback: &Feedback<'_>) -> Value {
        self.transaction(abi::giveCall { f: feedback.to_abi() }.abi_encode(), FEEDBACK_GAS)
    }

    /// The transaction that gives the same feedback so many times, with so much gas, to be sent.
    pub fn give_many(&self, feedback: &Feedback<'_>, count: u64, gas: u64) -> Value {
        let call = abi::giveManyCall { f: feedback.to_abi(), count: U256::from(count) };
        self.transaction(call.abi_encode(), gas)
    }

    fn transaction(&self, call: Vec<u8>, gas: u64) -> Value {
        let data = Bytes::from(call);
        json!({ "from": self.account, "to": self.address, "data": data, "gas": format!("{gas:#x}") })
    }
}
