//! Calls of tools of a real MCP server, the reference one, over HTTP and over pipes.
//! `cargo xtask test` brings the server; without it these tests fail and say so.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;

use bowline_deliveries::{Config, TestAttempt, TestSend};
use bowline_types::TenantId;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::owners::TEST_KIND;
use crate::receiver::{Receiver, Reply};
use crate::rig::{config, deliveries, until};
use crate::test_store::{Engine, TestStore};

fn server() -> PathBuf {
    let modules = std::env::var_os("BOWLINE_TEST_NPM")
        .expect("BOWLINE_TEST_NPM is not set; run the tests with `cargo xtask test`");
    PathBuf::from(modules).join("@modelcontextprotocol/server-everything/dist/index.js")
}

async fn over_http() -> (Child, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let child = Command::new("node")
        .arg(server())
        .arg("streamableHttp")
        .env("PORT", port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until("the MCP server listens", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()
    })
    .await;
    (child, format!("http://127.0.0.1:{port}/mcp"))
}

async fn call(config: Config, settings: Value) -> TestAttempt {
    let place = TestStore::new(Engine::Sqlite).await;
    let deliveries = deliveries(place.open().await, config);
    let which = TestSend::Given { kind: TEST_KIND, action_type: "mcp".to_owned(), config: settings };
    let event = json!({"tag1": "{{ owner }}", "score": 40});
    deliveries.test_send(TenantId::random(), which, Some(event)).await.unwrap()
}

#[tokio::test]
async fn a_tool_is_called_over_http_with_what_the_template_says() {
    let (_server, url) = over_http().await;
    let echo =
        json!({"server_url": url, "tool_name": "echo", "arguments_template": {"message": "got {{ tag1 }}"}});
    let sent = call(config(), echo).await;
    assert_eq!(sent.status, "success", "{sent:?}");
    assert!(sent.response.unwrap().contains("got {{ owner }}"));
    // A value keeps its type: the tool takes numbers only.
    let sum = json!({"server_url": url, "tool_name": "get-sum", "arguments_template": {"a": "{{ score }}", "b": 2}});
    let sent = call(config(), sum).await;
    assert_eq!(sent.status, "success", "{sent:?}");
    assert!(sent.response.unwrap().contains("42"));
    // What the tool calls an error is a failure.
    let wrong = json!({"server_url": url, "tool_name": "get-sum", "arguments_template": {"a": "x"}});
    let sent = call(config(), wrong).await;
    assert_eq!(sent.status, "failed", "{sent:?}");
    let unknown = json!({"server_url": url, "tool_name": "agent.receiveFeedback", "arguments_template": {}});
    assert_eq!(call(config(), unknown).await.status, "failed");
}

#[tokio::test]
async fn a_tool_of_a_program_is_called_only_where_the_operator_allows_it() {
    let settings = json!({
        "command": "node", "args": [server().to_str().unwrap(), "stdio"], "tool_name": "echo",
        "arguments_template": {"message": "hi"},
    });
    let sent = call(
        Config { mcp_stdio_allowed: true, mcp_path: std::env::var("PATH").unwrap(), ..config() },
        settings.clone(),
    )
    .await;
    assert_eq!((sent.status, sent.destination.as_str()), ("success", "stdio:node"), "{sent:?}");

    let place = TestStore::new(Engine::Sqlite).await;
    let which = TestSend::Given { kind: TEST_KIND, action_type: "mcp".to_owned(), config: settings };
    let refused = deliveries(place.open().await, config()).test_send(TenantId::random(), which, None).await;
    assert!(refused.unwrap_err().to_string().contains("mcp_stdio_allowed"));
}

#[tokio::test]
async fn what_goes_wrong_on_the_way_is_told() {
    let receiver = Receiver::start(|_, received| match received.path.as_str() {
        "/busy" => Reply::status(503),
        "/hangs" => Reply::never(),
        _ => Reply::status(401),
    })
    .await;
    let settings = |path: &str| json!({"server_url": receiver.url(path), "tool_name": "t", "timeout_ms": 2_000, "auth_token": "hunter2"});
    let busy = call(config(), settings("/busy")).await;
    assert_eq!((busy.status, busy.http_status), ("failed", Some(503)), "{busy:?}");
    let hangs = call(config(), settings("/hangs")).await;
    assert_eq!(hangs.code, Some("TIMEOUT"), "{hangs:?}");
    let refused = call(config(), settings("/refuses")).await;
    assert_eq!((refused.status, refused.http_status), ("failed", Some(401)), "{refused:?}");
    for received in receiver.received() {
        assert_eq!(received.header("authorization"), "Bearer hunter2");
    }
    assert!(!format!("{busy:?}{hangs:?}{refused:?}").contains("hunter2"));
    let blocked = json!({"server_url": "http://localhost:1/", "tool_name": "t"});
    let blocked = call(Config::default(), blocked).await;
    assert_eq!(blocked.code, Some("ADDRESS_BLOCKED"), "{blocked:?}");
}
