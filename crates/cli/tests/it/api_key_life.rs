//! The life of API keys through the node: scopes of lists, expiry, revocation here and at another node; and where
//! administrators may come from.
//!
//! No answer but the one that makes a key ever holds one.

use std::sync::Arc;

use bowline_types::{AgentId, StoreId, Timestamp};
use serde_json::{Value, json};

use crate::author::Author;
use crate::client::{Answer, Api};
use crate::site::{Site, until};

/// An authentication error has a shape of its own.
fn refused(answer: &Answer, status: u16, word: &str) {
    assert_eq!((answer.status, &answer.body()["code"]), (status, &json!(word)), "{}", answer.text);
    assert!(answer.body()["error"].is_string(), "{}", answer.text);
}

/// A new key of the author's: the API with it, and its prefix.
async fn make(api: &Api, author: &Author, mut request: Value) -> (Api, String) {
    request["tenantId"] = json!(author.stream.tenant_id);
    let path = format!("/api/v1/agents/{}/api-keys", author.agent_id);
    let made = api.post(&path, request.to_string()).await.json();
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (api.with_key(&text("apiKey")), text("keyHashPrefix"))
}

fn keys_path(author: &Author, prefix: &str) -> String {
    let tenant = author.stream.tenant_id;
    format!("/api/v1/agents/{}/api-keys{prefix}?tenant_id={tenant}", author.agent_id)
}

async fn list(api: &Api, path: &str) -> Vec<Value> {
    let listed = api.get(path).await;
    assert!(!listed.text.contains("ss_"), "a secret is listed");
    let listed = listed.json();
    assert_eq!(listed["count"], listed["api_keys"].as_array().unwrap().len());
    listed["api_keys"].as_array().unwrap().clone()
}

pub(crate) async fn an_api_key_is_listed_expires_and_is_revoked(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let tenant = author.stream.tenant_id;
    let all = format!("/api/v1/api-keys?tenant_id={tenant}");
    let (writer, prefix) = make(&api, &author, json!({})).await;
    let (admin, _) = make(&api, &author, json!({"admin": true})).await;
    let (scoped_admin, _) =
        make(&api, &author, json!({"admin": true, "storeIds": [author.stream.store_id]})).await;
    let colleague = Author { agent_id: AgentId::random(), ..author.clone() };
    let (other, other_prefix) = make(&admin, &colleague, json!({"storeIds": [StoreId::random()]})).await;

    let key = &list(&api, &keys_path(&author, "")).await[0];
    assert_eq!((&key["key_prefix"], &key["status"]), (&json!(prefix), &json!("active")));
    assert_eq!((&key["permissions"], &key["revoked_at"]), (&json!(["read", "write"]), &Value::Null));
    assert_eq!((prefix.len(), list(&api, &keys_path(&author, "")).await.len()), (16, 3));
    assert_eq!(list(&admin, "/api/v1/api-keys").await.len(), 4);
    // A credential for one store sees keys for no more than that store.
    assert_eq!(list(&scoped_admin, &all).await.len(), 1);
    let hidden = scoped_admin.ask("DELETE", &keys_path(&author, &format!("/{prefix}")), "").await;
    assert_eq!((hidden.status, &hidden.body()["code"]), (404, &json!("RESOURCE_NOT_FOUND")));
    for path in [&all, &keys_path(&author, "")] {
        refused(&writer.get(path).await, 403, "insufficient_permissions");
    }
    refused(
        &writer.ask("DELETE", &keys_path(&author, &format!("/{prefix}")), "").await,
        403,
        "insufficient_permissions",
    );
    let stranger = Author::known_to(&api).await;
    let (elsewhere, _) = make(&api, &stranger, json!({"admin": true})).await;
    refused(&elsewhere.get(&all).await, 403, "insufficient_permissions");
    api.get("/api/v1/api-keys").await.refused(400, "INVALID_FIELD_VALUE");
    api.get(&keys_path(&author, "/abc")).await.refused(400, "INVALID_FIELD_VALUE");
    api.get(&keys_path(&colleague, &format!("/{prefix}"))).await.refused(404, "RESOURCE_NOT_FOUND");

    author.grow(&writer, 1).await;
    let mut feed = writer.follow(&author.path("stream", ""), None).await;
    feed.expect(1..=1).await;
    let answer = api.ask("DELETE", &keys_path(&author, &format!("/{prefix}")), "").await.json();
    assert_eq!((&answer["success"], &answer["key"]["status"]), (&json!(true), &json!("revoked")));
    refused(&writer.get(&author.path("head", "")).await, 401, "invalid_api_key");
    // What the key opened ends with it.
    let last = loop {
        let frame = feed.next().await.expect("the stream ended without a word");
        if frame.comment.is_empty() {
            break frame;
        }
    };
    assert!(last.event == "error" && last.data.contains("INVALID_API_KEY"), "{last:?}");
    assert!(feed.next().await.is_none());
    let again = api.ask("DELETE", &keys_path(&author, &format!("/{prefix}")), "").await.json();
    assert_eq!(again["key"]["revoked_at"], answer["key"]["revoked_at"]);
    assert_eq!(api.get(&keys_path(&author, &format!("/{prefix}"))).await.json(), answer["key"]);
    let any = format!("/api/v1/api-keys/{other_prefix}?tenant_id={tenant}");
    assert_eq!(admin.get(&any).await.json()["status"], "active");
    admin.ask("DELETE", &any, "").await.json();
    refused(&other.get("/api/v1/ves/streams").await, 401, "invalid_api_key");

    let in_two_secs = Timestamp::from_micros(
        i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap() + 2_000_000,
    );
    let (short, short_prefix) = make(&api, &author, json!({"expiresAt": in_two_secs})).await;
    assert_eq!(author.head(&short).await["head_sequence"], 1);
    until(async || short.get(&author.path("head", "")).await.status == 401).await;
    assert_eq!(api.get(&keys_path(&author, &format!("/{short_prefix}"))).await.json()["status"], "expired");
    let over = json!({"tenantId": tenant, "expiresAt": "2020-01-01T00:00:00Z"});
    let over = api.post(&format!("/api/v1/agents/{}/api-keys", author.agent_id), over.to_string()).await;
    assert_eq!((over.status, over.header("x-error-code")), (400, "INVALID_FIELD_VALUE"));
}

