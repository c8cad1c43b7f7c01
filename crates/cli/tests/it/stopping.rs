//! SIGTERM: what was begun is answered, what was answered is there, and the process ends with 0. And one data
//! folder has one node.
//!
//! That the node has begun a request is known from its `100 Continue`, that it drains from its closed port.

use std::sync::Arc;

use crate::author::{Author, INGEST, Ingested, assert_dense};
use crate::load::{self, Load};
use crate::node::bowline;
use crate::site::{Site, until};
use crate::wire::Wire;

pub(crate) async fn a_stopping_node_answers_what_it_has_begun(site: Arc<Site>) {
    let mut node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let mut asking = Wire::connect(&node).await.unwrap();
    asking.send("GET /ready HTTP/1.1\r\nHost: node\r\n").await.unwrap();
    let late = author.body(&author.events(1));
    let (begun, rest) = late.split_at(late.len() / 2);
    // Connections are accepted in their order, so the one before is accepted too.
    let mut ingesting = Wire::announcing(&node, INGEST, late.len()).await;
    ingesting.send(begun).await.unwrap();

    let load = Load::start(&api, &author, 4);
    load.until_acknowledged(20).await;
    node.terminate();
    until(async || Wire::connect(&node).await.is_err()).await;
    asking.send("\r\n").await.unwrap();
    let ready = asking.rest().await;
    assert!(ready.starts_with("HTTP/1.1 503") && ready.contains("draining"), "{ready}");
    ingesting.send(rest).await.unwrap();
    let answer = ingesting.rest().await;
    assert!(answer.contains("HTTP/1.1 200 OK"), "{answer}");
    let (_, answer) = answer.rsplit_once("\r\n\r\n").unwrap();
    let late: Ingested = serde_json::from_str(answer).unwrap();
    assert_eq!(late.events_accepted, 1);
    let done = load.finish().await;
    // Within the time in which a state must come, which is less than a supervisor's thirty seconds.
    assert_eq!(node.ended().await.code(), Some(0));

    let node = node.again().await;
    let stored = author.read(&node.api(), 1_000).await;
    assert_dense(&stored);
    load::assert_kept(&done.acknowledged, &stored);
    // Whoever got no answer was not taken: nothing is on the line that nobody heard of.
    assert_eq!(stored.len(), done.acknowledged.len() + 1);
    assert!(stored.iter().any(|event| event.receipt == late.receipts()[0]));
}

pub(crate) async fn a_data_folder_has_one_node(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let second = site.node("data").refused().await;
    let folder = node.data().to_str().unwrap();
    assert!(second.must(2).stderr.contains(folder), "{}", second.stderr);
    let migrate = bowline(&site.path(""), &["migrate", "--data", folder]).await;
    assert!(migrate.must(2).stderr.contains(folder), "{}", migrate.stderr);
    assert_eq!(node.api().get("/ready").await.status, 200);
}
