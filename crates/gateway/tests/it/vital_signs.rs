//! What a process answers that is no gateway.

use bowline_gateway::Serves;

use crate::place::Place;

const VITAL_SIGNS: [&str; 5] = ["/health", "/api/v1/health", "/ready", "/status", "/metrics"];

#[tokio::test]
async fn every_process_answers_its_vital_signs_and_some_nothing_else() {
    let place = Place::start(Serves::VitalSigns).await;
    for path in VITAL_SIGNS {
        assert_eq!(place.ask("GET", path, None).await.status, 200, "{path}");
    }
    for path in ["/api/v1/ves/streams", "/api/v1/triggers", "/openapi.json", "/docs", "/health/detailed"] {
        let answer = place.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text.contains("has not the role `gateway`"), "{answer:?}");
    }
}

#[tokio::test]
async fn metrics_are_there_at_zero_with_those_of_the_listener() {
    let place = Place::start(Serves::VitalSigns).await;
    let metrics = place.ask("GET", "/metrics", None).await.text;
    for name in [
        "sequencer_ves_events_received",
        "bowline_http_panics_total",
        "sequencer_ratelimit_rejected",
        "bowline_event_streams",
        "sequencer_uptime_seconds",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name}");
    }
}

#[tokio::test]
async fn a_process_that_drains_is_not_ready() {
    let place = Place::start(Serves::VitalSigns).await;
    assert_eq!(place.get("/ready").await.json()["status"], "ready");
    place.drain.begin();
    let answer = place.get("/ready").await;
    assert_eq!((answer.status, &answer.json()["failing"]), (503, &serde_json::json!(["draining"])));
    assert_eq!(place.get("/health").await.status, 200);
    place.stop().await.unwrap();
}
