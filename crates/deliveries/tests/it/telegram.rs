//! Telegram messages against a stand-in that speaks the Bot API's JSON: the real one can't be had without an account.
//! Limits are looked at with two processes, since they share them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bowline_deliveries::{Config, TestAttempt, TestSend};
use bowline_types::{Secret, TenantId};
use serde_json::{Value, json};

use crate::owners::TEST_KIND;
use crate::receiver::{Received, Receiver, Reply};
use crate::rig::{config, deliveries};
use crate::test_store::{Engine, TestStore};

const TOKEN: &str = "123456:ABC-DEF_ghi";

/// Answers as the Bot API does.
fn bot_api(_: usize, received: &Received) -> Reply {
    if received.path != format!("/bot{TOKEN}/sendMessage") {
        return Reply::json(401, json!({"ok": false, "error_code": 401, "description": "Unauthorized"}));
    }
    let message = received.json();
    match message["chat_id"].as_str().unwrap() {
        "404" => Reply::json(
            400,
            json!({"ok": false, "error_code": 400, "description": "Bad Request: chat not found"}),
        ),
        "429" => Reply::json(
            429,
            json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 35", "parameters": {"retry_after": 35}}),
        ),
        chat => Reply::json(
            200,
            json!({"ok": true, "result": {"message_id": 1, "chat": {"id": chat}, "text": message["text"]}}),
        ),
    }
}

fn node(receiver: &Receiver) -> Config {
    Config { telegram_api_url: receiver.url(""), telegram_bot_token: Some(Secret::new(TOKEN)), ..config() }
}

async fn send(config: Config, settings: Value) -> TestAttempt {
    let place = TestStore::new(Engine::Sqlite).await;
    let deliveries = deliveries(place.open().await, config);
    let which = TestSend::Given { kind: TEST_KIND, action_type: "telegram".to_owned(), config: settings };
    let event = json!({"tag1": "a.b_c!", "score": -12.5, "token_uri": "https://x.example/<a>&b"});
    deliveries.test_send(TenantId::random(), which, Some(event)).await.unwrap()
}

#[tokio::test]
async fn values_are_escaped_for_the_markup_and_the_template_is_not() {
    let api = Receiver::start(bot_api).await;
    let message = |mode: Option<&str>, text: &str| {
        let mut settings = json!({"chat_id": "-100", "message_template": text});
        if let Some(mode) = mode {
            settings["parse_mode"] = json!(mode);
        }
        settings
    };
    for (mode, text, expected_mode, expected) in [
        (None, "*{{ tag1 }}* scored {{ score }}", json!("MarkdownV2"), "*a\\.b\\_c\\!* scored \\-12\\.5"),
        (Some("HTML"), "<b>{{ token_uri }}</b>", json!("HTML"), "<b>https://x.example/&lt;a&gt;&amp;b</b>"),
        (Some("none"), "{{ tag1 }}", Value::Null, "a.b_c!"),
    ] {
        let sent = send(node(&api), message(mode, text)).await;
        assert_eq!(sent.status, "success", "{sent:?}");
        let said = api.received().pop().unwrap().json();
        assert_eq!((&said["parse_mode"], said["text"].as_str().unwrap()), (&expected_mode, expected));
    }
}

#[tokio::test]
async fn what_the_bot_api_refuses_is_told_without_the_token() {
    let api = Receiver::start(bot_api).await;
    let to = |chat: &str| json!({"chat_id": chat, "message_template": "hi", "parse_mode": "none"});
    let refused = send(node(&api), to("404")).await;
    assert_eq!(refused.error.as_deref(), Some("TELEGRAM: 400: Bad Request: chat not found"));
    let limited = send(node(&api), to("429")).await;
    assert_eq!((limited.code, limited.http_status), (Some("TELEGRAM"), Some(429)));
    let other = Config { telegram_bot_token: Some(Secret::new("9:wrong")), ..node(&api) };
    assert!(send(other, to("1")).await.error.unwrap().contains("Unauthorized"));
    let none = Config { telegram_bot_token: None, ..node(&api) };
    let none = send(none, to("1")).await;
    assert_eq!(none.code, Some("TELEGRAM_TOKEN_MISSING"), "{none:?}");
    // An action's own bot comes before the node's.
    let own = json!({"chat_id": "1", "message_template": "hi", "bot_token": TOKEN});
    let config = Config { telegram_bot_token: None, ..node(&api) };
    assert_eq!(send(config, own).await.status, "success");
    let away = Config { telegram_api_url: "http://127.0.0.1:1".to_owned(), ..node(&api) };
    let away = send(away, to("1")).await;
    assert_eq!(away.code, Some("CONNECT"));
    assert!(!format!("{away:?}").contains("ABC-DEF"), "{away:?}");
}

#[tokio::test]
async fn a_chats_limit_is_shared_by_processes_and_a_ban_is_obeyed_by_all() {
    let at: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let times = Arc::clone(&at);
    let api = Receiver::start(move |number, received| {
        times.lock().unwrap().push(Instant::now());
        bot_api(number, received)
    })
    .await;
    let place = TestStore::new(Engine::Sqlite).await;
    let store = place.open().await;
    let workers = [deliveries(Arc::clone(&store), node(&api)), deliveries(store, node(&api))];
    let send = |worker: usize, chat: &str| {
        let config = json!({"chat_id": chat, "message_template": "hi"});
        let which = TestSend::Given { kind: TEST_KIND, action_type: "telegram".to_owned(), config };
        workers[worker].test_send(TenantId::random(), which, None)
    };
    let (one, two) = tokio::join!(send(0, "7"), send(1, "7"));
    assert_eq!((one.unwrap().status, two.unwrap().status), ("success", "success"));
    let times = at.lock().unwrap().clone();
    assert!(times[1] - times[0] >= Duration::from_millis(900), "{:?}", times[1] - times[0]);
    // One process is told to wait; the other one does not even ask.
    assert_eq!(send(0, "429").await.unwrap().http_status, Some(429));
    let held = send(1, "429").await.unwrap();
    assert_eq!(held.code, Some("RATE_LIMITED"), "{held:?}");
    assert_eq!(api.count(), 3);
}
