//! The doctor beside a node whose anchors are sick: each trouble is named by the check that is for it.
//!
//! Every trouble is a real one, of a real chain or of the node's settings.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::author::Author;
use crate::chain::{Chain, KEYS};
use crate::node::{ADMIN_KEY, Node, bowline};
use crate::site::{Site, until};

/// What the doctor finds of anchors that is neither well nor skipped: check and cause.
async fn sick(site: &Site, node: &Node) -> Vec<(String, String)> {
    let words = ["--url", node.address(), "--api-key", ADMIN_KEY, "--output", "json", "doctor"];
    let ended = bowline(&site.path(""), &words).await;
    let found: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let checks = found["checks"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let sick = checks.filter(|one| matches!(one["status"].as_str(), Some("warn" | "fail")));
    let sick = sick.filter(|one| one["check"].as_str().unwrap().starts_with("anchor"));
    sick.map(|one| (text(&one["check"]), format!("{} {}", text(&one["cause"]), text(&one["fix"])))).collect()
}

/// Waits until that check finds something with these words.
async fn until_named(site: &Site, node: &Node, check: &str, words: &str) {
    let mut found = Vec::new();
    until(async || {
        found = sick(site, node).await;
        found.iter().any(|(name, text)| name == check && text.contains(words))
    })
    .await;
}

pub(crate) async fn the_doctor_names_what_is_in_the_way_of_anchors(site: Arc<Site>) {
    let chain = Chain::start().await;
    let spec = chain.of(site.node("data"));
    let mut node = spec.start().await;
    let author = Author::known_to(&node.api()).await;
    for (name, value, check, words) in [
        ("SEQUENCER_PRIVATE_KEY", KEYS[2], "anchor_account", "may not commit"),
        (
            "SET_REGISTRY_ADDRESS",
            "0x00000000000000000000000000000000000000aa",
            "anchor_contract",
            "no contract",
        ),
        ("L2_CHAIN_ID", "1", "anchor_chain", "another chain"),
    ] {
        node.kill();
        node = spec.clone().env(name, value).start().await;
        until_named(&site, &node, check, words).await;
    }
    node.kill();
    node = spec.start().await;
    until(async || {
        node.api().get("/api/v1/anchors/status").await.json()["holder"]["is_this_process"] == true
    })
    .await;
    until(async || sick(&site, &node).await.is_empty()).await;

    let committer = chain.call("eth_accounts", json!([])).await[1].clone();
    chain.call("anvil_setBalance", json!([committer, "0x0"])).await;
    author.grow(&node.api(), 2).await;
    author.commit(&node.api(), None, None).await.json();
    until_named(&site, &node, "anchor_account", "can't pay").await;
    chain.shut();
    until_named(&site, &node, "anchor_chain", "can't be asked").await;
    chain.open();
    chain.call("anvil_setBalance", json!([committer, "0x56bc75e2d63100000"])).await;
    until(async || {
        chain.mine(1).await;
        node.api().get("/api/v1/anchors/status").await.json()["anchored"] == 1
    })
    .await;
    until(async || sick(&site, &node).await.is_empty()).await;
}
