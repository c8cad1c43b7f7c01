//! Commitments on a real chain, through the API, the commands and the operators' procedure.
//!
//! What is anchored is asked of the chain itself wherever that can be; the node's word alone proves nothing.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::author::Author;
use crate::chain::{Chain, KEYS};
use crate::client::Api;
use crate::node::{ADMIN_KEY, BINARY, Ended, Node, bowline, bowline_in, run_program};
use crate::site::{Site, until};

/// The operators' procedure, as it stands in their runbook.
const CIRCUIT: &str = "curl http://localhost:8080/metrics | grep circuit";
const CONNECTIVITY: &str = r#"curl $L2_RPC_URL -X POST \
  -H "Content-Type: application/json" \
  -d '{"jsonrpc":"2.0","method":"eth_blockNumber","params":[],"id":1}'"#;
const RETRY: &str = r#"curl -X POST http://localhost:8080/api/v1/ves/anchor \
  -H "Authorization: Bearer $TOKEN" \
  -d '{"batch_id": "<batch-id>"}'"#;

/// A stream that a node anchors.
struct Stream<'a> {
    node: &'a Node,
    author: Author,
}

impl<'a> Stream<'a> {
    async fn of(node: &'a Node) -> Self {
        Self { author: Author::known_to(&node.api()).await, node }
    }

    /// A new commitment to three new events; its id.
    async fn commit(&self) -> String {
        let api = self.node.api();
        self.author.grow(&api, 3).await;
        let made = self.author.commit(&api, None, None).await.json();
        made["batch_id"].as_str().unwrap().to_owned()
    }

    async fn rows(&self) -> Vec<Value> {
        let path = self.author.path("", "").replace("/ves/?", "/anchors?");
        self.node.api().get(&path).await.json()["anchors"].as_array().unwrap().clone()
    }

    /// Mines until so many commitments are final; their rows.
    async fn anchored(&self, chain: &Chain, count: usize) -> Vec<Value> {
        until(async || {
            chain.mine(1).await;
            self.rows().await.iter().filter(|row| row["state"] == "anchored").count() == count
        })
        .await;
        self.rows().await
    }

    /// A command of `bowline anchors`.
    async fn command(&self, site: &Site, line: &str) -> Ended {
        let (tenant, store) =
            (self.author.stream.tenant_id.to_string(), self.author.stream.store_id.to_string());
        let line = line.replace("STREAM", &format!("--tenant {tenant} --store {store}"));
        let mut words = vec!["--url", self.node.address(), "--api-key", ADMIN_KEY];
        words.extend(line.split_whitespace());
        bowline(&site.path(""), &words).await
    }
}

/// Pastes a command of the runbook.
async fn paste(site: &Site, node: &Node, chain: &Chain, text: &str) -> Ended {
    let text = text.replace("http://localhost:8080", node.address());
    let environment = [("L2_RPC_URL", chain.url.as_str()), ("TOKEN", ADMIN_KEY)];
    run_program(Path::new("/bin/bash"), &site.path(""), &environment, &["-o", "pipefail", "-c", &text], "")
        .await
}

fn on_chain(found: &Value) -> (bool, u64) {
    (found["anchored_on_chain"].as_bool().unwrap(), found["chain_id"].as_u64().unwrap())
}

async fn verified(api: &Api, batch: &str) -> Value {
    api.get(&format!("/api/v1/ves/anchor/{batch}/verify")).await.json()
}

