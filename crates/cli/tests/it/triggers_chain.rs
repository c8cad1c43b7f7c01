//! A chain as every address tells of it, and what a person finds out about a trigger over it: dry runs, back-tests, what it
//! remembers, and deliveries that fail, are repeated and forgotten. The chain is real.

use std::net::TcpListener;
use std::sync::Arc;

use bowline_types::{StreamId, chain_stream};
use bowline_ves::{TrustedKeys, verify_export};
use serde_json::{Value, json};

use crate::author::{Author, Stored, assert_dense, check_receipt, sequencer_keys};
use crate::client::Api;
use crate::evm::Anvil;
use crate::node::{ADMIN_KEY, Ended, Node, bowline_in};
use crate::receiver::Receiver;
use crate::registry::Registry;
use crate::site::{Site, until};

/// The organization whose triggers they are.
const ORGANIZATION: &str = "7b3c1f0e-5a7e-4c55-9d7e-0f3a1c2b4d5e";

fn settings(registry: &Registry<'_>) -> String {
    json!({
        "indexer": { "chains": [registry.chain_settings()] },
        "triggers": { "delivery": { "allow": ["127.0.0.1/32"], "attempts_max": 1 } },
    })
    .to_string()
}

/// Waits until all that was given is on the line.
async fn until_indexed(api: &Api, registry: &Registry<'_>) {
    until(async || {
        let page = api.get("/api/v1/events?limit=100").await.json();
        page["data"].as_array().unwrap().len() as u64 == registry.given()
    })
    .await;
}

async fn one_chain(api: &Api) -> Value {
    api.get("/api/v1/indexer/status").await.json()["data"]["chains"][0].clone()
}

pub(crate) async fn every_address_tells_how_far_a_chain_is(site: Arc<Site>) {
    let chain = Anvil::start(&[]);
    let registry = Registry::deploy(&chain).await;
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let window = free.local_addr().unwrap().to_string();
    drop(free);
    let node =
        site.node("data").config(&settings(&registry)).env("INDEXER_STATUS_ADDRESS", &window).start().await;
    for (agent, value) in [(1, 3_500), (2, 9_200), (1, 8_000)] {
        registry.give(agent, value, "quality").await;
    }
    let api = node.api();
    until_indexed(&api, &registry).await;
    let block = chain.call("eth_getBlockByNumber", json!(["latest", false])).await;
    let number = |name: &str| {
        let text = block[name].as_str().unwrap().trim_start_matches("0x");
        u64::from_str_radix(text, 16).unwrap()
    };
    let (height, time) = (number("number"), number("timestamp"));
    until(async || one_chain(&api).await["lag_blocks"] == 0).await;

    // Without a credential, for whoever watches the indexer alone.
    let alone = Api::new(&format!("http://{window}"));
    until(async || alone.get("/ready").await.status == 200).await;
    assert_eq!(alone.get("/ready").await.json(), json!({ "status": "ready", "behind": [] }));
    assert_eq!(alone.get("/health").await.json(), json!({ "status": "healthy" }));
    let status = alone.get("/status").await.json();
    let told = &status["chain 31337"];
    assert_eq!(told["id"], 31_337, "{status}");
    assert_eq!(told["block"], json!({ "number": height, "timestamp": time }), "{status}");
    assert_eq!((&told["state"], &told["lag_blocks"]), (&json!("live"), &json!(0)), "{status}");

    let told = one_chain(&api).await;
    assert_eq!((&told["block"], &told["block_timestamp"]), (&json!(height), &json!(time)), "{told}");
    assert_eq!((&told["head"], &told["state"]), (&json!(height), &json!("live")), "{told}");
    assert_eq!(node.api().without_key().get("/api/v1/indexer/status").await.status, 401);

    the_newest_events_come_first(&api).await;

    // A chain that does not answer is away, and the indexer is not ready.
    drop(chain);
    until(async || alone.get("/ready").await.status == 503).await;
    assert_eq!(alone.get("/ready").await.body()["behind"], json!(["chain 31337"]));
    assert_eq!(alone.get("/health").await.status, 200);
    until(async || one_chain(&api).await["state"] == "away").await;
    let told = alone.get("/status").await.json();
    assert!(told["chain 31337"]["last_error"].is_string(), "{told}");
    assert_eq!(told["chain 31337"]["block"]["number"], height);
}

