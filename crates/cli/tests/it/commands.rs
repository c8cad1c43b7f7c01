//! The command line against a running node, and by itself: what it prints, and the exit codes that scripts branch on.
//!
//! It finds the administrator's key in the data folder, as it does for a person on the node's machine.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::node::{Ended, Node, Running, bowline, bowline_with};
use crate::site::Site;

/// A person at a terminal of the node's machine.
pub(crate) struct Person {
    folder: PathBuf,
    url: String,
    data: String,
    key: Option<String>,
}

impl Person {
    pub(crate) fn at(site: &Site, node: &Node) -> Self {
        let data = node.data().to_str().unwrap().to_owned();
        Self { folder: site.path(""), url: node.address().to_owned(), data, key: None }
    }

    /// A person who has been given a key.
    pub(crate) fn with_key(site: &Site, node: &Node, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..Self::at(site, node) }
    }

    pub(crate) async fn types(&self, line: &str) -> Ended {
        self.pipes("", line).await
    }

    pub(crate) async fn pipes(&self, stdin: &str, line: &str) -> Ended {
        let common = ["--url", &self.url, "--data", &self.data];
        let key = self.key.iter().flat_map(|key| ["--api-key", key]);
        let arguments: Vec<&str> = common.into_iter().chain(key).chain(line.split_whitespace()).collect();
        bowline_with(&self.folder, &arguments, stdin).await
    }

    /// The JSON that a command prints that must succeed.
    pub(crate) async fn asks(&self, line: &str) -> Value {
        self.types(&format!("{line} --output json")).await.json(0)
    }
}

pub(crate) async fn a_person_appends_reads_proves_and_verifies(site: Arc<Site>) {
    let node = site.node("data").without("BOOTSTRAP_ADMIN_API_KEY").start().await;
    let person = Person::at(&site, &node);
    let appended = person.pipes("{\"a\":1}\n", "append --output json").await.json(0);
    assert_eq!((&appended["accepted"], &appended["head_sequence"]), (&json!(1), &json!(1)));
    let event = |n: u64| {
        let id = Uuid::new_v4();
        format!(
            r#"{{"event_type":"t","entity_type":"e","entity_id":"{n}","payload":{n},"event_id":"{id}","created_at":"2025-01-01T00:00:00Z"}}"#
        )
    };
    let lines: Vec<String> = (2..=20).map(event).collect();
    site.write("orders.ndjson", lines.join("\n"));
    assert_eq!(person.asks("append orders.ndjson --batch 7").await["accepted"], 19);
    assert_eq!(person.asks("append orders.ndjson").await["replayed"], 19);
    let mixed = person.pipes("1\n{\"n\":9007199254740993}\n2\n", "append --output json").await.json(1);
    assert_eq!((&mixed["accepted"], &mixed["rejected"]), (&json!(2), &json!(1)));
    assert_eq!(mixed["rejections"][0]["line"], 2, "{mixed}");

    assert_eq!(person.asks("head").await["streams"][0]["head_sequence"], 22);
    assert!(person.types("head").await.must(0).stdout.contains("22"));
    let tail = person.types("tail --no-follow --last 5 --output json").await;
    let numbers = tail.must(0).stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert!(numbers.map(|event| event["sequence_number"].as_u64().unwrap()).eq(18..=22));
    let listed = person.asks("events list --from 20 --receipts").await;
    assert_eq!(listed["events"].as_array().unwrap().len(), 3);
    assert!(listed["events"][0]["receipt"].is_object());
    person.types("events list").await.must(0);

    let id = listed["events"][0]["event_id"].as_str().unwrap().to_owned();
    let event = person.types(&format!("events get {id} --output json")).await;
    site.write("event.json", &event.must(0).stdout);
    assert_eq!(person.types(&format!("events get {}", Uuid::new_v4())).await.code, Some(1));
    assert_eq!(person.asks("keys list").await["count"], 1);
    schemas_are_put_and_tried_out(&person, &site).await;
    what_was_appended_is_verified(&person).await;
    exit_codes_say_what_happened(&person).await;
}

