//! `kill -9` in the middle of everything: what was acknowledged is there with the same bytes, numbers stay dense,
//! and what was not acknowledged is settled by sending it again.
//!
//! The moment of each kill is random; what has happened until then is not looked at before the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_ves::{TrustedKeys, verify_export};
use uuid::Uuid;

use crate::author::{Author, assert_dense, sequencer_keys};
use crate::load::{self, Load};
use crate::site::{Site, soak_secs, until};

/// In an ordinary run; `cargo xtask soak` goes on until its time is over.
const KILLS: usize = 25;
const WRITERS: usize = 4;
/// From the start of the process until `/ready` says yes, for half of the starts at least.
const READY_MAX: Duration = Duration::from_secs(2);

pub(crate) async fn what_was_acknowledged_survives_every_kill(site: Arc<Site>) {
    let mut node = site.node("data").start().await;
    let author = Author::known_to(&node.api()).await;
    let mut acknowledged = Vec::new();
    let mut unsettled = Vec::new();
    let mut restarts = Vec::new();
    let began = Instant::now();
    while soak_secs().map_or(restarts.len() < KILLS, |secs| began.elapsed().as_secs() < secs) {
        let load = Load::start(&node.api(), &author, WRITERS);
        let random = Uuid::new_v4().into_bytes();
        load.until_acknowledged(1 + usize::from(random[0] % 32)).await;
        // Somewhere between two acknowledgements: this chooses a moment and waits for no state.
        tokio::time::sleep(Duration::from_micros(u64::from(random[1]) * 40)).await;
        node.kill();
        let done = load.finish().await;
        acknowledged.extend(done.acknowledged);
        unsettled.extend(done.unsettled);
        let start = Instant::now();
        node = node.again().await;
        until(async || node.api().get("/ready").await.status == 200).await;
        restarts.push(start.elapsed());
        // Every other time at once, else only after further kills.
        if random[2].is_multiple_of(2) {
            for body in unsettled.drain(..) {
                acknowledged.extend(load::settle(&node.api(), &body).await);
            }
        }
    }
    restarts.sort();
    assert!(restarts[restarts.len() / 2] < READY_MAX, "{restarts:?}");
    let api = node.api();
    for body in unsettled {
        acknowledged.extend(load::settle(&api, &body).await);
    }
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    load::assert_kept(&acknowledged, &stored);
    // All that was ever sent has its receipt by now, so nothing else can be on the line.
    assert_eq!(stored.len(), acknowledged.len());
    assert_eq!(author.head(&api).await["head_sequence"], stored.len());
    author.commit(&api, None, None).await.json();
    let export = api.get(&author.path("export", "")).await.text;
    let keys = sequencer_keys(&api).await;
    assert_eq!(keys.len(), 1, "a restart changes no key");
    let pinned = TrustedKeys { sequencer_keys: keys.into_values().collect(), ..TrustedKeys::default() };
    let report = verify_export(export.as_bytes(), &pinned, |_| {}).unwrap();
    assert_eq!((report.event_count, report.commitment_count), (stored.len() as u64, 1));
    // The last kill, and nobody but the auditor comes after it.
    node.kill();
    site.assert_clean("data", stored.len()).await;
}
