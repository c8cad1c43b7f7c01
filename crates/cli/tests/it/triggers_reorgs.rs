//! A chain takes five blocks back, across a trigger that has fired: what is there again is not delivered again, what
//! is not is cancelled, and an average forgets it.
//!
//! Jobs wait because no worker runs while the blocks are taken back; what was delivered before was delivered by one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::client::Api;
use crate::evm::Anvil;
use crate::node::{Node, Spec};
use crate::receiver::Receiver;
use crate::registry::Registry;
use crate::site::{Site, until};

/// The organization whose triggers they are.
const ORGANIZATION: &str = "7b3c1f0e-5a7e-4c55-9d7e-0f3a1c2b4d5e";
/// The agent that is judged.
const AGENT: u64 = 7;
/// The same for all processes.
const SECRETS_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";

fn process(site: &Site, registry: &Registry<'_>, roles: &str) -> Spec {
    let settings = json!({
        "indexer": { "chains": [registry.chain_settings()], "lease_secs": 1 },
        "triggers": {
            "matching": { "lease_secs": 1 },
            "delivery": { "allow": ["127.0.0.1/32"], "lease_secs": 3, "poll_ms": 100 },
        },
    });
    let spec = site.node("data").config(&settings.to_string());
    spec.env("BOWLINE_ROLES", roles).env("BOWLINE_SECRETS_KEY", SECRETS_KEY)
}

fn api(node: &Node) -> Api {
    node.api().and("x-organization-id", ORGANIZATION)
}

/// A trigger on the agent's feedback with one condition more, whose action goes to that path.
async fn trigger(api: &Api, receiver: &Receiver, path: &str, condition: Value) -> String {
    let body = json!({
        "name": path, "chain_id": 31337, "registry": "reputation",
        "conditions": [{ "condition_type": "agent_id_equals", "value": AGENT }, condition],
        "actions": [{ "action_type": "rest", "config": {
            "method": "POST", "url": receiver.url(path), "body_template": { "index": "{{ feedback_index }}" },
        } }],
    });
    let made = api.post("/api/v1/triggers", body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.body()["data"]["id"].as_str().unwrap().to_owned()
}

/// Path and index of the feedback of everything that came, with the keys under which it came.
fn taken(receiver: &Receiver) -> BTreeMap<(String, String), Vec<String>> {
    let mut taken: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for received in receiver.received() {
        let index = received.json()["index"].as_str().unwrap().to_owned();
        let key = received.header("idempotency-key").to_owned();
        taken.entry((received.path, index)).or_default().push(key);
    }
    taken
}

/// How many deliveries of a trigger are in a state.
async fn count(api: &Api, trigger: &str, state: &str) -> usize {
    let page = api.get(&format!("/api/v1/deliveries?trigger_id={trigger}&state={state}")).await.json();
    page["data"].as_array().unwrap().len()
}

/// The average that a trigger remembers, and of how many values it is.
async fn average(api: &Api, trigger: &str) -> (f64, u64) {
    let state = api.get(&format!("/api/v1/triggers/{trigger}/state")).await.json();
    let Some(entry) = state["data"].get(0) else { return (0.0, 0) };
    assert_eq!(entry["subject"], AGENT.to_string(), "{state}");
    (entry["state"]["ema"].as_f64().unwrap(), entry["state"]["count"].as_u64().unwrap())
}

pub(crate) async fn what_the_chain_takes_back_is_taken_back_and_what_comes_again_is_not_doubled(
    site: Arc<Site>,
) {
    let chain = Anvil::start(&[]);
    let registry = Registry::deploy(&chain).await;
    let receiver = Receiver::start().await;
    let mut node = process(&site, &registry, "all").start().await;
    let every = json!({ "condition_type": "event_type_equals", "value": "NewFeedback" });
    let every = trigger(&api(&node), &receiver, "/every", every).await;
    let low = json!({
        "condition_type": "ema_threshold", "operator": "<", "value": 60, "config": { "window_size": 3 },
    });
    let low = trigger(&api(&node), &receiver, "/low", low).await;

    // The first one stays; the second one is delivered, and its block is taken back.
    registry.give_signed(AGENT, 8_000, "quality").await;
    let second = registry.give_signed(AGENT, 2_000, "quality").await;
    receiver.until_received(3).await;
    until(async || count(&api(&node), &every, "succeeded").await == 2).await;
    until(async || count(&api(&node), &low, "succeeded").await == 1).await;
    assert_eq!(average(&api(&node), &low).await, (50.0, 2));

    // Without a worker the next ones wait.
    node.terminate();
    assert!(node.ended().await.success(), "{}", node.said());
    let mut node = process(&site, &registry, "gateway,indexer,triggers").start().await;
    let api_now = api(&node);
    registry.give_signed(AGENT, 3_000, "quality").await;
    registry.give_signed(AGENT, 1_000, "quality").await;
    chain.mine(2).await;
    until(async || average(&api_now, &low).await == (25.0, 4)).await;
    until(async || {
        (count(&api_now, &every, "waiting").await, count(&api_now, &low, "waiting").await) == (2, 2)
    })
    .await;

    // Five blocks go, and of the three feedbacks in them one comes again, in another block.
    chain.call("anvil_reorg", json!([5, [[second, 3]]])).await;
    chain.mine(1).await;
    until(async || average(&api_now, &low).await == (50.0, 2)).await;
    until(async || {
        (count(&api_now, &every, "cancelled").await, count(&api_now, &low, "cancelled").await) == (2, 2)
    })
    .await;
    let events = async |event_type: &str| {
        let page = api_now
            .get(&format!("/api/v1/events?chainId=31337&limit=100&eventType={event_type}"))
            .await
            .json();
        page["data"].as_array().unwrap().clone()
    };
    until(async || (events("Retracted").await.len(), events("NewFeedback").await.len()) == (3, 5)).await;
    let feedbacks = events("NewFeedback").await;
    let twice = feedbacks.iter().filter(|event| event["feedback_index"] == "2");
    let blocks: Vec<&Value> = twice.map(|event| &event["block_number"]).collect();
    assert!(blocks.len() == 2 && blocks[0] != blocks[1], "{feedbacks:?}");
    node.terminate();
    assert!(node.ended().await.success(), "{}", node.said());

    // A worker finds nothing to deliver of all that; what comes from now on is delivered.
    let node = process(&site, &registry, "all").start().await;
    registry.give(AGENT, 1_000, "quality").await;
    receiver.until_received(5).await;
    until(async || count(&api(&node), &every, "succeeded").await == 3).await;
    let taken = taken(&receiver);
    let paths: Vec<(&str, &str)> = taken.keys().map(|(path, index)| (&**path, &**index)).collect();
    assert_eq!(paths, [("/every", "1"), ("/every", "2"), ("/every", "5"), ("/low", "2"), ("/low", "5")]);
    assert!(taken.values().all(|keys| keys.len() == 1), "{taken:?}");
    assert_eq!(average(&api(&node), &low).await, (30.0, 3));
    for trigger in [&every, &low] {
        assert_eq!(count(&api(&node), trigger, "cancelled").await, 2);
    }
}
