//! The life of agent keys through the node: registration with proof, rotation under a client that goes on
//! sending, changes of validity, and revocation under load, after which nothing of the key is taken any more.

use std::sync::Arc;

use bowline_types::Timestamp;
use bowline_ves::{Draft, SecretKey, key_possession_hash, sign_envelope};
use serde_json::{Value, json};

use crate::author::{Author, INGEST, Ingested, assert_dense};
use crate::client::{Answer, Api};
use crate::runbook::metric;
use crate::site::{Site, soon, until};

const REGISTER: &str = "/api/v1/agents/keys";
const ROTATE: &str = "/api/v1/agents/keys/rotate";

fn path(author: &Author, key_id: u32, more: &str) -> String {
    format!("/api/v1/agents/{}/keys/{key_id}{more}", author.agent_id)
}

fn proof(key: &SecretKey) -> String {
    key.sign(key_possession_hash(&key.public().to_bytes()).as_bytes()).to_string()
}

async fn revoke(api: &Api, author: &Author, key_id: u32) -> Answer {
    let body = json!({"tenantId": author.stream.tenant_id, "reason": "laptop lost"});
    api.post(&path(author, key_id, "/revoke"), body.to_string()).await
}

async fn shown(api: &Api, author: &Author, key_id: u32) -> Value {
    let asked = path(author, key_id, &format!("?tenant_id={}", author.stream.tenant_id));
    api.get(&asked).await.json()
}

/// An agents' endpoint's refusal.
fn refused(answer: &Answer, status: u16, code: &str) {
    let body = answer.body();
    assert_eq!(
        (answer.status, &body["code"], &body["success"]),
        (status, &json!(code), &json!(false)),
        "{body}"
    );
}

/// The author with its other key.
fn with_key(author: &Author, key: &SecretKey, key_id: u32, payload: &str) -> String {
    let draft = Draft { agent_key_id: key_id, ..author.draft(payload) };
    sign_envelope(draft, key).unwrap().to_json()
}

fn now() -> Timestamp {
    let micros = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    Timestamp::from_micros(i64::try_from(micros).unwrap())
}

pub(crate) async fn a_key_is_registered_with_proof_that_it_is_there(site: Arc<Site>) {
    let lax = site.node("lax").start().await;
    let strict = site.node("strict").config("api:\n  require_proof_of_possession: true\n").start().await;
    for (api, is_strict) in [(lax.api(), false), (strict.api(), true)] {
        let author = Author::new();
        let request = |proof: Value| {
            json!({"tenantId": author.stream.tenant_id, "agentId": author.agent_id, "keyId": 1,
                "publicKey": author.key.public(), "proofOfPossession": proof})
            .to_string()
        };
        let other = SecretKey::random().unwrap();
        for wrong in [proof(&other), author.key.sign(b"VES_POP_V1").to_string(), "00".to_owned()] {
            refused(&api.post(REGISTER, request(json!(wrong))).await, 400, "INVALID_SIGNATURE");
        }
        let without = api.post(REGISTER, request(Value::Null)).await;
        match is_strict {
            true => refused(&without, 400, "MISSING_REQUIRED_FIELD"),
            false => assert_eq!(without.json()["success"], true),
        }
        let right = api.post(REGISTER, request(json!(format!("0x{}", proof(&author.key))))).await.json();
        assert_eq!((&right["keyId"], &right["keyAlgorithm"]), (&json!(1), &json!(1)));
        author.grow(&api, 1).await;
        let next = SecretKey::random().unwrap();
        let rotate = |proof: String| {
            json!({"tenantId": author.stream.tenant_id, "agentId": author.agent_id,
                "publicKey": next.public(), "proofOfPossession": proof})
            .to_string()
        };
        refused(&api.post(ROTATE, rotate(proof(&author.key))).await, 400, "INVALID_SIGNATURE");
        assert_eq!(api.post(ROTATE, rotate(proof(&next))).await.json()["keyId"], 2);
    }
}

