//! A reputation registry on a development node, which emits the feedback that it is told: what the triggers' demo
//! works on. It signs nothing: a development node does that for its own accounts.

use std::time::{Duration, Instant};

use alloy_primitives::{B256, Bytes, U256};
use alloy_sol_types::{SolCall as _, sol};
use bowline_types::EvmAddress;
use serde_json::{Value, json};

use crate::terminal::exit::{Exit, Failure};

const REGISTRY: &str = include_str!("../../../../contracts/artifacts/test/ERC8004Reputation.json");

/// What one call may take; a development node mines while it answers.
const CALL_TIME_MAX: Duration = Duration::from_secs(120);

/// What a transaction may take to get into a block.
const MINING_TIME_MAX: Duration = Duration::from_secs(60);

/// Between two looks at a transaction.
const POLL: Duration = Duration::from_millis(20);

/// Gas of one feedback, and then some.
const GAS: u64 = 500_000;

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
}

/// A transaction in a block.
#[derive(Debug, Clone)]
pub(super) struct Mined {
    pub(super) transaction: String,
    pub(super) block: u64,
    /// The address of what it made, if it made something.
    contract: Option<String>,
}

/// A development node, whose first account signs by itself.
#[derive(Debug)]
pub(super) struct DevRpc {
    url: String,
    http: reqwest::Client,
}

impl DevRpc {
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        // The client takes its cryptography from here; an error means that it is there already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().no_proxy().timeout(CALL_TIME_MAX).build();
        let http = http.map_err(|error| Failure::usage(format!("cannot start the client: {error}")))?;
        Ok(Self { url: url.to_owned(), http })
    }

    /// Calls a method.
    ///
    /// # Errors
    /// That nobody answers, or what the node says.
    pub(super) async fn call(&self, method: &str, params: Value) -> Result<Value, Failure> {
        let away = |error: reqwest::Error| {
            Failure::new(Exit::Unreachable, format!("the development node: {}", error.without_url()))
                .next("start one with `anvil` and give its address with --rpc-url")
        };
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer: Value =
            self.http.post(&self.url).json(&body).send().await.map_err(away)?.json().await.map_err(away)?;
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(Failure::no(format!("{method}: {}", answer["error"]))),
        }
    }

    /// Sends a transaction of the first account; returns its hash.
    pub(super) async fn send(&self, mut transaction: Value) -> Result<String, Failure> {
        let accounts = self.call("eth_accounts", json!([])).await?;
        transaction["from"] = accounts[0].clone();
        let hash = self.call("eth_sendTransaction", json!([transaction])).await?;
        Ok(hash.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until a transaction is in a block, where it must have succeeded.
    pub(super) async fn mined(&self, hash: &str) -> Result<Mined, Failure> {
        let since = Instant::now();
        loop {
            let receipt = self.call("eth_getTransactionReceipt", json!([hash])).await?;
            if !receipt.is_null() {
                if receipt["status"] != "0x1" {
                    return Err(Failure::no(format!("transaction {hash} failed on the development node")));
                }
                let block = receipt["blockNumber"].as_str().and_then(number);
                let block = block.ok_or_else(|| Failure::no("a receipt has no block"))?;
                let contract = receipt["contractAddress"].as_str().map(str::to_owned);
                return Ok(Mined { transaction: hash.to_owned(), block, contract });
            }
            if since.elapsed() > MINING_TIME_MAX {
                return Err(Failure::no("the development node mines nothing"));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Puts a registry on the chain.
    pub(super) async fn deploy_registry(&self) -> Result<EvmAddress, Failure> {
        let artifact: Value =
            serde_json::from_str(REGISTRY).map_err(|error| Failure::no(format!("the artifact: {error}")))?;
        let code = artifact["bytecode"].as_str().unwrap_or_default();
        let code = format!("0x{}", code.trim_start_matches("0x"));
        let hash = self.send(json!({ "data": code })).await?;
        let contract = self.mined(&hash).await?.contract.unwrap_or_default();
        contract.parse().map_err(|_| Failure::no("the registry has no address"))
    }

    /// Gives an agent a feedback of so many points of 100, and waits until it is in a block.
    pub(super) async fn give(
        &self,
        registry: EvmAddress,
        agent: u64,
        index: u64,
        score: u8,
    ) -> Result<Mined, Failure> {
        let f = Feedback {
            agentId: U256::from(agent),
            index,
            value: i128::from(score),
            decimals: 0,
            tag1: "quality".to_owned(),
            tag2: "demo".to_owned(),
            endpoint: "https://agent.example/mcp".to_owned(),
            uri: String::new(),
            hash: B256::ZERO,
        };
        let data = Bytes::from(giveCall { f }.abi_encode());
        let hash = self
            .send(json!({ "to": registry.to_string(), "data": data, "gas": format!("{GAS:#x}") }))
            .await?;
        self.mined(&hash).await
    }

    /// The last block.
    pub(super) async fn height(&self) -> Result<u64, Failure> {
        let height = self.call("eth_blockNumber", json!([])).await?;
        height.as_str().and_then(number).ok_or_else(|| Failure::no("the chain has no height"))
    }
}

/// A number as JSON-RPC writes it.
fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).ok()
}
