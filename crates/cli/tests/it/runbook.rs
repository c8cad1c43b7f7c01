//! What the operators' runbook asks a sequencer for: health, readiness, and the metrics that it greps for.
//!
//! A metric that appears only after its first event looks like a broken exporter, so all are there at zero.

use std::sync::Arc;

use serde_json::json;

use crate::author::Author;
use crate::site::Site;

/// The value of a metric, summed over its labels; none if there is no such metric.
pub(crate) fn metric(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let found = series.split('{').next()?;
        (found == name).then(|| value.parse::<f64>().unwrap())
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

/// Metrics that stand at zero on a node that has done nothing, and move when it has.
const MOVING: [&str; 5] = [
    "sequencer_ingest_latency_seconds_count",
    "sequencer_events_rejected",
    "sequencer_events_sequenced",
    "sequencer_ves_events_received",
    "bowline_store_append_seconds_count",
];

pub(crate) async fn a_node_answers_as_the_runbook_says(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let stranger = api.without_key();

    let mut health = stranger.get("/health").await.json();
    assert!(health.as_object_mut().unwrap().remove("timestamp").unwrap().is_string());
    assert_eq!(health, json!({"status": "healthy", "service": "stateset-sequencer", "version": "0.1.1"}));
    let ready = stranger.get("/ready").await.json();
    assert_eq!((&ready["status"], &ready["database"]), (&json!("ready"), &json!("connected")));
    assert_eq!(ready["failing"], json!([]));
    let status = stranger.get("/status").await.json();
    assert_eq!((&status["version"], &status["draining"]), (&json!("0.1.1"), &json!(false)));
    assert_eq!(status["engine"], ready["engine"]);

    let fresh = stranger.get("/metrics").await;
    assert!(fresh.header("content-type").starts_with("text/plain"));
    for word in ["db_pool", "cache"] {
        let found = fresh.text.lines().any(|line| !line.starts_with('#') && line.starts_with(word));
        assert!(found, "{word} is not in\n{}", fresh.text);
    }
    // The runbook's greps look anywhere in a line.
    for word in
        ["circuit", "sequencer_ingest_latency_seconds", "sequencer_events_rejected", "process_resident"]
    {
        let found = fresh.text.lines().any(|line| !line.starts_with('#') && line.contains(word));
        assert!(found, "{word} is not in\n{}", fresh.text);
    }
    for name in MOVING {
        assert_eq!(metric(&fresh.text, name), Some(0.0), "{name} in\n{}", fresh.text);
    }
    let author = Author::known_to(&api).await;
    author.grow(&api, 3).await;
    let stranger_to_it = Author::of(author.stream);
    assert!(stranger_to_it.ingest(&api, &stranger_to_it.events(2)).await.events_rejected == 2);
    author.commit(&api, None, None).await.json();
    let moved = stranger.get("/metrics").await.text;
    for (name, value) in MOVING.into_iter().zip([2.0, 2.0, 3.0, 5.0, 1.0]) {
        assert_eq!(metric(&moved, name), Some(value), "{name} in\n{moved}");
    }
    let one = "bowline_commitments_total{origin=\"client\"} 1";
    assert!(moved.lines().any(|line| line == one), "{one} is not in\n{moved}");
    let requests =
        "sequencer_http_requests_total{method=\"POST\",path=\"/api/v1/ves/events/ingest\",status=\"200\"} 2";
    assert!(moved.lines().any(|line| line == requests), "{requests} is not in\n{moved}");
    assert!(metric(&moved, "cache_misses_total").unwrap() > 0.0);
}

pub(crate) async fn its_details_are_real(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let details = async || api.get("/health/detailed").await.json();
    let fresh = details().await;
    assert_eq!((&fresh["status"], &fresh["streams"]["events"]), (&json!("healthy"), &json!(0)));
    assert_eq!(fresh["store"]["reachable"], true);
    let author = Author::known_to(&api).await;
    author.grow(&api, 5).await;
    author.commit(&api, Some(1), Some(2)).await.json();
    let reader = json!({"tenantId": author.stream.tenant_id, "readOnly": true}).to_string();
    let made = api.post(&format!("/api/v1/agents/{}/api-keys", author.agent_id), reader).await.json();
    let reader = api.with_key(made["apiKey"].as_str().unwrap());
    assert_eq!(reader.get("/health/detailed").await.status, 403);

    let seen = details().await;
    let streams = &seen["streams"];
    assert_eq!(
        (&streams["count"], &streams["events"], &streams["uncommitted"]),
        (&json!(1), &json!(5), &json!(3))
    );
    let behind = json!({
        "tenant_id": author.stream.tenant_id, "store_id": author.stream.store_id,
        "head": 5, "committed": 2, "uncommitted": 3,
    });
    assert_eq!(streams["most_behind"], json!([behind]));
    let cache = |name: &str| {
        seen["caches"].as_array().unwrap().iter().find(|cache| cache["name"] == name).unwrap().clone()
    };
    assert_eq!((&cache("agent_keys")["entries"], &cache("agent_keys")["misses"]), (&json!(1), &json!(1)));
    assert_eq!(
        (&cache("api_keys")["entries"], &cache("api_keys")["entries_max"]),
        (&json!(1), &json!(10_000))
    );
    assert_eq!(seen["circuit_breakers"], json!([{"name": "store", "state": "closed", "opened_total": 0}]));
    let number = |pointer: &str| seen.pointer(pointer).unwrap().as_u64().unwrap();
    assert!(number("/process/resident_bytes") > 1 << 20 && number("/process/open_files") > 3, "{seen}");
    assert!(
        number("/disk/free_bytes") > 0 && number("/disk/total_bytes") >= number("/disk/free_bytes"),
        "{seen}"
    );
    assert!((1..=number("/pool/max")).contains(&number("/pool/open")), "{seen}");
    assert_eq!((number("/queue/pending_events"), number("/queue/pending_events_max")), (0, 32_768));
    assert_eq!(seen["listen"]["address"].as_str().unwrap(), node.address().strip_prefix("http://").unwrap());
    let keys = api.get("/api/v1/sequencer/keys").await.json();
    assert_eq!(keys["keys"][0]["sequencer_id"], seen["sequencer"]["sequencer_id"]);
    let bare = |value: &serde_json::Value| value.as_str().unwrap().trim_start_matches("0x").to_owned();
    assert_eq!(bare(&keys["keys"][0]["public_key"]), bare(&seen["sequencer"]["public_key"]));
}