pub(crate) async fn a_key_that_is_revoked_at_one_node_dies_at_the_other(site: Arc<Site>) {
    let first = site.node("first").start().await;
    let second = site.node("second").start().await;
    let author = Author::known_to(&first.api()).await;
    let (here, prefix) = make(&first.api(), &author, json!({})).await;
    author.grow(&here, 1).await;
    let there = Author::clone(&author);
    let over_there = async |key: &Api| key.get(&there.path("head", "")).await.status;
    // The other node has seen it, and keeps it.
    let key = second.api();
    let same_key = key.with("x-api-key", &here_key(&here));
    assert_eq!(over_there(&same_key).await, 200);
    first.api().ask("DELETE", &keys_path(&author, &format!("/{prefix}")), "").await.json();
    let answered = std::time::Instant::now();
    assert_eq!(over_there(&here).await, 401);
    until(async || over_there(&same_key).await == 401).await;
    // A second by promise; the rest is for machines that have other things to do.
    assert!(answered.elapsed().as_secs() < 5, "{:?}", answered.elapsed());
}

fn here_key(api: &Api) -> String {
    api.header("x-api-key").to_owned()
}

pub(crate) async fn administrators_come_from_where_they_may(site: Arc<Site>) {
    let ask = async |api: &Api, author: &Author| author.register(api).await;
    let elsewhere = site.node("elsewhere").env("ADMIN_IP_ALLOWLIST", "10.0.0.0/8, fd00::/8").start().await;
    let api = elsewhere.api();
    let author = Author::new();
    refused(&ask(&api, &author).await, 403, "ADMIN_IP_DENIED");
    assert!(ask(&api, &author).await.text.contains("127.0.0.1"));
    // What is no administration goes on, and a header of one's own opens nothing.
    assert_eq!(api.get("/api/v1/ves/streams").await.json()["count"], 0);
    refused(&ask(&api.and("x-forwarded-for", "10.0.0.7"), &author).await, 403, "ADMIN_IP_DENIED");
    refused(&api.and("x-forwarded-for", "10.0.0.7").get("/metrics").await, 403, "ADMIN_IP_DENIED");
    refused(&api.get("/api/v1/api-keys").await, 403, "ADMIN_IP_DENIED");
    refused(&ask(&api.without_key(), &author).await, 401, "missing_auth");

    let here = site.node("here").env("ADMIN_IP_ALLOWLIST", "127.0.0.1").start().await;
    assert_eq!(ask(&here.api(), &author).await.status, 200);

    let proxied =
        site.node("proxied").env("ADMIN_IP_ALLOWLIST", "192.0.2.0/24").env("TRUST_PROXY_HEADERS", "true");
    let proxied = proxied.env("TRUST_PROXY_ALLOWLIST", "127.0.0.0/8").start().await;
    let api = proxied.api();
    let from = |hops: &str| api.and("x-forwarded-for", hops);
    let agent = Author::new();
    assert_eq!(ask(&from("192.0.2.7"), &agent).await.status, 200);
    assert_eq!(ask(&from("203.0.113.1, 192.0.2.7"), &agent).await.status, 200);
    for other in ["203.0.113.1", "192.0.2.7, 203.0.113.1", "192.0.2.7, unknown", "127.0.0.1"] {
        refused(&ask(&from(other), &agent).await, 403, "ADMIN_IP_DENIED");
    }
    refused(&ask(&api, &agent).await, 403, "ADMIN_IP_DENIED");

    for (name, value, said) in [
        ("ADMIN_IP_ALLOWLIST", "10.0.0.0/33", "0 to 32"),
        ("ADMIN_IP_ALLOWLIST", "office.example", "api.admin_ip_allowlist"),
        ("TRUST_PROXY_ALLOWLIST", "10.0.0.1:80", "without a port"),
        ("TRUST_PROXY_HEADERS", "yes", "TRUST_PROXY_HEADERS"),
        ("TRUST_PROXY_HEADERS", "true", "TRUST_PROXY_ALLOWLIST"),
    ] {
        let ended = site.node("bad").env(name, value).refused().await;
        assert!(ended.must(2).stderr.contains(said), "{name}={value}: {ended:?}");
    }
}
