//! Triggers over HTTP: made, changed and refused with the field's name; each organization sees its own alone.
//! What a trigger does when it matches is shown by `triggers_delivery`.

use std::path::Path;
use std::sync::Arc;

use bowline_types::{AgentId, TenantId};
use serde_json::{Value, json};

use crate::author::Author;
use crate::client::{Answer, Api};
use crate::node::{bowline_in, run_program};
use crate::receiver::Receiver;
use crate::site::{Site, until};

/// What webhooks are signed with.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

const TRIGGERS: &str = "/api/v1/triggers";

/// Settings under which deliveries may go to this machine.
pub(crate) const TO_THIS_MACHINE: &str = "triggers:\n  delivery:\n    allow: [127.0.0.1]\n";

fn trigger(url: &str) -> Value {
    json!({
        "name": "low scores",
        "chain_id": 84532,
        "registry": "reputation",
        "conditions": [
            { "condition_type": "score_threshold", "field": "score", "operator": "<", "value": 50 },
        ],
        "actions": [{ "action_type": "rest", "config": { "url": url, "signing_secrets": [SECRET] } }],
    })
}

/// The fields that an answer names, which must refuse a trigger.
fn faults(answer: &Answer) -> Vec<String> {
    answer.refused(400, "INVALID_TRIGGER");
    let details = answer.body()["error"]["details"].clone();
    let fields = details.as_array().unwrap().iter().map(|one| {
        assert!(!one["problem"].as_str().unwrap().is_empty(), "{one}");
        one["field"].as_str().unwrap().to_owned()
    });
    fields.collect()
}

/// A key of that organization, of an agent of its own.
async fn key(api: &Api, tenant: TenantId, request: Value) -> Api {
    let mut request = request;
    request["tenantId"] = json!(tenant);
    let path = format!("/api/v1/agents/{}/api-keys", AgentId::random());
    let made = api.post(&path, request.to_string()).await.json();
    api.with_key(made["apiKey"].as_str().unwrap())
}