pub(crate) async fn anchoring_fails_and_recovers_as_the_runbook_says(site: Arc<Site>) {
    let chain = Chain::start().await;
    let node = chain.of(site.node("data")).start().await;
    let (api, stream) = (node.api(), Stream::of(&node).await);
    let first = stream.commit().await;
    stream.anchored(&chain, 1).await;
    let breaker = format!("name=\"anchor:{}\"", chain.endpoint());
    let state = |value: u8| format!("bowline_circuit_breaker_state{{{breaker}}} {value}");
    let circuit = async || paste(&site, &node, &chain, CIRCUIT).await.must(0).stdout.clone();
    assert!(circuit().await.contains(&state(0)));

    chain.shut();
    let second = stream.commit().await;
    let third = stream.commit().await;
    until(async || circuit().await.contains(&state(2))).await;
    assert_ne!(paste(&site, &node, &chain, CONNECTIVITY).await.code, Some(0));
    let details = api.get("/health/detailed").await.json();
    let seen = details["circuit_breakers"].as_array().unwrap();
    assert!(seen.iter().any(|one| one["name"] == format!("anchor:{}", chain.endpoint())), "{seen:?}");
    assert_eq!(details["anchors"]["trouble"], "RPC_UNAVAILABLE", "{details}");
    assert_eq!((&details["anchors"]["anchored"], &details["anchors"]["pending"]), (&json!(1), &json!(2)));

    let refused = api.post("/api/v1/ves/anchor", json!({ "batch_id": second }).to_string()).await;
    refused.refused(502, "ANCHOR_FAILED");
    assert_eq!(refused.body()["error"]["details"]["code"], "RPC_UNAVAILABLE", "{}", refused.text);
    let said = stream.command(&site, &format!("anchors send {second}")).await;
    assert!(said.must(3).stderr.contains("next: check L2_RPC_URL"), "{said:?}");
    let said = stream.command(&site, "anchors status").await;
    assert!(said.must(1).stdout.contains("RPC_UNAVAILABLE since"), "{said:?}");
    api.get(&format!("/api/v1/ves/anchor/{first}/verify")).await.refused(502, "ANCHOR_FAILED");
    // They are valid without an anchor: checked, proven, and more are made.
    for batch in [&first, &second, &third] {
        let check = api.get(&format!("/api/v1/ves/commitments/{batch}/check")).await.json();
        assert_eq!(check["valid"], true, "{check}");
    }
    let proof = api.get(&stream.author.path("proofs/5", "")).await.json();
    assert_eq!(proof["batch_id"], *second);

    chain.open();
    let answer = paste(&site, &node, &chain, CONNECTIVITY).await;
    assert!(answer.must(0).stdout.contains("\"result\":\"0x"), "{answer:?}");
    let retry = RETRY.replace("<batch-id>", &second);
    let mut answer = json!(null);
    until(async || {
        answer = serde_json::from_str(&paste(&site, &node, &chain, &retry).await.must(0).stdout).unwrap();
        answer.get("error").is_none()
    })
    .await;
    assert_eq!((&answer["batch_id"], &answer["chain_id"]), (&json!(second), &json!(31_337)));
    assert!(
        ["mined", "anchored", "already_anchored"].contains(&answer["status"].as_str().unwrap()),
        "{answer}"
    );
    let rows = stream.anchored(&chain, 3).await;
    let batches: Vec<&str> = rows.iter().map(|row| row["batch_id"].as_str().unwrap()).collect();
    assert_eq!(batches, [&first, &second, &third]);
    for row in &rows {
        let found = verified(&api, row["batch_id"].as_str().unwrap()).await;
        assert_eq!(on_chain(&found), (true, 31_337), "{found}");
        assert_eq!(found["block_number"], row["block_number"], "{found}");
    }
    let answer: Value =
        serde_json::from_str(&paste(&site, &node, &chain, &retry).await.must(0).stdout).unwrap();
    assert_eq!(answer["status"], "already_anchored");
    until(async || circuit().await.contains(&state(0))).await;
}

