//! The database goes away and comes back: the node says so, refuses without losing anything, and serves again
//! without being restarted.
//!
//! A request whose commit was under way may answer that its outcome is unknown; a replay settles it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::author::{Author, INGEST, Ingested, assert_dense};
use crate::client::Api;
use crate::load::{self, Load};
use crate::runbook::metric;
use crate::server::Server;
use crate::site::{Site, until};

/// Where the store's circuit breaker is: 0 closed, 1 half open, 2 open.
async fn breaker(api: &Api) -> Option<f64> {
    metric(&api.get("/metrics").await.text, "bowline_circuit_breaker_state")
}
/// Between two tries of a client that insists.
const INSIST: Duration = Duration::from_millis(20);
/// Clients that insist.
const INSISTING: usize = 4;
const OUTAGES: usize = 2;

pub(crate) async fn a_node_outlives_its_database(site: Arc<Site>) {
    let server = Server::start_in(&site).await;
    let spec = site.node("data").env("DATABASE_URL", &server.url()).env("DB_ACQUIRE_TIMEOUT_MS", "8000");
    let node = spec.start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let mut feed = api.follow(&author.path("stream", ""), None).await;
    let load = Load::start(&api, &author, 4);
    load.until_acknowledged(10).await;
    feed.expect(1..=50).await;

    server.crash().await;
    let done = load.finish().await;
    let away = api.post(INGEST, author.body(&author.events(1))).await;
    away.refused(503, "SERVICE_UNAVAILABLE");
    assert_eq!(away.header("retry-after"), "1");
    assert!(!away.text.contains("127.0.0.1"), "what a database says is not for clients: {}", away.text);
    for path in ["head", "events", "export", "proofs/1"] {
        api.get(&author.path(path, "")).await.refused(503, "SERVICE_UNAVAILABLE");
    }
    let ready = api.get("/ready").await;
    assert_eq!((ready.status, &ready.body()["database"]), (503, &json!("disconnected")));
    assert_eq!(ready.body()["failing"], json!(["database"]));
    assert_eq!(api.get("/health").await.status, 200);
    // Half open only for as long as a probe takes.
    until(async || breaker(&api).await == Some(2.0)).await;
    let details = api.get("/health/detailed").await.json();
    assert_eq!((&details["status"], &details["streams"]), (&json!("degraded"), &json!(null)));
    assert_eq!(details["store"]["reachable"], false);
    // Nobody waits for a connection that can't come: all of this takes no longer than one such wait.
    let began = Instant::now();
    for _ in 0..20 {
        api.post(INGEST, author.body(&author.events(1))).await.refused(503, "SERVICE_UNAVAILABLE");
        api.get(&author.path("head", "")).await.refused(503, "SERVICE_UNAVAILABLE");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());

    server.start().await;
    let returned = Instant::now();
    until(async || api.get("/ready").await.status == 200).await;
    // A probe comes once a second at the latest; the rest is for a machine that is busy.
    assert!(returned.elapsed() < Duration::from_secs(6), "{:?}", returned.elapsed());
    assert_eq!(breaker(&api).await, Some(0.0));
    let mut acknowledged = done.acknowledged;
    assert!(!done.unsettled.is_empty());
    for body in done.unsettled {
        acknowledged.extend(load::settle(&api, &body).await);
    }
    author.grow(&api, 3).await;
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    load::assert_kept(&acknowledged, &stored);
    assert_eq!(stored.len(), acknowledged.len() + 3);
    // The reader was told, at the latest when it asked the database, and goes on where it was.
    let head = stored.len() as u64;
    let mut last = 50;
    while let Some(frame) = feed.next().await {
        match frame.id {
            Some(id) => last = id,
            None => assert!(frame.event == "error" || !frame.comment.is_empty(), "{frame:?}"),
        }
        if last == head {
            break;
        }
    }
    api.follow(&author.path("stream", ""), Some(last - 1)).await.expect(last..=head).await;
}

/// What clients that insist have seen.
#[derive(Debug, Default)]
struct Insisted {
    enough: AtomicBool,
    accepted: AtomicUsize,
    refused: AtomicUsize,
}

/// Sends batch after batch, each again and again until it is taken; returns the receipts.
async fn insist(api: Api, author: Author, seen: Arc<Insisted>) -> Vec<String> {
    let mut receipts = Vec::new();
    while !seen.enough.load(Ordering::SeqCst) {
        let body = author.body(&author.events(load::BATCH));
        loop {
            let answer = api.post(INGEST, body.clone()).await;
            if answer.status == 200 {
                receipts.extend(Ingested::of(&answer).receipts().into_iter().map(str::to_owned));
                seen.accepted.fetch_add(1, Ordering::SeqCst);
                break;
            }
            let told = (answer.status, answer.header("x-error-code"));
            assert!(
                [(503, "SERVICE_UNAVAILABLE"), (500, "OUTCOME_UNKNOWN")].contains(&told),
                "{}",
                answer.text
            );
            seen.refused.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(INSIST).await;
        }
    }
    receipts
}

pub(crate) async fn clients_that_insist_get_through_every_outage(site: Arc<Site>) {
    let server = Server::start_in(&site).await;
    let spec = site.node("data").env("DATABASE_URL", &server.url()).env("DB_ACQUIRE_TIMEOUT_MS", "200");
    let node = spec.start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let seen = Arc::new(Insisted::default());
    let clients: Vec<_> = (0..INSISTING)
        .map(|_| tokio::spawn(insist(api.clone(), author.clone(), Arc::clone(&seen))))
        .collect();
    let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
    for _ in 0..OUTAGES {
        let accepted = count(&seen.accepted);
        until(async || count(&seen.accepted) >= accepted + 10).await;
        server.crash().await;
        let refused = count(&seen.refused);
        until(async || count(&seen.refused) >= refused + 2 * INSISTING).await;
        assert_eq!(api.get("/ready").await.status, 503);
        server.start().await;
        let accepted = count(&seen.accepted);
        until(async || count(&seen.accepted) >= accepted + INSISTING).await;
    }
    seen.enough.store(true, Ordering::SeqCst);
    let mut receipts = Vec::new();
    for client in clients {
        receipts.extend(client.await.unwrap());
    }
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    load::assert_kept(&receipts, &stored);
    assert_eq!(stored.len(), receipts.len());
}
