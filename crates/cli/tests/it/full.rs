//! Disks without room: the line stops growing and says so, everything else goes on, nothing is harmed, and events
//! are taken again as soon as there is room, without a restart.
//!
//! The disks are real file systems that are really full.

use std::sync::Arc;

use serde_json::json;

use crate::author::{Author, INGEST, assert_dense};
use crate::client::Api;
use crate::filesystem::SmallDisk;
use crate::load::{self, Load};
use crate::node::{Node, Spec};
use crate::server::Server;
use crate::site::{Site, until};

const MIB: u64 = 1 << 20;

fn spec(disk: &SmallDisk, free_mib_min: u64) -> Spec {
    Spec::new(disk.path().join("data"))
        .env("BOWLINE_DISK_FREE_MIB_MIN", &free_mib_min.to_string())
        .env("BOWLINE_DISK_BALLAST_MIB", "4")
}

fn ballast(disk: &SmallDisk) -> u64 {
    std::fs::metadata(disk.path().join("data/bowline.ballast")).map_or(0, |found| found.len())
}

async fn metric(api: &Api, name: &str) -> f64 {
    let text = api.get("/metrics").await.text;
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    found.unwrap_or_else(|| panic!("no {name} in\n{text}"))
}

/// The node takes no events and says why; it lives, and what is there can be read.
async fn assert_read_only(api: &Api, author: &Author, events: usize) {
    let ready = api.get("/ready").await;
    assert_eq!((ready.status, &ready.body()["failing"]), (503, &json!(["disk"])), "{}", ready.text);
    assert_eq!(ready.body()["database"], "connected");
    assert_eq!(api.get("/health").await.status, 200);
    let refused = api.post(INGEST, author.body(&author.events(1))).await;
    let message = refused.refused(507, "STORAGE_FULL");
    assert!(message.contains("no room") && message.contains("nothing was done"), "{message}");
    author.commit(api, None, None).await.refused(507, "STORAGE_FULL");
    assert_eq!(author.read(api, 1_000).await.len(), events);
    assert_eq!(author.head(api).await["head_sequence"], events);
}

async fn until_ready(api: &Api) {
    until(async || api.get("/ready").await.status == 200).await;
}

fn alarms(node: &Node) -> usize {
    node.said().lines().filter(|line| line.contains("ERROR")).count()
}

pub(crate) async fn a_nearly_full_disk_stops_the_line_and_nothing_else(site: Arc<Site>) {
    let disk = SmallDisk::mount(&site, 32);
    let node = spec(&disk, 6).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 3).await;
    assert_eq!(
        (ballast(&disk), metric(&api, "bowline_disk_ballast_bytes").await),
        (4 * MIB, (4 * MIB) as f64)
    );
    assert_eq!(metric(&api, "bowline_read_only").await, 0.0);
    assert!(metric(&api, "bowline_disk_free_bytes").await > 8.0 * MIB as f64);

    disk.leave(5 * MIB);
    until(async || api.get("/ready").await.status == 503).await;
    assert_read_only(&api, &author, 3).await;
    assert_eq!(metric(&api, "bowline_read_only").await, 1.0);
    assert!(metric(&api, "bowline_disk_free_bytes").await < 6.0 * MIB as f64);
    // What an operator needs goes on, and the ballast stays for worse.
    let other = Author::known_to(&api).await;
    assert_eq!(ballast(&disk), 4 * MIB);
    assert_eq!(alarms(&node), 1, "{}", node.said());

    disk.clear();
    until_ready(&api).await;
    author.grow(&api, 2).await;
    other.grow(&api, 1).await;
    assert_eq!(metric(&api, "bowline_read_only").await, 0.0);
    author.commit(&api, None, None).await.json();
    assert_eq!(alarms(&node), 1, "{}", node.said());
}

pub(crate) async fn a_full_disk_harms_nothing(site: Arc<Site>) {
    let disk = SmallDisk::mount(&site, 32);
    // Nothing closes the gate before the disk itself does.
    let mut node = spec(&disk, 0).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let load = Load::start(&api, &author, 4);
    load.until_acknowledged(20).await;
    disk.leave(0);
    let done = load.finish().await;
    until(async || ballast(&disk) == 0).await;
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    load::assert_kept(&done.acknowledged, &stored);
    assert_eq!(stored.len(), done.acknowledged.len(), "nothing that was refused is there");
    assert_read_only(&api, &author, stored.len()).await;
    assert_eq!(alarms(&node), 1, "{}", node.said());

    // The ballast made room for the end, in which the log is folded in.
    node.terminate();
    assert_eq!(node.ended().await.code(), Some(0));
    assert!(!disk.path().join("data/bowline.db-wal").exists());
    site.assert_clean("small-disk/data", stored.len()).await;
    // A node that starts on a full disk shows what is there.
    let mut node = spec(&disk, 8).start().await;
    assert_read_only(&node.api(), &author, stored.len()).await;
    node.kill();
    let mut node = node.again().await;
    let api = node.api();
    assert_read_only(&api, &author, stored.len()).await;

    disk.clear();
    until_ready(&api).await;
    assert_eq!(ballast(&disk), 4 * MIB);
    let mut acknowledged = done.acknowledged;
    for body in done.unsettled {
        acknowledged.extend(load::settle(&api, &body).await);
    }
    author.grow(&api, 3).await;
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    load::assert_kept(&acknowledged, &stored);
    assert_eq!(stored.len(), acknowledged.len() + 3);
    node.kill();
    site.assert_clean("small-disk/data", stored.len()).await;
}

pub(crate) async fn a_full_disk_of_the_database_is_told_and_outlived(site: Arc<Site>) {
    // A new server takes about 40 MiB, and its log may grow by 32.
    let disk = SmallDisk::mount(&site, 128);
    let server = Server::start_at(disk.folder("postgres")).await;
    let node = site.node("data").env("DATABASE_URL", &server.url()).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let load = Load::start(&api, &author, 4);
    load.until_acknowledged(10).await;
    disk.leave(0);
    let done = load.finish().await;
    let refused = api.post(INGEST, author.body(&author.events(100))).await;
    assert!(refused.refused(507, "STORAGE_FULL").contains("nothing was done"));
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    load::assert_kept(&done.acknowledged, &stored);

    disk.clear();
    let mut acknowledged = done.acknowledged;
    for body in done.unsettled {
        acknowledged.extend(load::settle(&api, &body).await);
    }
    author.grow(&api, 100).await;
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    load::assert_kept(&acknowledged, &stored);
    assert_eq!(stored.len(), acknowledged.len() + 100);
}
