//! Who may do what: the bootstrap key in every spelling, API keys and tokens within their scopes, and no path that
//! answers a stranger but for those that are documented to.
//!
//! The list of paths is the node's own description, so a path that is added later is walked too.

use std::sync::Arc;

use bowline_http::{TokenClaims, sign_token};
use bowline_types::{AgentId, Secret, StoreId, TenantId};
use serde_json::{Value, json};

use crate::author::{Author, INGEST, Ingested};
use crate::client::{Answer, Api};
use crate::node::ADMIN_KEY;
use crate::site::Site;

/// Paths that answer whoever asks; `/metrics` only on the node's own machine.
const PUBLIC: [&str; 6] =
    ["/health", "/api/v1/health", "/ready", "/status", "/metrics", "/api/v1/sequencer/keys"];

/// Paths of the indexer's own listener, which is public by design: it tells figures and takes nothing.
const PUBLIC_OF_INDEXER: [&str; 3] = ["/health", "/ready", "/status"];

const JWT_SECRET: &str = "a secret of at least thirty-two bytes";

/// An authentication error has a shape of its own.
fn refused(answer: &Answer, status: u16, word: &str) {
    assert_eq!((answer.status, &answer.body()["code"]), (status, &json!(word)), "{}", answer.text);
    assert!(answer.body()["error"].is_string(), "{}", answer.text);
    assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
}

pub(crate) async fn no_path_answers_a_stranger(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let stranger = node.api().without_key();
    let description = stranger.get("/openapi.json").await.json();
    let mut walked = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let asked = path.replace("{sequence_number}", "1").replace(['{', '}'], "");
            let answer = stranger.ask(&method.to_uppercase(), &asked, "{}").await;
            let public = PUBLIC.contains(&path.as_str());
            walked += 1;
            assert_eq!(answer.status == 401, !public, "{method} {path}: {}", answer.text);
            if public {
                assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
            } else {
                refused(&answer, 401, "missing_auth");
                let wrong = stranger.with_key("a-wrong-key").ask(&method.to_uppercase(), &asked, "{}").await;
                refused(&wrong, 401, "invalid_api_key");
            }
            let described = operation["security"] == json!([{}]);
            assert_eq!(described, public && path != "/metrics", "{method} {path}");
        }
    }
    assert!(walked >= 20, "{walked}");
    for proxy in ["x-forwarded-for", "forwarded"] {
        refused(&stranger.with(proxy, "203.0.113.7").get("/metrics").await, 401, "missing_auth");
    }
}

pub(crate) async fn no_path_of_another_listener_answers_a_stranger(site: Arc<Site>) {
    let spec = site.node("data").env("INDEXER_STATUS_ADDRESS", "127.0.0.1:0").env("LOG_FORMAT", "json");
    let node = spec.start().await;
    let said = node.said();
    let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told: Vec<Value> =
        lines.filter(|line| line.to_string().contains("Telling how far chains are")).collect();
    let [line] = &told[..] else { panic!("{told:?}") };
    let address = line["address"].as_str().or(line["fields"]["address"].as_str()).unwrap();
    let beside = Api::new(&format!("http://{address}"));
    let document = bowline_indexer::routes::status_routes().into_openapi();
    let described = bowline_http::openapi::operations(&document).unwrap();
    for operation in &described {
        let answer = beside.ask(&operation.method, &operation.path, "").await;
        let public = PUBLIC_OF_INDEXER.contains(&operation.path.as_str());
        assert_eq!(answer.status, if public { 200 } else { 401 }, "{operation:?}: {}", answer.text);
        assert_eq!(operation.is_public, public, "{operation:?}");
    }
    assert_eq!(described.len(), PUBLIC_OF_INDEXER.len(), "{described:?}");
    // Nothing else answers there: neither the paths of the main address nor another method.
    for (method, path, status) in
        [("GET", "/metrics", 404), ("GET", "/openapi.json", 404), ("POST", "/status", 405)]
    {
        assert_eq!(beside.ask(method, path, "").await.status, status, "{method} {path}");
    }
}