async fn the_newest_events_come_first(api: &Api) {
    let page = async |query: &str| api.get(&format!("/api/v1/events?{query}")).await.json();
    let scores = |page: &Value| -> Vec<Value> {
        page["data"].as_array().unwrap().iter().map(|event| event["score"].clone()).collect()
    };
    let first = page("page=1&limit=2").await;
    assert_eq!(scores(&first), [json!(80), json!(92)], "{first}");
    assert_eq!(
        (&first["pagination"]["has_more"], &first["pagination"]["is_complete"]),
        (&json!(true), &json!(true))
    );
    // Three are enough to know that there are more than two.
    assert_eq!(first["pagination"]["looked_at"], 3, "{first}");
    let second = page("page=2&limit=2").await;
    assert_eq!((scores(&second), &second["pagination"]["has_more"]), (vec![json!(35)], &json!(false)));
    assert_eq!(scores(&page("agentId=1&chainId=31337").await), [json!(80), json!(35)]);
    assert_eq!(scores(&page("registry=identity").await), [] as [Value; 0]);
    assert_eq!(scores(&page("eventType=NewFeedback&limit=1").await), [json!(80)]);
    assert_eq!(scores(&page("page=500&limit=2").await), [] as [Value; 0]);
    for deep in ["page=501&limit=2", "page=11&limit=100", "page=0"] {
        let refused = api.get(&format!("/api/v1/events?{deep}")).await;
        let message = refused.refused(400, "INVALID_FIELD_VALUE");
        assert!(message.contains("take 1 to"), "{message}");
    }
}

pub(crate) async fn a_chains_events_are_proven_like_any_others(site: Arc<Site>) {
    let chain = Anvil::start(&[]);
    let registry = Registry::deploy(&chain).await;
    let mut node = site.node("data").config(&settings(&registry)).start().await;
    for value in [3_500, 9_200, 8_000] {
        registry.give(1, value, "quality").await;
    }
    let api = node.api();
    until_indexed(&api, &registry).await;
    let author = Author::of(chain_stream(31_337));
    let keys = sequencer_keys(&api).await;
    // Nobody was there to take a receipt; whoever asks gets it signed, and the same one each time.
    let stored = author.read(&api, 2).await;
    assert_dense(&stored);
    for event in &stored {
        check_receipt(&event.receipt, &event.text, &keys);
        let path = author.path(&format!("events/{}/receipt", event.event_id), "");
        assert_eq!(api.get(&path).await.text, event.receipt);
    }
    assert_eq!(author.read(&api, 1_000).await[1].receipt, stored[1].receipt);
    let mut feed = api.follow(&author.path("stream", "&receipts=true"), None).await;
    let told = feed.expect(1..=3).await;
    assert_eq!(Stored::of(&told[2]).receipt, stored[2].receipt);
    drop(feed);
    let explained = api.get(&author.path(&format!("events/{}/explain", stored[0].event_id), "")).await.text;
    assert!(explained.contains("under a receipt that is signed when somebody asks for it"), "{explained}");
    author.commit(&api, None, None).await.json();
    let export = api.get(&author.path("export", "")).await.text;
    let pinned = TrustedKeys { sequencer_keys: keys.into_values().collect(), ..TrustedKeys::default() };
    assert_eq!(verify_export(export.as_bytes(), &pinned, |_| {}).unwrap().event_count, 3);

    node.terminate();
    assert!(node.ended().await.success());
    site.assert_clean("data", 3).await;
    // Who reads the database without a sequencer's key is told that nobody signed.
    let StreamId { tenant_id, store_id } = chain_stream(31_337);
    let place = match site.database_url() {
        Some(url) => format!("--database-url {url}"),
        None => "--data data".to_owned(),
    };
    let line =
        format!("admin export-events --tenant-id {tenant_id} --store-id {store_id} --format ndjson {place}");
    let words: Vec<&str> = line.split_whitespace().collect();
    let exported = bowline_in(&site.path(""), &[], &words, "").await;
    assert_eq!(exported.must(0).stdout.lines().count(), 3);
    for (line, event) in exported.stdout.lines().zip(&stored) {
        let [kept, signed] =
            [line, &event.text].map(|text| serde_json::from_str::<Value>(text).unwrap()["receipt"].clone());
        assert_eq!(kept["signatureAlg"], "none");
        assert_eq!((&kept["sequencerSignature"], &kept["attestation"]), (&json!(""), &Value::Null));
        for same in ["receiptHash", "sequenceNumber", "sequencedAt", "eventId", "sequencerKeyVersion"] {
            assert_eq!(kept[same], signed[same]);
        }
    }
}

