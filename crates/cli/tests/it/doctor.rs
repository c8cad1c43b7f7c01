//! Real trouble, and `bowline doctor` that finds it: rows changed past the line, a lock that is held, a database
//! and a node that are away. The fix that it prints is what mends it.

use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use crate::author::{Author, INGEST, Ingested};
use crate::node::{ADMIN_KEY, Ended, Node, bowline};
use crate::server::Server;
use crate::site::{Site, soon, until};

/// What the doctor says of a node, with its store beside it.
struct Doctor {
    arguments: Vec<String>,
    folder: std::path::PathBuf,
}

impl Doctor {
    fn of(site: &Site, node: &Node, database_url: Option<String>) -> Self {
        let data = node.data().to_str().unwrap();
        let mut arguments: Vec<String> =
            ["--url", node.address(), "--api-key", ADMIN_KEY, "--data", data, "--output", "json", "doctor"]
                .map(str::to_owned)
                .to_vec();
        arguments.extend(database_url.into_iter().flat_map(|url| ["--database-url".to_owned(), url]));
        Self { arguments, folder: site.path("") }
    }

    async fn says(&self, more: &[&str]) -> Ended {
        let all: Vec<&str> = self.arguments.iter().map(String::as_str).chain(more.iter().copied()).collect();
        bowline(&self.folder, &all).await
    }

    /// One check's finding.
    async fn finds(&self, check: &str) -> Value {
        let ended = self.says(&["--check", check]).await;
        let said: Value =
            serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        let finding = said["checks"][0].clone();
        // The exit code says the same as the words.
        let code = match finding["status"].as_str().unwrap() {
            "ok" | "skipped" => 0,
            "warn" => 1,
            _ => 2,
        };
        assert_eq!((ended.code, &finding["check"]), (Some(code), &json!(check)), "{ended:?}");
        finding
    }

    async fn fails(&self, check: &str, fix: &str) -> Value {
        let finding = self.finds(check).await;
        assert_eq!(finding["status"], "fail", "{finding}");
        assert!(finding["fix"].as_str().unwrap().contains(fix), "{finding}");
        finding
    }
}

pub(crate) async fn what_was_changed_past_the_line_is_found(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 12).await;
    for end in [4, 8] {
        author.commit(&api, None, Some(end)).await.json();
    }
    let doctor = Doctor::of(&site, &node, site.database_url());
    let ended = doctor.says(&["--deep"]).await;
    let well: Value =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let sick = well["checks"].as_array().unwrap().iter().filter(|check| check.get("fix").is_some());
    // How full the disk of the test's machine is, and how exactly it is on time, is not the node's doing.
    let sick: Vec<_> = sick
        .filter(|check| !["disk_space", "clock_skew"].contains(&check["check"].as_str().unwrap()))
        .collect();
    assert!(sick.is_empty(), "{sick:?}");
    assert!(well["counts"]["ok"].as_u64().unwrap() >= 18, "{well}");
    let skipped = well["checks"].as_array().unwrap().iter().filter(|check| check["status"] == "skipped");
    assert!(skipped.clone().all(|check| !check["cause"].as_str().unwrap().is_empty()));

    site.execute_past("data", "DELETE FROM ves_events WHERE sequence_number IN (10, 11)").await;
    let gap = doctor.fails("sequence_gaps", "stop appending").await;
    assert!(gap.to_string().contains("missing 10..=11"), "{gap}");
    assert!(gap["fix"].as_str().unwrap().contains(&author.stream.to_string()), "{gap}");
    assert_eq!(doctor.finds("commitments").await["status"], "ok");

    site.execute_past(
        "data",
        "UPDATE ves_commitments SET merkle_root = new_state_root WHERE sequence_start = 5",
    )
    .await;
    doctor.fails("commitments", "bowline commitments correct").await;
    let more = &["--check", "sequence_gaps", "--check", "commitments", "--check", "health"];
    let both = doctor.says(more).await.json(2);
    assert_eq!((&both["counts"]["fail"], &both["counts"]["ok"]), (&json!(2), &json!(1)));

    site.execute_past(
        "data",
        "DELETE FROM schema_migrations WHERE version = (SELECT max(version) FROM schema_migrations)",
    )
    .await;
    doctor.fails("migrations", "bowline migrate").await;
}

