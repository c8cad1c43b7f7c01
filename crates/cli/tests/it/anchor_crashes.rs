//! Nodes that anchor and are killed: at random moments, and with another node beside them that takes the work over.
//! What is on the chain is counted by the contract, which takes nothing twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::author::Author;
use crate::chain::Chain;
use crate::client::Api;
use crate::node::Node;
use crate::site::{Site, soak_secs, until};

/// In an ordinary run; `cargo xtask soak` goes on until its time is over.
const KILLS: usize = 8;

/// Commitments between two kills.
const COMMITMENTS: usize = 4;

async fn commit(api: &Api, author: &Author) {
    author.grow(api, 2).await;
    author.commit(api, None, None).await.json();
}

async fn status(api: &Api) -> Value {
    api.get("/api/v1/anchors/status").await.json()
}

/// Mines until everything is final.
async fn all_anchored(chain: &Chain, api: &Api, count: usize) -> Value {
    until(async || {
        chain.mine(1).await;
        status(api).await["anchored"] == count
    })
    .await;
    status(api).await
}

/// Every commitment is in the contract, and in one transaction that counts.
async fn assert_once(api: &Api, author: &Author, count: usize) {
    let (mut rows, mut after) = (Vec::new(), json!(0));
    while !after.is_null() {
        let path = author.path("", &format!("&limit=500&after={after}")).replace("/ves/?", "/anchors?");
        let mut page = api.get(&path).await.json();
        rows.append(page["anchors"].as_array_mut().unwrap());
        after = page["next"].take();
    }
    assert_eq!(rows.len(), count);
    for row in rows {
        let batch = row["batch_id"].as_str().unwrap();
        let verified = api.get(&format!("/api/v1/ves/anchor/{batch}/verify")).await.json();
        assert_eq!(verified["anchored_on_chain"], true, "{verified}");
        assert_eq!(verified["block_number"], row["block_number"], "{row}");
        let shown = api.get(&format!("/api/v1/anchors/{batch}")).await.json();
        let counting = shown["attempts"].as_array().unwrap().iter().filter(|one| one["state"] != "void");
        assert_eq!(counting.count(), 1, "{shown}");
    }
}

pub(crate) async fn a_node_that_is_killed_while_it_anchors_loses_and_doubles_nothing(site: Arc<Site>) {
    let chain = Chain::start().await;
    // Blocks come while it works, so that kills meet every state.
    chain.call("anvil_setIntervalMining", json!([1])).await;
    let mut node = chain.of(site.node("data")).env("ANCHOR_LEASE_SECS", "1").start().await;
    let author = Author::known_to(&node.api()).await;
    let (began, mut kills) = (Instant::now(), 0);
    while soak_secs().map_or(kills < KILLS, |secs| began.elapsed().as_secs() < secs) {
        kills += 1;
        for _ in 0..COMMITMENTS {
            commit(&node.api(), &author).await;
        }
        let random = Uuid::new_v4().into_bytes();
        // Somewhere in the work: this chooses a moment and waits for no state.
        tokio::time::sleep(Duration::from_millis(u64::from(random[0]) * 6)).await;
        node.kill();
        node = node.again().await;
    }
    let count = kills * COMMITMENTS;
    let found = all_anchored(&chain, &node.api(), count).await;
    assert_eq!(
        (&found["pending"], &found["under_way"], &found["trouble"]),
        (&json!(0), &json!(0), &json!(null))
    );
    assert_eq!(found["blocked"], json!([]));
    assert_once(&node.api(), &author, count).await;
    node.kill();
    site.assert_clean("data", 2 * count).await;
}

/// The nodes that say that they anchor.
async fn leaders(nodes: &[&Node]) -> usize {
    let mut count = 0;
    for node in nodes {
        let status = status(&node.api()).await;
        count += usize::from(status["holder"]["is_this_process"] == true);
    }
    count
}

pub(crate) async fn of_two_nodes_one_anchors_and_the_other_takes_over(site: Arc<Site>) {
    let chain = Chain::start().await;
    let spec = |name: &str| chain.of(site.node(name)).env("ANCHOR_LEASE_SECS", "2");
    let (mut first, mut second) = (spec("first").start().await, spec("second").start().await);
    let author = Author::known_to(&first.api()).await;
    let mut count = 0;
    for _ in 0..3 {
        until(async || leaders(&[&first, &second]).await == 1).await;
        for api in [first.api(), second.api()] {
            commit(&api, &author).await;
            count += 1;
        }
        let is_first = status(&first.api()).await["holder"]["is_this_process"] == true;
        let (leader, other) = if is_first { (&mut first, &second) } else { (&mut second, &first) };
        // Whoever does not anchor passes a wish on.
        let newest = {
            commit(&other.api(), &author).await;
            count += 1;
            let path = author.path("commitments", "&all=true&limit=1000");
            other.api().get(&path).await.json()["commitments"].as_array().unwrap().last().unwrap().clone()
        };
        let wish = json!({ "batch_id": newest["batch_id"] }).to_string();
        let answer = other.api().post("/api/v1/ves/anchor", wish).await;
        assert!(matches!(answer.status, 200 | 202), "{}", answer.text);
        leader.kill();
        commit(&other.api(), &author).await;
        count += 1;
        let found = all_anchored(&chain, &other.api(), count).await;
        assert_eq!(found["holder"]["is_this_process"], true, "{found}");
        assert_once(&other.api(), &author, count).await;
        *leader = leader.again().await;
    }
}
