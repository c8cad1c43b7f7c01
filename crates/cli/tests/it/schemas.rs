//! The schema registry: versions, what may follow what, and events that are rejected alone for their payload.
//!
//! Schemas here are also hostile: they refer to elsewhere, nest, repeat and match without end, and cost nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::author::{Author, Ingested};
use crate::client::{Answer, Api};
use crate::site::{Site, until};

const SCHEMAS: &str = "/api/v1/schemas";

fn order() -> Value {
    json!({"type": "object", "required": ["id"], "properties": {"id": {"type": "integer"}}})
}

async fn register(api: &Api, author: &Author, schema: Value, more: Value) -> Answer {
    let mut request =
        json!({"tenantId": author.stream.tenant_id, "eventType": "order.created", "schemaJson": schema});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    api.post(SCHEMAS, request.to_string()).await
}

async fn set_status(api: &Api, schema: &Value, status: &str) -> Answer {
    let path = format!("{SCHEMAS}/{}/status", schema["id"].as_str().unwrap());
    api.ask("PUT", &path, json!({ "status": status }).to_string()).await
}

fn of(author: &Author, path: &str) -> String {
    format!("{SCHEMAS}{path}?tenant_id={}", author.stream.tenant_id)
}

pub(crate) async fn versions_follow_each_other_and_are_found(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let first = register(&api, &author, order(), json!({"description": "An order"})).await.json();
    assert_eq!((&first["version"], &first["status"]), (&json!(1), &json!("active")));
    assert_eq!((&first["compatibility"], &first["schemaJson"]), (&json!("backward"), &order()));
    let again = register(&api, &author, order(), json!({})).await.json();
    assert_eq!(again["id"], first["id"], "the same once more is the same version");

    let mut stricter = order();
    stricter["required"] = json!(["id", "total"]);
    let refused = register(&api, &author, stricter.clone(), json!({})).await;
    let message = refused.refused(400, "SCHEMA_VALIDATION_FAILED");
    assert!(message.contains("requires `total`") && message.contains("version 1"), "{message}");
    let second = register(&api, &author, stricter.clone(), json!({"compatibility": "none"})).await.json();
    assert_eq!(second["version"], 2);
    assert_eq!(api.get(&of(&author, "/event-type/order.created/latest")).await.json()["id"], second["id"]);
    let listed = api.get(&of(&author, "/event-type/order.created")).await.json();
    assert_eq!((&listed["count"], &listed["schemas"][1]["schemaJson"]), (&json!(2), &stricter));
    assert_eq!(api.get(&of(&author, "")).await.json()["count"], 2);
    let one = api.get(&format!("{}&version=1", of(&author, "/event-type/order.created"))).await.json();
    assert_eq!(one["schemas"][0]["id"], first["id"]);

    let check = async |payload: Value, version: Value| {
        let request = json!({"tenantId": author.stream.tenant_id, "eventType": "order.created",
            "payload": payload, "schemaVersion": version});
        api.post(&format!("{SCHEMAS}/validate"), request.to_string()).await
    };
    let verdict = check(json!({"id": "x"}), json!(null)).await.json();
    assert_eq!((&verdict["valid"], &verdict["schemaVersion"]), (&json!(false), &json!(2)));
    let paths: Vec<_> = verdict["errors"].as_array().unwrap().iter().map(|error| &error["path"]).collect();
    assert!(paths.contains(&&json!("/id")) && paths.contains(&&json!("/total")), "{verdict}");
    assert_eq!(check(json!({"id": 1}), json!(1)).await.json()["valid"], true);
    check(json!(1), json!(9)).await.refused(404, "SCHEMA_NOT_FOUND");

    assert_eq!(set_status(&api, &second, "deprecated").await.json()["newStatus"], "deprecated");
    assert_eq!(api.get(&of(&author, "/event-type/order.created/latest")).await.json()["id"], first["id"]);
    set_status(&api, &second, "gone").await.refused(400, "INVALID_FIELD_VALUE");
    let path = format!("{SCHEMAS}/{}", second["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.json()["status"], "deprecated");
    strangers_see_nothing(&api, &author, &path).await;
    assert_eq!(api.ask("DELETE", &path, "").await.json()["deletedSchemaId"], second["id"]);
    for answer in [api.get(&path).await, api.ask("DELETE", &path, "").await] {
        answer.refused(404, "SCHEMA_NOT_FOUND");
    }
    let third = register(&api, &author, json!(true), json!({})).await.json();
    assert_eq!(third["version"], 3, "a number is given once");
    api.get(&of(&author, "/event-type/none/latest")).await.refused(404, "SCHEMA_NOT_FOUND");
    api.get(&of(&author, "/event-type/a%00b/latest")).await.refused(400, "INVALID_FIELD_VALUE");
}

async fn strangers_see_nothing(api: &Api, author: &Author, path: &str) {
    let other = Author::known_to(api).await;
    let made = async |who: &Author, more: Value| {
        let mut request = json!({"tenantId": who.stream.tenant_id});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let made = api.post(&format!("/api/v1/agents/{}/api-keys", who.agent_id), request.to_string()).await;
        api.with_key(made.json()["apiKey"].as_str().unwrap())
    };
    let stranger = made(&other, json!({"admin": true})).await;
    for method in ["GET", "DELETE"] {
        stranger.ask(method, path, "").await.refused(404, "SCHEMA_NOT_FOUND");
    }
    assert_eq!(stranger.get(&of(author, "")).await.status, 403);
    assert_eq!(stranger.get(SCHEMAS).await.json()["count"], 0);
    assert_eq!(register(&stranger, author, order(), json!({})).await.status, 403);
    // Who writes events does not decide what they must look like.
    let writer = made(author, json!({})).await;
    assert_eq!(register(&writer, author, json!(true), json!({})).await.status, 403);
    assert_eq!(writer.ask("DELETE", path, "").await.status, 403);
    assert_eq!(writer.get(path).await.status, 200);
    // Nor does who has a part of the tenant decide for all of it.
    let partial = made(author, json!({"admin": true, "storeIds": [author.stream.store_id]})).await;
    assert_eq!(partial.ask("DELETE", path, "").await.body()["code"], "store_access_denied");
    assert_eq!(register(&partial, author, json!(true), json!({})).await.status, 403);
}

pub(crate) async fn a_payload_that_breaks_its_schema_is_rejected_alone(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let before = author.event(r#"{"id":"old"}"#);
    assert_eq!(author.ingest(&api, std::slice::from_ref(&before)).await.events_accepted, 1);
    let schema = register(&api, &author, order(), json!({})).await.json();

    let mut other = author.draft(r#"{"id":"x"}"#);
    other.event_type = "order.paid".to_owned();
    let events = [
        author.event(r#"{"id":1}"#),
        author.event(r#"{"id":"secret"}"#),
        author.event(r#"{"total":1}"#),
        author.sign(other),
        author.event("17"),
        author.event(r#"{"id":2}"#),
    ];
    let ingested = author.ingest(&api, &events).await;
    assert_eq!((ingested.events_accepted, ingested.head_sequence), (3, 4), "{ingested:?}");
    let told: Vec<_> =
        ingested.rejections.iter().map(|r| (r.index, r.reason.as_str(), r.field.as_deref())).collect();
    assert_eq!(
        told,
        [
            (1, "schema_validation: /id", Some("/id")),
            (2, "schema_validation: /id", Some("/id")),
            (4, "schema_validation", None),
        ]
    );
    let message = &ingested.rejections[0].message;
    assert!(message.contains("payload/id") && message.contains("rule /properties/id/type"), "{message}");
    assert!(!message.contains("secret") && message.contains(schema["id"].as_str().unwrap()), "{message}");

    // What was taken before gets its receipt again, whatever was registered since.
    let replayed = author.ingest(&api, &[before]).await;
    assert_eq!((replayed.events_rejected, replayed.receipts().len()), (0, 1), "{replayed:?}");
    assert_eq!(set_status(&api, &schema, "archived").await.status, 200);
    assert_eq!(author.ingest(&api, &events[1..2]).await.events_accepted, 1);
    let metrics = api.get("/metrics").await.text;
    for line in [
        "sequencer_errors_schema_validation 3",
        "bowline_schema_validations_total{outcome=\"rejected\"} 3",
        "bowline_schema_validations_total{outcome=\"replayed\"} 1",
        "sequencer_events_rejected{reason=\"schema_validation\"} 3",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    assert!(metrics.contains("cache_hits_total{cache=\"schemas\"}"));
}

pub(crate) async fn each_mode_does_what_it_says(site: Arc<Site>) {
    // Whether a payload that breaks its schema is taken, and one of a type without a schema.
    for (mode, broken, unknown) in [("disabled", 1, 1), ("warn", 1, 1), ("enforce", 0, 1), ("required", 0, 0)]
    {
        let node = site.node(mode).env("SCHEMA_VALIDATION_MODE", mode).start().await;
        let api = node.api();
        let author = Author::known_to(&api).await;
        register(&api, &author, order(), json!({})).await.json();
        assert_eq!(author.ingest(&api, &[author.event("{}")]).await.events_accepted, broken, "{mode}");
        let mut draft = author.draft("{}");
        draft.event_type = "unknown".to_owned();
        let ingested = author.ingest(&api, &[author.sign(draft)]).await;
        assert_eq!(ingested.events_accepted, unknown, "{mode}");
        if unknown == 0 {
            assert_eq!(ingested.reason(), "schema_validation");
            assert!(ingested.rejections[0].message.contains("`unknown`"), "{ingested:?}");
        }
        assert_eq!(author.ingest(&api, &[author.event(r#"{"id":1}"#)]).await.events_accepted, 1, "{mode}");
        let failed = u64::from(mode != "disabled") + u64::from(mode == "required");
        let metrics = api.get("/metrics").await.text;
        assert!(metrics.contains(&format!("sequencer_errors_schema_validation {failed}\n")), "{mode}");
    }
    let ended = site.node("none").env("SCHEMA_VALIDATION_MODE", "strict").refused().await;
    assert!(ended.stderr.contains("schemas.mode"), "{ended:?}");
}

pub(crate) async fn hostile_schemas_are_refused_and_reach_nothing(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}/schema.json", listener.local_addr().unwrap());
    let file = site.write("schema.json", "true");
    let mut doubling = json!({"$defs": {"a0": true}, "$ref": "#/$defs/a30"});
    for level in 1..=30 {
        let below = json!({"$ref": format!("#/$defs/a{}", level - 1)});
        doubling["$defs"][format!("a{level}")] = json!({"anyOf": [below, below]});
    }
    for schema in [
        json!({"$ref": elsewhere}),
        json!({"$schema": elsewhere}),
        json!({"properties": {"a": {"$id": elsewhere, "$ref": "#/x"}}}),
        json!({"$ref": format!("file://{}", file.display())}),
        json!({"$dynamicRef": elsewhere}),
        json!({"properties": {"child": {"$ref": "#"}}}),
        doubling,
        json!({"pattern": "(?=a)b"}),
        json!({"pattern": r"\w{5000}"}),
        json!({"type": "thing"}),
        json!(17),
    ] {
        register(&api, &author, schema, json!({})).await.refused(400, "SCHEMA_VALIDATION_FAILED");
    }
    let nested = format!("{}true{}", r#"{"not":"#.repeat(100), "}".repeat(100));
    let body =
        format!(r#"{{"tenantId":"{}","eventType":"t","schemaJson":{nested}}}"#, author.stream.tenant_id);
    api.post(SCHEMAS, body).await.refused(400, "SCHEMA_VALIDATION_FAILED");
    let large = json!({"description": "x".repeat(100 << 10)});
    register(&api, &author, large, json!({})).await.refused(413, "PAYLOAD_TOO_LARGE");
    for (field, value) in
        [("eventType", json!("")), ("eventType", json!("a\0b")), ("compatibility", json!("sideways"))]
    {
        let refused = register(&api, &author, json!(true), json!({ (field): value })).await;
        assert!(refused.refused(400, "INVALID_FIELD_VALUE").starts_with(field), "{}", refused.text);
    }
    assert_eq!(api.get(&of(&author, "")).await.json()["count"], 0);
    let nobody = tokio::time::timeout(std::time::Duration::ZERO, listener.accept()).await;
    assert!(nobody.is_err(), "a schema caused a connection");

    // A pattern that would backtrack without end, on a payload made for it.
    register(&api, &author, json!({"pattern": "^(a+)+$"}), json!({})).await.json();
    let payload = format!("\"{}!\"", "a".repeat(50_000));
    assert_eq!(author.ingest(&api, &[author.event(&payload)]).await.reason(), "schema_validation");
}

pub(crate) async fn another_node_hears_of_a_schema(site: Arc<Site>) {
    let first = site.node("first").start().await;
    let second = site.node("second").start().await;
    let (here, there) = (first.api(), second.api());
    let author = Author::known_to(&here).await;
    // Now the other node knows that there is none.
    assert_eq!(author.ingest(&there, &[author.event("{}")]).await.events_accepted, 1);
    let schema = register(&here, &author, order(), json!({})).await.json();
    assert_eq!(author.ingest(&here, &[author.event("{}")]).await.reason(), "schema_validation: /id");
    until(async || author.ingest(&there, &[author.event("{}")]).await.events_rejected == 1).await;
    set_status(&here, &schema, "archived").await.json();
    until(async || author.ingest(&there, &[author.event("{}")]).await.events_accepted == 1).await;
    let _: Ingested = author.ingest(&here, &[author.event("{}")]).await;
}
