//! The life of an event as the node tells it: every chapter checked, a changed one called wrong, and an event that
//! is not there said to be refused or unknown.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::author::{Author, Stored};
use crate::client::{Answer, Api};
use crate::node::{ADMIN_KEY, bowline};
use crate::site::{Engine, Site};

async fn explained(api: &Api, id: &str, more: &str) -> Answer {
    api.get(&format!("/api/v1/ves/events/{id}/explain{more}")).await
}

/// Names and statuses of the chapters.
fn chapters(told: &Value) -> Vec<(&str, &str)> {
    let chapters = told["chapters"].as_array().unwrap().iter();
    chapters.map(|chapter| (chapter["name"].as_str().unwrap(), chapter["status"].as_str().unwrap())).collect()
}

fn chapter<'a>(told: &'a Value, name: &str) -> &'a Value {
    told["chapters"].as_array().unwrap().iter().find(|chapter| chapter["name"] == name).unwrap()
}

pub(crate) async fn an_events_life_is_told_and_checked(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 5).await;
    let stored: Vec<Stored> = author.read(&api, 10).await;
    let id = stored[2].event_id.to_string();

    let told = explained(&api, &id, "").await.json();
    assert_eq!((&told["state"], &told["sequence_number"]), (&json!("sequenced"), &json!(3)));
    let begun = [("created", "done"), ("sequenced", "done"), ("verified", "done"), ("committed", "pending")];
    assert_eq!(chapters(&told), begun);
    let batch = author.commit(&api, None, None).await.json();
    let told = explained(&api, &id, "").await.json();
    let ended = [("committed", "done"), ("proven", "done"), ("anchored", "pending")];
    assert_eq!(chapters(&told)[3..], ended);
    assert!(chapter(&told, "anchored")["told"].as_str().unwrap().contains("not set up to anchor"), "{told}");
    assert_eq!(chapter(&told, "committed")["details"]["batch_id"], batch["batch_id"]);
    assert_eq!(chapter(&told, "committed")["details"]["origin"], "client");
    let receipt: Value = serde_json::from_str(&stored[2].receipt).unwrap();
    assert_eq!(chapter(&told, "sequenced")["details"]["receipt_hash"], receipt["receiptHash"]);
    assert_eq!(chapter(&told, "sequenced")["at"], receipt["sequencedAt"]);
    assert_eq!(chapter(&told, "created")["details"]["created_at"], "2025-12-20T17:51:10.243Z");
    assert_eq!(chapter(&told, "verified")["details"]["public_key"], author.key.public().to_string());

    // Only who may read it hears of it.
    let stranger = json!({"tenantId": bowline_types::TenantId::random()}).to_string();
    let made = api.post(&format!("/api/v1/agents/{}/api-keys", author.agent_id), stranger).await.json();
    let stranger = api.with_key(made["apiKey"].as_str().unwrap());
    explained(&stranger, &id, "").await.refused(404, "EVENT_NOT_FOUND");
    let (tenant, store) = (author.stream.tenant_id, author.stream.store_id);
    let named = format!("?tenant_id={tenant}&store_id={store}");
    assert_eq!(explained(&stranger, &id, &named).await.status, 403);

    // The same id in another stream is another event.
    let elsewhere = author.elsewhere();
    let mut draft = elsewhere.draft("1");
    draft.event_id = stored[2].event_id;
    let twin = elsewhere.sign(draft);
    assert_eq!(elsewhere.ingest(&api, &[twin]).await.events_accepted, 1);
    let several = explained(&api, &id, "").await;
    several.refused(400, "INVALID_FIELD_VALUE");
    assert_eq!(several.body()["error"]["details"]["streams"].as_array().unwrap().len(), 2);
    assert_eq!(explained(&api, &id, &named).await.json()["sequence_number"], 3);

    what_does_not_hold_is_called_wrong(&site, &api, &author, &stored).await;
    what_is_not_there_is_refused_or_unknown(&site, &api, &author).await;
    a_person_reads_a_timeline(&site, node.address(), &stored).await;
}

