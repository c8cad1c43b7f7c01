//! `bowline verify anchor`: exports of real nodes against real contracts, those that hold and those that do not.
//!
//! Nodes anchor for real; what the chain lacks was never sent there, and what is forged was signed by its agent.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::author::Author;
use crate::client::Api;
use crate::commands::Person;
use crate::evm::{Anvil, CHAIN};
use crate::node::{ADMIN_KEY, Ended, bowline, bowline_in};
use crate::site::{Site, until};

/// Who has a file and knows chain and contract.
struct Verifier<'a> {
    site: &'a Site,
    url: String,
    contract: String,
}

impl<'a> Verifier<'a> {
    fn of(site: &'a Site, anvil: &Anvil, contract: &str) -> Self {
        Self { site, url: anvil.url().to_owned(), contract: contract.to_owned() }
    }

    async fn says(&self, file: &str, more: &[&str]) -> Ended {
        let common = ["verify", "anchor", file, "--rpc-url", &self.url, "--contract", &self.contract];
        let words: Vec<&str> = common.into_iter().chain(more.iter().copied()).collect();
        bowline(&self.site.path(""), &words).await
    }

    async fn finds(&self, file: &str, code: i32) -> Value {
        self.says(file, &["--confirmations", "2", "--output", "json"]).await.json(code)
    }
}

/// Writes an export of the stream, or of a range.
async fn export(site: &Site, api: &Api, author: &Author, range: &str, name: &str) {
    let export = api.get(&author.path("export", range)).await;
    assert_eq!(export.status, 200, "{}", export.text);
    site.write(name, export.text);
}

async fn chapter(api: &Api, id: &str) -> Value {
    let told = api.get(&format!("/api/v1/ves/events/{id}/explain")).await.json();
    let chapters = told["chapters"].as_array().unwrap().iter();
    chapters.into_iter().find(|chapter| chapter["name"] == "anchored").cloned().unwrap_or_default()
}

