//! Actions as they are checked, kept and shown.

use bowline_store::ActionRecord;
use bowline_triggers::DeliveryConfig;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::delivery_place::{Engine, Place};
use crate::delivery_rig::deliveries;

fn fields(problems: &[bowline_triggers::FieldProblem]) -> Vec<String> {
    problems.iter().map(|problem| problem.field.clone()).collect()
}

#[tokio::test]
async fn what_can_not_work_is_refused_when_it_is_saved() {
    let place = Place::new(Engine::Sqlite).await;
    let actions = deliveries(place.open().await, DeliveryConfig::default()).actions();
    let check = |kind: &str, config: Value| fields(&actions.check(Some("reputation"), kind, &config, None));
    let url = "https://hooks.example.com/x";
    assert_eq!(check("rest", json!({ "url": url })), Vec::<String>::new());
    assert_eq!(
        check("rest", json!({"url": "https://h.example/{{ agent_id }}?s={{ score }}"})),
        Vec::<String>::new()
    );
    for (config, expected) in [
        (json!({}), "config.url"),
        (json!({"url": "ftp://h/"}), "config.url"),
        (json!({"url": "http://127.0.0.1/"}), "config.url"),
        (json!({"url": "http://[::ffff:10.1.1.1]/"}), "config.url"),
        (json!({"url": "https://{{ owner }}.example.com/"}), "config.url"),
        (json!({"url": "https://user:pass@h.example/"}), "config.url"),
        (json!({"url": "https://h.example/../x"}), "config.url"),
        (json!({"url": url, "metod": "GET"}), "config.metod"),
        (json!({"url": url, "method": "HEAD"}), "config.method"),
        (json!({"url": url, "timeout_seconds": 301}), "config.timeout_seconds"),
        (json!({"url": url, "expected_status_codes": [200, 42]}), "config.expected_status_codes"),
        (json!({"url": url, "headers": {"Host": "x"}}), "config.headers.Host"),
        (json!({"url": url, "headers": {"webhook-signature": "x"}}), "config.headers.webhook-signature"),
        (json!({"url": url, "headers": {"X-A": "x\ny"}}), "config.headers.X-A"),
        (json!({"url": url, "headers": {"X-A": "x".repeat(1_025)}}), "config.headers.X-A"),
        (json!({"url": url, "body_template": {"a": [{"b": "{{ scoer }}"}]}}), "config.body_template.a[0].b"),
        (json!({"url": url, "body_template": "{\"a\": {{ score }}}"}), "config.body_template"),
        (json!({"url": url, "method": "GET", "body_template": {}}), "config.body_template"),
        (json!({"url": url, "signing_secrets": ["secret"]}), "config.signing_secrets[0]"),
        (json!({"url": url, "max_attempts": 21}), "config.max_attempts"),
    ] {
        assert_eq!(check("rest", config.clone()), [expected], "{config}");
    }
    let mcp = |extra: Value| {
        let mut config =
            json!({"server_url": "https://mcp.example/mcp", "tool_name": "agent.receiveFeedback"});
        config.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        check("mcp", config)
    };
    assert_eq!(mcp(json!({"arguments_template": {"score": "{{ score }}"}})), Vec::<String>::new());
    assert_eq!(mcp(json!({"tool_name": "a b"})), ["config.tool_name"]);
    assert_eq!(mcp(json!({"timeout_ms": 0})), ["config.timeout_ms"]);
    assert_eq!(check("mcp", json!({"command": "sh", "tool_name": "t"})), ["config.command"]);
    assert_eq!(check("sms", json!({})), ["action_type"]);
    // Contracts of the operator's own have fields of their own.
    let own = json!({"url": url, "body_template": {"a": "{{ amount }}"}});
    assert_eq!(fields(&actions.check(Some("my_contract"), "rest", &own, None)), Vec::<String>::new());
    assert_eq!(fields(&actions.check(None, "rest", &own, None)), ["config.body_template.a"]);
}

#[tokio::test]
async fn secrets_are_kept_apart_masked_and_survive_a_change_of_something_else() {
    let place = Place::new(Engine::Sqlite).await;
    let actions = deliveries(place.open().await, DeliveryConfig::default()).actions();
    let config = json!({
        "url": "https://hooks.example.com/x", "headers": {"Authorization": "Bearer hunter2", "Accept": "text/plain"},
        "signing_secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    });
    let action_id = Uuid::new_v4();
    let sealed = actions.seal(action_id, "rest", &config, None).unwrap();
    let record = ActionRecord {
        action_id,
        action_type: "rest".to_owned(),
        priority: 0,
        config: sealed.config.clone(),
        sealed: sealed.sealed,
    };
    let shown = actions.masked(&record);
    assert_eq!(shown["headers"]["Accept"], "text/plain");
    for text in [&sealed.config, &shown.to_string(), &format!("{record:?}")] {
        assert!(!text.contains("hunter2") && !text.contains("MfKQ9r8GK"), "{text}");
    }
    // Who changes something else sends the masks back.
    let mut changed = shown;
    changed["url"] = json!("https://hooks.example.com/y");
    assert!(actions.check(None, "rest", &changed, Some(&record)).is_empty());
    let again = actions.seal(action_id, "rest", &changed, Some(&record)).unwrap();
    let again = ActionRecord { config: again.config, sealed: again.sealed, ..record };
    assert_eq!(actions.masked(&again)["headers"]["Authorization"], "********");
    // A mask alone is no secret.
    assert_eq!(fields(&actions.check(None, "rest", &changed, None)), ["config.signing_secrets[0]"]);
}