async fn what_does_not_hold_is_called_wrong(site: &Site, api: &Api, author: &Author, stored: &[Stored]) {
    let tenant = author.stream.tenant_id;
    let of = |number: usize| (stored[number - 1].event_id.to_string(), format!("?tenant_id={tenant}"));
    let change = async |what: &str, number: u64| {
        site.execute_past("data", &format!("UPDATE ves_events SET {what} WHERE sequence_number = {number}"))
            .await;
    };
    change("payload = '{\"n\":9}'", 1).await;
    change("receipt_attestation = agent_signature", 2).await;
    change("agent_signature = receipt_attestation", 4).await;
    for (number, wrong) in [(1, vec!["verified"]), (2, vec!["sequenced"]), (4, vec!["verified", "proven"])] {
        let (id, query) = of(number);
        let told = explained(api, &id, &query).await.json();
        let found: Vec<&str> = chapters(&told)
            .into_iter()
            .filter(|(_, status)| *status == "wrong")
            .map(|(name, _)| name)
            .collect();
        assert_eq!(found, wrong, "{told}");
    }
}

async fn what_is_not_there_is_refused_or_unknown(site: &Site, api: &Api, author: &Author) {
    let unknown = bowline_types::EventId::random();
    explained(api, &unknown.to_string(), "").await.refused(404, "EVENT_NOT_FOUND");
    let engine = if site.database_url().is_some() { Engine::Postgres } else { Engine::Sqlite };
    let id = |text: String| match engine {
        Engine::Sqlite => format!("x'{}'", text.replace('-', "")),
        Engine::Postgres => format!("'{text}'"),
    };
    let moment = if engine == Engine::Sqlite { "7000000" } else { "to_timestamp(7)" };
    let (tenant, store) = (id(author.stream.tenant_id.to_string()), id(author.stream.store_id.to_string()));
    let letter = format!(
        "INSERT INTO dead_letter_events (id, event_id, tenant_id, store_id, event_type, reason, error_message, created_at,
                                         last_seen_at, payload_bytes, payload)
         VALUES ({0}, {0}, {tenant}, {store}, 't', 'schema_validation', 'amount: not a number', {moment}, {moment}, 1, '1')",
        id(unknown.to_string())
    );
    site.execute_past("data", &letter).await;
    let told = explained(api, &unknown.to_string(), "").await.json();
    assert_eq!((&told["state"], &told["sequence_number"]), (&json!("refused"), &Value::Null));
    assert_eq!(chapters(&told), [("refused", "wrong")]);
    assert!(told["chapters"][0]["told"].as_str().unwrap().contains("amount: not a number"), "{told}");
}

async fn a_person_reads_a_timeline(site: &Site, url: &str, stored: &[Stored]) {
    let explain = async |id: &str, more: &[&str]| {
        let common = ["--url", url, "--api-key", ADMIN_KEY, "explain", id];
        let all: Vec<&str> = common.into_iter().chain(more.iter().copied()).collect();
        bowline(&site.path(""), &all).await
    };
    let good = explain(&stored[4].event_id.to_string(), &["--figures"]).await;
    let lines: Vec<&str> = good.must(0).stdout.lines().collect();
    let order = ["created", "sequenced", "verified", "committed", "proven", "anchored"];
    assert!(order.iter().enumerate().all(|(at, name)| lines[at + 2].contains(name)), "{good:?}");
    assert!(good.stdout.contains("merkle_root"), "{good:?}");
    // A chapter that does not hold is a no.
    let wrong = explain(&stored[0].event_id.to_string(), &["--output", "json"]).await;
    assert_eq!(wrong.json(1)["state"], "sequenced");
    explain(&bowline_types::EventId::random().to_string(), &[]).await.must(1);
}
