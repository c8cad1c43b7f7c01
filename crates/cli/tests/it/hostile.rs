//! Clients that stand still: each is let go within its time, and nobody else notices.
//!
//! They are many at once, because one that is let go proves little.

use std::sync::Arc;
use std::time::Duration;

use crate::author::{Author, INGEST};
use crate::node::ADMIN_KEY;
use crate::site::{Site, until};
use crate::wire::Wire;

const CLIENTS: usize = 20;
/// More than the kernel holds for a connection whose reader takes nothing.
const UNREAD_EVENTS: u64 = 18;
const UNREAD_EVENT_BYTES: usize = 900_000;
/// Between two bytes of a body that trickles.
const TRICKLE: Duration = Duration::from_millis(50);

pub(crate) async fn clients_that_stand_still_are_let_go(site: Arc<Site>) {
    let spec = site.node("data").config("api:\n  header_secs_max: 1\n").env("REQUEST_TIMEOUT_SECS", "1");
    let node = spec.start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;

    let mut standing = Vec::new();
    for at in 0..CLIENTS {
        let mut wire = Wire::connect(&node).await.unwrap();
        if at % 2 == 0 {
            wire.send("POST /api/v1/ves/events/ingest HTTP/1.1\r\nHost: node\r\nx-ap").await.unwrap();
        }
        standing.push(wire);
    }
    author.grow(&api, 1).await;
    for wire in standing {
        let answer = wire.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    let mut trickling = Wire::announcing(&node, INGEST, 100_000).await;
    let trickle = async {
        while !trickling.read.contains("504") {
            drop(trickling.send(" ").await);
            drop(tokio::time::timeout(TRICKLE, trickling.more()).await);
        }
        trickling.until("TIMEOUT").await;
    };
    crate::site::soon(trickle).await;
    author.grow(&api, 1).await;
    assert_eq!(api.get("/health").await.status, 200);
    assert_eq!(author.head(&api).await["head_sequence"], 2);
}

pub(crate) async fn a_reader_that_takes_nothing_is_cut_off_and_counted(site: Arc<Site>) {
    let spec = site.node("data").config("line:\n  limits:\n    slow_reader_secs_max: 1\n");
    let node = spec.start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    for _ in 0..UNREAD_EVENTS / 9 {
        let large = (0..9)
            .map(|_| author.event(&format!("\"{}\"", "x".repeat(UNREAD_EVENT_BYTES))))
            .collect::<Vec<_>>();
        assert_eq!(author.ingest(&api, &large).await.events_accepted, 9);
    }
    let mut reader = Wire::connect(&node).await.unwrap();
    let path = author.path("stream", "");
    reader
        .send(&format!("GET {path} HTTP/1.1\r\nHost: node\r\nx-api-key: {ADMIN_KEY}\r\n\r\n"))
        .await
        .unwrap();
    let metrics = async |line: &str| api.get("/metrics").await.text.lines().any(|found| found == line);
    until(async || metrics("bowline_event_streams 1").await).await;
    until(async || metrics("bowline_slow_readers_total 1").await).await;
    assert!(metrics("bowline_event_streams 0").await);
    author.grow(&api, 1).await;
    drop(reader);
}
