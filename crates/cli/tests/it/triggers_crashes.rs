//! From a chain's log to a delivery while everything is killed: processes of every role, and Redis.
//!
//! What happened is counted at both ends: by the registry, whose every feedback has an index, and by a receiver that
//! takes each idempotency key once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Api;
use crate::evm::Anvil;
use crate::node::{Node, Spec};
use crate::receiver::Receiver;
use crate::redis::Redis;
use crate::registry::Registry;
use crate::site::{Site, soak_secs, until};

/// The organization whose trigger it is.
const ORGANIZATION: &str = "7b3c1f0e-5a7e-4c55-9d7e-0f3a1c2b4d5e";
/// In an ordinary run; `cargo xtask soak` goes on until its time is over.
const KILLS: usize = 8;
/// Feedbacks between two kills.
const FEEDBACKS: u64 = 5;
/// The same for all processes.
const SECRETS_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";

fn settings(registry: &Registry<'_>) -> String {
    json!({
        "indexer": { "chains": [registry.chain_settings()], "lease_secs": 1 },
        "triggers": { "delivery": { "allow": ["127.0.0.1/32"], "lease_secs": 3, "poll_ms": 100 } },
    })
    .to_string()
}

fn process(site: &Site, registry: &Registry<'_>, name: &str, roles: &str) -> Spec {
    let spec = site.node(name).config(&settings(registry));
    spec.env("BOWLINE_ROLES", roles).env("BOWLINE_SECRETS_KEY", SECRETS_KEY)
}

/// A trigger on one tag whose action goes to the receiver.
async fn trigger(api: &Api, receiver: &Receiver) -> String {
    let body = json!({
        "name": "every quality feedback", "chain_id": 31337, "registry": "reputation",
        "conditions": [
            { "condition_type": "event_type_equals", "value": "NewFeedback" },
            { "condition_type": "tag_equals", "field": "tag1", "operator": "=", "value": "quality" },
        ],
        "actions": [{ "action_type": "rest", "config": {
            "method": "POST", "url": receiver.url("/hook"), "max_attempts": 20,
            "body_template": { "index": "{{ feedback_index }}", "value": "{{ value }}" },
        } }],
    });
    let made = api.post("/api/v1/triggers", body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.body()["data"]["id"].as_str().unwrap().to_owned()
}

/// The index of the feedback under each idempotency key that the receiver has taken.
fn taken(receiver: &Receiver) -> BTreeMap<String, String> {
    let good = receiver.received().into_iter().filter(|received| received.answered == 200);
    let index = |body: &Value| body["index"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    good.map(|received| (received.header("idempotency-key").to_owned(), index(&received.json()))).collect()
}

/// Everything that was given is at the receiver, each once, and each job has one success on record.
async fn assert_all_once(api: &Api, registry: &Registry<'_>, receiver: &Receiver) {
    let given: BTreeSet<String> = (1..=registry.given()).map(|index| index.to_string()).collect();
    let found = || taken(receiver).into_values().collect::<Vec<String>>();
    until(async || found().len() >= given.len()).await;
    let found = found();
    assert_eq!(found.len(), given.len(), "a feedback arrived under two keys");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), given);
    until(async || {
        let stats = api.get("/api/v1/queue/stats").await.json();
        (&stats["data"]["waiting"], &stats["data"]["running"]) == (&json!(0), &json!(0))
    })
    .await;
    for key in taken(receiver).keys() {
        let job = api.get(&format!("/api/v1/deliveries/{key}")).await.json();
        assert_eq!(job["data"]["state"], "succeeded", "{job}");
        let attempts = job["data"]["log"].as_array().unwrap();
        let successes = attempts.iter().filter(|attempt| attempt["status"] == "success");
        assert_eq!(successes.count(), 1, "{job}");
    }
}

/// The API as the organization's people use it.
fn api(node: &Node) -> Api {
    node.api().and("x-organization-id", ORGANIZATION)
}

fn random() -> u8 {
    Uuid::new_v4().into_bytes()[0]
}

fn goes_on(kills: usize, began: Instant) -> bool {
    soak_secs().map_or(kills < KILLS, |secs| began.elapsed().as_secs() < secs)
}

/// Somewhere in the work: this chooses a moment and waits for no state.
async fn some_moment() {
    tokio::time::sleep(Duration::from_millis(u64::from(random()) * 3)).await;
}

pub(crate) async fn a_node_with_all_roles_is_killed_and_loses_and_doubles_nothing(site: Arc<Site>) {
    let chain = Anvil::start(&[]);
    let registry = Registry::deploy(&chain).await;
    let receiver = Receiver::start().await;
    let mut node = process(&site, &registry, "data", "all").start().await;
    trigger(&api(&node), &receiver).await;
    let (began, mut kills) = (Instant::now(), 0);
    while goes_on(kills, began) {
        kills += 1;
        for agent in 0..FEEDBACKS {
            registry.give(agent, 8_750, "quality").await;
        }
        some_moment().await;
        node.kill();
        node = node.again().await;
    }
    assert_all_once(&api(&node), &registry, &receiver).await;
    // One more, of which this process tells.
    registry.give(1, 9_000, "quality").await;
    assert_all_once(&api(&node), &registry, &receiver).await;
    for phrase in
        ["Indexing chain 31337 from block ", "Event processed successfully", "Action executed successfully"]
    {
        until(async || node.said().contains(phrase)).await;
    }
    node.terminate();
    assert!(node.ended().await.success(), "{}", node.said());
    until(async || node.said().contains("Listener metrics: spawned=")).await;
    let given = usize::try_from(registry.given()).unwrap();
    site.assert_clean("data", given).await;
}

/// Two of every process behind one database and one Redis; any of them may go, Redis too.
pub(crate) async fn two_of_every_process_are_killed_and_lose_and_double_nothing(site: Arc<Site>) {
    let chain = Anvil::start(&[]);
    let registry = Registry::deploy(&chain).await;
    let receiver = Receiver::start().await;
    let mut redis = Redis::start(&site.path("redis")).await;
    let gateway = process(&site, &registry, "gateway", "gateway").env("REDIS_URL", &redis.url());
    let gateway = gateway.start().await;
    trigger(&api(&gateway), &receiver).await;
    let mut nodes: Vec<Node> = Vec::new();
    for role in ["indexer", "triggers", "worker"] {
        for twin in ["a", "b"] {
            let name = format!("{role}-{twin}");
            let spec = process(&site, &registry, &name, role).env("REDIS_URL", &redis.url());
            nodes.push(spec.env("MAX_DB_CONNECTIONS", "4").start().await);
        }
    }
    let (began, mut kills) = (Instant::now(), 0);
    while goes_on(kills, began) {
        kills += 1;
        for agent in 0..FEEDBACKS {
            registry.give(agent, 8_750, "quality").await;
        }
        some_moment().await;
        let processes = nodes.len();
        let victim = usize::from(random()) % (processes + 2);
        match nodes.get_mut(victim) {
            Some(node) => {
                node.kill();
                *node = node.again().await;
            }
            None if victim == processes => {
                redis.kill();
                redis.again().await;
            }
            None => drop(redis.says(&["FLUSHALL"])),
        }
    }
    assert_all_once(&api(&gateway), &registry, &receiver).await;
    until(async || redis.says(&["LLEN", "action_jobs"]) == "0").await;
    let events: Value = api(&gateway).get("/api/v1/events?limit=1").await.json();
    assert!(events["data"].as_array().is_some_and(|events| events.len() == 1), "{events}");
}