pub(crate) async fn a_person_sees_and_mends_anchors(site: Arc<Site>) {
    let chain = Chain::start().await;
    let node = chain.of(site.node("data")).start().await;
    let (api, stream) = (node.api(), Stream::of(&node).await);
    let said = stream.command(&site, "anchors list STREAM").await;
    assert!(said.must(0).stderr.contains("no commitments"), "{said:?}");
    let first = stream.commit().await;
    let second = stream.commit().await;
    stream.anchored(&chain, 2).await;
    // The endpoint that does both.
    stream.author.grow(&api, 5).await;
    let (tenant, store) = (stream.author.stream.tenant_id, stream.author.stream.store_id);
    let body = json!({ "tenant_id": tenant, "store_id": store, "max_events": 4 });
    let both = api.post("/api/v1/ves/commitments/anchor", body.to_string()).await;
    assert!(matches!(both.status, 200 | 202), "{}", both.text);
    let both = both.body();
    assert_eq!((&both["sequence_start"], &both["sequence_end"]), (&json!(7), &json!(10)));
    assert!(both["chain_tx_hash"].as_str().unwrap().starts_with("0x"), "{both}");
    stream.anchored(&chain, 3).await;

    let status = stream.command(&site, "anchors status").await;
    let words =
        ["anchoring", "31337, block", "(Bowline)", "may commit", "closed", "this node", "anchored     3"];
    for word in words {
        assert!(status.must(0).stdout.contains(word), "{word} is not in {status:?}");
    }
    let listed = stream.command(&site, "anchors list STREAM").await;
    let lines: Vec<&str> = listed.must(0).stdout.lines().collect();
    assert!(lines[0].starts_with("POS  BATCH") && lines[1].contains(&first), "{listed:?}");
    assert!(lines.iter().take(5).all(|line| line.chars().count() <= 120), "{listed:?}");
    assert!(lines[4].starts_with("seconds to anchor  ") && lines[4].contains('█'), "{listed:?}");
    let page = stream.command(&site, "anchors list STREAM --after 1 --limit 1 --output json").await.json(0);
    assert_eq!((&page["anchors"][0]["batch_id"], &page["next"]), (&json!(second), &json!(2)));
    let row = &page["anchors"][0];
    assert!(row["gas_share"].as_u64().unwrap() > 20_000 && row["seconds_to_anchor"].is_f64(), "{row}");
    let shown = stream.command(&site, &format!("anchors show {first} --output json")).await.json(0);
    assert_eq!((&shown["state"], &shown["attempts"][0]["state"]), (&json!("anchored"), &json!("anchored")));
    let shown = stream.command(&site, &format!("anchors show {first}")).await;
    assert!(shown.must(0).stdout.contains("SENT AT") && shown.stdout.contains(" own "), "{shown:?}");
    let found = stream.command(&site, &format!("anchors verify {first}")).await;
    assert!(found.must(0).stdout.contains("on the chain   yes"), "{found:?}");
    let listed = stream.command(&site, "commitments list STREAM --all").await;
    assert!(listed.must(0).stdout.contains("block "), "{listed:?}");
    let one = stream.command(&site, &format!("commitments show {first}")).await;
    assert!(one.must(0).stdout.contains("chain 31337, block "), "{one:?}");
    let printed = stream.command(&site, &format!("--curl anchors send {first}")).await;
    assert!(printed.must(0).stderr.contains("curl -sS -X POST") && !printed.stderr.contains(ADMIN_KEY));
    let retried = stream.command(&site, "anchors retry --all").await;
    assert!(retried.must(0).stdout.starts_with("0 streams"), "{retried:?}");
    let none = stream.command(&site, &format!("anchors verify {tenant}")).await;
    assert!(none.must(1).stderr.contains("BATCH_NOT_FOUND"), "{none:?}");
    // The older paths answer the same.
    let old = api.get(&format!("/api/v1/anchor/{first}/verify")).await.json();
    assert_eq!(old["anchored_on_chain"], true);
    assert_eq!(api.get("/api/v1/anchor/status").await.json()["anchored"], 3);
    let old = api.post("/api/v1/anchor", json!({ "batch_id": first }).to_string()).await.json();
    assert_eq!(old["status"], "already_anchored");
}

