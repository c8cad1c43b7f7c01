//! The runbook's "Recover from Dead Letter Events", through the command line: list, look, mend, retry, delete.
//!
//! A letter's event is compared with what was sent, and whoever may not see a stream sees none of its letters.

use std::sync::Arc;

use bowline_ves::SecretKey;
use serde_json::{Value, json};

use crate::author::Author;
use crate::commands::Person;
use crate::node::ADMIN_KEY;
use crate::runbook::metric;
use crate::site::{Site, until};

async fn total(person: &Person, filter: &str) -> u64 {
    person.asks(&format!("dead-letters list {filter}")).await["total"].as_u64().unwrap()
}

pub(crate) async fn what_was_not_taken_is_mended_and_retried(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let person = Person::with_key(&site, &node, ADMIN_KEY);
    let author = Author::new();
    let sent = author.events(3);
    assert_eq!(author.ingest(&api, &sent).await.events_rejected, 3);
    until(async || total(&person, "").await == 3).await;
    // The same again is the same letter.
    assert_eq!(author.ingest(&api, &sent[..1]).await.events_rejected, 1);
    until(async || {
        let list = person.asks("dead-letters list").await;
        list["dead_letters"].as_array().unwrap().iter().any(|letter| letter["seen_count"] == 2)
    })
    .await;
    let list = person.asks("dead-letters list --reason agent_key_not_registered --status pending").await;
    let letters = list["dead_letters"].as_array().unwrap();
    assert_eq!((letters.len(), &list["next"]), (3, &Value::Null));
    for letter in letters {
        let id = letter["id"].as_str().unwrap();
        let shown = person.asks(&format!("dead-letters show {id}")).await;
        let event = sent.iter().map(|event| serde_json::from_str::<Value>(event).unwrap());
        assert!(event.into_iter().any(|event| event == shown["payload"]), "{shown}");
    }
    assert!(person.types("dead-letters list").await.must(0).stdout.contains("agent_key_not_registered"));
    let first = letters[0]["id"].as_str().unwrap().to_owned();
    assert!(
        person
            .types(&format!("dead-letters show {first}"))
            .await
            .must(0)
            .stdout
            .contains("payload_plain_hash")
    );
    person.types("dead-letters retry").await.must(2);
    assert!(person.types("dead-letters list --status lost").await.must(2).stderr.contains("status"));

    // Nothing is mended yet.
    let refused = person.types("dead-letters retry --all --output json").await.json(1);
    assert_eq!((&refused["taken"], &refused["refused"]), (&json!(0), &json!(3)));
    author.register(&api).await.json();
    let one = person.asks(&format!("dead-letters retry {first}")).await;
    assert_eq!((&one["taken"], &one["results"][0]["sequence_number"]), (&json!(1), &json!(1)));
    assert!(person.types("dead-letters retry --all").await.must(0).stderr.contains("2 taken"));
    assert_eq!((total(&person, "").await, &author.head(&api).await["head_sequence"]), (0, &json!(3)));
    person.types(&format!("dead-letters show {first}")).await.must(1);
    person.types(&format!("dead-letters retry {first}")).await.must(1);
    some_letters_end_in_other_ways(&person, &api, &author).await;

    let metrics = api.without_key().get("/metrics").await.text;
    for (name, value) in [
        ("sequencer_dlq_events_total", 6.0),
        ("sequencer_dlq_retries_total", 6.0),
        ("sequencer_dlq_dropped_total", 0.0),
    ] {
        assert_eq!(metric(&metrics, name), Some(value), "{name} in\n{metrics}");
    }
    let resolved = "bowline_dead_letters{status=\"resolved\"} 1";
    until(async || api.without_key().get("/metrics").await.text.contains(resolved)).await;
}

async fn some_letters_end_in_other_ways(person: &Person, api: &crate::client::Api, author: &Author) {
    // A forged event is no letter; what names a version that is not there is one, and may be deleted.
    let forger = Author { key: SecretKey::random().unwrap(), ..author.clone() };
    assert_eq!(forger.ingest(api, &forger.events(1)).await.reason(), "invalid_signature");
    let mut stale = author.draft("1");
    stale.base_version = Some(99);
    let rejected = author.ingest(api, &[author.sign(stale)]).await;
    assert!(rejected.reason().starts_with("version_conflict"), "{rejected:?}");
    until(async || total(person, "--reason version_conflict").await == 1).await;
    assert_eq!(total(person, "").await, 1);
    let key = json!({"tenantId": author.stream.tenant_id, "storeIds": [author.stream.store_id]});
    let path = format!("/api/v1/agents/{}/api-keys", author.agent_id);
    let writer = api.post(&path, key.to_string()).await.json();
    let writer = api.with_key(writer["apiKey"].as_str().unwrap());
    let listed = writer.get("/api/v1/dead-letters").await.json();
    assert_eq!(listed["total"], 1);
    let id = listed["dead_letters"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(writer.ask("DELETE", &format!("/api/v1/dead-letters/{id}"), "").await.status, 403);
    assert_eq!(person.asks("dead-letters delete --all --reason version_conflict").await["deleted"], 1);
    assert_eq!(total(person, "").await, 0);

    // Sent again after it was mended: nobody has to retry it.
    let late = Author::of(author.stream);
    let sent = late.events(1);
    assert_eq!(late.ingest(api, &sent).await.events_rejected, 1);
    until(async || total(person, "--status pending").await == 1).await;
    late.register(api).await.json();
    assert_eq!(late.ingest(api, &sent).await.events_accepted, 1);
    until(async || total(person, "--status resolved").await == 1).await;

    let stranger = Author::known_to(api).await;
    let key = json!({"tenantId": stranger.stream.tenant_id, "admin": true});
    let path = format!("/api/v1/agents/{}/api-keys", stranger.agent_id);
    let admin = api.post(&path, key.to_string()).await.json();
    let admin = api.with_key(admin["apiKey"].as_str().unwrap());
    assert_eq!(admin.get("/api/v1/dead-letters").await.json()["total"], 0);
    let id = person.asks("dead-letters list").await["dead_letters"][0]["id"].as_str().unwrap().to_owned();
    let hidden = format!("/api/v1/dead-letters/{id}");
    admin.get(&hidden).await.refused(404, "DEAD_LETTER_NOT_FOUND");
    admin.ask("DELETE", &hidden, "").await.refused(404, "DEAD_LETTER_NOT_FOUND");
    let foreign = format!("/api/v1/dead-letters?tenant_id={}", author.stream.tenant_id);
    assert_eq!(admin.get(&foreign).await.status, 403);
    assert_eq!(writer.get(&hidden).await.json()["status"], "resolved");
}