pub(crate) async fn a_client_goes_on_sending_through_a_rotation(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    // It sends with its old key until it is told of the new one, and then with that; nothing is ever refused.
    let (tell, told) = tokio::sync::watch::channel(None::<SecretKey>);
    let (client, sender) = (api.clone(), author.clone());
    let sending = tokio::spawn(async move {
        let (mut by_old, mut by_new) = (0, 0);
        while by_new < 20 {
            let event = match &*told.borrow() {
                None => sender.event("{}"),
                Some(key) => with_key(&sender, key, 2, "{}"),
            };
            let ingested = Ingested::of(&client.post(INGEST, sender.body(&[event])).await);
            assert_eq!(ingested.events_accepted, 1, "{ingested:?}");
            if told.borrow().is_some() { by_new += 1 } else { by_old += 1 }
        }
        by_old + by_new
    });
    until(async || author.head(&api).await["head_sequence"].as_u64() > Some(5)).await;
    let next = SecretKey::random().unwrap();
    let request = json!({"tenantId": author.stream.tenant_id, "agentId": author.agent_id, "newKeyId": 2,
        "publicKey": next.public(), "overlapSecs": 600});
    let rotated = api.post(ROTATE, request.to_string()).await.json();
    assert_eq!((&rotated["keyId"], &rotated["retired"][0]["key_id"]), (&json!(2), &json!(1)), "{rotated}");
    let before = author.head(&api).await["head_sequence"].as_u64();
    until(async || author.head(&api).await["head_sequence"].as_u64() > before.map(|head| head + 5)).await;
    tell.send_replace(Some(next.clone()));
    let sent = soon(sending).await.unwrap();
    assert_eq!(author.read(&api, 1_000).await.len(), sent);

    // The same rotation again is the same rotation; another key under its id is none.
    let end = shown(&api, &author, 1).await["valid_to"].clone();
    let again = api.post(ROTATE, request.to_string()).await.json();
    assert_eq!((&again["keyId"], &again["retired"]), (&json!(2), &json!([])));
    assert_eq!(shown(&api, &author, 1).await["valid_to"], end);
    let other = json!({"tenantId": author.stream.tenant_id, "agentId": author.agent_id, "newKeyId": 2,
        "publicKey": author.key.public()});
    refused(&api.post(ROTATE, other.to_string()).await, 409, "ALREADY_EXISTS");
    let back = json!({"tenantId": author.stream.tenant_id, "agentId": author.agent_id,
        "publicKey": author.key.public()});
    refused(&api.post(ROTATE, back.to_string()).await, 409, "ALREADY_EXISTS");
    for (field, value) in [("overlapSecs", json!(1_000_000_000)), ("validTo", json!("2020-01-01T00:00:00Z"))]
    {
        let mut wrong = request.clone();
        wrong[field] = value;
        refused(&api.post(ROTATE, wrong.to_string()).await, 400, "INVALID_FIELD_VALUE");
    }
    let mut wrong = request;
    wrong["oldKeyId"] = json!(77);
    refused(&api.post(ROTATE, wrong.to_string()).await, 404, "AGENT_KEY_NOT_FOUND");
}

pub(crate) async fn an_event_that_was_made_in_time_may_come_a_little_late(site: Arc<Site>) {
    let node = site.node("data").config("line:\n  agent_key_grace_secs: 3600\n").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let made = |moment: &str| author.sign(Draft { created_at: moment.to_owned(), ..author.draft("{}") });
    let validity = async |field: &str, moment: Value| {
        let body = json!({"tenantId": author.stream.tenant_id, field: moment});
        api.ask("PATCH", &path(&author, 1, ""), body.to_string()).await
    };
    let minutes_ago = |minutes: i64| Timestamp::from_micros(now().micros() - minutes * 60_000_000);
    let ended = minutes_ago(30);
    assert_eq!(validity("validTo", json!(ended)).await.json()["key"]["status"], "expired");
    let key = shown(&api, &author, 1).await;
    assert_eq!((&key["active"], &key["valid_to"]), (&json!(false), &json!(ended)));
    let grace = Timestamp::from_micros(ended.micros() + 3_600_000_000);
    assert_eq!(key["grace_until"], json!(grace));

    let before = made(&minutes_ago(31).to_string());
    assert_eq!(author.ingest(&api, &[before]).await.events_accepted, 1);
    let after = author.ingest(&api, &[made(&minutes_ago(29).to_string())]).await;
    assert!(after.reason().starts_with("agent_key_invalid: key 1 of agent"), "{after:?}");
    assert!(after.reason().contains("any more") && after.reason().contains("created_at"), "{after:?}");
    validity("validTo", json!(minutes_ago(90))).await.json();
    let over = author.ingest(&api, &[made(&minutes_ago(95).to_string())]).await;
    assert!(over.reason().contains("any more") && !over.reason().contains("created_at"), "{over:?}");

    refused(&validity("validFrom", json!(minutes_ago(1))).await, 400, "INVALID_FIELD_VALUE");
    validity("reason", json!("none")).await.refused(400, "INVALID_REQUEST_BODY");
    validity("validTo", Value::Null).await.json();
    author.grow(&api, 1).await;
    let future = Timestamp::from_micros(now().micros() + 3_600_000_000);
    validity("validFrom", json!(future)).await.json();
    assert!(author.ingest(&api, &author.events(1)).await.reason().contains("is not valid yet"));
    validity("validFrom", Value::Null).await.json();
    author.grow(&api, 1).await;

    let listed = async |status: &str| {
        let asked = format!("{REGISTER}?tenant_id={}&status={status}", author.stream.tenant_id);
        api.get(&asked).await.json()["count"].as_u64().unwrap()
    };
    assert_eq!((listed("active").await, listed("revoked").await), (1, 0));
    let words = api.get(&format!("{REGISTER}?tenant_id={}&status=lost", author.stream.tenant_id)).await;
    assert!(words.refused(400, "INVALID_FIELD_VALUE").contains("lost"));
    revoke(&api, &author, 1).await.json();
    assert_eq!((listed("active").await, listed("revoked").await), (0, 1));
    // Revoked is another thing than run out: no time of making helps.
    let late = author.ingest(&api, &[made(&minutes_ago(60).to_string())]).await;
    assert!(late.reason().ends_with("is revoked"), "{late:?}");
    refused(&validity("validTo", Value::Null).await, 409, "ALREADY_EXISTS");
    refused(&author.register(&api).await, 409, "ALREADY_EXISTS");
    let unknown = api.get(&path(&author, 9, &format!("?tenant_id={}", author.stream.tenant_id))).await;
    unknown.refused(404, "AGENT_KEY_NOT_FOUND");
    refused(&revoke(&api, &author, 9).await, 404, "AGENT_KEY_NOT_FOUND");
}

