//! The binary under the name `stateset-sequencer-admin`: that tool's commands, directly on the database.
//!
//! What it writes is checked with the agents' and the sequencer's keys, and its checks are shown rows that were
//! changed past the line.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bowline_types::AgentId;
use bowline_ves::SecretKey;
use serde_json::{Value, json};

use crate::author::{Author, Stored, check_receipt, sequencer_keys};
use crate::node::{BINARY, Ended, bowline, run_program};
use crate::site::Site;

/// The tool, and the database that it works on.
struct Tool {
    program: PathBuf,
    folder: PathBuf,
    place: Vec<String>,
}

impl Tool {
    fn on(site: &Site) -> Self {
        let program = site.path("stateset-sequencer-admin");
        symlink(Path::new(BINARY), &program).unwrap();
        let place = match site.database_url() {
            Some(url) => vec!["--database-url".to_owned(), url],
            None => vec!["--data".to_owned(), site.path("data").to_str().unwrap().to_owned()],
        };
        Self { program, folder: site.path(""), place }
    }

    async fn run(&self, line: &str) -> Ended {
        let place = self.place.iter().map(String::as_str);
        let arguments: Vec<&str> = line.split_whitespace().chain(place).collect();
        run_program(&self.program, &self.folder, &[], &arguments, "").await
    }

    async fn json(&self, line: &str, code: i32) -> Value {
        self.run(&format!("{line} --json")).await.json(code)
    }
}

pub(crate) async fn the_tool_works_on_the_database_itself(site: Arc<Site>) {
    let tool = Tool::on(&site);
    let first = tool.json("migrate", 0).await;
    assert!(!first["applied"].as_array().unwrap().is_empty(), "{first}");
    assert_eq!(tool.json("migrate", 0).await["applied"], json!([]));
    assert!(tool.run("version").await.must(0).stdout.starts_with("stateset-sequencer-admin 0.1.1"));
    assert_eq!(tool.json("commands", 0).await["commands"].as_array().unwrap().len(), 13);
    tool.run("no-such-command").await.must(2);
    let away = ["version", "migrate"]
        .map(|command| [command, "--database-url", "postgres://nobody@127.0.0.1:1/none"]);
    for (arguments, code) in away.into_iter().zip([0, 3]) {
        run_program(&tool.program, &tool.folder, &[], &arguments, "").await.must(code);
    }

    let mut node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let sent = author.grow(&api, 20).await;
    let batch = author.commit(&api, None, Some(8)).await.json();
    let proof = api.get(&author.path("proofs/5", "")).await.json();
    let keys = sequencer_keys(&api).await;
    if site.database_url().is_none() {
        // The embedded database belongs to its node as long as that one runs.
        let refused = tool.run("list-agent-keys --tenant-id 64527dd3-a654-4410-9327-e58a1492ce77").await;
        assert!(refused.must(2).stderr.contains("in use"), "{refused:?}");
    }
    node.terminate();
    assert!(node.ended().await.success());

    proofs_are_checked(&tool, &proof).await;
    agents_keys_are_rotated(&tool, &author).await;
    let (tenant, store) = (author.stream.tenant_id, author.stream.store_id);
    let stream = format!("--tenant-id {tenant} --store-id {store}");
    let exported = tool.run(&format!("export-events {stream} --format ndjson")).await;
    let lines: Vec<&str> = exported.must(0).stdout.lines().collect();
    assert_eq!(lines.len(), 20);
    for (line, event) in lines.iter().zip(&sent) {
        // What is exported is what the agent signed, with a receipt that the sequencer's key signed.
        check_receipt(&Stored::of(line).receipt, event, &keys);
    }
    let file = site.path("events.json");
    let range = format!("export-events {stream} --from 5 --to 9 --output {}", file.display());
    tool.run(&range).await.must(0);
    let array: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    let numbers = array.as_array().unwrap().iter().map(|event| event["sequence_number"].as_u64().unwrap());
    assert!(numbers.eq(5..=9));

    let payloads = tool.json("reencrypt-events --batch-size 7 --dry-run", 0).await;
    assert_eq!(
        (&payloads["looked_at"], &payloads["plain"], &payloads["reencrypted"]),
        (&json!(20), &json!(20), &json!(0))
    );
    assert_eq!(tool.json("reencrypt-events --limit 3", 0).await["looked_at"], 3);
    for kind in ["validity", "compliance"] {
        assert_eq!(tool.json(&format!("reencrypt-ves-{kind}-proofs --force"), 0).await["there"], false);
    }
    let committed = tool.json(&format!("ves-commit-and-anchor {stream} --max-events 10"), 1).await;
    assert_eq!((&committed["sequence_start"], &committed["sequence_end"]), (&json!(9), &json!(18)));
    assert_eq!(committed["prev_state_root"], batch["new_state_root"]);
    assert_eq!(
        (&committed["anchored"], &committed["anchor_error"]["numeric_code"]),
        (&json!(false), &json!(9001))
    );
    assert_eq!(tool.json("backfill-ves-state-roots", 0).await["looked_at"], 2);

    site.execute_past("data", "UPDATE ves_events SET payload = '0' WHERE sequence_number = 3").await;
    let payloads = tool.json("reencrypt-events", 1).await;
    assert_eq!(payloads["not_matching_their_hash"].as_array().unwrap().len(), 1);
    site.execute_past(
        "data",
        "UPDATE ves_commitments SET new_state_root = merkle_root WHERE sequence_start = 9",
    )
    .await;
    assert_eq!(tool.json("backfill-ves-state-roots", 1).await["wrong"].as_array().unwrap().len(), 1);
    site.execute_past("data", "CREATE TABLE ves_validity_proofs (x integer)").await;
    assert_eq!(tool.json("reencrypt-ves-validity-proofs", 1).await["there"], true);
}

