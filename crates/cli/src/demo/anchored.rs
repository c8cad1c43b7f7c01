//! The demo's anchors: a contract on a development node, and the proof that the demo's commitments are in it.
//!
//! Everything is signed with a key that is published with every development node, so only a chain on this machine with
//! their id is taken: on any other one whoever reads this could take over what the demo makes.

use std::time::Duration;

use bowline_anchor::deploy::{Deployed, Deployment, deploy};
use bowline_anchor::verify::{Comparison, Source};
use bowline_anchor::{Config, Wallet};
use bowline_client::{Call, Client};
use bowline_evm::Rpc;
use bowline_types::{Secret, StreamId};
use bowline_ves::ExportReport;
use serde::Deserialize;
use serde_json::{Value, json};

use super::dev_node::{DEV_CHAIN, DevNode};
use crate::chains::endpoint;
use crate::terminal::exit::{Exit, Failure};
use crate::terminal::output;
use crate::verify;

/// The first account of every development node; its key is in their manuals.
const DEV_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// Blocks on top that make an anchor final here.
const CONFIRMATIONS: u64 = 3;

/// What starting the chain, deploying and anchoring may take, each.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Between two looks at what is anchored.
const POLL: Duration = Duration::from_millis(200);

/// Wei a unit of gas that the demo pays at most.
const FEE_CAP: u128 = 500_000_000_000;

/// A chain with a contract.
#[derive(Debug)]
pub(crate) struct DevChain {
    node: DevNode,
    rpc: Rpc,
    http: reqwest::Client,
    deployed: Deployed,
}

impl DevChain {
    /// Puts a contract on a development node.
    pub(crate) async fn start(node: DevNode) -> Result<Self, Failure> {
        let rpc = endpoint::connect(Some(node.url()))?;
        let wallet = Wallet::new(&Secret::new(DEV_KEY)).map_err(Failure::usage)?;
        let account = wallet.address();
        let deployment =
            Deployment { chain_id: DEV_CHAIN, owner: account, committer: account, fee_cap: FEE_CAP };
        let deployed = deploy(&rpc, &wallet, deployment, WAIT_MAX).await.map_err(|error| {
            Failure::new(Exit::Unreachable, format!("the demo's contract: {error}")).next(format!(
                "the demo wants a development node with the chain id {DEV_CHAIN}, such as anvil"
            ))
        })?;
        let http = reqwest::Client::builder().no_proxy().timeout(WAIT_MAX).build();
        let http = http.map_err(|error| Failure::usage(format!("cannot start the client: {error}")))?;
        output::talk(&format!(
            "{node} (chain {DEV_CHAIN}) and put contract {} on it, with the published key of its first account.",
            deployed.contract
        ));
        Ok(Self { node, rpc, http, deployed })
    }

    /// A node that anchors there, at once.
    pub(crate) fn settings(&self) -> Config {
        Config {
            rpc_url: Some(Secret::new(self.node.url())),
            contract: Some(self.deployed.contract.to_string()),
            private_key: Some(Secret::new(DEV_KEY)),
            chain_id: DEV_CHAIN,
            interval_secs: 1,
            batch_threshold: 1,
            finality_confirmations: CONFIRMATIONS,
            finality_poll_secs: 1,
            poll_ms: 200,
            ..Config::default()
        }
    }

    /// Waits until the stream's commitments are final, and holds the verified export against the contract.
    pub(super) async fn prove(
        &self,
        client: &Client,
        stream: StreamId,
        export: &ExportReport,
    ) -> Result<Anchored, Failure> {
        let transaction = tokio::time::timeout(WAIT_MAX, self.until_final(client, stream)).await;
        let transaction = transaction.map_err(|_| {
            let secs = WAIT_MAX.as_secs();
            Failure::new(Exit::Unreachable, format!("the commitments are not final after {secs} s"))
                .next("run the demo again; if it is the same, look at the development node's log")
        })??;
        let source = Source {
            chain_id: Some(DEV_CHAIN),
            contract: self.deployed.contract,
            confirmations: CONFIRMATIONS,
        };
        let comparison = verify::anchor::against(&self.rpc, source, export).await?;
        if !comparison.holds() {
            return Err(Failure::no(
                "the contract does not have the export's commitments, which is a defect",
            ));
        }
        Ok(Anchored { comparison, transaction })
    }

    /// The transaction of the stream's last commitment, once that is final.
    async fn until_final(&self, client: &Client, stream: StreamId) -> Result<Option<String>, Failure> {
        #[derive(Deserialize)]
        struct Commitments {
            commitments: Vec<Commitment>,
        }
        #[derive(Deserialize)]
        struct Commitment {
            is_anchored: bool,
            chain_tx_hash: Option<String>,
        }
        let call = Call::get(&["api", "v1", "ves", "commitments"]).stream(stream).query("all", Some(true));
        loop {
            let mut answer: Commitments = client.json(&call).await?;
            if answer.commitments.iter().all(|commitment| commitment.is_anchored) {
                return Ok(answer.commitments.pop().and_then(|last| last.chain_tx_hash));
            }
            self.mine().await;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks for another block. A node that makes blocks by itself may refuse, which does no harm.
    pub(crate) async fn mine(&self) {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "evm_mine", "params": [] });
        drop(self.http.post(self.node.url()).json(&body).send().await);
    }

    /// Whether the chain is still there when the demo has ended.
    pub(super) fn stays(&self) -> bool {
        !self.node.is_own()
    }

    /// The options of `verify anchor` that name the contract.
    pub(super) fn named(&self) -> String {
        let contract = self.deployed.contract;
        format!(
            "--rpc-url {} --chain-id {DEV_CHAIN} --contract {contract} --confirmations {CONFIRMATIONS}",
            self.node.url()
        )
    }
}

/// What the chain has of the demo.
#[derive(Debug)]
pub(super) struct Anchored {
    comparison: Comparison,
    transaction: Option<String>,
}

impl Anchored {
    /// One line for each thing that was shown.
    pub(super) fn told(&self, chain: &DevChain) -> [(&'static str, String); 3] {
        let Comparison { rows, block_number, .. } = &self.comparison;
        let last = rows.last();
        let block = last.and_then(|row| row.place?.block_number).unwrap_or_default();
        let on_top = last.and_then(|row| row.confirmations).unwrap_or_default();
        let transaction = self.transaction.as_deref().unwrap_or("unknown");
        let deployed = &chain.deployed;
        [
            (
                "contract",
                format!("{} on chain {DEV_CHAIN}, made with {} gas", deployed.contract, deployed.gas_used),
            ),
            ("anchor", format!("transaction {transaction} in block {block}, {on_top} blocks on top of it")),
            (
                "chain",
                format!(
                    "the export holds against the contract at block {block_number}: {} of {} commitments final",
                    rows.len(),
                    rows.len()
                ),
            ),
        ]
    }

    /// The same for machines.
    pub(super) fn to_json(&self) -> Value {
        json!({ "transaction": self.transaction, "verified": verify::anchor::to_json(&self.comparison, Value::Null) })
    }
}
