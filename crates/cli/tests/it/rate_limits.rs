//! Rate limits: how much a tenant and an API key may bring, told in headers, and shared by the nodes of one database.
//!
//! The windows are minutes, so what is refused here stays refused while the test runs; what comes back with time is
//! shown by the limiter's own tests, with a clock that is moved.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::author::{Author, INGEST, Ingested};
use crate::client::{Answer, Api};
use crate::site::Site;

async fn key(api: &Api, author: &Author, more: Value) -> Api {
    let mut request = json!({"tenantId": author.stream.tenant_id});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let path = format!("/api/v1/agents/{}/api-keys", author.agent_id);
    let made = api.post(&path, request.to_string()).await.json();
    assert_eq!(made["rateLimit"], more.get("rateLimit").cloned().unwrap_or_default());
    api.with_key(made["apiKey"].as_str().unwrap())
}

fn standing(answer: &Answer) -> (u64, u64) {
    let number = |name: &str| answer.header(name).parse::<u64>().unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!((now..=now + 75).contains(&number("x-ratelimit-reset")), "{:?}", answer.headers);
    (number("x-ratelimit-limit"), number("x-ratelimit-remaining"))
}

fn retry_after(answer: &Answer) -> u64 {
    let seconds = answer.header("retry-after").parse().unwrap();
    assert!((1..=75).contains(&seconds), "{seconds}");
    seconds
}

pub(crate) async fn what_exceeds_a_limit_is_told_and_appends_nothing(site: Arc<Site>) {
    let spec = site.node("data").env("RATE_LIMIT_PER_MINUTE", "100").env("MAX_BODY_SIZE_BYTES", "200000");
    let node = spec.start().await;
    let root = node.api();
    let author = Author::known_to(&root).await;
    let tenant = key(&root, &author, json!({})).await;
    let narrow = key(&root, &author, json!({"rateLimit": 20})).await;

    let ten = tenant.post(INGEST, author.body(&author.events(10))).await;
    assert_eq!((Ingested::of(&ten).events_accepted, standing(&ten)), (10, (100, 90)));
    let head = tenant.get(&author.path("head", "")).await;
    assert_eq!((head.status, standing(&head)), (200, (100, 89)));
    // The tighter of two limits is told, and both are charged.
    let five = narrow.post(INGEST, author.body(&author.events(5))).await;
    assert_eq!((Ingested::of(&five).events_accepted, standing(&five)), (5, (20, 15)));
    assert_eq!(standing(&tenant.get(&author.path("head", "")).await), (100, 83));

    let refused = narrow.post(INGEST, author.body(&author.events(16))).await;
    let message = refused.refused(429, "RATE_LIMIT_EXCEEDED");
    assert!(message.contains("API key") && message.contains("20"), "{message}");
    assert_eq!(
        (standing(&refused), refused.body()["error"]["numeric_code"].as_u64()),
        ((20, 15), Some(2001))
    );
    assert_eq!(refused.body()["error"]["retry_after"].as_u64(), Some(retry_after(&refused)));
    let never = narrow.post(INGEST, author.body(&author.events(21))).await;
    assert!(never.refused(413, "BATCH_TOO_LARGE").contains("send 20 at most"), "{}", never.text);
    assert_eq!(never.header("retry-after"), "");
    assert_eq!(author.head(&root).await["head_sequence"], 15, "what was refused appended nothing");

    // A body that is no batch costs 1; so does one that is too large, and what is not allowed.
    let large = tenant.post(INGEST, " ".repeat(200_001)).await;
    assert_eq!((large.refused(413, "PAYLOAD_TOO_LARGE").is_empty(), standing(&large)), (false, (100, 82)));
    tenant.post(INGEST, "{}").await.refused(400, "INVALID_REQUEST_BODY");
    assert_eq!(standing(&tenant.get(&author.elsewhere().path("head", "")).await), (100, 80));
    Ingested::of(&tenant.post(INGEST, author.body(&author.events(80))).await);
    let exhausted = tenant.get(&author.path("head", "")).await;
    assert_eq!((exhausted.status, exhausted.header("x-error-code")), (429, "RATE_LIMIT_EXCEEDED"));
    assert_eq!((&exhausted.body()["code"], standing(&exhausted)), (&json!("rate_limited"), (100, 0)));
    retry_after(&exhausted);
    let early = tenant.post(INGEST, author.body(&author.events(1))).await;
    early.refused(429, "RATE_LIMIT_EXCEEDED");

    // Neither the bootstrap key nor who asks for health is limited.
    let head = root.get(&author.path("head", "")).await;
    assert_eq!((head.json()["head_sequence"].as_u64(), head.header("x-ratelimit-limit")), (Some(95), ""));
    assert_eq!(tenant.get("/ready").await.status, 200);
    let metrics = root.get("/metrics").await.text;
    for line in [
        "sequencer_ratelimit_rejected{scope=\"tenant\"} 2",
        "sequencer_ratelimit_rejected{scope=\"api_key\"} 2",
        "bowline_ratelimit_tracked 2",
        "bowline_ratelimit_units_total 100",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line}\n{metrics}");
    }
    limits_that_make_no_sense_are_refused(&site, &root, &author).await;
}