pub(crate) async fn the_bootstrap_key_works_in_every_spelling(site: Arc<Site>) {
    let node = site.node("data").without("BOOTSTRAP_ADMIN_API_KEY").start().await;
    let made = std::fs::read_to_string(node.data().join("admin.key")).unwrap();
    let given = site.node("given").start().await;
    for (node, key) in [(&node, made.trim()), (&given, ADMIN_KEY)] {
        let api = node.api().without_key();
        let spellings = [
            ("x-api-key", key.to_owned()),
            ("authorization", key.to_owned()),
            ("authorization", format!("ApiKey {key}")),
            ("authorization", format!("Bearer {key}")),
            ("authorization", format!("bearer  {key} ")),
        ];
        for (name, value) in spellings {
            assert_eq!(
                api.with(name, &value).get("/api/v1/ves/streams").await.json()["count"],
                0,
                "{name}: {value}"
            );
        }
        for (name, value) in [("x-api-key", format!("{key}x")), ("authorization", format!("Basic {key}"))] {
            refused(&api.with(name, &value).get("/api/v1/ves/streams").await, 401, "invalid_api_key");
        }
    }
    assert!(!given.data().join("admin.key").exists(), "a key that is given is not written down");
}

async fn make_key(api: &Api, agent_id: AgentId, request: Value) -> Answer {
    api.post(&format!("/api/v1/agents/{agent_id}/api-keys"), request.to_string()).await
}

pub(crate) async fn api_keys_stay_within_their_scope(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 1).await;
    let (tenant, store) = (author.stream.tenant_id, author.stream.store_id);
    let made = async |request: Value| {
        let answer = make_key(&api, author.agent_id, request).await.json();
        assert!(answer["apiKey"].as_str().unwrap().starts_with("ss_"));
        api.with_key(answer["apiKey"].as_str().unwrap())
    };
    let insufficient = "insufficient_permissions";
    let body = author.body(&author.events(1));

    let reader = made(json!({"tenantId": tenant, "readOnly": true})).await;
    assert_eq!(author.head(&reader).await["head_sequence"], 1);
    refused(&reader.post(INGEST, body.clone()).await, 403, insufficient);
    refused(&author.commit(&reader, None, None).await, 403, insufficient);
    refused(&author.register(&reader).await, 403, insufficient);

    let writer = made(json!({"tenantId": tenant, "storeIds": [store]})).await;
    assert_eq!(Ingested::of(&writer.post(INGEST, body).await).events_accepted, 1);
    let elsewhere = author.elsewhere();
    refused(&writer.post(INGEST, elsewhere.body(&elsewhere.events(1))).await, 403, "store_access_denied");
    for path in ["head", "events", "stream", "export", "commitments", "proofs/1"] {
        refused(&writer.get(&elsewhere.path(path, "")).await, 403, "store_access_denied");
    }
    let stranger = Author::known_to(&api).await;
    stranger.grow(&api, 1).await;
    let batch = stranger.commit(&api, None, None).await.json();
    refused(&writer.get(&stranger.path("events", "")).await, 403, insufficient);
    let hidden =
        writer.get(&format!("/api/v1/ves/commitments/{}", batch["batch_id"].as_str().unwrap())).await;
    hidden.refused(404, "BATCH_NOT_FOUND");
    let streams = writer.get("/api/v1/ves/streams").await.json();
    assert_eq!((&streams["count"], &streams["streams"][0]["store_id"]), (&json!(1), &json!(store)));
    // The key is bound to its agent, also where another one's key is registered.
    let other = Author::of(author.stream);
    other.register(&api).await.json();
    refused(&writer.post(INGEST, other.body(&other.events(1))).await, 403, insufficient);

    let admin = made(json!({"tenantId": tenant, "admin": true})).await;
    other.register(&admin).await.json();
    refused(&stranger.register(&admin).await, 403, insufficient);
    refused(
        &make_key(&admin, author.agent_id, json!({"tenantId": TenantId::random()})).await,
        403,
        insufficient,
    );
    refused(&make_key(&writer, author.agent_id, json!({"tenantId": tenant})).await, 403, insufficient);
    let nobodys = make_key(&api, author.agent_id, json!({})).await;
    assert_eq!((nobodys.status, nobodys.header("x-error-code")), (400, "INVALID_FIELD_VALUE"));
}