pub(crate) async fn triggers_are_made_changed_and_deleted(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let (ours, theirs) = (TenantId::random(), TenantId::random());
    let admin = node.api();
    let api = key(&admin, ours, json!({})).await;
    let made = api.post(TRIGGERS, trigger("https://example.org/hook").to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.body()["data"].clone();
    assert_eq!((&made["organization_id"], &made["enabled"]), (&json!(ours), &json!(true)));
    assert!(!made.to_string().contains(SECRET), "{made}");
    let path = format!("{TRIGGERS}/{}", made["id"].as_str().unwrap());

    let got = api.get(&path).await;
    assert_eq!((got.status, &got.body()["data"]["name"]), (200, &json!("low scores")));
    let revision = got.header("etag").to_owned();
    assert!(
        api.and("if-match", "\"0\"").ask("PUT", &path, "{}").await.refused(409, "TRIGGER_CHANGED").len() > 1
    );
    let off = api.and("if-match", &revision).ask("PUT", &path, r#"{"enabled":false}"#).await.json();
    assert_eq!((&off["data"]["enabled"], &off["data"]["conditions"]), (&json!(false), &made["conditions"]));
    // What was shown may be sent back as it is, masked secrets and all.
    let back = api.ask("PUT", &path, off["data"].to_string()).await.json();
    assert_eq!(back["data"]["actions"], off["data"]["actions"]);

    let conditions = format!("{path}/conditions");
    let added =
        api.post(&conditions, r#"{"condition_type":"event_type_equals","value":"NewFeedback"}"#).await;
    assert_eq!(added.status, 201, "{}", added.text);
    let one = format!("{conditions}/{}", added.body()["data"]["id"].as_str().unwrap());
    let changed = r#"{"condition_type":"event_type_equals","value":"FeedbackRevoked"}"#;
    assert_eq!(api.ask("PUT", &one, changed).await.json()["data"]["value"], "FeedbackRevoked");
    assert_eq!(api.get(&conditions).await.json()["pagination"]["total"], 2);
    assert_eq!(api.ask("DELETE", &one, "").await.status, 204);
    api.ask("DELETE", &one, "").await.refused(404, "TRIGGER_PART_NOT_FOUND");
    let actions = format!("{path}/actions");
    let telegram = r#"{"action_type":"rest","config":{"url":"https://example.org/b"}}"#;
    let second = api.post(&actions, telegram).await;
    assert_eq!(second.status, 201, "{}", second.text);
    let second = format!("{actions}/{}", second.body()["data"]["id"].as_str().unwrap());
    assert_eq!(api.ask("DELETE", &second, "").await.status, 204);

    let breaker = format!("{path}/circuit-breaker");
    let stands = api.get(&breaker).await.json()["data"].clone();
    assert_eq!((&stands["state"], &stands["failure_count"]), (&json!("closed"), &json!(0)));
    assert_eq!(stands["config"]["recovery_timeout_seconds"], 60);
    let set = api.ask("PATCH", &breaker, r#"{"failure_threshold":3}"#).await.json();
    assert_eq!(set["data"]["config"]["failure_threshold"], 3);
    assert_eq!(faults(&api.ask("PATCH", &breaker, r#"{"failure_threshold":0}"#).await).len(), 1);
    assert_eq!(api.post(&format!("{breaker}/reset"), "").await.json()["data"]["state"], "closed");

    // Nobody else sees it, and nobody learns that it is there.
    let stranger = key(&admin, theirs, json!({})).await;
    stranger.get(&path).await.refused(404, "TRIGGER_NOT_FOUND");
    stranger.ask("DELETE", &path, "").await.refused(404, "TRIGGER_NOT_FOUND");
    assert_eq!(stranger.get(TRIGGERS).await.json()["pagination"]["total"], 0);
    assert_eq!(stranger.and("x-organization-id", &ours.to_string()).get(TRIGGERS).await.status, 403);
    let reader = key(&admin, ours, json!({"readOnly": true})).await;
    assert_eq!(reader.get(&path).await.status, 200);
    assert_eq!(reader.ask("DELETE", &path, "").await.status, 403);
    // An administrator finds it, whosever it is, and makes one for an organization that is named.
    assert_eq!(admin.get(&path).await.status, 200);
    admin
        .post(TRIGGERS, trigger("https://example.org").to_string())
        .await
        .refused(400, "MISSING_REQUIRED_FIELD");
    let theirs = admin.and("x-organization-id", &theirs.to_string());
    assert_eq!(theirs.post(TRIGGERS, trigger("https://example.org").to_string()).await.status, 201);
    assert_eq!(admin.get(TRIGGERS).await.json()["pagination"]["total"], 2);

    assert_eq!(api.ask("DELETE", &path, "").await.status, 204);
    api.get(&path).await.refused(404, "TRIGGER_NOT_FOUND");
}

pub(crate) async fn what_is_wrong_with_a_trigger_is_named(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api().and("x-organization-id", &TenantId::random().to_string());
    let post = async |body: Value| api.post(TRIGGERS, body.to_string()).await;
    assert_eq!(faults(&post(json!({})).await), ["name"]);
    assert_eq!(faults(&post(json!({"name": "n", "nmae": 1})).await), ["nmae"]);
    assert_eq!(faults(&post(json!({"name": "n", "chain_id": "x"})).await), ["chain_id"]);
    let action = |config: Value| json!({"name": "n", "actions": [{"action_type": "rest", "config": config}]});
    assert_eq!(faults(&post(action(json!({}))).await), ["actions[0].config.url"]);
    let unknown = faults(&post(action(json!({"url": "https://example.org", "timeout_ms": 5}))).await);
    assert_eq!(unknown, ["actions[0].config.timeout_ms"]);
    let many = json!({
        "name": "", "conditions": [], "actions": [{"action_type": "pigeon", "config": {}}],
        "breaker": {"half_open_max_calls": 11},
    });
    let found = faults(&post(many).await);
    for field in ["name", "actions[0].action_type", "breaker.half_open_max_calls"] {
        assert!(found.iter().any(|found| found == field), "{field} is not in {found:?}");
    }
    assert_eq!(api.get(&format!("{TRIGGERS}?limit=101")).await.status, 400);
    let tolerated = json!({"name": "n", "is_stateful": false, "enabled": false});
    assert_eq!(post(tolerated).await.status, 201);
    let listed = api.get(&format!("{TRIGGERS}?limit=1")).await.json();
    let page = json!({"total": 1, "limit": 1, "offset": 0, "has_more": false});
    assert_eq!(listed["pagination"], page);
    api.get("/api/v1/deliveries/00000000-0000-0000-0000-000000000001")
        .await
        .refused(404, "DELIVERY_NOT_FOUND");
    api.get("/api/v1/deliveries?state=odd").await.refused(400, "INVALID_FIELD_VALUE");
    assert_eq!(api.get("/api/v1/deliveries").await.json()["data"], json!([]));
    assert_eq!(node.api().get("/api/v1/queue/stats").await.json()["data"]["waiting"], 0);
    assert_eq!(api.get("/api/v1/events").await.json()["data"], json!([]));
    assert_eq!(api.get("/api/v1/indexer/status").await.json()["data"]["chains"], json!([]));
}

pub(crate) async fn a_person_makes_and_tries_a_trigger(site: Arc<Site>) {
    let receiver = Receiver::start().await;
    let node = site.node("data").config(TO_THIS_MACHINE).start().await;
    let folder = site.path("");
    let environment = [("BOWLINE_URL", node.address()), ("BOWLINE_API_KEY", crate::node::ADMIN_KEY)];
    let run = async |words: &[&str], stdin: String| bowline_in(&folder, &environment, words, &stdin).await;
    let written = trigger(&receiver.url("/hook"));
    let made = run(&["triggers", "create", "-f", "-", "--output", "json"], written.to_string()).await.json(0);
    let id = made["data"]["id"].as_str().unwrap().to_owned();
    let listed = run(&["triggers", "list"], String::new()).await;
    assert!(listed.must(0).stdout.contains("low scores") && listed.stdout.contains(&id), "{listed:?}");
    let shown = run(&["triggers", "show", &id], String::new()).await;
    assert!(shown.must(0).stdout.contains("score_threshold"), "{shown:?}");
    assert!(!shown.stdout.contains(SECRET), "{shown:?}");

    let tested = run(&["triggers", "test", &id], String::new()).await;
    assert!(tested.must(0).stdout.contains("success"), "{tested:?}");
    let received = receiver.until_received(1).await.remove(0);
    assert_eq!(received.path, "/hook");
    receiver.answer(500);
    run(&["triggers", "test", &id], String::new()).await.must(1);

    let bad = run(&["triggers", "create", "-f", "-"], r#"{"name":"n","actons":[]}"#.to_owned()).await;
    assert!(bad.must(2).stderr.contains("actons") && bad.stderr.contains("next:"), "{bad:?}");
    run(&["triggers", "disable", &id], String::new()).await.must(0);
    let breaker = run(&["triggers", "breaker", &id, "--failures", "3"], String::new()).await;
    assert!(breaker.must(0).stdout.contains("3 failures"), "{breaker:?}");
    run(&["triggers", "breaker", &id, "--reset"], String::new()).await.must(0);
    let drained = run(&["queue", "drain", "--timeout", "5"], String::new()).await;
    assert!(drained.must(0).stdout.contains("nothing waits"), "{drained:?}");
    run(&["queue", "stats"], String::new()).await.must(0);
    run(&["indexer", "status"], String::new()).await.must(0);
    run(&["deliveries", "list"], String::new()).await.must(0);
    run(&["triggers", "delete", &id], String::new()).await.must(0);
    let gone = run(&["triggers", "show", &id], String::new()).await;
    assert!(gone.must(1).stderr.contains("bowline triggers list"), "{gone:?}");
}

pub(crate) async fn secrets_stay_with_whoever_wrote_them(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let folder = site.path("");
    let ours = TenantId::random().to_string();
    let environment = [
        ("BOWLINE_URL", node.address()),
        ("BOWLINE_API_KEY", crate::node::ADMIN_KEY),
        ("BOWLINE_ORGANIZATION", &ours),
    ];
    let run = async |words: &[&str]| bowline_in(&folder, &environment, words, "").await;
    let mut written = trigger("https://example.org/hook?token=swordfish&format=json");
    written["actions"][0]["config"]["headers"] = json!({"X-Auth": "open-sesame", "Accept": "text/plain"});
    site.write("trigger.json", written.to_string());
    let has_none = |text: &str| {
        for secret in ["swordfish", "open-sesame", SECRET] {
            assert!(!text.contains(secret), "{text}");
        }
    };
    // What is printed to be run by somebody else holds none, and what is printed first runs as it stands.
    let printed = run(&["triggers", "create", "-f", "trigger.json", "--curl"]).await;
    assert!(printed.must(0).stderr.contains("--data-binary '@trigger.json'"), "{printed:?}");
    has_none(&printed.stderr);
    let line = printed.stderr.trim();
    let ran = run_program(Path::new("sh"), &folder, &environment, &["-c", line], "").await;
    let id = ran.json(0)["data"]["id"].as_str().unwrap().to_owned();
    has_none(&ran.stdout);
    let printed = run(&["triggers", "update", &id, "-f", "trigger.json", "--curl"]).await;
    has_none(&printed.must(0).stderr);
    let printed = run(&["triggers", "backtest", "-f", "trigger.json", "--curl"]).await;
    assert!(printed.must(0).stderr.contains("write them back"), "{printed:?}");
    has_none(&printed.stderr);
    // Nor does the API show one.
    let api = node.api().and("x-organization-id", &ours);
    let path = format!("{TRIGGERS}/{id}");
    let shown = api.get(&path).await.json()["data"].clone();
    has_none(&shown.to_string());
    let config = &shown["actions"][0]["config"];
    assert_eq!(config["url"], "https://example.org/hook?token=********&format=json");
    assert_eq!(config["headers"], json!({"X-Auth": "********", "Accept": "text/plain"}));
    // What was shown may be sent back; to another receiver the secrets do not go along.
    assert_eq!(api.ask("PUT", &path, shown.to_string()).await.status, 200);
    let mut elsewhere = shown;
    elsewhere["actions"][0]["config"]["url"] = json!("https://example.com/hook?token=********");
    assert_eq!(faults(&api.ask("PUT", &path, elsewhere.to_string()).await).len(), 1);
}

pub(crate) async fn an_organization_reaches_its_own_receivers_alone(site: Arc<Site>) {
    let (ours, theirs) = (TenantId::random(), TenantId::random());
    let settings = json!({ "triggers": { "delivery": { "allow_by_organization": [
        { "organization": ours, "allow": ["127.0.0.1"] },
    ] } } });
    let node = site.node("data").config(&settings.to_string()).start().await;
    let receiver = Receiver::start().await;
    let as_one = |tenant: TenantId| node.api().and("x-organization-id", &tenant.to_string());
    let made = as_one(ours).post(TRIGGERS, trigger(&receiver.url("/hook")).to_string()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.body()["data"].clone();
    let test = format!(
        "{TRIGGERS}/{}/actions/{}/test",
        made["id"].as_str().unwrap(),
        made["actions"][0]["id"].as_str().unwrap()
    );
    assert_eq!(as_one(ours).post(&test, "{}").await.json()["data"]["status"], "success");
    let refused = as_one(theirs).post(TRIGGERS, trigger(&receiver.url("/hook")).to_string()).await;
    assert_eq!(faults(&refused), ["actions[0].config.url"]);
    // A name can't be judged before it is resolved: it is when it is connected to.
    let by_name = receiver.url("/hook").replace("127.0.0.1", "localhost");
    let made = as_one(theirs).post(TRIGGERS, trigger(&by_name).to_string()).await.body()["data"].clone();
    let test = format!(
        "{TRIGGERS}/{}/actions/{}/test",
        made["id"].as_str().unwrap(),
        made["actions"][0]["id"].as_str().unwrap()
    );
    let tried = as_one(theirs).post(&test, "{}").await.json();
    assert_eq!(
        (&tried["data"]["status"], &tried["data"]["code"]),
        (&json!("failed"), &json!("ADDRESS_BLOCKED"))
    );
    assert_eq!(receiver.received().len(), 1);
    let twice = json!({ "triggers": { "delivery": { "allow_by_organization": [
        { "organization": ours, "allow": [] }, { "organization": ours, "allow": [] },
    ] } } });
    let refused = site.node("other").config(&twice.to_string()).refused().await;
    assert!(refused.must(2).stderr.contains("allow_by_organization[1]"), "{refused:?}");
}

pub(crate) async fn so_many_back_tests_run_and_the_next_one_is_told_when(site: Arc<Site>) {
    let node = site.node("data").config("triggers:\n  backtests_max: 1\n").start().await;
    let author = Author::known_to(&node.api()).await;
    author.grow(&node.api(), 400).await;
    let api = node.api().and("x-organization-id", &author.stream.tenant_id.to_string());
    let asked = json!({ "trigger": { "name": "all", "registry": "line" } }).to_string();
    let test = async || api.post(&format!("{TRIGGERS}/backtest"), asked.clone()).await;
    // Whether two meet is chance, so they are sent until they have.
    let mut refused = None;
    until(async || {
        let answers = futures_util::future::join_all((0..10).map(|_| test())).await;
        assert!(answers.iter().any(|answer| answer.status == 200));
        refused = answers.into_iter().find(|answer| answer.status != 200);
        refused.is_some()
    })
    .await;
    let refused = refused.unwrap();
    assert!(refused.refused(429, "BACKTESTS_BUSY").contains("1 back-tests run"), "{}", refused.text);
    let secs: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=10).contains(&secs), "{secs}");
    // Who was refused has left no trace.
    let answer = test().await.json();
    assert_eq!((&answer["data"]["count"], &answer["data"]["events_looked_at"]), (&json!(400), &json!(400)));
}