/// A person with an organization, beside a node.
struct Person {
    folder: std::path::PathBuf,
    environment: [(&'static str, String); 3],
}

impl Person {
    fn of(site: &Site, node: &Node) -> Self {
        let environment = [
            ("BOWLINE_URL", node.address().to_owned()),
            ("BOWLINE_API_KEY", ADMIN_KEY.to_owned()),
            ("BOWLINE_ORGANIZATION", ORGANIZATION.to_owned()),
        ];
        Self { folder: site.path(""), environment }
    }

    async fn types(&self, words: &[&str]) -> Ended {
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        bowline_in(&self.folder, &environment, words, "").await
    }

    /// Makes a trigger; returns its id.
    async fn makes(&self, site: &Site, conditions: Value, url: &str) -> String {
        let trigger = json!({
            "name": "low scores", "chain_id": 31_337, "registry": "reputation", "conditions": conditions,
            "actions": [{ "action_type": "rest", "config": { "url": url } }],
        });
        site.write("trigger.json", trigger.to_string());
        let made = self.types(&["triggers", "create", "-f", "trigger.json", "--output", "json"]).await;
        made.json(0)["data"]["id"].as_str().unwrap().to_owned()
    }
}

pub(crate) async fn a_person_finds_out_when_a_trigger_would_have_fired(site: Arc<Site>) {
    let chain = Anvil::start(&[]);
    let registry = Registry::deploy(&chain).await;
    let receiver = Receiver::start().await;
    let node = site.node("data").config(&settings(&registry)).start().await;
    let api = node.api().and("x-organization-id", ORGANIZATION);
    for (agent, value) in [(1, 3_500), (2, 9_200), (1, 2_000), (3, 4_900)] {
        registry.give(agent, value, "quality").await;
    }
    until_indexed(&api, &registry).await;
    let person = Person::of(&site, &node);
    // Made after the events: it fires on none of them, and a back-test says on which it would have.
    let low =
        json!([{ "condition_type": "score_threshold", "field": "score", "operator": "<", "value": 50 }]);
    let trigger = person.makes(&site, low, &receiver.url("/hook")).await;
    let tried = person.types(&["triggers", "backtest", &trigger]).await;
    for part in ["would have fired  3 times", "events looked at  4", "█", "NewFeedback"] {
        assert!(tried.must(0).stdout.contains(part), "{part}: {}", tried.stdout);
    }
    assert_eq!(tried.stdout.lines().filter(|line| line.contains("NewFeedback")).count(), 3);
    let told = person.types(&["triggers", "backtest", &trigger, "--output", "json"]).await.json(0);
    let fired = told["data"]["fired"].as_array().unwrap().clone();
    let agents: Vec<&str> = fired.iter().map(|one| one["agent_id"].as_str().unwrap()).collect();
    assert_eq!((agents.as_slice(), &told["data"]["count"]), (["1", "1", "3"].as_slice(), &json!(3)));
    assert!(told["data"]["sparkline"].as_str().unwrap().contains('█'), "{told}");
    // In two parts, the second from where the first ended.
    let part = person.types(&["triggers", "backtest", &trigger, "--events", "2", "--list", "1"]).await;
    assert!(part.must(0).stdout.contains("would have fired  1 times"), "{part:?}");
    let cursor = part.stderr.split("--cursor ").nth(1).unwrap_or_else(|| panic!("{part:?}")).trim();
    let rest = person.types(&["triggers", "backtest", &trigger, "--cursor", cursor]).await;
    assert!(rest.must(0).stdout.contains("would have fired  2 times"), "{rest:?}");
    // A trigger that is not there yet, from its file.
    let given = person.types(&["triggers", "backtest", "-f", "trigger.json"]).await;
    assert!(given.must(0).stdout.contains("would have fired  3 times"), "{given:?}");

    let first = fired[0]["event_id"].as_str().unwrap();
    let dry = person.types(&["triggers", "dry-run", &trigger, "--event", first]).await;
    assert!(dry.stdout.contains("35 lt 50: is so"), "{dry:?}");
    let page = api.get("/api/v1/events?agentId=2").await.json();
    let high = page["data"][0]["id"].as_str().unwrap();
    let dry = person.types(&["triggers", "dry-run", "-f", "trigger.json", "--event", high]).await;
    assert!(dry.must(1).stdout.contains("92 lt 50: is not so"), "{dry:?}");
    assert!(receiver.received().is_empty(), "a trial sends nothing");
    let nothing = person.types(&["triggers", "state", &trigger]).await;
    assert!(nothing.must(0).stderr.contains("remembers nothing"), "{nothing:?}");

    // What one with a memory remembers, by agent.
    let average = json!([{ "condition_type": "ema_threshold", "field": "score", "operator": "<", "value": 50,
        "config": { "window_size": 3 } }]);
    let trigger = person.makes(&site, average, &receiver.url("/average")).await;
    registry.give(7, 1_000, "quality").await;
    receiver.until_received(1).await;
    until(async || {
        let state = person.types(&["triggers", "state", &trigger]).await;
        state.must(0).stdout.lines().any(|line| line.contains(" 7 ") && line.contains("10"))
    })
    .await;
}

pub(crate) async fn deliveries_fail_are_repeated_and_forgotten(site: Arc<Site>) {
    let chain = Anvil::start(&[]);
    let registry = Registry::deploy(&chain).await;
    let receiver = Receiver::start().await;
    receiver.answer(410);
    let node = site.node("data").config(&settings(&registry)).start().await;
    let person = Person::of(&site, &node);
    let trigger = person.makes(&site, json!([]), &receiver.url("/hook")).await;
    for agent in [1, 2] {
        registry.give(agent, 5_000, "quality").await;
    }
    let api = node.api().and("x-organization-id", ORGANIZATION);
    let ids = async |state: &str| -> Vec<String> {
        let page = api.get(&format!("/api/v1/deliveries?trigger_id={trigger}&state={state}")).await.json();
        page["data"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    until(async || ids("dead").await.len() == 2).await;
    let dead = ids("dead").await;
    let drained = person.types(&["queue", "drain", "--timeout", "5"]).await;
    assert!(drained.must(0).stdout.contains("nothing waits"), "{drained:?}");
    receiver.answer(200);
    let again = person.types(&["deliveries", "redeliver", &dead[0]]).await;
    assert!(again.must(0).stdout.contains("1 deliveries wait once more"), "{again:?}");
    assert!(again.stderr.contains("bowline queue drain"), "{again:?}");
    until(async || ids("succeeded").await == dead[..1]).await;
    let shown = person.types(&["deliveries", "show", &dead[0]]).await;
    let tries = shown.must(0).stdout.lines().filter(|line| line.contains("127.0.0.1:")).count();
    assert_eq!(tries, 2, "{shown:?}");
    // Forgetting takes a yes, and takes the dead unless another state is named.
    person.types(&["deliveries", "purge", "--trigger", &trigger]).await.must(2);
    let purged = person.types(&["deliveries", "purge", "--yes", "--trigger", &trigger]).await;
    assert!(purged.must(0).stdout.contains("1 deliveries are forgotten"), "{purged:?}");
    assert_eq!((ids("dead").await.len(), ids("succeeded").await.len()), (0, 1));
    let gone = person.types(&["deliveries", "redeliver", &dead[1]]).await;
    assert!(gone.must(1).stderr.contains("DELIVERY_NOT_FOUND"), "{gone:?}");

    // A queue that does not drain: what waits for a receiver that is away.
    receiver.answer(503);
    let patient = json!({ "actions": [{ "action_type": "rest",
        "config": { "url": receiver.url("/hook"), "max_attempts": 20 } }] });
    let changed = api.ask("PUT", &format!("/api/v1/triggers/{trigger}"), patient.to_string()).await;
    assert_eq!(changed.status, 200, "{}", changed.text);
    registry.give(3, 5_000, "quality").await;
    until(async || !ids("waiting").await.is_empty()).await;
    let stuck = person.types(&["queue", "drain", "--timeout", "0"]).await;
    assert!(stuck.must(1).stderr.contains("1 deliveries still wait"), "{stuck:?}");
    let stats = person.types(&["queue", "stats", "--output", "json"]).await.json(0);
    assert_eq!(stats["data"]["waiting"], 1, "{stats}");
}