/// Writes until the key is refused; before that everything is taken.
async fn write_until_refused(api: Api, author: Author) {
    loop {
        let ingested = author.ingest(&api, &author.events(3)).await;
        if ingested.events_accepted == 0 {
            let reasons = ingested.rejections.iter().map(|rejection| rejection.reason.as_str());
            assert!(
                reasons.clone().count() == 3 && reasons.clone().all(|reason| reason.ends_with("is revoked"))
            );
            return;
        }
        assert_eq!(ingested.events_accepted, 3, "a batch is taken whole or not at all: {ingested:?}");
    }
}

async fn nothing_comes_after_the_answer(apis: &[Api]) {
    let author = Author::known_to(&apis[0]).await;
    let bystander = Author::known_to(&apis[0]).await;
    let mut writers = Vec::new();
    for api in apis.iter().cycle().take(6) {
        writers.push(tokio::spawn(write_until_refused(api.clone(), author.clone())));
    }
    let head = async |api: &Api| author.head(api).await["head_sequence"].as_u64().unwrap();
    until(async || head(&apis[0]).await > 30).await;
    let answer = revoke(&apis[0], &author, 1).await.json();
    // The answer is the line: at every node, and for what was under way.
    let at_the_answer = head(&apis[0]).await;
    assert_eq!(
        (&answer["key"]["status"], &answer["key"]["revoked_reason"]),
        (&json!("revoked"), &json!("laptop lost"))
    );
    for writer in writers {
        soon(writer).await.unwrap();
    }
    for api in apis {
        assert_eq!(author.ingest(api, &author.events(1)).await.events_accepted, 0);
        assert_eq!(head(api).await, at_the_answer);
        bystander.grow(api, 2).await;
    }
    let again = revoke(&apis[0], &author, 1).await.json();
    assert_eq!(again["key"]["revoked_at"], answer["key"]["revoked_at"]);
    assert_dense(&author.read(&apis[0], 1_000).await);
}

pub(crate) async fn after_a_revocation_nothing_of_the_key_is_taken(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    nothing_comes_after_the_answer(std::slice::from_ref(&api)).await;
    let metrics = api.get("/metrics").await.text;
    assert_eq!(metric(&metrics, "bowline_agent_keys_revoked_total"), Some(1.0));
}

pub(crate) async fn a_revocation_at_one_node_counts_at_the_other(site: Arc<Site>) {
    let first = site.node("first").start().await;
    let second = site.node("second").start().await;
    let apis = [first.api(), second.api()];
    nothing_comes_after_the_answer(&apis).await;

    // Nobody is notified: what another tool did to the database is found out by the append itself.
    let author = Author::known_to(&apis[0]).await;
    for api in &apis {
        author.grow(api, 2).await;
    }
    site.execute(
        "BEGIN; UPDATE agent_keys SET status = 'revoked', revoked_at = now();
         UPDATE change_epochs SET epoch = epoch + 1 WHERE kind = 'agent_keys'; COMMIT",
    )
    .await;
    for api in &apis {
        let refused = author.ingest(api, &author.events(1)).await;
        assert!(refused.reason().ends_with("is revoked"), "{refused:?}");
        assert_eq!(author.head(api).await["head_sequence"], 4);
    }
}
