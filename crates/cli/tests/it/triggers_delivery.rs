//! From an event to a delivery, through the binary: matched, queued, delivered with its signature, logged, repeated,
//! forgotten; in one process and in processes of their own, with and without Redis.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::author::Author;
use crate::client::Api;
use crate::node::{ADMIN_KEY, Node, bowline_in};
use crate::receiver::Receiver;
use crate::roles::Redis;
use crate::site::{Site, until};

/// One attempt is all, so that what fails is a dead letter at once.
const ONE_ATTEMPT: &str = "triggers:\n  delivery:\n    allow: [127.0.0.1]\n    attempts_max: 1\n";

/// What webhooks are signed with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Makes a trigger on the author's own stream; returns its id.
async fn trigger(api: &Api, author: &Author, url: &str) -> String {
    let written = json!({
        "name": "orders",
        "registry": "line",
        "conditions": [{ "condition_type": "event_type_equals", "value": "order.created" }],
        "actions": [{ "action_type": "rest", "config": { "url": url, "signing_secrets": [SECRET] } }],
    });
    let api = api.and("x-organization-id", &author.stream.tenant_id.to_string());
    let made = api.post("/api/v1/triggers", written.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    made.body()["data"]["id"].as_str().unwrap().to_owned()
}

/// The deliveries of a trigger in a state.
async fn deliveries(api: &Api, trigger: &str, state: &str) -> Vec<Value> {
    let page = api.get(&format!("/api/v1/deliveries?trigger_id={trigger}&state={state}")).await.json();
    page["data"].as_array().unwrap().clone()
}

/// An event sets a delivery off, and everything tells of it.
async fn delivers(api: &Api, author: &Author) {
    let receiver = Receiver::start().await;
    let trigger = trigger(api, author, &receiver.url("/hook")).await;
    author.grow(api, 1).await;
    let received = receiver.until_received(1).await.remove(0);
    assert_eq!(received.path, "/hook");
    assert!(received.json().is_object(), "{}", received.body);
    assert!(!received.header("webhook-signature").is_empty(), "{received:?}");
    until(async || deliveries(api, &trigger, "succeeded").await.len() == 1).await;
    let done = deliveries(api, &trigger, "succeeded").await.remove(0);
    assert_eq!(received.header("webhook-id"), done["id"].as_str().unwrap());
    let shown = api.get(&format!("/api/v1/deliveries/{}", done["id"].as_str().unwrap())).await.json();
    let log = shown["data"]["log"].as_array().unwrap().clone();
    assert_eq!((log.len(), &log[0]["status"], &log[0]["http_status"]), (1, &json!("success"), &json!(200)));
    let event = done["event_id"].as_str().unwrap();
    let life = api.get(&format!("/api/v1/ves/events/{event}/explain")).await.json();
    let chapters: Vec<&str> = life["chapters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chapter| chapter["name"].as_str().unwrap())
        .collect();
    for name in ["matched", "attempted", "delivered"] {
        assert!(chapters.contains(&name), "{name} is not in {chapters:?}");
    }
    // Once more, under the same id.
    let again = api.post(&format!("/api/v1/deliveries/{}/redeliver", done["id"].as_str().unwrap()), "").await;
    assert_eq!(again.status, 200, "{}", again.text);
    let twice = receiver.until_received(2).await;
    assert_eq!(twice[0].header("webhook-id"), twice[1].header("webhook-id"));
}

pub(crate) async fn an_event_is_delivered_and_told_of(site: Arc<Site>) {
    let node = site.node("data").config(ONE_ATTEMPT).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    delivers(&api, &author).await;
    assert!(node.said().contains("Action executed successfully"), "{}", node.said());

    let receiver = Receiver::start().await;
    receiver.answer(410);
    let trigger = trigger(&api, &author, &receiver.url("/gone")).await;
    author.grow(&api, 2).await;
    until(async || deliveries(&api, &trigger, "dead").await.len() == 2).await;
    assert!(node.said().contains("Action execution failed"), "{}", node.said());
    receiver.answer(200);
    let folder = site.path("");
    let environment = [("BOWLINE_URL", node.address()), ("BOWLINE_API_KEY", ADMIN_KEY)];
    let run = async |words: &[&str]| bowline_in(&folder, &environment, words, "").await;
    let dead = run(&["deliveries", "list", "--state", "dead", "--trigger", &trigger]).await;
    assert!(dead.must(0).stdout.contains("410"), "{dead:?}");
    let again = run(&["deliveries", "redeliver", "--all", "--trigger", &trigger]).await;
    assert!(again.must(0).stdout.contains("2 deliveries"), "{again:?}");
    run(&["queue", "drain", "--timeout", "20"]).await.must(0);
    assert_eq!(deliveries(&api, &trigger, "succeeded").await.len(), 2);
    let one = deliveries(&api, &trigger, "succeeded").await[0]["id"].as_str().unwrap().to_owned();
    let shown = run(&["deliveries", "show", &one]).await;
    assert!(shown.must(0).stdout.contains("410") && shown.stdout.contains("200"), "{shown:?}");
    let purged = run(&["deliveries", "purge", "--yes", "--state", "succeeded", "--trigger", &trigger]).await;
    assert!(purged.must(0).stdout.contains("2 deliveries"), "{purged:?}");
    assert!(deliveries(&api, &trigger, "succeeded").await.is_empty());
    for who in ["Delivery is repeated", "Deliveries are repeated", "Deliveries purged"] {
        assert!(node.said().contains(who), "{who} is not in {}", node.said());
    }
}

pub(crate) async fn processes_of_their_own_deliver_through_redis(site: Arc<Site>) {
    let redis = Redis::start().await;
    let key = "cd".repeat(32);
    let spec = |role: &str| {
        let spec = site.node(role).config(ONE_ATTEMPT).env("BOWLINE_ROLES", role);
        spec.env("BOWLINE_SECRETS_KEY", &key).env("REDIS_URL", &redis.url())
    };
    let gateway = spec("gateway").start().await;
    let mut others: Vec<Node> = Vec::new();
    for role in ["triggers", "worker"] {
        others.push(spec(role).start().await);
    }
    let api = gateway.api();
    let author = Author::known_to(&api).await;
    delivers(&api, &author).await;
    let stats = api.get("/api/v1/queue/stats").await.json();
    assert_eq!(stats["data"]["redis"]["waiting"], 0, "{stats}");
    for node in &mut others {
        node.terminate();
        assert_eq!(node.ended().await.code(), Some(0), "{}", node.said());
    }
}

pub(crate) async fn a_worker_with_another_key_says_so_and_goes_on(site: Arc<Site>) {
    let spec = |role: &str, key: &str| {
        let spec = site.node(role).config(ONE_ATTEMPT).env("BOWLINE_ROLES", role);
        spec.env("BOWLINE_SECRETS_KEY", &key.repeat(32))
    };
    let gateway = spec("gateway", "cd").start().await;
    let _matching = spec("triggers", "cd").start().await;
    let mut worker = spec("worker", "ee").start().await;
    let api = gateway.api();
    let author = Author::known_to(&api).await;
    let receiver = Receiver::start().await;
    let trigger = trigger(&api, &author, &receiver.url("/hook")).await;
    author.grow(&api, 2).await;
    until(async || deliveries(&api, &trigger, "dead").await.len() == 2).await;
    // The attempt says what is wrong, and that is not the receiver's business.
    let dead = deliveries(&api, &trigger, "dead").await.remove(0);
    let shown = api.get(&format!("/api/v1/deliveries/{}", dead["id"].as_str().unwrap())).await.json();
    let log = shown["data"]["log"].as_array().unwrap();
    assert_eq!(log.len(), 1, "{shown}");
    let error = log[0]["error_message"].as_str().unwrap();
    assert!(error.starts_with("SECRETS_UNREADABLE: ") && error.contains("key"), "{error}");
    assert!(receiver.received().is_empty());
    assert_eq!(worker.api().without_key().get("/ready").await.status, 200);
    let data = gateway.data().to_str().unwrap().to_owned();
    let database = site.database_url().unwrap();
    let words = ["--url", gateway.address(), "--api-key", ADMIN_KEY, "--data", &data, "--output", "json"];
    let check = ["doctor", "--check", "deliveries", "--database-url", &database];
    let words: Vec<&str> = words.into_iter().chain(check).collect();
    let doctor = bowline_in(&site.path(""), &[], &words, "").await.json(2);
    let finding = &doctor["checks"][0];
    assert!(finding["cause"].as_str().unwrap().contains("another key"), "{finding}");
    assert!(finding["fix"].as_str().unwrap().contains("BOWLINE_SECRETS_KEY"), "{finding}");
    // With the right one, what was given up is had again.
    worker.terminate();
    assert_eq!(worker.ended().await.code(), Some(0), "{}", worker.said());
    let _worker = spec("worker", "cd").start().await;
    let api = api.and("x-organization-id", &author.stream.tenant_id.to_string());
    let again = api.post("/api/v1/deliveries/redeliver", "{}").await.json();
    assert_eq!(again["data"]["redelivered"].as_array().map(Vec::len), Some(2), "{again}");
    let received = receiver.until_received(2).await;
    assert!(received.iter().all(|one| !one.header("webhook-signature").is_empty()), "{received:?}");
}