async fn limits_that_make_no_sense_are_refused(site: &Site, root: &Api, author: &Author) {
    let path = format!("/api/v1/agents/{}/api-keys", author.agent_id);
    let zero = json!({"tenantId": author.stream.tenant_id, "rateLimit": 0});
    assert_eq!(root.post(&path, zero.to_string()).await.header("x-error-code"), "INVALID_FIELD_VALUE");
    for (name, value) in [("RATE_LIMIT_WINDOW_SECONDS", "0"), ("RATE_LIMIT_MAX_ENTRIES", "0")] {
        let ended = site.node("other").env(name, value).refused().await;
        assert!(ended.stderr.contains(name), "{ended:?}");
    }
}

pub(crate) async fn two_nodes_share_one_limit(site: Arc<Site>) {
    const LIMIT: u64 = 300;
    let first = site.node("first").env("RATE_LIMIT_PER_MINUTE", &LIMIT.to_string()).start().await;
    let second = site.node("second").env("RATE_LIMIT_PER_MINUTE", &LIMIT.to_string()).start().await;
    let author = Author::known_to(&first.api()).await;
    let here = key(&first.api(), &author, json!({})).await;
    let there = Api::new(second.address()).with_key(here.key());
    let mut clients = Vec::new();
    for at in 0..6 {
        let (api, author) = (if at % 2 == 0 { here.clone() } else { there.clone() }, author.clone());
        clients.push(tokio::spawn(async move {
            let mut accepted = 0;
            for _ in 0..100 {
                let answer = api.post(INGEST, author.body(&author.events(3))).await;
                match answer.status {
                    200 => accepted += Ingested::of(&answer).events_accepted,
                    _ => drop(answer.refused(429, "RATE_LIMIT_EXCEEDED")),
                }
            }
            accepted
        }));
    }
    let mut accepted = 0;
    for client in clients {
        accepted += client.await.unwrap();
    }
    assert_eq!(author.head(&first.api()).await["head_sequence"], accepted);
    // What a node has leased and no longer needs is a small part of the limit.
    assert!((LIMIT * 8 / 10..=LIMIT).contains(&accepted), "{accepted} of {LIMIT}");
    for node in [&first, &second] {
        let metrics = node.api().get("/metrics").await.text;
        let taken = metrics.lines().find_map(|line| {
            line.strip_prefix("bowline_ratelimit_leases_total{outcome=\"taken\"} ")?.parse::<u64>().ok()
        });
        assert!((1..=60).contains(&taken.unwrap()), "{taken:?}");
    }
}