pub(crate) async fn anchors_go_to_another_contract_when_told(site: Arc<Site>) {
    let chain = Chain::start().await;
    let mut node = chain.of(site.node("data")).start().await;
    let stream = Stream::of(&node).await;
    let batch = stream.commit().await;
    stream.anchored(&chain, 1).await;
    let author = stream.author.clone();
    node.terminate();
    assert!(node.ended().await.success());

    let other = chain.deploy().await;
    let node = chain.of(site.node("data")).env("SET_REGISTRY_ADDRESS", &other).start().await;
    let stream = Stream { node: &node, author };
    let mut said = stream.command(&site, "anchors status").await;
    until(async || {
        said = stream.command(&site, "anchors status").await;
        said.stdout.contains("TARGET_CHANGED")
    })
    .await;
    assert!(said.must(1).stderr.contains("bowline anchors switch"), "{said:?}");
    stream.command(&site, "anchors switch").await.must(2);
    let switched = stream.command(&site, "anchors switch --yes").await;
    assert!(switched.must(0).stdout.contains(&other.to_lowercase()), "{switched:?}");
    stream.anchored(&chain, 1).await;
    let found = verified(&node.api(), &batch).await;
    assert_eq!((on_chain(&found).0, &found["contract"]), (true, &json!(other.to_lowercase())));
    let shown = stream.command(&site, &format!("anchors show {batch} --output json")).await.json(0);
    assert_eq!(shown["attempts"].as_array().unwrap().len(), 2, "{shown}");
}

pub(crate) async fn administrators_anchor_their_own_streams_alone(site: Arc<Site>) {
    let chain = Chain::start().await;
    let node = chain.of(site.node("data")).start().await;
    let (api, stream, other) = (node.api(), Stream::of(&node).await, Stream::of(&node).await);
    let (mine, theirs) = (stream.commit().await, other.commit().await);
    let key = async |author: &Author, body: Value| {
        let path = format!("/api/v1/agents/{}/api-keys", author.agent_id);
        let made = api.post(&path, body.to_string()).await.json();
        api.with_key(made["apiKey"].as_str().unwrap())
    };
    let tenant = stream.author.stream.tenant_id;
    let admin = key(&stream.author, json!({ "tenantId": tenant, "admin": true })).await;
    let reader = key(&stream.author, json!({ "tenantId": tenant, "readOnly": true })).await;
    let anchor = |batch: &str| json!({ "batch_id": batch }).to_string();

    assert!(matches!(admin.post("/api/v1/ves/anchor", anchor(&mine)).await.status, 200 | 202));
    assert_eq!(reader.post("/api/v1/ves/anchor", anchor(&mine)).await.status, 403);
    admin.post("/api/v1/ves/anchor", anchor(&theirs)).await.refused(404, "BATCH_NOT_FOUND");
    until(async || verified(&api, &mine).await["anchored_on_chain"] == true).await;
    assert_eq!(on_chain(&verified(&reader, &mine).await), (true, 31_337));
    reader.get(&format!("/api/v1/ves/anchor/{theirs}/verify")).await.refused(404, "BATCH_NOT_FOUND");
    reader.get(&format!("/api/v1/anchors/{theirs}")).await.refused(404, "BATCH_NOT_FOUND");
    let foreign = other.author.path("", "").replace("/ves/?", "/anchors?");
    assert_eq!(reader.get(&foreign).await.status, 403);
    assert_eq!(reader.get("/api/v1/anchors/status").await.status, 403);
    assert_eq!(admin.get("/api/v1/anchors/status").await.json()["configured"], true);
    assert_eq!(
        admin.post("/api/v1/ves/commitments/anchor", other.author.range(None, None)).await.status,
        403
    );
    let of = |author: &Author| {
        json!({ "tenant_id": author.stream.tenant_id, "store_id": author.stream.store_id }).to_string()
    };
    assert_eq!(admin.post("/api/v1/anchors/retry", of(&stream.author)).await.json()["unblocked"], 0);
    assert_eq!(admin.post("/api/v1/anchors/retry", of(&other.author)).await.status, 403);
    let half = json!({ "tenant_id": tenant }).to_string();
    admin.post("/api/v1/anchors/retry", half).await.refused(400, "INVALID_FIELD_VALUE");
    let report = json!({ "chain_tx_hash": format!("0x{}", "11".repeat(32)), "chain_id": 1 }).to_string();
    for (method, path, body) in [
        ("POST", "/api/v1/anchors/retry".to_owned(), "{}"),
        ("POST", "/api/v1/anchors/switch".to_owned(), ""),
        ("GET", "/v1/commitments/pending".to_owned(), ""),
        ("POST", format!("/v1/commitments/{mine}/anchored"), report.as_str()),
    ] {
        let answer = admin.ask(method, &path, body.to_owned()).await;
        assert_eq!(
            (answer.status, &answer.body()["code"]),
            (403, &json!("insufficient_permissions")),
            "{path}"
        );
    }
    // A node that anchors by itself takes no reports.
    let taken = api.post(&format!("/v1/commitments/{mine}/anchored"), report).await;
    taken.refused(409, "ANCHOR_CONFLICT");
    assert_eq!(taken.body()["error"]["details"]["code"], "ANCHORS_ITSELF");
}

