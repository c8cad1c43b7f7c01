//! Webhooks against a receiver that looks at everything.
//! Signatures are checked by a library that this project did not write.

use std::process::Stdio;
use std::time::Duration;

use bowline_deliveries::{Config, OrganizationAllow, TestAttempt, TestSend};
use bowline_types::TenantId;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

use crate::owners::TEST_KIND;
use crate::receiver::{Receiver, Reply};
use crate::rig::{config, deliveries};
use crate::test_store::{Engine, TestStore};

const SECRETS: [&str; 2] =
    ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"];

fn event() -> Value {
    json!({"agent_id": "398", "score": 87, "tag1": "../a b", "tag2": "{\"x\":1}", "owner": null, "timestamp": 1_770_724_500})
}

async fn send_under(config: Config, settings: Value) -> TestAttempt {
    let place = TestStore::new(Engine::Sqlite).await;
    let deliveries = deliveries(place.open().await, config);
    let which = TestSend::Given { kind: TEST_KIND, action_type: "rest".to_owned(), config: settings };
    deliveries.test_send(TenantId::random(), which, Some(event())).await.unwrap()
}

async fn send(settings: Value) -> TestAttempt {
    send_under(config(), settings).await
}

#[tokio::test]
async fn an_event_arrives_with_its_names_and_nothing_is_re_read() {
    let receiver = Receiver::start(|_, _| Reply::status(202)).await;
    let sent = send(json!({ "url": receiver.url("/hook") })).await;
    assert_eq!((sent.status, sent.http_status), ("success", Some(202)), "{sent:?}");
    assert_eq!(sent.response.as_deref(), Some("said"));
    let received = receiver.received().remove(0);
    assert_eq!((received.method.as_str(), received.path.as_str()), ("POST", "/hook"));
    assert_eq!(received.json(), event());
    assert_eq!(received.header("idempotency-key"), sent.job_id.to_string());
    assert_eq!(received.header("webhook-id"), sent.job_id.to_string());
    assert_eq!(received.header("x-bowline-attempt"), "1");
    assert_eq!(received.header("x-bowline-trigger-id"), Uuid::nil().to_string());
    assert!(received.header("user-agent").starts_with("bowline/"));
    assert_eq!(received.header("content-type"), "application/json");
    assert_eq!(received.header("webhook-signature"), "");

    let templates = json!({
        "method": "PATCH", "url": receiver.url("/agents/{{ agent_id }}/{{ tag1 }}?tag={{ tag2 }}"), "headers": {"X-Api-Key": "k"},
        "body_template": {"name": "{{ trigger_name }}", "score": "{{ score }}", "text": "got {{ tag2 }}", "owner": "{{ owner }}", "at": "{{ timestamp | iso }}"},
        "expected_status_codes": [202],
    });
    assert_eq!(send(templates).await.status, "success");
    let received = receiver.received().remove(1);
    assert_eq!(received.path, "/agents/398/..%2Fa%20b?tag=%7B%22x%22%3A1%7D");
    assert_eq!(received.header("x-api-key"), "k");
    let expected = json!({"name": "test", "score": 87, "text": "got {\"x\":1}", "owner": null, "at": "2026-02-10T11:55:00+00:00"});
    assert_eq!(received.json(), expected);
}

#[tokio::test]
async fn a_foreign_verifier_takes_each_of_several_signatures() {
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let sent = send(json!({ "url": receiver.url("/"), "signing_secrets": SECRETS })).await;
    assert_eq!(sent.status, "success", "{sent:?}");
    let received = receiver.received().remove(0);
    assert_eq!(received.header("webhook-signature").split(' ').count(), 2);
    for secret in SECRETS {
        assert!(verifies(secret, &received.body, &received).await, "{secret}");
        assert!(!verifies(secret, "{}", &received).await, "a changed body passes");
    }
    assert!(!verifies("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", &received.body, &received).await);
}

/// What `standardwebhooks` from npm says of a delivery.
async fn verifies(secret: &str, body: &str, received: &crate::receiver::Received) -> bool {
    const SCRIPT: &str = r#"
        const { Webhook } = require(process.env.MODULES + "/standardwebhooks");
        const { secret, body, headers } = JSON.parse(require("fs").readFileSync(0, "utf8"));
        try { new Webhook(secret).verify(body, headers); process.stdout.write("yes"); }
        catch (error) { process.stdout.write("no: " + error.message); }
    "#;
    let modules = std::env::var_os("BOWLINE_TEST_NPM")
        .expect("BOWLINE_TEST_NPM is not set; run the tests with `cargo xtask test`");
    let headers: serde_json::Map<String, Value> = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .into_iter()
        .map(|name| (name.to_owned(), Value::from(received.header(name))))
        .collect();
    let input = json!({ "secret": secret, "body": body, "headers": headers }).to_string();
    let mut node = tokio::process::Command::new("node")
        .args(["-e", SCRIPT])
        .env("MODULES", modules)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    node.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let said = node.wait_with_output().await.unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said == "yes" || said.starts_with("no: "), "the verifier did not run: {said}");
    said == "yes"
}

#[tokio::test]
async fn a_receiver_that_hangs_fails_and_what_it_says_is_bounded() {
    let receiver = Receiver::start(|_, received| match received.path.as_str() {
        "/hangs" => Reply::never(),
        _ => Reply { body: vec![b'x'; 32 << 20], ..Reply::status(200) },
    })
    .await;
    let sent = send(json!({ "url": receiver.url("/hangs"), "timeout_seconds": 1 })).await;
    assert_eq!((sent.status, sent.code), ("failed", Some("TIMEOUT")), "{sent:?}");
    let sent = send(json!({ "url": receiver.url("/huge?token=abc") })).await;
    assert_eq!(sent.status, "success", "{sent:?}");
    assert_eq!(sent.response.unwrap().len(), 1_024);
}

