//! Limits and errors of whole requests: what is too much or makes no sense is refused with a code, a body of one
//! shape and the request's id, and changes nothing.
//!
//! Numbers at the edge of what 64 bits hold are asked for too: they are requests like any other.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;

use crate::author::{Author, INGEST};
use crate::client::Api;
use crate::site::Site;

const BODY_BYTES_MAX: usize = 65_536;

pub(crate) async fn what_is_too_much_is_refused_as_a_whole(site: Arc<Site>) {
    let node = site.node("data").env("MAX_BODY_SIZE_BYTES", &BODY_BYTES_MAX.to_string()).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;

    let refused = api.post(INGEST, author.body(&vec!["{}".to_owned(); 1_001])).await;
    let message = refused.refused(413, "BATCH_TOO_LARGE");
    assert!(message.contains("1001") && message.contains("1000"), "{message}");
    let blanks = " ".repeat(BODY_BYTES_MAX);
    let large = api.post(INGEST, author.body(std::slice::from_ref(&blanks))).await;
    large.refused(413, "PAYLOAD_TOO_LARGE");
    // The rest of the body may still be on its way, so the connection must not be used again.
    assert_eq!(large.header("connection"), "close");
    let unknown = api.without_key().post(INGEST, blanks.clone()).await;
    assert_eq!((unknown.status, unknown.header("connection")), (401, "close"));
    assert_eq!(api.without_key().get("/api/v1/ves/streams").await.header("connection"), "");
    // Without a length that is announced, too.
    let chunks =
        ["{", &blanks, "}"].map(|text| Ok::<_, std::io::Error>(Bytes::copy_from_slice(text.as_bytes())));
    let chunked = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    api.post(INGEST, chunked).await.refused(413, "PAYLOAD_TOO_LARGE");

    let other = Author { stream: author.elsewhere().stream, ..author.clone() };
    let mixed = api.post(INGEST, author.body(&[author.event("1"), other.event("2")])).await;
    assert!(mixed.refused(400, "INVALID_REQUEST_BODY").contains("event 1"), "{}", mixed.text);
    for body in
        ["", "{}", "[]", "not JSON", "{\"agentId\":\"x\",\"events\":[]}", "{\"agentId\":17,\"events\":[{}]}"]
    {
        api.post(INGEST, body).await.refused(400, "INVALID_REQUEST_BODY");
    }
    api.post(INGEST, author.body(&[])).await.refused(400, "INVALID_REQUEST_BODY");
    let not_text = [author.body(&author.events(1)).as_bytes(), b"\xff"].concat();
    api.post(INGEST, not_text).await.refused(400, "INVALID_REQUEST_BODY");
    api.post("/api/v1/ves/proofs/verify", "[".repeat(50_000)).await.refused(400, "INVALID_REQUEST_BODY");
    api.post(INGEST, format!("{}x", author.body(&author.events(1))))
        .await
        .refused(400, "INVALID_REQUEST_BODY");
    assert_eq!(author.head(&api).await["head_sequence"], 0);
    assert_eq!(api.get("/api/v1/ves/streams").await.json()["count"], 0);
}

pub(crate) async fn errors_have_one_shape_and_the_requests_id(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 3).await;

    let named = api.with_key(crate::node::ADMIN_KEY).and("x-request-id", "check-17");
    let answer = named.get("/api/v1/nothing").await;
    answer.refused(404, "RESOURCE_NOT_FOUND");
    assert_eq!(answer.header("x-request-id"), "check-17");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
    let long =
        api.with_key(crate::node::ADMIN_KEY).and("x-request-id", &"x".repeat(129)).get("/health").await;
    assert!((1..=128).contains(&long.header("x-request-id").len()));
    api.ask("DELETE", INGEST, "").await.refused(405, "METHOD_NOT_ALLOWED");

    for query in ["&limit=0", "&from=-1", "&from=x", "&entity_id=o-1", "&receipts=perhaps"] {
        api.get(&author.path("events", query)).await.refused(400, "INVALID_FIELD_VALUE");
    }
    api.get("/api/v1/ves/events?tenant_id=17").await.refused(400, "INVALID_FIELD_VALUE");
    let nothing = uuid::Uuid::new_v4();
    for (path, code) in [
        (format!("events/{nothing}"), "EVENT_NOT_FOUND"),
        (format!("events/{nothing}/receipt"), "EVENT_NOT_FOUND"),
        ("entities/order/o-2".to_owned(), "ENTITY_NOT_FOUND"),
        ("proofs/3".to_owned(), "NOT_COMMITTED"),
        ("proofs/4".to_owned(), "EVENT_NOT_FOUND"),
        (format!("commitments/{nothing}"), "BATCH_NOT_FOUND"),
    ] {
        api.get(&author.path(&path, "")).await.refused(404, code);
    }
    api.get(&author.path("events/17", "")).await.refused(400, "INVALID_FIELD_VALUE");
    numbers_at_the_edge_are_no_surprise(&api, &author).await;
    keys_are_bound_for_ever(&api, &author).await;
}