async fn proofs_are_checked(tool: &Tool, proof: &Value) {
    let text = |name: &str| proof[name].as_str().unwrap().to_owned();
    let path: Vec<&str> =
        proof["proof_path"].as_array().unwrap().iter().map(|hash| hash.as_str().unwrap()).collect();
    let line = |leaf: &str, index: &Value| {
        let (root, path) = (text("merkle_root"), path.join(","));
        format!(
            "verify-proof --leaf-hash {leaf} --merkle-root {root} --proof-path {path} --leaf-index {index}"
        )
    };
    let (leaf, index) = (text("leaf_hash"), &proof["leaf_index"]);
    assert_eq!(tool.json(&line(&leaf, index), 0).await["valid"], true);
    assert_eq!(tool.json(&line(&text("merkle_root"), index), 1).await["valid"], false);
    tool.run(&line(&leaf, &json!(99))).await.must(2);
    tool.run(&line("zz", index)).await.must(2);
}

async fn agents_keys_are_rotated(tool: &Tool, author: &Author) {
    let (tenant, agent) = (author.stream.tenant_id, author.agent_id);
    let next = SecretKey::random().unwrap().public();
    let rotate = |id: u32, key: &str| {
        format!("rotate-keys --tenant-id {tenant} --agent-id {agent} --new-key-id {id} --public-key {key}")
    };
    assert_eq!(tool.json(&rotate(2, &next.to_string()), 0).await["created"], true);
    assert_eq!(tool.json(&rotate(2, &next.to_string()), 0).await["created"], false);
    tool.run(&rotate(1, &next.to_string())).await.must(1);
    tool.run(&rotate(3, "not-a-key")).await.must(2);
    let listed = tool.json(&format!("list-agent-keys --tenant-id {tenant}"), 0).await;
    let ids = listed["keys"].as_array().unwrap().iter().map(|key| key["key_id"].as_u64().unwrap());
    assert!(ids.eq(1..=2), "{listed}");
    let third = SecretKey::random().unwrap().public().to_string();
    let revoking = format!("{} --revoke-old", rotate(3, &third));
    assert_eq!(tool.json(&revoking, 0).await["revoked"], json!([1, 2]));
    tool.run(&format!("{} --revoke-old", rotate(4, &next.to_string()))).await.must(1);
    let listed = tool.json(&format!("list-agent-keys --tenant-id {tenant}"), 0).await;
    let statuses = listed["keys"].as_array().unwrap().iter().map(|key| key["status"].as_str().unwrap());
    assert!(statuses.eq(["revoked", "revoked", "active"]), "{listed}");
    let nobody = AgentId::random();
    let none = tool.json(&format!("list-agent-keys --tenant-id {tenant} --agent-id {nobody}"), 0).await;
    assert_eq!(none["count"], 0);
    // The same commands stand under the binary's own name.
    let arguments = ["admin", "list-agent-keys", "--json", "--tenant-id"].map(str::to_owned);
    let all: Vec<String> =
        arguments.into_iter().chain([tenant.to_string()]).chain(tool.place.clone()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    assert_eq!(bowline(&tool.folder, &all).await.json(0), listed);
}
