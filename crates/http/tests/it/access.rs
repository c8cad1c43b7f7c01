//! Authentication and rate limits with routes that any subsystem could have: their state is their own.
//! Each refusal is read as a client reads it: status, code, headers.

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use bowline_http::{Access, ApiError, ApiKeySecret, AuthMode, Member, PayingByEvent, Principal};
use bowline_store::{ApiKeyRecord, LineStore, Permission};
use bowline_types::{TenantId, Timestamp};
use reqwest::Method;
use serde_json::json;

use crate::listener::{ADMIN_KEY, Answer, Listener, Site};

/// A state that the extractors know nothing of.
#[derive(Debug, Clone)]
struct Own(&'static str);

async fn who(State(Own(word)): State<Own>, principal: Principal) -> Result<String, ApiError> {
    principal.require(Permission::Read)?;
    Ok(format!("{word} {}", principal.tenant_id))
}

async fn everything(principal: Principal) -> Result<&'static str, ApiError> {
    principal.require_everything().map(|()| "all")
}

async fn organization(member: Member) -> Result<String, ApiError> {
    Ok(member.one(Permission::Read)?.to_string())
}

async fn pay(payer: PayingByEvent, body: String) -> Result<&'static str, ApiError> {
    payer.charge(body.len()).await.map(|()| "paid")
}

fn routes() -> Router {
    Router::new()
        .route("/who", get(who))
        .route("/everything", get(everything))
        .route("/organization", get(organization))
        .route("/pay", post(pay))
        .route("/limits", get(async |access: Access| access.limits().request_secs_max.to_string()))
        .with_state(Own("own"))
}

/// A key of a tenant that may read and write, and no more requests than its limit says.
async fn key(store: &dyn LineStore, rate_limit: Option<u32>) -> (TenantId, String) {
    let tenant_id = TenantId::random();
    let key = ApiKeySecret::generate(tenant_id).unwrap();
    let record = ApiKeyRecord {
        key_hash: key.hash(),
        tenant_id,
        agent_id: None,
        permissions: vec![Permission::Read, Permission::Write],
        store_ids: Vec::new(),
        active: true,
        expires_at: None,
        revoked_at: None,
        rate_limit,
        created_at: Timestamp::from_micros(1_700_000_000_000_000),
    };
    store.put_api_key(record).await.unwrap();
    (tenant_id, key.reveal().to_owned())
}

async fn get_with(listener: &Listener, path: &str, key: &str) -> Answer {
    listener.ask(listener.request(Method::GET, path).header("x-api-key", key)).await
}

fn refused(answer: &Answer, status: u16, word: &str) {
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (status, &json!(word)), "{answer:?}");
}

#[tokio::test]
async fn a_principal_is_who_its_credential_says_whatever_the_state() {
    let site = Site::new().await;
    let (tenant_id, key) = key(site.store.as_ref(), None).await;
    let listener = site.serve(routes()).await;
    assert_eq!(get_with(&listener, "/who", &key).await.text, format!("own {tenant_id}"));
    assert_eq!(get_with(&listener, "/organization", &key).await.text, tenant_id.to_string());
    assert_eq!(get_with(&listener, "/everything", ADMIN_KEY).await.text, "all");
    refused(&get_with(&listener, "/everything", &key).await, 403, "insufficient_permissions");
    refused(&get_with(&listener, "/who", "ss_unknown").await, 401, "invalid_api_key");
    let stranger = listener.ask(listener.request(Method::GET, "/who")).await;
    refused(&stranger, 401, "missing_auth");
    assert_eq!(stranger.header("www-authenticate"), "ApiKey, Bearer");
    assert_eq!(listener.get("/limits").await.text, "30");
}

#[tokio::test]
async fn a_route_outside_of_the_frame_admits_no_one() {
    let mut site = Site::new().await;
    // Even where every request would have all rights.
    site.config.auth.mode = AuthMode::Disabled;
    let listener = site.serve_with(|_| routes()).await;
    for path in ["/who", "/everything", "/organization", "/limits"] {
        let answer = listener.get(path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("x-error-code")),
            (500, "INTERNAL_ERROR"),
            "{path}"
        );
    }
    let paid =
        listener.ask(listener.request(Method::POST, "/pay").header("x-api-key", ADMIN_KEY).body("x")).await;
    assert_eq!(paid.status.as_u16(), 500);
}

#[tokio::test]
async fn an_administrator_comes_from_where_the_list_says() {
    let mut site = Site::new().await;
    site.config.administrators = serde_json::from_value(json!("192.0.2.0/24")).unwrap();
    site.config.proxies = serde_json::from_value(json!("127.0.0.1")).unwrap();
    let listener = site.serve(routes()).await;
    refused(&listener.get("/everything").await, 403, "ADMIN_IP_DENIED");
    let request = listener.request(Method::GET, "/everything").header("x-api-key", ADMIN_KEY);
    let forwarded = listener.ask(request.header("x-forwarded-for", "192.0.2.7")).await;
    assert_eq!(forwarded.text, "all");
}

#[tokio::test]
async fn a_rate_limit_counts_requests_and_events_and_says_when_to_come_back() {
    let mut site = Site::new().await;
    site.config.rate_limits.per_minute = 10;
    let (_, narrow) = key(site.store.as_ref(), Some(2)).await;
    let (_, wide) = key(site.store.as_ref(), None).await;
    let listener = site.serve(routes()).await;
    for remaining in ["1", "0"] {
        let answer = get_with(&listener, "/who", &narrow).await;
        assert_eq!((answer.status.as_u16(), answer.header("x-ratelimit-remaining")), (200, remaining));
        assert_eq!(answer.header("x-ratelimit-limit"), "2");
    }
    let later = get_with(&listener, "/who", &narrow).await;
    refused(&later, 429, "rate_limited");
    let seconds: u64 = later.header("retry-after").parse().unwrap();
    assert!((1..=61).contains(&seconds), "{seconds}");
    let pay = |events: usize| {
        let request = listener.request(Method::POST, "/pay").header("x-api-key", &wide);
        let listener = &listener;
        async move { listener.ask(request.body("x".repeat(events))).await }
    };
    assert_eq!(pay(11).await.error(), (413, "BATCH_TOO_LARGE".to_owned()));
    assert_eq!(pay(8).await.text, "paid");
    assert_eq!(pay(3).await.error(), (429, "RATE_LIMIT_EXCEEDED".to_owned()));
    assert_eq!(pay(2).await.header("x-ratelimit-remaining"), "0");
    // The key with all rights is not limited.
    assert_eq!(listener.get("/who").await.header("x-ratelimit-limit"), "");
}