#[tokio::test]
async fn redirects_lead_nowhere_private_and_a_post_nowhere() {
    let second = Receiver::start(|_, _| Reply::status(200)).await;
    let place = second.address;
    let first = Receiver::start(move |_, received| match received.path.as_str() {
        "/private" => Reply::status(302).header("location", "http://169.254.169.254/latest/meta-data"),
        "/name" => Reply::status(302).header("location", "http://localhost:1/"),
        "/round" => Reply::status(302).header("location", "/round"),
        _ => Reply::status(307).header("location", format!("http://{place}/there")),
    })
    .await;
    let get =
        |path: &str| json!({"method": "GET", "url": first.url(path), "headers": {"Authorization": "secret"}});
    // Only the first receiver is allowed by its address; names are not.
    for (path, code) in
        [("/private", "ADDRESS_BLOCKED"), ("/name", "ADDRESS_BLOCKED"), ("/round", "REDIRECTS")]
    {
        let sent = send_under(Config { allow: vec![first.address.to_string()], ..config() }, get(path)).await;
        assert_eq!((sent.status, sent.code), ("failed", Some(code)), "{path}: {sent:?}");
    }
    assert_eq!(send(get("/there")).await.status, "success");
    // What was meant for the first one is not told to the second.
    let received = second.received().remove(0);
    assert_eq!((received.header("authorization"), received.header("idempotency-key")), ("", ""));

    let sent = send(json!({ "url": first.url("/there") })).await;
    assert_eq!((sent.status, sent.http_status), ("failed", Some(307)), "{sent:?}");
    assert_eq!(second.count(), 1);
}

#[tokio::test]
async fn only_what_is_allowed_is_reached_and_errors_tell_no_secrets() {
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let port = receiver.address.port();
    let place = TestStore::new(Engine::Sqlite).await;
    let strict = deliveries(place.open().await, Config::default());
    let given = |url: String| TestSend::Given {
        kind: TEST_KIND,
        action_type: "rest".to_owned(),
        config: json!({ "url": url }),
    };
    let refused = strict.test_send(TenantId::random(), given(receiver.url("/")), None).await;
    assert!(refused.unwrap_err().to_string().contains("config.url"));
    // A name is judged when it is resolved.
    let url = format!("http://localhost:{port}/path-secret?token=query-secret");
    let sent = strict.test_send(TenantId::random(), given(url.clone()), None).await.unwrap();
    assert_eq!(sent.code, Some("ADDRESS_BLOCKED"), "{sent:?}");
    assert!(!format!("{sent:?}").contains("-secret"), "{sent:?}");
    // A place that is allowed by its name is reached, whatever it resolves to; another port of it is not.
    let open = Config { allow: vec![format!("localhost:{port}")], ..config() };
    assert_eq!(send_under(open.clone(), json!({ "url": url })).await.status, "success");
    let closed =
        send_under(open, json!({ "url": "http://localhost:1/path-secret", "timeout_seconds": 5 })).await;
    assert_eq!(closed.code, Some("ADDRESS_BLOCKED"), "{closed:?}");
    // No process listens there.
    let gone = send(json!({ "url": "http://127.0.0.1:1/path-secret?token=query-secret" })).await;
    assert_eq!(gone.code, Some("CONNECT"), "{gone:?}");
    assert!(!format!("{gone:?}").contains("-secret"), "{gone:?}");
    assert_eq!(receiver.count(), 1);
    assert!(gone.duration_ms < Duration::from_secs(10).as_millis() as u64);
}

#[tokio::test]
async fn an_organization_does_not_reach_what_another_one_may() {
    let receiver = Receiver::start(|_, _| Reply::status(200)).await;
    let (port, place) = (receiver.address.port(), TestStore::new(Engine::Sqlite).await);
    let (ours, named, theirs) = (TenantId::random(), TenantId::random(), TenantId::random());
    let own = |organization, entry: String| OrganizationAllow { organization, allow: vec![entry] };
    let settings = Config {
        allow_by_organization: vec![
            own(ours, "127.0.0.1".to_owned()),
            own(named, format!("localhost:{port}")),
        ],
        ..Config::default()
    };
    let deliveries = deliveries(place.open().await, settings);
    let send = async |tenant, url: String| {
        let which = TestSend::Given {
            kind: TEST_KIND,
            action_type: "rest".to_owned(),
            config: json!({ "url": url }),
        };
        deliveries.test_send(tenant, which, None).await
    };
    // A name is judged when it is connected to: also while the other one's connection to it is still open.
    let by_name = format!("http://localhost:{port}/");
    for tenant in [ours, named, ours] {
        let sent = send(tenant, by_name.clone()).await.unwrap();
        assert_eq!(sent.status, "success", "{sent:?}");
    }
    let refused = send(theirs, by_name).await.unwrap();
    assert_eq!((refused.status, refused.code), ("failed", Some("ADDRESS_BLOCKED")), "{refused:?}");
    assert_eq!(send(ours, receiver.url("/")).await.unwrap().status, "success");
    for tenant in [named, theirs] {
        assert!(send(tenant, receiver.url("/")).await.unwrap_err().to_string().contains("config.url"));
    }
    assert_eq!(receiver.count(), 4);
}
