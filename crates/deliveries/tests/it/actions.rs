//! Actions as they are checked, kept and shown. Nothing is sent here: what an action does is shown by the files of
//! the kinds.

use bowline_deliveries::{ActionRules, ActionScope, Config, FieldProblem, TemplateNames};
use bowline_store::ActionRecord;
use bowline_types::TenantId;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::rig::deliveries;
use crate::test_store::{Engine, TestStore};

/// The fields of the events that set the actions off.
const NAMES: TemplateNames<'static> = TemplateNames::These(&["agent_id", "score", "owner"]);

/// An action of that organization.
fn of(tenant_id: TenantId, names: TemplateNames<'_>) -> ActionScope<'_> {
    ActionScope { tenant_id, names }
}

fn fields(problems: &[FieldProblem]) -> Vec<String> {
    problems.iter().map(|problem| problem.field.clone()).collect()
}

#[tokio::test]
async fn what_can_not_work_is_refused_when_it_is_saved() {
    let place = TestStore::new(Engine::Sqlite).await;
    let actions = deliveries(place.open().await, Config::default()).actions();
    let check =
        |kind: &str, config: Value| fields(&actions.check(of(TenantId::NIL, NAMES), kind, &config, None));
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
    // Where the fields are not known, every name is taken.
    let own = json!({"url": url, "body_template": {"a": "{{ amount }}"}});
    assert_eq!(
        fields(&actions.check(of(TenantId::NIL, TemplateNames::Any), "rest", &own, None)),
        Vec::<String>::new()
    );
    assert_eq!(
        fields(&actions.check(of(TenantId::NIL, NAMES), "rest", &own, None)),
        ["config.body_template.a"]
    );
}

/// The action that a configuration becomes.
fn kept(
    actions: &dyn ActionRules,
    owner: ActionScope<'_>,
    action_id: Uuid,
    config: &Value,
    before: Option<&ActionRecord>,
) -> ActionRecord {
    let sealed = actions.seal(owner, action_id, config, before).unwrap();
    let action_type = "rest".to_owned();
    ActionRecord { action_id, action_type, priority: 0, config: sealed.config, sealed: sealed.sealed }
}

#[tokio::test]
async fn secrets_are_kept_apart_masked_and_survive_a_change_of_something_else() {
    let place = TestStore::new(Engine::Sqlite).await;
    let actions = deliveries(place.open().await, Config::default()).actions();
    let owner = of(TenantId::random(), NAMES);
    let config = json!({
        "url": "https://hooks.example.com/x?token=swordfish",
        "headers": {"Authorization": "Bearer hunter2", "X-Auth": "open-sesame", "Accept": "text/plain"},
        "signing_secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    });
    let record = kept(&*actions, owner, Uuid::new_v4(), &config, None);
    let shown = actions.masked(&record);
    assert_eq!(shown["headers"]["Accept"], "text/plain");
    assert_eq!(shown["url"], "https://hooks.example.com/x?token=********");
    for text in [&record.config, &shown.to_string(), &format!("{record:?}")] {
        for secret in ["hunter2", "MfKQ9r8GK", "open-sesame", "swordfish"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    // Who changes something else sends the masks back.
    let mut changed = shown;
    changed["url"] = json!("https://hooks.example.com/x?token=********&more=1");
    assert!(actions.check(owner, "rest", &changed, Some(&record)).is_empty());
    let again = kept(&*actions, owner, record.action_id, &changed, Some(&record));
    assert_eq!(actions.masked(&again)["headers"]["Authorization"], "********");
    assert_eq!(actions.masked(&again)["url"], changed["url"]);
    // To another receiver no secret goes along.
    let mut elsewhere = changed.clone();
    for receiver in ["https://hooks.example.org/x", "https://hooks.example.com/y"] {
        elsewhere["url"] = json!(format!("{receiver}?token=********"));
        assert_eq!(actions.check(owner, "rest", &elsewhere, Some(&again)).len(), 1, "{receiver}");
    }
    // Another organization can't open them, even as the same action.
    let stranger = of(TenantId::random(), NAMES);
    assert_eq!(fields(&actions.check(stranger, "rest", &changed, Some(&again))), ["config"]);
    // A mask alone is no secret.
    assert_eq!(fields(&actions.check(owner, "rest", &changed, None)), ["config.signing_secrets[0]"]);
}

#[tokio::test]
async fn what_was_kept_in_the_open_is_masked_and_sealed_with_the_next_change() {
    let place = TestStore::new(Engine::Sqlite).await;
    let actions = deliveries(place.open().await, Config::default()).actions();
    let owner = of(TenantId::random(), NAMES);
    let open = json!({
        "url": "https://hooks.example.com/x?token=swordfish", "headers": {"X-Auth": "open-sesame"},
    });
    let before = ActionRecord {
        action_id: Uuid::new_v4(),
        action_type: "rest".to_owned(),
        priority: 0,
        config: open.to_string(),
        sealed: None,
    };
    let shown = actions.masked(&before);
    assert_eq!(shown["headers"]["X-Auth"], "********");
    assert!(!shown.to_string().contains("swordfish"), "{shown}");
    assert!(actions.check(owner, "rest", &shown, Some(&before)).is_empty());
    let after = kept(&*actions, owner, before.action_id, &shown, Some(&before));
    assert_eq!(actions.masked(&after), shown);
    assert!(!after.config.contains("swordfish") && !after.config.contains("open-sesame"), "{after:?}");
    assert!(after.sealed.is_some());
}
