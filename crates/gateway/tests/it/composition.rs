//! One listener with the routes of every subsystem.

use bowline_gateway::Serves;
use bowline_http::openapi::{Operation, operations};

use crate::place::{ADMIN_KEY, Place};

/// Paths that answer without a credential; `/metrics` only on this machine.
const PUBLIC: [&str; 6] =
    ["/health", "/api/v1/health", "/ready", "/status", "/metrics", "/api/v1/sequencer/keys"];

/// A path of each subsystem, for an administrator.
const OF_EACH: [&str; 6] = [
    "/api/v1/ves/streams",
    "/api/v1/anchors/status",
    "/api/v1/indexer/status",
    "/api/v1/triggers",
    "/api/v1/queue/stats",
    "/health/detailed",
];

#[tokio::test]
async fn the_routes_of_every_subsystem_are_served() {
    let place = Place::start(Serves::Everything).await;
    for path in OF_EACH {
        assert_eq!(place.get(path).await.status, 200, "{path}");
    }
    let lost = place.get("/api/v1/nowhere").await;
    assert_eq!((lost.status, &lost.json()["error"]["code"]), (404, &"RESOURCE_NOT_FOUND".into()));
    let wrong = place.ask("DELETE", "/api/v1/ves/streams", Some(ADMIN_KEY)).await;
    assert_eq!((wrong.status, &wrong.json()["error"]["code"]), (405, &"METHOD_NOT_ALLOWED".into()));
    place.stop().await.unwrap();
}

#[tokio::test]
async fn every_described_operation_is_served_and_refuses_a_stranger() {
    let place = Place::start(Serves::Everything).await;
    let described = operations(&bowline_gateway::document().unwrap()).unwrap();
    for Operation { path, method, is_public, .. } in described {
        let asked = path.replace("{sequence_number}", "1").replace(['{', '}'], "");
        let answer = place.ask(&method, &asked, None).await;
        let public = PUBLIC.contains(&path.as_str());
        assert_eq!(answer.status, if public { 200 } else { 401 }, "{method} {path}: {}", answer.text);
        assert_eq!(is_public, public && path != "/metrics", "{method} {path}");
    }
}
