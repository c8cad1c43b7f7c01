//! A machine whose clock steps: order and receipts stand above it, and credentials are judged by it as it is.
//!
//! libfaketime puts the real binary on a clock of the test's own; nobody else's clock is touched.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bowline_http::{TokenClaims, sign_token};
use bowline_types::{Secret, Timestamp};
use bowline_ves::{Receipt, TrustedKeys, verify_export};
use serde_json::json;

use crate::author::{Author, INGEST, Ingested, assert_dense, sequencer_keys};
use crate::client::Api;
use crate::site::{Site, from_xtask};

const JWT_SECRET: &str = "a secret of at least thirty-two bytes";
const HOUR_SECS: i64 = 3_600;

/// Seconds since 1970, by the clock that nobody has touched.
fn true_secs() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

/// How far the node's clock is from the true one, in seconds.
async fn offset_secs(api: &Api) -> i64 {
    let said = api.get("/health").await.json();
    let moment: Timestamp = said["timestamp"].as_str().unwrap().parse().unwrap();
    moment.micros() / 1_000_000 - true_secs()
}

fn token(author: &Author, secs_from_now: i64) -> String {
    let claims = TokenClaims {
        sub: author.stream.tenant_id.to_string(),
        iss: "stateset-sequencer".to_owned(),
        aud: "stateset-api".to_owned(),
        exp: true_secs() + secs_from_now,
        nbf: None,
        iat: None,
        jti: None,
        stores: String::new(),
        agent: None,
        perms: "read,write".to_owned(),
    };
    sign_token(&Secret::new(JWT_SECRET), &claims).unwrap()
}

pub(crate) async fn a_clock_that_steps_back_turns_nothing_around(site: Arc<Site>) {
    let clock = site.write("clock", "+0");
    let node = site
        .node("data")
        .env("LD_PRELOAD", &from_xtask("BOWLINE_TEST_FAKETIME"))
        .env("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("JWT_SECRET", JWT_SECRET)
        .config("line:\n  commitments:\n    auto: all\n    events: 4\n")
        .start()
        .await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let scope = json!({ "tenantId": author.stream.tenant_id }).to_string();
    let made = api.post(&format!("/api/v1/agents/{}/api-keys", author.agent_id), scope).await.json();
    let keyed = api.with_key(made["apiKey"].as_str().unwrap());
    let bearer = api.with("authorization", &format!("Bearer {}", token(&author, HOUR_SECS / 2)));

    let mut times = Vec::new();
    for hours in [0, 1, -2, 0, -24, 3, 2] {
        site.write("clock", format!("{:+}", hours * HOUR_SECS));
        let off = offset_secs(&api).await - hours * HOUR_SECS;
        assert!(off.abs() < 30, "the clock is off by {off} s at {hours} h");
        for asked in [&api, &keyed] {
            let ingested = Ingested::of(&asked.post(INGEST, author.body(&author.events(2))).await);
            assert_eq!(ingested.events_accepted, 2, "at {hours} h: {ingested:?}");
            let receipts = ingested.receipts().into_iter().map(|text| Receipt::parse(text).unwrap());
            times.extend(receipts.map(|receipt| receipt.sequenced_at));
        }
        // A token is judged by the clock as it is now.
        let answer = bearer.get(&author.path("head", "")).await;
        assert_eq!(answer.status, if hours < 1 { 200 } else { 401 }, "at {hours} h: {}", answer.text);
    }
    assert!(times.is_sorted(), "{times:?}");
    // Two hours ahead are kept until the clock has caught up, and three are reached.
    assert!(times[times.len() - 1].micros() / 1_000_000 - true_secs() > 3 * HOUR_SECS - 60);

    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    author.commit(&api, None, None).await;
    let export = api.get(&author.path("export", "")).await.text;
    let keys = sequencer_keys(&api).await.into_values().collect();
    let pinned = TrustedKeys { sequencer_keys: keys, ..TrustedKeys::default() };
    let report = verify_export(export.as_bytes(), &pinned, |_| {}).unwrap();
    assert_eq!(report.event_count, times.len() as u64);
}
