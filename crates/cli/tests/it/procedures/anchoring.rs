//! The page `docs/runbooks/anchors.md`, pasted beside a live node and a real chain.
//!
//! The chain makes a block every second, since nobody else sends anything to it. What one incident brought about is
//! over before the next one begins.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Page, Shift};
use crate::chain::{Chain, KEYS};
use crate::client::Api;
use crate::node::ADMIN_KEY;
use crate::site::{Site, until};

const PAGE: Page = Page {
    text: include_str!("../../../../../docs/runbooks/anchors.md"),
    not_run_max: 0,
    run_min: 24,
    incidents: &["Anchoring has failed", "Empty account", "What such a service asks and tells"],
};

/// Settings that make a test quick, and are none of the page's.
const QUICK: [&str; 7] = [
    "ANCHOR_INTERVAL_SECS",
    "ANCHOR_FINALITY_POLL_SECS",
    "ANCHOR_FINALITY_CONFIRMATIONS",
    "ANCHOR_POLL_MS",
    "ANCHOR_BREAKER_OPEN_SECS",
    "ANCHOR_CALL_SECS_MAX",
    "L2_CHAIN_ID",
];

pub(crate) async fn every_block_of_the_anchors_page_runs(site: Arc<Site>) {
    let chain = Chain::start().await;
    chain.call("anvil_setIntervalMining", json!([1])).await;
    let settings = chain.settings();
    let quick = settings.iter().filter(|(name, _)| QUICK.contains(name));
    let spec = quick.fold(site.node("data"), |spec, (name, value)| spec.env(name, value));
    let mut shift = Shift::begin_with(&site, spec).await;
    let first = shift.batches().await.remove(0);
    let accounts = chain.call("eth_accounts", json!([])).await;
    let account = |index: usize| accounts[index].as_str().unwrap().to_owned();
    shift.words.extend([
        ("<owner>", account(0)),
        ("<committer>", account(1)),
        ("https://rpc.example", chain.url.clone()),
        ("<chain-id>", "31337".to_owned()),
        ("<contract>", chain.contract.to_lowercase()),
        ("<private-key>", KEYS[1].to_owned()),
        ("<strangers-key>", KEYS[2].to_owned()),
        ("<batch-id>", first),
    ]);
    shift.environment.extend(settings);
    shift.environment.push(("TOKEN", ADMIN_KEY.to_owned()));
    shift.chain = Some(Arc::new(chain));
    shift.work_through(&PAGE).await;
}

impl Shift {
    async fn batches(&mut self) -> Vec<String> {
        let path = self.author.path("commitments", "&all=true");
        let api = self.node().await.api();
        let listed = api.get(&path).await.json();
        let ids = listed["commitments"].as_array().unwrap().iter();
        ids.map(|one| one["batch_id"].as_str().unwrap().to_owned()).collect()
    }

    /// A new commitment, whose id that word stands for.
    async fn commits(&mut self, api: &Api, word: &'static str) {
        self.author.grow(api, 3).await;
        let made = self.author.commit(api, None, None).await.json();
        self.knows(word, made["batch_id"].as_str().unwrap());
    }

    /// Once the node that was just started has the right to anchor, if it is to.
    pub(super) async fn until_it_anchors(&mut self) {
        let api = self.node().await.api();
        until(async || {
            let status = api.get("/api/v1/anchors/status").await.json();
            status["configured"] == false || status["holder"]["is_this_process"] == true
        })
        .await;
    }

    /// Brings about what a procedure of the anchors' page is for; what one before it brought about is over.
    pub(super) async fn come_upon_anchors(&mut self, heading: &str, api: &Api) {
        let Some(chain) = self.chain.clone() else { return };
        let committer = chain.call("eth_accounts", json!([])).await[1].clone();
        chain.open();
        chain.call("anvil_setBalance", json!([committer, "0x56bc75e2d63100000"])).await;
        let status = async || api.get("/api/v1/anchors/status").await.json();
        let is_done = |status: &Value| status["pending"] == 0 && status["under_way"] == 0;
        match heading {
            "Watch" | "The chain is back" => until(async || is_done(&status().await)).await,
            "Anchoring has failed" => {
                chain.shut();
                self.commits(api, "<late-batch>").await;
                until(async || status().await["endpoints"][0]["breaker"] == "open").await;
            }
            "Empty account" => {
                until(async || is_done(&status().await)).await;
                chain.call("anvil_setBalance", json!([committer, "0x0"])).await;
                self.commits(api, "<late-batch>").await;
                until(async || status().await["trouble"]["code"] == "INSUFFICIENT_FUNDS").await;
            }
            "Stuck transactions" => until(async || status().await["trouble"].is_null()).await,
            "Without a node" => {
                self.author.grow(api, 3).await;
            }
            "Another contract" => {
                until(async || is_done(&status().await)).await;
                let other = chain.deploy().await.to_lowercase();
                self.knows("<other-contract>", &other);
            }
            "An anchoring service elsewhere" => until(async || is_done(&status().await)).await,
            "What such a service asks and tells" => self.commits(api, "<waiting-batch>").await,
            _ => {}
        }
    }
}