async fn schemas_are_put_and_tried_out(person: &Person, site: &Site) {
    site.write("schema.json", r#"{"required":["id"],"properties":{"id":{"type":"integer"}}}"#);
    let put = "schemas put schema.json --event-type order.paid --description Paid";
    let schema = person.asks(put).await;
    assert_eq!((&schema["version"], &schema["compatibility"]), (&json!(1), &json!("backward")));
    let id = schema["id"].as_str().unwrap();
    assert!(person.types(put).await.must(0).stderr.contains("version 1"));
    site.write("schema.json", r#"{"required":["id","total"]}"#);
    let refused = person.types("schemas put schema.json --event-type order.paid").await;
    assert!(refused.must(2).stderr.contains("requires `total`"), "{refused:?}");
    for line in ["schemas list", "schemas list --event-type order.paid", &format!("schemas show {id}")] {
        assert!(person.types(line).await.must(0).stdout.contains(id), "{line}");
    }
    let check = "schemas validate - --event-type order.paid";
    person.pipes("{\"id\":1}", check).await.must(0);
    assert!(person.pipes("{}", check).await.must(1).stdout.contains("/id"));
    let rejected = person.pipes("{}\n", "append --event-type order.paid --output json").await.json(1);
    assert_eq!(rejected["rejections"][0]["reason"], "schema_validation: /id");
    assert_eq!(person.asks(&format!("schemas status {id} archived")).await["newStatus"], "archived");
    person.types(&format!("schemas delete {id}")).await.must(0);
    assert!(person.types(&format!("schemas show {id}")).await.must(1).stderr.contains("SCHEMA_NOT_FOUND"));
    let key = person.asks(&format!("api-keys create --agent {} --rate-limit 7", Uuid::new_v4())).await;
    assert_eq!(key["rateLimit"], 7);
}

async fn what_was_appended_is_verified(person: &Person) {
    let keys = person.asks("keys sequencer").await;
    let key = keys["keys"][0]["public_key"].as_str().unwrap();
    let other = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let receipt = format!("verify receipt event.json --event event.json --sequencer-key {key}");
    assert_eq!(person.asks(&receipt).await["valid"], true);
    person.types(&receipt.replace(key, other)).await.must(1);

    let first = person.asks("commitments create --end 10").await;
    let second = person.asks("commitments create").await;
    assert_eq!((&first["sequence_end"], &second["sequence_start"]), (&json!(10), &json!(11)));
    assert_eq!(person.asks("commitments list --all").await["count"], 2);
    let batch = second["batch_id"].as_str().unwrap();
    assert_eq!(person.asks(&format!("commitments show {batch}")).await["merkle_root"], second["merkle_root"]);
    person.types("commitments list").await.must(0);
    person.types("commitments create").await.must(2);
    person.types("commitments proof 20 --out proof.json").await.must(0);
    let root = second["merkle_root"].as_str().unwrap();
    let proof = format!("verify proof proof.json --event event.json --root {root}");
    assert_eq!(person.asks(&proof).await["event_checked"], true);
    person.types(&proof.replace(root, first["merkle_root"].as_str().unwrap())).await.must(1);

    let made = person.asks("export --out line.ndjson").await;
    assert_eq!((&made["event_count"], &made["verified"]), (&json!(22), &json!(true)));
    let verify = format!("verify export line.ndjson --sequencer-key {key}");
    assert_eq!(person.asks(&verify).await["commitment_count"], 2);
    person.types(&verify).await.must(0);
    let wrong = person.types(&format!("{} --output json", verify.replace(key, other))).await.json(1);
    assert_eq!(wrong["kind"], "bad_key");
    let piped = person.types("export --out - --from 3 --to 5").await;
    let verified = person.pipes(&piped.must(0).stdout, "verify export - --output json").await;
    assert_eq!(verified.json(0)["event_count"], 3);
}

async fn exit_codes_say_what_happened(person: &Person) {
    for (line, code, said) in [
        ("head --tenant x", 2, "--tenant"),
        ("nonsense", 2, "nonsense"),
        ("verify export missing.ndjson", 2, "missing.ndjson"),
        ("verify proof event.json", 2, "proof"),
        ("head --api-key wrong", 4, "INVALID_API_KEY"),
        ("append --api-key wrong", 4, "next:"),
        ("commitments proof 99", 1, "EVENT_NOT_FOUND"),
    ] {
        let ended = person.pipes("1\n", line).await;
        assert!(ended.must(code).stderr.contains(said), "{line}: {ended:?}");
    }
    for command in ["head", "append", "tail", "export"] {
        let away = bowline_with(
            &person.folder,
            &["--url", "http://127.0.0.1:1", "--data", &person.data, command],
            "1",
        )
        .await;
        assert!(away.must(3).stderr.contains("bowline serve"), "{command}: {away:?}");
    }
    let shown = person.types("head --curl").await;
    let secret = std::fs::read_to_string(PathBuf::from(&person.data).join("admin.key")).unwrap();
    assert!(shown.must(0).stderr.contains("curl") && !shown.stderr.contains(secret.trim()), "{shown:?}");
}

pub(crate) async fn a_tail_prints_what_is_appended(site: Arc<Site>) {
    let node = site.node("data").without("BOOTSTRAP_ADMIN_API_KEY").start().await;
    let person = Person::at(&site, &node);
    person.pipes("1\n2\n3\n", "append").await.must(0);
    let common = ["--url", &person.url, "--data", &person.data];
    let mut all = Running::start(&person.folder, &[&common[..], &["tail", "--output", "json"]].concat());
    let of_type = ["tail", "--from", "3", "--event-type", "late", "--output", "json"];
    let mut late = Running::start(&person.folder, &[&common[..], &of_type].concat());
    let number =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["sequence_number"].as_u64().unwrap();
    for expected in 1..=3 {
        assert_eq!(number(&all.line().await), expected);
    }
    person.pipes("4\n", "append").await.must(0);
    assert_eq!(number(&all.line().await), 4);
    person.pipes("5\n", "append --event-type late").await.must(0);
    assert_eq!((number(&all.line().await), number(&late.line().await)), (5, 5));
    assert_eq!((all.interrupt().await, late.interrupt().await), (Some(0), Some(0)));
}

pub(crate) async fn settings_and_schemas_are_checked_without_a_node(site: Arc<Site>) {
    let folder = site.path("");
    site.write("wrong.yaml", "api:\n  prot: 1\n");
    site.write("right.yaml", "api:\n  port: 0\n  auth:\n    bootstrap_admin_api_key: do-not-show-this\n");
    site.write("short.yaml", "api:\n  auth:\n    bootstrap_admin_api_key: short\n");
    let types = async |line: &str| bowline(&folder, &line.split(' ').collect::<Vec<_>>()).await;
    let wrong = types("config check --config wrong.yaml").await;
    assert!(wrong.must(2).stderr.contains("`api.prot`; did you mean `api.port`?"), "{wrong:?}");
    let refused = types("serve --data x --config wrong.yaml").await;
    assert!(refused.must(2).stderr.contains("api.port"), "{refused:?}");
    assert!(
        types("config check --config short.yaml").await.must(2).stderr.contains("bootstrap_admin_api_key")
    );
    types("config check --config right.yaml").await.must(0);
    let dump = types("config dump --config right.yaml").await;
    assert_eq!(dump.json(0)["api"]["auth"]["bootstrap_admin_api_key"], "********");
    assert!(!dump.stdout.contains("do-not-show-this"));
    let env = types("config env --output json").await.json(0);
    assert!(env["served"].as_array().unwrap().iter().any(|v| v["name"] == "DATABASE_URL"), "{env}");

    let migrated = types("migrate --data fresh --output json").await.json(0);
    assert!(!migrated["applied"].as_array().unwrap().is_empty(), "{migrated}");
    let again = types("migrate --data fresh --output json").await.json(0);
    assert_eq!((&again["applied"], &again["schema_version"]), (&json!([]), &migrated["schema_version"]));
    let script = types("completions bash").await;
    assert!(script.must(0).stdout.contains("bowline") && script.stdout.contains("commitments"));
    assert!(types("--help").await.must(0).stdout.contains("Exit codes:"));
    assert_eq!(types("--version").await.must(0).stdout, "bowline 0.1.1\n");
}

pub(crate) async fn the_demo_catches_a_tampered_copy(site: Arc<Site>) {
    let folder = site.path("");
    let arguments = ["demo", "--quiet", "--output", "json", "--data", "data"];
    let shown = bowline(&folder, &arguments).await.json(0);
    assert!(shown["events"].as_u64().unwrap() > 100 && shown["rejected"] == 0, "{shown}");
    assert_eq!((&shown["head_sequence"], &shown["proof_valid"]), (&shown["events"], &json!(true)));
    let named = format!("event {} ", shown["tampered_event"]);
    assert!(shown["tampering_caught"].as_str().unwrap().starts_with(&named), "{shown}");
    let export = shown["export"].as_str().unwrap();
    bowline(&folder, &["verify", "export", export]).await.must(0);
    let tampered = export.replace(".ndjson", ".tampered.ndjson");
    assert!(bowline(&folder, &["verify", "export", &tampered]).await.must(1).stderr.contains(&named));
}
