//! A queue that nobody empties: matching is held at the critical depth, nothing is dropped, and everything is delivered
//! once as soon as workers run.
//!
//! An ordinary run has small limits; `cargo xtask soak` has those that the settings have if nobody sets them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use crate::author::Author;
use crate::client::Api;
use crate::node::Spec;
use crate::receiver::Receiver;
use crate::site::{Site, soak_secs, until};

/// The same for all processes.
const SECRETS_KEY: &str = "0707070707070707070707070707070707070707070707070707070707070707";
/// Events of one request.
const BATCH: u64 = 500;

/// How deep it gets.
#[derive(Debug, Clone, Copy)]
struct Depth {
    high: u64,
    critical: u64,
    /// Events of one step.
    page: u64,
}

impl Depth {
    fn of_this_run() -> Self {
        match soak_secs() {
            None => Self { high: 20, critical: 100, page: 10 },
            Some(_) => Self { high: 10_000, critical: 50_000, page: 500 },
        }
    }

    fn process(self, site: &Site, roles: &str) -> Spec {
        let matching = match soak_secs() {
            None => json!({
                "queue_high_depth": self.high, "queue_critical_depth": self.critical, "page_events": self.page,
                "poll_ms": 200,
            }),
            Some(_) => json!({}),
        };
        let settings = json!({
            "triggers": { "matching": matching, "delivery": { "allow": ["127.0.0.1/32"], "poll_ms": 100 } },
        });
        let spec = site.node("data").config(&settings.to_string());
        spec.env("BOWLINE_ROLES", roles).env("BOWLINE_SECRETS_KEY", SECRETS_KEY)
    }
}

/// The value of a metric without labels.
async fn metric(api: &Api, name: &str) -> f64 {
    let text = api.get("/metrics").await.text;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

async fn waiting(api: &Api) -> u64 {
    api.get("/api/v1/queue/stats").await.json()["data"]["waiting"].as_u64().unwrap()
}

async fn grow(api: &Api, author: &Author, events: u64) {
    for from in (0..events).step_by(BATCH as usize) {
        author.grow(api, BATCH.min(events - from)).await;
    }
}

/// Waits for a number that grows up to that one, however long, as long as it goes on growing.
async fn grows_to(most: u64, mut ask: impl AsyncFnMut() -> u64) {
    let mut last = ask().await;
    while last < most {
        let before = last;
        until(async || {
            last = ask().await;
            last > before
        })
        .await;
    }
}

pub(crate) async fn a_deep_queue_holds_matching_and_loses_nothing(site: Arc<Site>) {
    let depth = Depth::of_this_run();
    let receiver = Receiver::start().await;
    let mut node = depth.process(&site, "gateway,triggers").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let body = json!({
        "name": "everything", "registry": "line", "conditions": [],
        "actions": [{ "action_type": "rest", "config": { "url": receiver.url("/hook"), "body_template": {} } }],
    });
    let organization = api.and("x-organization-id", &author.stream.tenant_id.to_string());
    let made = organization.post("/api/v1/triggers", body.to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text);

    // A few, of which nobody must hear; then enough for a warning.
    grow(&api, &author, 5).await;
    grows_to(5, async || waiting(&api).await).await;
    until(async || node.said().contains("Polling fallback")).await;
    assert!(!node.said().contains("QUEUE_") && !node.said().contains("ERROR"), "{}", node.said());
    grow(&api, &author, depth.high + depth.page).await;
    let warned = depth.high + depth.page + 5;
    grows_to(warned, async || waiting(&api).await).await;
    until(async || node.said().contains("QUEUE_HIGH_DEPTH")).await;
    assert!(!node.said().contains("ERROR"), "{}", node.said());

    // More than may wait: the cursor stands, and what is behind it stays on the line.
    let events = depth.critical + 5 * depth.page;
    grow(&api, &author, events - warned).await;
    grows_to(depth.critical, async || waiting(&api).await).await;
    until(async || node.said().contains("QUEUE_CRITICAL_DEPTH")).await;
    until(async || metric(&api, "bowline_triggers_held").await == 1.0).await;
    let held = waiting(&api).await;
    assert!((depth.critical..depth.critical + depth.page).contains(&held), "{held}");
    assert_eq!(metric(&api, "event_processor_queue_depth").await, held as f64);
    // Matching is held, and what comes meanwhile is told.
    until(async || metric(&api, "bowline_triggers_lag_events").await == (events - held) as f64).await;
    let critical = node.said().lines().filter(|line| line.contains("ERROR")).count();
    assert_eq!(critical, 1, "{}", node.said());
    assert_eq!(waiting(&api).await, held, "nothing comes on top");
    node.terminate();
    assert!(node.ended().await.success(), "{}", node.said());

    let node = depth.process(&site, "all").start().await;
    grows_to(events, async || receiver.count() as u64).await;
    let api = node.api();
    until(async || waiting(&api).await == 0).await;
    let mut keys: BTreeMap<String, u64> = BTreeMap::new();
    for received in receiver.received() {
        *keys.entry(received.header("idempotency-key").to_owned()).or_default() += 1;
    }
    assert_eq!((keys.len() as u64, keys.values().sum::<u64>()), (events, events), "each once");
    until(async || metric(&api, "bowline_triggers_held").await == 0.0).await;
    assert_eq!(metric(&api, "bowline_triggers_lag_events").await, 0.0);
}
