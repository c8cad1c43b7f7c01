//! Each generator that needs no chain, started as a process: it ends well, prints one line of JSON with the figures that
//! `cargo xtask bench` reads, and the figures are of something that happened.

// Clippy excuses unwraps in test functions only, and these tests share some.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};

use bowline_node::{Config, Node};
use bowline_runtime::Shutdown;
use serde_json::Value;

/// A generator's process that ran to its end.
fn ended(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bowline-bench"));
    command.args(words).args(["--output", "json", "--quiet"]);
    for name in ["BOWLINE_URL", "BOWLINE_API_KEY", "BOWLINE_ANVIL", "DATABASE_URL"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

/// The figures of a run that must succeed.
fn figures(words: &[&str]) -> Value {
    let output = ended(words);
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    serde_json::from_str(&stdout).unwrap()
}

#[test]
fn verifications_matches_and_writes_are_counted() {
    let single = figures(&["verify", "--seconds", "1"])["verify_per_sec"].as_f64().unwrap();
    let prepared = figures(&["prepared", "--seconds", "1"])["verify_per_sec"].as_f64().unwrap();
    assert!(single > 1.0 && prepared > 1.0, "{single} {prepared}");

    let matched = figures(&["match", "--triggers", "170", "--events", "500"]);
    assert_eq!((&matched["matches"], &matched["triggers"]), (&Value::from(5_000), &Value::from(170)));

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("writer");
    let written = figures(&["writer", "--seconds", "1", "--data", data.to_str().unwrap()]);
    assert!(written["events"].as_u64().unwrap() > 0 && written["events_per_sec"].as_f64().unwrap() > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_loaded_and_every_event_that_is_counted_is_on_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config { data: folder.path().join("node"), ..Config::default() };
    config.api.port = 0;
    let node = Node::build(config).await.unwrap();
    let (url, line) = (format!("http://{}", node.address()), node.line().clone());
    let key = std::fs::read_to_string(folder.path().join("node/admin.key")).unwrap();
    let shutdown = Shutdown::new();
    let stopped = shutdown.clone();
    let running = tokio::spawn(async move { node.run(async move { stopped.begun().await }).await });
    let words = [
        "ingest",
        "--connections",
        "2",
        "--batch",
        "50",
        "--streams",
        "3",
        "--seconds",
        "1",
        "--warmup-secs",
        "0",
    ];
    let words = [&words[..], &["--url", &url, "--api-key", key.trim()]].concat();
    let load = figures(&words);
    let events = load["events"].as_u64().unwrap();
    assert!(events > 0 && load["errors"] == 0, "{load}");
    let heads = line.store.streams().await.unwrap();
    assert_eq!(heads.len(), 3);
    assert!(heads.iter().map(|head| head.head).sum::<u64>() >= events);
    shutdown.begin();
    running.await.unwrap().unwrap();
}

#[test]
fn what_is_missing_is_named() {
    for (words, said) in [
        (&["ingest", "--url", "https://127.0.0.1:1"][..], "plain http"),
        (&["anchor", "--commitments", "1", "--single", "1"], "--rpc-url"),
        (&["commit", "--events", "10", "--binary", "/nowhere/bowline"], "--binary"),
    ] {
        let output = ended(words);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(said), "{words:?}: {stderr}");
    }
}