pub(crate) async fn a_service_elsewhere_anchors_and_reports(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let (api, stream) = (node.api(), Stream::of(&node).await);
    let (first, second) = (stream.commit().await, stream.commit().await);
    for path in ["/api/v1/ves/anchor", "/api/v1/anchor"] {
        let refused = api.post(path, json!({ "batch_id": first }).to_string()).await;
        refused.refused(503, "ANCHOR_NOT_CONFIGURED");
    }
    let refused = api.post("/api/v1/ves/commitments/anchor", stream.author.range(None, None)).await;
    refused.refused(503, "ANCHOR_NOT_CONFIGURED");
    let status = stream.command(&site, "anchors status").await;
    assert!(status.must(0).stdout.contains("not set up on this node"), "{status:?}");

    let waiting = async || api.get("/v1/commitments/pending").await.json();
    let seen = waiting().await;
    assert_eq!(seen["total"], 2, "{seen}");
    let local = api.get(&format!("/api/v1/ves/commitments/{first}")).await.json();
    let hex = |name: &str| format!("0x{}", local[name].as_str().unwrap());
    let expected = json!({
        "batch_id": first, "tenant_id": local["tenant_id"], "store_id": local["store_id"],
        "prev_state_root": hex("prev_state_root"), "new_state_root": hex("new_state_root"),
        "events_root": hex("merkle_root"), "sequence_start": 1, "sequence_end": 3, "event_count": 3,
        "committed_at": local["committed_at"], "chain_tx_hash": null,
    });
    assert_eq!(seen["commitments"][0], expected);
    let limited = api.get("/v1/commitments/pending?limit=1").await.json();
    assert_eq!((limited["commitments"].as_array().unwrap().len(), &limited["total"]), (1, &json!(2)));

    let hash = |byte: &str| format!("0x{}", byte.repeat(32));
    let path = format!("/v1/commitments/{first}/anchored");
    let report = |byte: &str| {
        json!({ "chain_tx_hash": hash(byte), "chain_id": 84_532_001, "block_number": 7, "gas_used": 90_000 })
            .to_string()
    };
    let taken = api.post(&path, report("ab")).await.json();
    assert_eq!((&taken["status"], &taken["chain_tx_hash"]), (&json!("anchored"), &json!(hash("ab"))));
    assert_eq!(api.post(&path, report("ab")).await.json()["status"], "already_anchored");
    let other = api.post(&path, report("cd")).await;
    other.refused(409, "ANCHOR_CONFLICT");
    assert_eq!(other.body()["error"]["details"]["chain_tx_hash"], hash("ab"));
    api.post("/v1/commitments/64527dd3-a654-4410-9327-e58a1492ce77/anchored", report("ab"))
        .await
        .refused(404, "BATCH_NOT_FOUND");
    api.post(&path, json!({ "chain_tx_hash": "0x12", "chain_id": 1 }).to_string())
        .await
        .refused(400, "INVALID_REQUEST_BODY");

    let left = waiting().await;
    assert_eq!((&left["total"], &left["commitments"][0]["batch_id"]), (&json!(1), &json!(second)));
    let marked = api.get(&format!("/api/v1/ves/commitments/{first}")).await.json();
    assert_eq!((&marked["is_anchored"], &marked["chain_block_number"]), (&json!(true), &json!(7)));
    let rows = stream.rows().await;
    assert_eq!((&rows[0]["state"], &rows[1]["state"]), (&json!("anchored"), &json!("pending")));
    assert_eq!(rows[0]["gas_share"], 90_000);
}