pub(crate) async fn who_holds_the_counters_is_named_and_ended_by_the_fix(site: Arc<Site>) {
    let url = site.database_url().unwrap();
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 1).await;
    let doctor = Doctor::of(&site, &node, Some(url.clone()));
    assert_eq!(doctor.finds("counter_locks").await["status"], "ok");

    let mut holder = PgConnection::connect(&url).await.unwrap();
    let mut held = holder.begin().await.unwrap();
    sqlx::raw_sql("SELECT * FROM sequence_counters FOR UPDATE").execute(&mut *held).await.unwrap();
    let body = author.body(&author.events(1));
    let waiting = tokio::spawn(async move { api.post(INGEST, body).await });
    until(async || doctor.finds("counter_locks").await["status"] == "fail").await;
    assert_eq!(doctor.finds("lock_contention").await["status"], "fail");

    let finding = doctor.fails("counter_locks", "pg_terminate_backend").await;
    let fix = finding["fix"].as_str().unwrap();
    let statement = fix.split('\'').nth(1).unwrap().to_owned();
    let mut operator = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut operator).await.unwrap();
    let answer = soon(waiting).await.unwrap();
    assert_eq!(Ingested::of(&answer).events_accepted, 1);
    assert_eq!(doctor.finds("counter_locks").await["status"], "ok");
}

pub(crate) async fn an_absent_database_is_named(site: Arc<Site>) {
    let server = Server::start_in(&site).await;
    let node = site.node("data").env("DATABASE_URL", &server.url()).start().await;
    let doctor = Doctor::of(&site, &node, Some(server.url()));
    assert_eq!(doctor.finds("ready").await["status"], "ok");
    server.crash().await;
    until(async || node.api().get("/ready").await.status == 503).await;
    doctor.fails("ready", "DATABASE_URL").await;
    until(async || doctor.finds("circuit_breakers").await["status"] == "fail").await;
    doctor.fails("circuit_breakers", "start the database").await;
    assert_eq!(doctor.finds("health").await["status"], "ok");
    // What only the database knows is not known, and is not called well.
    assert_eq!(doctor.finds("sequence_gaps").await["status"], "skipped");
    server.start().await;
    until(async || doctor.finds("ready").await["status"] == "ok").await;
    assert_eq!(doctor.finds("circuit_breakers").await["status"], "ok");
}

pub(crate) async fn checks_are_listed_and_a_node_that_is_away_is_said_to_be(site: Arc<Site>) {
    let listed = bowline(&site.path(""), &["doctor", "--list", "--output", "json"]).await.json(0);
    assert!(listed["checks"].as_array().unwrap().len() >= 25, "{listed}");
    bowline(&site.path(""), &["doctor", "--check", "no_such_check"]).await.must(2);
    let mut node = site.node("data").start().await;
    let doctor = Doctor::of(&site, &node, None);
    let folder = site.path("backups");
    std::fs::create_dir(&folder).unwrap();
    let backups = ["--check", "backups", "--backups", folder.to_str().unwrap()];
    assert_eq!(doctor.says(&backups).await.json(2)["checks"][0]["status"], "fail");
    site.write("backups/today.dump", "x");
    assert_eq!(doctor.says(&backups).await.json(0)["checks"][0]["status"], "ok");
    node.kill();
    doctor.fails("health", "bowline serve").await;
    let table = bowline(&site.path(""), &["--url", node.address(), "doctor", "--check", "health"]).await;
    assert!(table.must(2).stdout.starts_with("FAIL    health"), "{table:?}");
    assert!(table.stdout.contains("fix: bowline serve"), "{table:?}");
}
