//! Event streams: history and then live without a gap and without a duplicate, resumed where they broke off,
//! with heartbeats, a limit on their number, and a last word before the node ends them.
//!
//! What a stream brings is compared with what pages give, byte for byte.

use std::sync::Arc;

use crate::author::{Author, INGEST, Ingested};
use crate::site::{Site, until};

/// Events that are there before the first reader comes: more than a reader is given at a time.
const HISTORY: u64 = 700;
const LIVE_BATCHES: u64 = 30;
const LIVE_BATCH: u64 = 50;
const EVENTS: u64 = HISTORY + LIVE_BATCHES * LIVE_BATCH;

const CONFIG: &str = "api:\n  heartbeat_secs: 1\nline:\n  limits:\n    stream_connections_max: 2\n";

pub(crate) async fn readers_get_history_and_then_live_without_a_gap(site: Arc<Site>) {
    let mut node = site.node("data").config(CONFIG).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, HISTORY).await;
    let bodies: Vec<String> = (0..LIVE_BATCHES).map(|_| author.body(&author.events(LIVE_BATCH))).collect();
    let writing = tokio::spawn({
        let api = api.clone();
        async move {
            for body in bodies {
                assert_eq!(Ingested::of(&api.post(INGEST, body).await).events_accepted, LIVE_BATCH);
            }
        }
    });
    let stream = author.path("stream", "&receipts=true");
    let mut first = api.follow(&stream, None).await;
    let read = first.expect(1..=EVENTS).await;
    writing.await.unwrap();
    let stored = author.read(&api, 1_000).await;
    assert!(read.iter().eq(stored.iter().map(|event| &event.text)));

    // The header goes before the query.
    let mut resumed = api.follow(&author.path("stream", "&from=5"), Some(EVENTS - 100)).await;
    resumed.expect(EVENTS - 99..=EVENTS).await;
    assert_eq!(first.next().await.unwrap().comment, "heartbeat");

    let Err(refused) = api.try_follow(&stream, None).await else { panic!("two streams are the limit") };
    refused.refused(503, "SERVICE_UNAVAILABLE");
    assert_eq!(refused.header("retry-after"), "1");
    drop(resumed);
    let mut third = None;
    until(async || {
        third = api.try_follow(&author.path("stream", &format!("&from={}", EVENTS + 1)), None).await.ok();
        third.is_some()
    })
    .await;
    let mut third = third.unwrap();
    author.grow(&api, 2).await;
    first.expect(EVENTS + 1..=EVENTS + 2).await;
    third.expect(EVENTS + 1..=EVENTS + 2).await;

    node.terminate();
    for mut feed in [first, third] {
        let mut last = feed.next().await.unwrap();
        while !last.comment.is_empty() {
            last = feed.next().await.unwrap();
        }
        assert_eq!((last.event.as_str(), last.id), ("error", None));
        assert!(last.data.contains("SERVICE_UNAVAILABLE") && last.data.contains("draining"), "{}", last.data);
        assert_eq!(feed.next().await, None);
    }
    assert_eq!(node.ended().await.code(), Some(0));
}
