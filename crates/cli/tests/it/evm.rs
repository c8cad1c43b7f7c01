//! A private EVM chain for one test, and nodes that anchor on it.

use std::ops::Deref;

pub(crate) use bowline_neighbours::KEYS;
use serde_json::{Value, json};

use crate::author::Author;
use crate::client::Api;
use crate::node::{Ended, Spec, bowline};
use crate::site::{Site, until};

/// The chain id of every development node.
pub(crate) const CHAIN: &str = "31337";

/// A running anvil, with what operators do on it; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Anvil(bowline_neighbours::Anvil);

impl Deref for Anvil {
    type Target = bowline_neighbours::Anvil;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Anvil {
    /// Starts a chain with these arguments; without any, each transaction gets a block at once.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self(bowline_neighbours::Anvil::start(arguments))
    }

    /// How many transactions the first account has in blocks.
    pub(crate) async fn nonce(&self) -> Value {
        let account = self.call("eth_accounts", json!([])).await[0].take();
        self.call("eth_getTransactionCount", json!([account, "latest"])).await
    }

    /// Puts a contract there with the command that operators have for it; returns its address.
    pub(crate) async fn contract(&self, site: &Site) -> String {
        let made = self.deploys(site, &[]).await.json(0);
        made["contract"].as_str().unwrap().to_owned()
    }

    /// `bowline anchors deploy-contract` with the first account's key.
    pub(crate) async fn deploys(&self, site: &Site, more: &[&str]) -> Ended {
        site.write("payer.key", format!("0x{}\n", KEYS[0]));
        let mut words =
            vec!["anchors", "deploy-contract", "--private-key-file", "payer.key", "--output", "json"];
        words.extend(["--rpc-url", self.url(), "--yes"]);
        if !more.contains(&"--chain-id") {
            words.extend(["--chain-id", CHAIN]);
        }
        words.extend(more);
        bowline(&site.path(""), &words).await
    }

    /// Puts a contract of the original's kind there.
    pub(crate) async fn original_contract(&self) -> String {
        let artifact: Value =
            serde_json::from_str(include_str!("../../../../contracts/artifacts/test/OriginalAnchor.json"))
                .unwrap();
        let account = self.call("eth_accounts", json!([])).await[0].take();
        let code = artifact["bytecode"].as_str().unwrap().trim_start_matches("0x");
        let transaction = json!({ "from": account, "data": format!("0x{code}"), "gas": "0x4c4b40" });
        let hash = self.call("eth_sendTransaction", json!([transaction])).await;
        let receipt = async || self.call("eth_getTransactionReceipt", json!([hash])).await;
        until(async || !receipt().await.is_null()).await;
        receipt().await["contractAddress"].as_str().unwrap().to_owned()
    }

    /// A node that anchors there, at once; two blocks on top make an anchor final.
    pub(crate) fn node(&self, spec: Spec, contract: &str) -> Spec {
        [
            ("L2_RPC_URL", self.url()),
            ("L2_CHAIN_ID", CHAIN),
            ("SET_REGISTRY_ADDRESS", contract),
            ("SEQUENCER_PRIVATE_KEY", KEYS[0]),
            ("ANCHOR_BATCH_THRESHOLD", "1"),
            ("ANCHOR_POLL_MS", "50"),
            ("ANCHOR_FINALITY_CONFIRMATIONS", "2"),
            ("ANCHOR_FINALITY_POLL_SECS", "1"),
        ]
        .into_iter()
        .fold(spec, |spec, (name, value)| spec.env(name, value))
    }

    /// Makes blocks until all of the stream's commitments are final.
    pub(crate) async fn until_final(&self, api: &Api, author: &Author) {
        until(async || {
            self.mine(1).await;
            let open = api.get(&author.path("commitments", "")).await.json();
            open["count"] == 0
        })
        .await;
    }
}
