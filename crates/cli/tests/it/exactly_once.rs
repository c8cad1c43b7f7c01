//! Exactly once: an event, a command and an entity's version are taken once, whatever is sent again.
//!
//! "The same receipt" means the same bytes: also after a kill, and also out of another endpoint.

use std::sync::Arc;

use bowline_types::CommandId;

use crate::author::{Author, INGEST, Ingested};
use crate::site::Site;

pub(crate) async fn the_same_again_gets_the_same_receipt(site: Arc<Site>) {
    let mut node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let events = author.events(3);
    let first = author.ingest(&api, &events).await;
    let receipts = first.receipts();
    assert_eq!((first.events_accepted, receipts.len()), (3, 3));

    let again = author.ingest(&api, &events).await;
    assert_eq!((again.events_accepted, again.events_rejected), (0, 0));
    assert_eq!((again.sequence_start, again.sequence_end, again.head_sequence), (None, None, 3));
    assert_eq!(again.receipts(), receipts);

    // Another spelling of the same event is the same event.
    let mut respelt: serde_json::Value = serde_json::from_str(&events[1]).unwrap();
    for field in ["agent_signature", "payload_plain_hash"] {
        respelt[field] = respelt[field].as_str().unwrap().trim_start_matches("0x").to_uppercase().into();
    }
    respelt["sequence_number"] = 77.into();
    let respelt = author.ingest(&api, &[respelt.to_string()]).await;
    assert_eq!((respelt.events_accepted, respelt.receipts()), (0, vec![receipts[1]]));

    // An old event, a new one, and the new one again, in one batch.
    let fresh = author.event("4");
    let mixed = author.ingest(&api, &[events[2].clone(), fresh.clone(), fresh.clone()]).await;
    assert_eq!((mixed.events_accepted, mixed.events_rejected), (1, 0));
    let [old, new, repeated] = mixed.receipts()[..] else { panic!("{mixed:?}") };
    assert_eq!((old, new), (receipts[2], repeated));

    let mut other = author.draft("{\"n\":1000}");
    other.event_id = first_id(&author, &events[0]);
    let clash = author.ingest(&api, &[author.sign(other)]).await;
    assert_eq!(clash.reason(), "duplicate_event_id");
    commands_and_versions_are_taken_once(&api, &author).await;

    let head = author.head(&api).await;
    node.kill();
    let node = node.again().await;
    let after = author.ingest(&node.api(), &events).await;
    assert_eq!((after.events_accepted, after.receipts()), (0, receipts.clone()));
    assert_eq!(author.head(&node.api()).await, head);
    let stored = author.read(&node.api(), 2).await;
    assert!(stored[..3].iter().map(|event| event.receipt.as_str()).eq(receipts));
}

fn first_id(author: &Author, event: &str) -> bowline_types::EventId {
    let envelope = bowline_ves::Envelope::parse(event).unwrap();
    assert_eq!(envelope.stream, author.stream);
    envelope.event_id
}

async fn commands_and_versions_are_taken_once(api: &crate::client::Api, author: &Author) {
    let command_id = Some(CommandId::random());
    let commanded = |payload| author.sign(bowline_ves::Draft { command_id, ..author.draft(payload) });
    let first = commanded("\"first\"");
    let done = author.ingest(api, std::slice::from_ref(&first)).await;
    assert_eq!(done.events_accepted, 1);
    assert_eq!(author.ingest(api, &[commanded("\"second\"")]).await.reason(), "duplicate_command_id");
    assert_eq!(author.ingest(api, &[first]).await.receipts(), done.receipts(), "a replay is no duplicate");
    let elsewhere = author.elsewhere();
    let there = bowline_ves::Draft { command_id, ..elsewhere.draft("1") };
    assert_eq!(
        elsewhere.ingest(api, &[elsewhere.sign(there)]).await.events_accepted,
        1,
        "commands are a stream's own"
    );

    let at = |base_version| {
        let mut draft = author.draft("{}");
        draft.entity_id = "versioned".to_owned();
        draft.base_version = Some(base_version);
        author.sign(draft)
    };
    assert_eq!(author.ingest(api, &[at(1)]).await.reason(), "version_conflict: expected 1, actual 0");
    let taken = author.ingest(api, &[at(0), at(0), at(1)]).await;
    assert_eq!((taken.events_accepted, taken.rejections.len()), (2, 1));
    let conflict = &taken.rejections[0];
    assert_eq!((conflict.index, conflict.reason.as_str()), (1, "version_conflict: expected 0, actual 1"));
    assert_eq!(conflict.field.as_deref(), Some("base_version"));
    assert_eq!(author.ingest(api, &[at(7)]).await.reason(), "version_conflict: expected 7, actual 2");
}

pub(crate) async fn of_competitors_with_one_event_one_is_accepted(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let events = author.events(5);
    let body = author.body(&events);
    let posts: Vec<_> = (0..16)
        .map(|_| {
            let (api, body) = (api.clone(), body.clone());
            tokio::spawn(async move { Ingested::of(&api.post(INGEST, body).await) })
        })
        .collect();
    let mut answers = Vec::new();
    for post in posts {
        answers.push(post.await.unwrap());
    }
    assert_eq!(answers.iter().map(|answer| answer.events_accepted).sum::<u64>(), 5);
    assert!(answers.iter().all(|answer| answer.receipts() == answers[0].receipts()));
    assert_eq!(author.read(&api, 10).await.len(), 5);
}