pub(crate) async fn an_export_is_held_against_the_chain(site: Arc<Site>) {
    let anvil = Anvil::start(&[]);
    let contract = anvil.contract(&site).await;
    let node = anvil.node(site.node("data"), &contract).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 12).await;
    let id = author.read(&api, 20).await[1].event_id.to_string();
    assert_eq!(chapter(&api, &id).await, Value::Null);
    author.commit(&api, None, Some(4)).await.json();
    // In a block at once, and not final before others stand on it.
    let told = async |words: &str| {
        let chapter = chapter(&api, &id).await;
        chapter["status"] == "pending" && chapter["told"].as_str().unwrap().contains(words)
    };
    until(async || told("with 0 of 2 blocks on top").await).await;
    anvil.mine(1).await;
    assert!(told("with 1 of 2 blocks on top").await);
    author.commit(&api, None, Some(8)).await.json();
    anvil.until_final(&api, &author).await;
    export(&site, &api, &author, "", "whole.ndjson").await;
    let verifier = Verifier::of(&site, &anvil, &contract);

    let found = verifier.finds("whole.ndjson", 0).await;
    assert_eq!(
        (&found["anchored"], &found["final"], &found["missing"]),
        (&json!(true), &json!(2), &json!(0))
    );
    assert_eq!((&found["chain_id"], &found["contract"]), (&json!(31_337), &json!(contract)));
    assert_eq!((&found["contract_kind"], &found["anchored_event_count"]), (&json!("bowline"), &json!(8)));
    assert_eq!((&found["head"]["commitments_beyond"], &found["export"]["valid"]), (&json!(0), &json!(true)));
    let row = &found["commitments"][1];
    let block = anvil
        .call("eth_getBlockByNumber", json!([format!("{:#x}", row["block_number"].as_u64().unwrap()), false]))
        .await;
    let secs =
        i64::from_str_radix(block["timestamp"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    let time: bowline_types::Timestamp = row["block_time"].as_str().unwrap().parse().unwrap();
    assert_eq!(time.micros(), secs * 1_000_000);
    let asked = anvil
        .call(
            "eth_getBlockByNumber",
            json!([format!("{:#x}", found["block_number"].as_u64().unwrap()), false]),
        )
        .await;
    assert_eq!(asked["hash"], found["block_hash"]);
    let told = verifier.says("whole.ndjson", &["--chain-id", CHAIN]).await;
    for part in ["8 of 12 events", &contract, "one history a stream", "that of the file"] {
        assert!(told.must(0).stdout.contains(part), "{part}: {told:?}");
    }

    // Too few blocks on top are a warning; settings in the environment are taken.
    let environment = [("L2_RPC_URL", verifier.url.as_str()), ("SET_REGISTRY_ADDRESS", contract.as_str())];
    let words = ["verify", "anchor", "whole.ndjson", "--confirmations", "5000"];
    let warned = bowline_in(&site.path(""), &environment, &words, "").await;
    assert!(
        warned.must(0).stderr.contains("warning: 2 of 2 are on the chain and not known to have 5000"),
        "{warned:?}"
    );
    assert!(warned.stdout.contains("2 unconfirmed"), "{warned:?}");

    let anchored = chapter(&api, &id).await;
    assert_eq!(
        (&anchored["status"], &anchored["details"]["chain_id"]),
        (&json!("done"), &json!(31_337)),
        "{anchored}"
    );
    let receipt = anvil.call("eth_getTransactionReceipt", json!([anchored["details"]["tx_hash"]])).await;
    assert_eq!(receipt["status"], "0x1", "{anchored}");

    parts_of_a_stream_have_their_place(&site, &anvil, &verifier, &api, &author).await;
    what_is_wrong_is_told(&site, &verifier).await;
    drop(node);
    what_the_chain_lacks_is_named(&site, &verifier, &author).await;
    drop(anvil);
    let away = verifier.says("whole.ndjson", &[]).await;
    assert!(away.must(3).stderr.contains("no endpoint of the chain answers"), "{away:?}");
}

async fn parts_of_a_stream_have_their_place(
    site: &Site,
    anvil: &Anvil,
    verifier: &Verifier<'_>,
    api: &Api,
    author: &Author,
) {
    export(site, api, author, "&from=1&to=4", "first.ndjson").await;
    let first = verifier.finds("first.ndjson", 0).await;
    assert_eq!((&first["final"], &first["head"]["commitments_beyond"]), (&json!(1), &json!(1)), "{first}");
    let told = verifier.says("first.ndjson", &[]).await;
    assert!(told.must(0).stdout.contains("1 commitments after those of the file"), "{told:?}");
    export(site, api, author, "&from=5&to=12", "rest.ndjson").await;
    let rest = verifier.finds("rest.ndjson", 0).await;
    assert_eq!((&rest["final"], &rest["head"]["commitments_beyond"]), (&json!(1), &Value::Null), "{rest}");
    export(site, api, author, "&from=9&to=12", "none.ndjson").await;
    let none = verifier.says("none.ndjson", &[]).await;
    assert!(none.must(2).stderr.contains("the export holds no commitment"), "{none:?}");
    assert!(none.stderr.contains("bowline commitments create --tenant"), "{none:?}");

    // Another endpoint stands in for one that is away.
    let away = Anvil::start(&[]).url().to_owned();
    let both = format!("{away},{}", anvil.url());
    bowline(
        &site.path(""),
        &["verify", "anchor", "whole.ndjson", "--rpc-url", &both, "--contract", &verifier.contract],
    )
    .await
    .must(0);
}

async fn what_is_wrong_is_told(site: &Site, verifier: &Verifier<'_>) {
    let text = std::fs::read_to_string(site.path("whole.ndjson")).unwrap();
    let event = text.lines().find(|line| line.contains("\"sequence_number\":3,")).unwrap();
    site.write("changed.ndjson", text.replacen(event, &event.replacen("{\"n\":2}", "{\"n\":7}", 1), 1));
    let changed = verifier.says("changed.ndjson", &["--output", "json"]).await;
    assert_eq!(changed.json(1)["sequence_number"], 3, "{changed:?}");
    // A commitment whose root was changed together with its state root is not the events' any more.
    let commitment = text.lines().find(|line| line.starts_with("{\"commitment\"")).unwrap();
    site.write("left_out.ndjson", text.replacen(&format!("{commitment}\n"), "", 1));
    verifier.says("left_out.ndjson", &[]).await.must(1);

    let elsewhere = Verifier { contract: format!("0x{}", "12".repeat(20)), url: verifier.url.clone(), site };
    let nothing = elsewhere.says("whole.ndjson", &[]).await;
    assert!(nothing.must(2).stderr.contains("there is no contract at 0x1212"), "{nothing:?}");
    let chain = verifier.says("whole.ndjson", &["--chain-id", "5"]).await;
    assert!(chain.must(2).stderr.contains("the chain has the id 31337, not 5"), "{chain:?}");
    let unnamed =
        bowline(&site.path(""), &["verify", "anchor", "whole.ndjson", "--rpc-url", &verifier.url]).await;
    assert!(unnamed.must(2).stderr.contains("SET_REGISTRY_ADDRESS"), "{unnamed:?}");
    let unnamed =
        bowline(&site.path(""), &["verify", "anchor", "whole.ndjson", "--contract", &verifier.contract])
            .await;
    assert!(unnamed.must(2).stderr.contains("L2_RPC_URL"), "{unnamed:?}");
}

/// A node that does not anchor any more commits once more.
async fn what_the_chain_lacks_is_named(site: &Site, verifier: &Verifier<'_>, author: &Author) {
    let node = site.node("data").start().await;
    let api = node.api();
    let third = author.commit(&api, None, None).await.json();
    export(site, &api, author, "", "more.ndjson").await;
    let found = verifier.finds("more.ndjson", 1).await;
    assert_eq!(
        (&found["final"], &found["missing"], &found["anchored"]),
        (&json!(2), &json!(1), &json!(false))
    );
    assert_eq!(found["commitments"][2]["standing"], "missing");
    let told = verifier.says("more.ndjson", &[]).await;
    let named = format!(
        "commitment {} over 9..=12 is not on the chain: the contract has the stream up to event 8 only",
        third["batch_id"].as_str().unwrap()
    );
    assert!(told.must(1).stderr.contains(&named), "{told:?}");
    assert!(told.stdout.contains("2 final, 1 missing"), "{told:?}");
    let id = author.read(&api, 20).await[11].event_id.to_string();
    let waiting = chapter(&api, &id).await;
    assert_eq!(waiting["status"], "pending", "{waiting}");
    assert!(waiting["told"].as_str().unwrap().contains("not set up to anchor"), "{waiting}");
}

pub(crate) async fn another_history_of_a_stream_is_a_no(site: Arc<Site>) {
    let anvil = Anvil::start(&[]);
    let contract = anvil.contract(&site).await;
    let verifier = Verifier::of(&site, &anvil, &contract);
    let author = Author::new();
    let node = anvil.node(site.node("data"), &contract).start().await;
    let api = node.api();
    assert_eq!(author.register(&api).await.status, 200);
    author.grow(&api, 6).await;
    author.commit(&api, None, None).await.json();
    anvil.until_final(&api, &author).await;

    // The same agent tells another node another story of the same stream, in a file that is valid by itself.
    let other = site.node("other").start().await;
    let forged = other.api();
    assert_eq!(author.register(&forged).await.status, 200);
    author.grow(&forged, 6).await;
    author.commit(&forged, None, None).await.json();
    export(&site, &forged, &author, "", "fork.ndjson").await;
    bowline(&site.path(""), &["verify", "export", "fork.ndjson"]).await.must(0);
    let told = verifier.says("fork.ndjson", &[]).await;
    let words =
        "the chain has another history of the stream: something else is committed there up to event 6";
    assert!(told.must(1).stderr.contains(words), "{told:?}");
    assert!(told.stderr.contains("do not trust the export"), "{told:?}");
    // A node that would anchor the other story is told so, and its events with it.
    drop(other);
    let other = anvil.node(site.node("other"), &contract).start().await;
    let forged = other.api();
    let id = author.read(&forged, 10).await[0].event_id.to_string();
    until(async || chapter(&forged, &id).await["status"] == "wrong").await;
    let wrong = chapter(&forged, &id).await;
    assert_eq!(wrong["details"]["code"], "FORKED", "{wrong}");
    assert!(wrong["told"].as_str().unwrap().contains("the chain has another history"), "{wrong}");
    drop(other);
    let other = site.node("other").start().await;
    let forged = other.api();
    // A stream that the contract has never heard of.
    let unheard = Author::known_to(&forged).await;
    unheard.grow(&forged, 3).await;
    unheard.commit(&forged, None, None).await.json();
    export(&site, &forged, &unheard, "", "unheard.ndjson").await;
    let told = verifier.says("unheard.ndjson", &[]).await;
    assert!(told.must(1).stderr.contains("the contract knows nothing of this stream"), "{told:?}");
}

pub(crate) async fn corrections_are_held_against_the_chain(site: Arc<Site>) {
    let anvil = Anvil::start(&[]);
    let contract = anvil.contract(&site).await;
    let verifier = Verifier::of(&site, &anvil, &contract);
    let node = anvil.node(site.node("data"), &contract).start().await;
    let (api, person) = (node.api(), Person::with_key(&site, &node, ADMIN_KEY));
    let author = Author::known_to(&api).await;
    author.grow(&api, 8).await;
    let first = author.commit(&api, None, Some(4)).await.json();
    author.commit(&api, None, None).await.json();
    anvil.until_final(&api, &author).await;
    site.damage_commitment(1, "merkle_root").await;
    let bad = first["batch_id"].as_str().unwrap();
    let correction = person.asks(&format!("commitments correct {bad} --reason bad-sector")).await;
    anvil.until_final(&api, &author).await;
    export(&site, &api, &author, "", "corrected.ndjson").await;
    let found = verifier.finds("corrected.ndjson", 0).await;
    let standings: Vec<&Value> =
        found["commitments"].as_array().unwrap().iter().map(|row| &row["standing"]).collect();
    assert_eq!(standings, ["replaced", "final", "final"], "{found}");
    assert_eq!(
        (&found["commitments"][0]["corrected_by"], &found["anchored_event_count"]),
        (&correction["batch_id"], &json!(8))
    );
    assert_eq!(found["head"]["commitments_beyond"], 0, "{found}");
    let told = verifier.says("corrected.ndjson", &[]).await;
    assert!(told.must(0).stdout.contains("correction"), "{told:?}");
    assert!(told.stderr.contains("warning: 1 commitments are replaced by corrections"), "{told:?}");

    let id = author.read(&api, 20).await[1].event_id.to_string();
    let anchored = chapter(&api, &id).await;
    assert_eq!(
        (&anchored["status"], &anchored["details"]["corrects"]),
        (&json!("done"), &json!(bad)),
        "{anchored}"
    );
}

pub(crate) async fn a_contract_of_the_originals_kind_is_asked_too(site: Arc<Site>) {
    let anvil = Anvil::start(&[]);
    let contract = anvil.original_contract().await;
    let verifier = Verifier::of(&site, &anvil, &contract);
    let node = anvil.node(site.node("data"), &contract).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 6).await;
    author.commit(&api, None, Some(3)).await.json();
    anvil.until_final(&api, &author).await;
    export(&site, &api, &author, "", "original.ndjson").await;
    let found = verifier.finds("original.ndjson", 0).await;
    assert_eq!((&found["contract_kind"], &found["final"]), (&json!("original"), &json!(1)), "{found}");
    assert_eq!((&found["commitments"][0]["block_number"], &found["head"]), (&Value::Null, &Value::Null));
    // It was not there so many blocks ago.
    let young = verifier.says("original.ndjson", &["--confirmations", "4000"]).await;
    assert!(young.must(0).stderr.contains("warning: 1 of 1"), "{young:?}");
    let all = anvil.call("eth_blockNumber", json!([])).await;
    let all = u64::from_str_radix(all.as_str().unwrap().trim_start_matches("0x"), 16).unwrap().to_string();
    let young = verifier.says("original.ndjson", &["--confirmations", &all]).await;
    assert!(young.must(0).stdout.contains("1 unconfirmed"), "{young:?}");
    drop(node);

    let node = site.node("data").start().await;
    author.commit(&node.api(), None, None).await.json();
    export(&site, &node.api(), &author, "", "more.ndjson").await;
    let told = verifier.says("more.ndjson", &[]).await;
    assert!(told.must(1).stderr.contains("does not know this Merkle root under this id"), "{told:?}");
}