pub(crate) async fn tokens_are_taken_for_what_they_say(site: Arc<Site>) {
    let node = site.node("data").env("JWT_SECRET", JWT_SECRET).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs()).unwrap();
    let claims = TokenClaims {
        sub: author.stream.tenant_id.to_string(),
        iss: "stateset-sequencer".to_owned(),
        aud: "stateset-api".to_owned(),
        exp: now + 600,
        nbf: Some(now - 600),
        iat: Some(now - 600),
        jti: None,
        stores: author.stream.store_id.to_string(),
        agent: None,
        perms: "read,write".to_owned(),
    };
    let bearing = |secret: &str, claims: &TokenClaims| {
        let token = sign_token(&Secret::new(secret), claims).unwrap();
        api.with("authorization", &format!("Bearer {token}"))
    };
    let with = |claims: TokenClaims| bearing(JWT_SECRET, &claims);
    let right = with(claims.clone());
    assert_eq!(author.ingest(&right, &author.events(2)).await.events_accepted, 2);
    assert_eq!(author.read(&right, 10).await.len(), 2);
    refused(&right.get(&author.elsewhere().path("head", "")).await, 403, "store_access_denied");
    refused(&author.register(&right).await, 403, "insufficient_permissions");

    let ask = async |api: Api| api.get(&author.path("head", "")).await;
    refused(&ask(with(TokenClaims { exp: now - 1, ..claims.clone() })).await, 401, "token_expired");
    let invalid = [
        bearing("another secret of thirty-two bytes!!", &claims),
        with(TokenClaims { aud: "somebody".to_owned(), ..claims.clone() }),
        with(TokenClaims { nbf: Some(now + 600), ..claims.clone() }),
        with(TokenClaims { sub: TenantId::NIL.to_string(), ..claims.clone() }),
        with(TokenClaims { perms: "read,root".to_owned(), ..claims.clone() }),
    ];
    for api in invalid {
        refused(&ask(api).await, 401, "invalid_jwt");
    }
    let forbidden = [
        with(TokenClaims { sub: TenantId::random().to_string(), ..claims.clone() }),
        with(TokenClaims { perms: String::new(), ..claims.clone() }),
    ];
    for api in forbidden {
        refused(&ask(api).await, 403, "insufficient_permissions");
    }
    let other_store = with(TokenClaims { stores: StoreId::random().to_string(), ..claims.clone() });
    refused(&ask(other_store).await, 403, "store_access_denied");
    let bound = with(TokenClaims { agent: Some(AgentId::random().to_string()), ..claims.clone() });
    refused(&bound.post(INGEST, author.body(&author.events(1))).await, 403, "insufficient_permissions");

    let without = site.node("without").start().await;
    let token = right.get("/health").await;
    assert_eq!(token.status, 200);
    let header = format!("Bearer {}", sign_token(&Secret::new(JWT_SECRET), &claims).unwrap());
    let answer = without.api().with("authorization", &header).get("/api/v1/ves/streams").await;
    refused(&answer, 401, "invalid_jwt");
}

pub(crate) async fn without_authentication_everyone_on_this_machine_may_do_everything(site: Arc<Site>) {
    let open = site.node("data").without("BOOTSTRAP_ADMIN_API_KEY").env("AUTH_MODE", "disabled");
    let node = open.start().await;
    let anyone = node.api().without_key();
    let author = Author::known_to(&anyone).await;
    author.grow(&anyone, 2).await;
    for api in [&anyone, &anyone.with_key("whatever"), &anyone.with("authorization", "Bearer a.b.c")] {
        assert_eq!(author.head(api).await["head_sequence"], 2);
        assert_eq!(author.read(api, 10).await.len(), 2);
        assert_eq!(api.get("/metrics").await.status, 200);
    }
    author.commit(&anyone, None, None).await.json();

    // Elsewhere is another matter: such a node does not start.
    for address in ["0.0.0.0", "::"] {
        let refused =
            site.node("reachable").env("AUTH_MODE", "disabled").env("HOST", address).refused().await;
        let said = &refused.must(2).stderr;
        assert!(said.contains("api.auth.mode") && said.contains(address), "{said}");
    }
}
