//! Backups as an operator makes them: beside a node under load, brought back with the binary, gone on with by a
//! node; into a folder and into a bucket of a real S3 server.
//!
//! What was acknowledged before a backup began must be in it, and `verify store` must find no fault in what it
//! brings back.

use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::author::{Author, assert_dense};
use crate::client::Api;
use crate::load::Load;
use crate::node::{Ended, Node, bowline_in};
use crate::site::{Site, from_xtask};

/// An operator of one store: where its data, its database and its backups are.
struct Operator {
    site: Arc<Site>,
    data: String,
    database: Vec<String>,
    destination: Vec<String>,
}

impl Operator {
    fn new(site: &Arc<Site>, data: &str, destination: &[&str]) -> Self {
        Self {
            site: Arc::clone(site),
            data: site.path(data).to_str().unwrap().to_owned(),
            database: site.database_url().map_or_else(Vec::new, |url| vec!["--database-url".to_owned(), url]),
            destination: destination.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    async fn runs(&self, words: &[&str], more: &[&[String]]) -> Ended {
        let mut line: Vec<&str> = words.to_vec();
        line.extend(["--data", &self.data, "--output", "json"]);
        line.extend(more.iter().copied().flatten().map(String::as_str));
        let secrets = [("AWS_ACCESS_KEY_ID", "tests"), ("AWS_SECRET_ACCESS_KEY", "tests")];
        bowline_in(&self.site.path(""), &secrets, &line, "").await
    }

    async fn creates(&self) -> Value {
        self.runs(&["backup", "create"], &[&self.destination, &self.database]).await.json(0)
    }

    async fn restores(&self, flags: &[&str]) -> Ended {
        let words: Vec<&str> = ["backup", "restore"].into_iter().chain(flags.iter().copied()).collect();
        self.runs(&words, &[&self.destination, &self.database]).await
    }

    async fn verifies_backup(&self) -> Ended {
        self.runs(&["backup", "verify"], &[&self.destination]).await
    }

    async fn verifies_store(&self) -> Ended {
        self.runs(&["verify", "store"], &[&self.database]).await
    }
}

/// Stops a node as an operator does.
async fn stop(mut node: Node) {
    node.terminate();
    assert!(node.ended().await.success());
}

pub(crate) async fn a_backup_made_under_load_is_brought_back_and_goes_on(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let before = author.grow(&api, 50).await;
    let load = Load::start(&api, &author, 3);
    load.until_acknowledged(10).await;
    let backups = site.path("backups");
    let operator = Operator::new(&site, "data", &["--destination", backups.to_str().unwrap()]);
    let made = operator.creates().await;
    let head = made["events"].as_u64().unwrap();
    assert!(head >= 50 + 10 * 5, "{made}");
    assert_eq!(made["has_keys"], false);
    assert_eq!(operator.verifies_store().await.json(0)["clean"], true, "beside a running node");
    let in_use = operator.restores(&["--replace"]).await;
    assert!(in_use.must(2).stderr.contains("stop the node"), "{in_use:?}");
    stop(node).await;
    drop(load.finish().await);

    // A folder that has nothing yet; the database is the same one, whose tables are put aside.
    let fresh = Operator { data: site.path("fresh").to_str().unwrap().to_owned(), ..operator };
    let flags: &[&str] = if site.database_url().is_some() { &["--replace"] } else { &[] };
    let restored = fresh.restores(flags).await.json(0);
    assert_eq!(restored["restored"]["events"], head, "{restored}");
    assert_eq!(restored["old_store"].is_string(), site.database_url().is_some());
    let verified = fresh.verifies_store().await.json(0);
    assert_eq!((&verified["events"], &verified["findings"]), (&json!(head), &json!([])));
    let node = site.node("fresh").start().await;
    let api = node.api();
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    assert_eq!(stored.len() as u64, head);
    for event in &before {
        let id = serde_json::from_str::<Value>(event).unwrap()["event_id"].as_str().unwrap().to_owned();
        assert!(stored.iter().any(|stored| stored.event_id.to_string() == id), "lost: {id}");
    }
    let next = author.ingest(&api, &author.events(3)).await;
    assert_eq!((next.sequence_start, next.sequence_end), (Some(head + 1), Some(head + 3)));
    stop(node).await;
    assert_eq!(fresh.verifies_store().await.json(0)["events"], head + 3);
}

pub(crate) async fn a_bucket_keeps_backups_as_a_folder_does(site: Arc<Site>) {
    let endpoint = from_xtask("BOWLINE_TEST_S3_URL");
    let bucket = format!("b{}", Uuid::new_v4().simple());
    let s3 = Api::new(&endpoint);
    assert_eq!(s3.try_ask("PUT", &format!("/{bucket}"), String::new()).await.unwrap().status, 200);
    let node = site.node("data").start().await;
    let author = Author::known_to(&node.api()).await;
    author.grow(&node.api(), 20).await;
    author.commit(&node.api(), None, None).await.json();
    let place = format!("s3://{bucket}/line/backups");
    let operator = Operator::new(
        &site,
        "data",
        &["--destination", &place, "--endpoint", &endpoint, "--region", "us-east-1"],
    );
    operator.creates().await;
    author.grow(&node.api(), 5).await;
    let newest = operator.creates().await;
    let listed = operator.runs(&["backup", "list"], &[&operator.destination]).await.json(0);
    let listed: Vec<_> =
        listed["backups"].as_array().unwrap().iter().map(|backup| backup["events"].clone()).collect();
    assert_eq!(listed, [20, 25]);
    assert_eq!(operator.verifies_backup().await.json(0)["intact"], true);
    stop(node).await;
    assert!(operator.restores(&[]).await.must(2).stderr.contains("--replace"));
    assert_eq!(operator.restores(&["--replace"]).await.json(0)["restored"]["id"], newest["id"]);
    assert_eq!(operator.verifies_store().await.json(0)["events"], 25);

    let id = newest["id"].as_str().unwrap();
    let largest = if site.database_url().is_some() { "ves_events.copy.gz" } else { "bowline.db.gz" };
    let object = format!("/{bucket}/line/backups/{id}/{largest}");
    assert_eq!(s3.try_ask("PUT", &object, "nothing of it".to_owned()).await.unwrap().status, 200);
    let damaged = operator.verifies_backup().await;
    assert!(damaged.must(1).stderr.contains(largest), "{damaged:?}");
    operator.restores(&["--replace"]).await.must(1);
    assert_eq!(operator.verifies_store().await.json(0)["events"], 25, "the store is as it was");
    let pruned = operator.runs(&["backup", "prune", "--keep", "1"], &[&operator.destination]).await.json(0);
    assert_eq!(pruned["removed"].as_array().unwrap().len(), 1, "{pruned}");
    operator
        .runs(&["backup", "verify", "20250101T000000000Z-00000000"], &[&operator.destination])
        .await
        .must(1);
}

pub(crate) async fn a_damaged_store_is_told_by_its_exit_code(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let author = Author::known_to(&node.api()).await;
    author.grow(&node.api(), 5).await;
    let operator = Operator::new(&site, "data", &[]);
    operator.verifies_store().await.must(0);
    site.execute("UPDATE ves_events SET entity_id = 'another' WHERE sequence_number = 3").await;
    let verified = operator.verifies_store().await;
    let report = verified.json(1);
    let found =
        &report["findings"].as_array().unwrap().iter().find(|found| found["kind"] == "signing_hash").unwrap();
    assert_eq!((&found["sequence_number"], &found["stream"]), (&json!(3), &json!(author.stream.to_string())));
    assert!(verified.stderr.contains("the store has"), "{verified:?}");
    let elsewhere = ["verify", "store", "nowhere"];
    assert_eq!(bowline_in(&site.path(""), &[], &elsewhere, "").await.code, Some(2));
}
