//! The page `docs/runbooks/triggers.md`, pasted beside a live node, a real Redis, and a receiver that is away.
//!
//! Triggers watch the organization's own streams, so no chain is needed; a receiver that nobody listens for opens the
//! circuit breaker with its first failure.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Page, Shift};
use crate::client::Api;
use crate::redis::Redis;
use crate::site::{Site, until};

const PAGE: Page = Page {
    text: include_str!("../../../../../docs/runbooks/triggers.md"),
    not_run_max: 3,
    run_min: 22,
    incidents: &["Circuit breakers are open"],
};

/// What the page takes out of the repository.
const FILES: [&str; 4] =
    [".env.example", "scripts/make-env.sh", "scripts/health-check.sh", "config/runbook.yaml"];

/// What stands beside the node of this page.
#[derive(Debug)]
pub(super) struct Beside {
    /// Holds it.
    _redis: Redis,
    /// Where nobody listens.
    receiver: String,
    log: PathBuf,
}

pub(crate) async fn every_block_of_the_triggers_page_runs(site: Arc<Site>) {
    for path in FILES {
        let to = site.path(path);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path), to).unwrap();
    }
    let redis = Redis::start(&site.path("redis")).await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = free.local_addr().unwrap().to_string();
    drop(free);
    let settings = format!("triggers:\n  delivery:\n    allow: [\"{receiver}\"]\n");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let window = free.local_addr().unwrap().to_string();
    drop(free);
    let spec = site.node("data").env("REDIS_URL", &redis.url()).config(&settings);
    let mut shift = Shift::begin_with(&site, spec.env("INDEXER_STATUS_ADDRESS", &window)).await;
    shift.knows("localhost:42069", &window);
    let log = site.path("node.log");
    shift.environment.push(("REDIS_URL", redis.url()));
    shift.environment.push(("BOWLINE_LOG", log.to_str().unwrap().to_owned()));
    shift.beside = Some(Arc::new(Beside { _redis: redis, receiver, log }));
    shift.work_through(&PAGE).await;
}

impl Shift {
    /// Brings about what a procedure of the triggers' page is for.
    pub(super) async fn come_upon_triggers(&mut self, heading: &str, api: &Api) {
        let Some(beside) = self.beside.clone() else { return };
        if heading == "Circuit breakers are open" {
            // One trigger stays well, so that not all of them are cut off.
            self.trigger(api, "quiet", &beside.receiver, "NeverSeen").await;
            let event_type = self.author.draft("{}").event_type;
            let trigger = self.trigger(api, "loud", &beside.receiver, &event_type).await;
            self.author.grow(api, 1).await;
            let stats = async || api.get("/api/v1/queue/stats").await.json();
            until(async || stats().await["data"]["breakers"][0]["state"] == "open").await;
            self.knows("<trigger-id>", &trigger);
        }
    }

    /// Puts what the node has said where the page looks for it.
    pub(super) fn write_log(&self) {
        if let (Some(beside), Some(node)) = (&self.beside, &self.node) {
            std::fs::write(&beside.log, node.said()).unwrap();
        }
    }

    async fn trigger(&self, api: &Api, name: &str, receiver: &str, event_type: &str) -> String {
        let body = json!({
            "name": name,
            "registry": "line",
            "conditions": [{"condition_type": "event_type_equals", "value": event_type}],
            "actions": [{"action_type": "rest", "config": {"method": "POST", "url": format!("http://{receiver}/")}}],
            "breaker": {"failure_threshold": 1},
        });
        let api = api.and("x-organization-id", &self.author.stream.tenant_id.to_string());
        let made = api.post("/api/v1/triggers", body.to_string()).await;
        assert_eq!(made.status, 201, "{}", made.text);
        let made: Value = serde_json::from_str(&made.text).unwrap();
        made["data"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }
}