pub(crate) async fn the_admin_tool_anchors_on_the_database(site: Arc<Site>) {
    let chain = Chain::start().await;
    let mut node = site.node("data").start().await;
    let stream = Stream::of(&node).await;
    let author = stream.author.clone();
    author.grow(&node.api(), 9).await;
    node.terminate();
    assert!(node.ended().await.success());

    let place = match site.database_url() {
        Some(url) => format!("--database-url {url}"),
        None => format!("--data {}", site.path("data").display()),
    };
    let (tenant, store) = (author.stream.tenant_id, author.stream.store_id);
    let tool = async |environment: &[(&str, String)], more: &str| {
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let line = format!(
            "admin ves-commit-and-anchor --tenant-id {tenant} --store-id {store} --json {place} {more}"
        );
        let words: Vec<&str> = line.split_whitespace().collect();
        bowline_in(&site.path(""), &environment, &words, "").await
    };
    let with = |name: &'static str, value: &str| {
        let mut settings = chain.settings();
        settings.retain(|(known, _)| *known != name);
        settings.push((name, value.to_owned()));
        settings
    };
    let made = tool(&chain.settings(), "--max-events 4").await.json(0);
    assert_eq!((&made["sequence_start"], &made["sequence_end"]), (&json!(1), &json!(4)));
    assert!(["mined", "anchored"].contains(&made["status"].as_str().unwrap()), "{made}");
    let receipt = chain.call("eth_getTransactionReceipt", json!([made["chain_tx_hash"]])).await;
    assert_eq!((&receipt["status"], &receipt["to"]), (&json!("0x1"), &json!(chain.contract)));
    // The same range again is the same commitment, and one anchor is enough.
    let again = tool(&chain.settings(), "--sequence-start 1 --sequence-end 4").await.json(0);
    assert_eq!((&again["batch_id"], &again["chain_tx_hash"]), (&made["batch_id"], &made["chain_tx_hash"]));
    // What is wrong is named, and the commitment stays.
    let stranger = tool(&with("SEQUENCER_PRIVATE_KEY", KEYS[2]), "--max-events 2").await;
    let refused = stranger.json(1);
    assert_eq!(refused["anchor_error"]["details"]["code"], "NOT_COMMITTER", "{refused}");
    assert!(stranger.stderr.contains("setCommitter"), "{stranger:?}");
    let half = tool(&chain.settings()[..3], "--max-events 1").await;
    assert!(half.must(2).stderr.contains("anchoring needs"), "{half:?}");
    let none = tool(&[], "--max-events 1").await.json(1);
    assert_eq!(none["anchor_error"]["code"], "ANCHOR_NOT_CONFIGURED");

    // What the tool left, a node goes on with.
    let node = chain.of(site.node("data")).start().await;
    let stream = Stream { node: &node, author: author.clone() };
    let rows = stream.anchored(&chain, 3).await;
    assert_eq!(rows[0]["tx_hash"], made["chain_tx_hash"]);
    if site.database_url().is_some() {
        // That node holds the lease now.
        let waited = tool(&chain.settings(), "--max-events 2").await;
        assert!(waited.stderr.contains("anchors for this database"), "{waited:?}");
        assert!(waited.json(0)["chain_tx_hash"].is_string());
        let audited = format!("admin backfill-ves-state-roots {place}");
        let words: Vec<&str> = audited.split_whitespace().collect();
        run_program(Path::new(BINARY), &site.path(""), &[], &words, "").await.must(0);
        stream.anchored(&chain, 4).await;
    }
}
