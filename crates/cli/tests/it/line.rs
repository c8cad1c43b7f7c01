//! The main road: events in, receipts out, pages, filters, commitments, proofs, an export that a third party
//! verifies, and a tampered copy of it that is caught.
//!
//! Roots and leaves are computed here from the events as they were signed, not taken from the node.

use std::sync::Arc;

use bowline_ves::{Commitment, Envelope, Hash, InclusionProof, Tree, event_signing_hash, leaf_hash};
use serde_json::{Value, json};

use crate::author::{Author, assert_dense, check_receipt, sequencer_keys};
use crate::client::Api;
use crate::node::bowline;
use crate::site::Site;

const EVENTS: u64 = 250;

/// Signed events with odd spellings in their payloads, over ten orders and ten invoices.
fn happenings(author: &Author) -> Vec<String> {
    let event = |n: u64| {
        let payload =
            format!(r#"{{ "n" : {n},	"price":1.50, "e":1E+2,"text" : "ä\u00e4 \/ \u0000 €" , "n2":[ ] }}"#);
        let mut draft = author.draft(&payload);
        draft.entity_type = if n.is_multiple_of(2) { "order" } else { "invoice / 2" }.to_owned();
        draft.entity_id = format!("é {}", n % 10);
        draft.event_type = if n.is_multiple_of(5) { "order.paid" } else { "order.created" }.to_owned();
        author.sign(draft)
    };
    (1..=EVENTS).map(event).collect()
}

pub(crate) async fn what_is_ingested_is_read_committed_proven_and_exported(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let sent = happenings(&author);
    receipts_are_signed(&api, &author, &sent).await;
    reading_gives_what_was_sent(&api, &author, &sent).await;
    commitments_continue_each_other(&api, &author, &sent).await;
    proofs_hold(&api, &author, &sent).await;
    exports_verify_offline(&site, &api, &author).await;
}

async fn receipts_are_signed(api: &Api, author: &Author, sent: &[String]) {
    let keys = sequencer_keys(api).await;
    let mut number = 0;
    for batch in sent.chunks(100) {
        let ingested = author.ingest(api, batch).await;
        assert_eq!((ingested.events_accepted, ingested.events_rejected), (batch.len() as u64, 0));
        let (start, end) = (number + 1, number + batch.len() as u64);
        assert_eq!((ingested.sequence_start, ingested.sequence_end), (Some(start), Some(end)));
        assert_eq!(ingested.head_sequence, end);
        for (receipt, event) in ingested.receipts().into_iter().zip(batch) {
            number += 1;
            assert_eq!(check_receipt(receipt, event, &keys).sequence_number, number);
        }
    }
    assert_eq!(number, EVENTS);
}

async fn reading_gives_what_was_sent(api: &Api, author: &Author, sent: &[String]) {
    let stored = author.read(api, 64).await;
    assert_dense(&stored);
    assert_eq!(stored.len(), sent.len());
    for (stored, sent) in stored.iter().zip(sent) {
        // What the node adds comes behind the agent's own fields.
        let own = sent.strip_suffix('}').unwrap();
        assert!(stored.text.starts_with(&format!("{own},\"sequence_number\":")), "{}", stored.text);
    }
    let one = &stored[136];
    let by_id = api.get(&author.path(&format!("events/{}", one.event_id), "")).await;
    assert_eq!((by_id.status, &by_id.text), (200, &one.text));
    let receipt = api.get(&author.path(&format!("events/{}/receipt", one.event_id), "")).await;
    assert_eq!((receipt.status, &receipt.text), (200, &one.receipt));
    let head = author.head(api).await;
    assert_eq!((&head["head_sequence"], &head["committed_sequence"]), (&json!(EVENTS), &json!(0)));
    let streams = api.get("/api/v1/ves/streams").await.json();
    assert_eq!(streams["streams"], json!([head]));

    let numbers = async |query: &str| {
        let page = api.get(&author.path("events", query)).await.json();
        let events = page["events"].as_array().unwrap();
        events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let of = |filter: fn(&u64) -> bool| (1..=EVENTS).filter(filter).collect::<Vec<_>>();
    assert_eq!(numbers("&limit=999&event_type=order.paid").await, of(|n| n % 5 == 0));
    assert_eq!(numbers("&limit=999&entity_type=order").await, of(|n| n % 2 == 0));
    assert_eq!(numbers("&limit=999&entity_type=order&entity_id=%C3%A9%204").await, of(|n| n % 10 == 4));
    assert!(numbers("&entity_type=order&entity_id=%C3%A9%204&event_type=order.paid").await.is_empty());
    assert_eq!(numbers("&from=248").await, [248, 249, 250]);
    assert_eq!(numbers("&from=7&to=9").await, [7, 8, 9]);
    let history =
        api.get(&author.path("entities/invoice%20%2F%202/%C3%A9%203", "&limit=10&from=11")).await.json();
    assert_eq!((&history["count"], &history["entity_type"]), (&json!(10), &json!("invoice / 2")));
    let expected: Vec<u64> = (1..=10).map(|n| n * 10 + 3).collect();
    let found =
        history["events"].as_array().unwrap().iter().map(|event| event["sequence_number"].as_u64().unwrap());
    assert!(found.eq(expected), "{history}");
    assert_eq!(history["next"], 113);
}

fn leaf(author: &Author, number: u64, event: &str) -> Hash {
    let envelope = Envelope::parse(event).unwrap();
    leaf_hash(author.stream, number, &event_signing_hash(&envelope), &envelope.agent_signature)
}

fn root(author: &Author, first: u64, sent: &[String]) -> Hash {
    Tree::new((first..).zip(sent).map(|(number, event)| leaf(author, number, event)).collect()).root()
}

async fn commitments_continue_each_other(api: &Api, author: &Author, sent: &[String]) {
    api.get(&author.path("proofs/7", "")).await.refused(404, "NOT_COMMITTED");
    author.commit(api, Some(1), Some(EVENTS + 1)).await.refused(400, "SEQUENCE_GAP");
    let made = author.commit(api, Some(1), Some(100)).await;
    assert_eq!(made.json()["origin"], "client");
    let first = Commitment::from_json(&made.text).unwrap();
    first.check().unwrap();
    first.follows(None).unwrap();
    assert_eq!(first.merkle_root, root(author, 1, &sent[..100]));

    assert_eq!(author.commit(api, Some(1), Some(100)).await.text, made.text, "the same range again");
    for (start, end) in [(50, 150), (1, 90), (102, 150), (101, EVENTS + 1), (0, 5)] {
        author.commit(api, Some(start), Some(end)).await.refused(400, "SEQUENCE_GAP");
    }
    let rest = author.commit(api, None, None).await;
    let second = Commitment::from_json(&rest.text).unwrap();
    second.check().unwrap();
    second.follows(Some(&first)).unwrap();
    assert_eq!((second.sequence_start, second.sequence_end), (101, EVENTS));
    assert_eq!(second.merkle_root, root(author, 101, &sent[100..]));
    assert_eq!(author.commit(api, None, None).await.status, 400, "nothing is left");

    let listed = api.get(&author.path("commitments", "&all=true")).await.json();
    assert_eq!(listed["commitments"], json!([made.json(), rest.json()]));
    let from = api.get(&author.path("commitments", "&from=101")).await.json();
    assert_eq!(from["commitments"], json!([rest.json()]));
    let one = api.get(&format!("/api/v1/ves/commitments/{}", second.batch_id)).await;
    assert_eq!(one.json(), rest.json());
    assert_eq!(author.head(api).await["committed_sequence"], EVENTS);
}

async fn proofs_hold(api: &Api, author: &Author, sent: &[String]) {
    let verify = async |proof: &Value| api.post("/api/v1/ves/proofs/verify", proof.to_string()).await;
    for number in [1, 2, 64, 100, 101, 177, EVENTS] {
        let mut proof = api.get(&author.path(&format!("proofs/{number}"), "")).await.json();
        let hash = |value: &Value| Hash::parse_hex(value.as_str().unwrap()).unwrap();
        let offline = InclusionProof {
            leaf_hash: leaf(author, number, &sent[number as usize - 1]),
            leaf_index: proof["leaf_index"].as_u64().unwrap(),
            path: proof["proof_path"].as_array().unwrap().iter().map(hash).collect(),
        };
        let known =
            if number <= 100 { root(author, 1, &sent[..100]) } else { root(author, 101, &sent[100..]) };
        offline.verify(&known).unwrap();
        assert_eq!(proof["directions"], json!(offline.directions()));
        assert_eq!(verify(&proof).await.json()["valid"], true);

        let depth = offline.path.len();
        proof["leaf_index"] = json!(offline.leaf_index + (1 << depth));
        verify(&proof).await.refused(400, "INVALID_FIELD_VALUE");
        proof["leaf_index"] = json!(offline.leaf_index ^ 1);
        assert_eq!(verify(&proof).await.json()["valid"], false);
    }
    api.get(&author.path("proofs/251", "")).await.refused(404, "EVENT_NOT_FOUND");
}

async fn exports_verify_offline(site: &Site, api: &Api, author: &Author) {
    let whole = api.get(&author.path("export", "")).await;
    assert_eq!((whole.status, whole.header("content-type")), (200, "application/x-ndjson"));
    let folder = site.path("");
    let verify = async |name: &str| {
        let key = sequencer_keys(api).await.into_values().next().unwrap();
        let agent_key = format!("{}:1:{}", author.agent_id, author.key.public());
        let pins = ["--sequencer-key", &key.to_string(), "--agent-key", &agent_key];
        let arguments = [&["verify", "export", name, "--output", "json"], pins.as_slice()].concat();
        bowline(&folder, &arguments).await
    };
    site.write("whole.ndjson", &whole.text);
    let report = verify("whole.ndjson").await.json(0);
    assert_eq!((&report["valid"], &report["event_count"]), (&json!(true), &json!(EVENTS)));
    assert_eq!((&report["commitment_count"], &report["committed_event_count"]), (&json!(2), &json!(EVENTS)));
    assert_eq!(
        (&report["sequencer_keys_pinned"], &report["agent_keys_from_file"]),
        (&json!(true), &json!(0))
    );

    let tampered = whole.text.replace(r#"{ "n" : 137,"#, r#"{ "n" : 138,"#);
    assert_ne!(tampered, whole.text);
    site.write("tampered.ndjson", tampered);
    let caught = verify("tampered.ndjson").await;
    assert_eq!(caught.json(1)["sequence_number"], 137);
    assert!(caught.stderr.contains("event 137"), "{}", caught.stderr);

    let lines: Vec<&str> = whole.text.lines().collect();
    site.write("cut.ndjson", lines[..200].join("\n") + "\n");
    assert_eq!(verify("cut.ndjson").await.json(1)["kind"], "truncated");

    let part = api.get(&author.path("export", "&from=90&to=110")).await;
    site.write("part.ndjson", &part.text);
    assert_eq!(verify("part.ndjson").await.json(0)["event_count"], 21);
    api.get(&author.path("export", "&from=2&to=251")).await.refused(400, "SEQUENCE_GAP");
    let none = Author::new();
    assert_eq!(api.get(&none.path("export", "")).await.text.lines().count(), 2, "a stream without events");
    assert!(none.read(api, 10).await.is_empty());
}