async fn numbers_at_the_edge_are_no_surprise(api: &Api, author: &Author) {
    for edge in [i64::MAX as u64, i64::MAX as u64 + 1, u64::MAX] {
        let none = api.get(&author.path("events", &format!("&from={edge}&limit={edge}"))).await.json();
        assert_eq!((&none["events"], &none["next"]), (&json!([]), &json!(null)), "{edge}");
        let all = api.get(&author.path("events", &format!("&to={edge}"))).await.json();
        assert_eq!(all["events"].as_array().unwrap().len(), 3, "{edge}");
        let history = api.get(&author.path("entities/order/o-1", &format!("&from={edge}"))).await.json();
        assert_eq!(history["count"], 0, "{edge}");
        api.get(&author.path(&format!("proofs/{edge}"), "")).await.refused(404, "EVENT_NOT_FOUND");
        api.get(&author.path("export", &format!("&from={edge}"))).await.refused(400, "SEQUENCE_GAP");
        api.get(&author.path("export", &format!("&to={edge}"))).await.refused(400, "SEQUENCE_GAP");
        let listed = api.get(&author.path("commitments", &format!("&from={edge}"))).await.json();
        assert_eq!(listed["count"], 0, "{edge}");
        author.commit(api, Some(1), Some(edge)).await.refused(400, "SEQUENCE_GAP");
        assert_eq!(author.commit(api, Some(edge), None).await.status, 400, "{edge}");
        let mut versioned = author.draft("1");
        versioned.base_version = Some(edge);
        let conflict = author.ingest(api, &[author.sign(versioned)]).await;
        assert_eq!(conflict.reason(), format!("version_conflict: expected {edge}, actual 3"));
    }
    // Nothing comes there, and the reader waits for it.
    drop(api.follow(&author.path("stream", ""), Some(u64::MAX - 1)).await);
    let refused = api.try_follow(&author.path("stream", ""), Some(u64::MAX)).await;
    refused.err().unwrap().refused(400, "INVALID_FIELD_VALUE");
}

async fn keys_are_bound_for_ever(api: &Api, author: &Author) {
    assert_eq!(author.register(api).await.json()["success"], true, "the same key again");
    let other = Author { key: Author::new().key, ..author.clone() };
    let conflict = other.register(api).await;
    assert_eq!((conflict.status, conflict.header("x-error-code")), (409, "ALREADY_EXISTS"));
    let body = conflict.body();
    assert_eq!((&body["success"], &body["code"]), (&json!(false), &json!("ALREADY_EXISTS")));
    let zero = json!({
        "tenantId": author.stream.tenant_id, "agentId": author.agent_id, "keyId": 2, "publicKey": "00".repeat(32),
    });
    assert_eq!(
        api.post("/api/v1/agents/keys", zero.to_string()).await.header("x-error-code"),
        "INVALID_PUBLIC_KEY"
    );
    let listed = api.get(&format!("/api/v1/agents/keys?tenant_id={}", author.stream.tenant_id)).await.json();
    assert_eq!(listed["count"], 1);
    assert_eq!(listed["keys"][0]["public_key"], format!("0x{}", author.key.public()));
}
