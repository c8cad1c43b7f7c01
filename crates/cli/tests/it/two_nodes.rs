//! Two processes on one PostgreSQL: they write one stream at the same time, and each shows what the other wrote.
//!
//! Each has its own data folder, and so its own sequencer id and key.

use std::sync::Arc;

use bowline_ves::{TrustedKeys, verify_export};

use crate::author::{Author, INGEST, Ingested, assert_dense, check_receipt, sequencer_keys};
use crate::site::Site;

const WRITERS: u64 = 3;
const BATCHES: u64 = 10;
const BATCH: u64 = 10;
const EVENTS: u64 = 2 * WRITERS * BATCHES * BATCH;

pub(crate) async fn two_nodes_write_one_stream(site: Arc<Site>) {
    let first = site.node("first").start().await;
    let second = site.node("second").start().await;
    let (here, there) = (first.api(), second.api());
    let author = Author::known_to(&here).await;
    let mut feed = here.follow(&author.path("stream", "&receipts=true"), None).await;
    let mut writers = Vec::new();
    for at in 0..2 * WRITERS {
        let api = if at % 2 == 0 { here.clone() } else { there.clone() };
        let bodies: Vec<String> = (0..BATCHES).map(|_| author.body(&author.events(BATCH))).collect();
        writers.push(tokio::spawn(async move {
            for body in bodies {
                assert_eq!(Ingested::of(&api.post(INGEST, body).await).events_accepted, BATCH);
            }
        }));
    }
    let read = feed.expect(1..=EVENTS).await;
    for writer in writers {
        writer.await.unwrap();
    }
    let stored = author.read(&there, 1_000).await;
    assert_dense(&stored);
    assert!(read.iter().eq(stored.iter().map(|event| &event.text)));

    // What only the other node is told is seen here as well.
    author.grow(&there, 5).await;
    feed.expect(EVENTS + 1..=EVENTS + 5).await;
    let both = author.body(&author.events(2));
    let (one, other) = tokio::join!(here.post(INGEST, both.clone()), there.post(INGEST, both));
    let (one, other) = (Ingested::of(&one), Ingested::of(&other));
    assert_eq!(one.events_accepted + other.events_accepted, 2);
    assert_eq!(one.receipts(), other.receipts());

    let keys = sequencer_keys(&here).await;
    assert_eq!((keys.len(), &keys), (2, &sequencer_keys(&there).await));
    for event in &stored {
        check_receipt(&event.receipt, &event.text, &keys);
    }
    assert_eq!(author.commit(&there, Some(1), Some(300)).await.status, 200);
    assert_eq!(author.commit(&here, Some(301), None).await.status, 200);
    let export = here.get(&author.path("export", "")).await.text;
    let pinned = TrustedKeys { sequencer_keys: keys.into_values().collect(), ..TrustedKeys::default() };
    let report = verify_export(export.as_bytes(), &pinned, |_| {}).unwrap();
    assert_eq!((report.event_count, report.committed_event_count), (EVENTS + 7, EVENTS + 7));
}
