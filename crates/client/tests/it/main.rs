//! The client against a server of this machine that answers what a test tells it, byte for byte, and keeps what it was
//! asked. A real node's answers are tested with the command line, which is built on this client.

// Clippy excuses unwraps in test functions only, and the server is shared by them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod server;

use std::time::Duration;

use bowline_client::answers::Head;
use bowline_client::{ApiError, ApiKey, Call, Client, Message, Retries};
use futures_util::StreamExt as _;
use server::Server;

const KEY: &str = "bk_live_4711";

fn client(server: &Server) -> Client {
    Client::new(server.url(), Some(ApiKey::new(KEY))).unwrap()
}

fn head() -> Call {
    Call::get(&["api", "v1", "ves", "head"])
}

#[tokio::test]
async fn an_error_body_becomes_an_error_with_code_request_and_remedy() {
    let body =
        r#"{"error":{"code":"EVENT_NOT_FOUND","message":"no such event","request_id":"r-7","details":null}}"#;
    let server = Server::answering([server::answer("404 Not Found", "", body)]).await;
    let error = client(&server).text(&head()).await.unwrap_err();
    let ApiError::Refused { status, code, message, request_id, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*status, code.as_str(), message.as_str()), (404, "EVENT_NOT_FOUND", "no such event"));
    assert_eq!(request_id.as_deref(), Some("r-7"));
    assert!(!error.retryable() && error.remedy().contains("bowline events list"), "{}", error.remedy());
    assert_eq!(error.to_string(), "the server answered 404 EVENT_NOT_FOUND: no such event (request r-7)");
}

#[tokio::test]
async fn a_pause_that_the_server_asks_for_is_kept_and_the_same_call_succeeds() {
    let busy = r#"{"error":{"code":"RATE_LIMITED","message":"too many","request_id":"r-8"}}"#;
    let id = "64527dd3-a654-4410-9327-e58a1492ce77";
    let found =
        format!(r#"{{"tenant_id":"{id}","store_id":"{id}","head_sequence":9,"updated_at":null,"later":1}}"#);
    let server = Server::answering([
        server::answer("429 Too Many Requests", "Retry-After: 7\r\n", busy),
        server::answer(
            "503 Service Unavailable",
            "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\n",
            "draining",
        ),
        server::answer("200 OK", "", &found),
    ])
    .await;
    let (client, call, mut retries) = (client(&server), head(), Retries::default());
    let mut pauses = Vec::new();
    let answer: Head = loop {
        match client.json(&call).await {
            Ok(answer) => break answer,
            // Not slept: which pause it is, is what counts here.
            Err(error) => pauses.push(retries.pause_after(&error).unwrap()),
        }
    };
    // A date is not understood, so the second pause is the client's own.
    assert_eq!(pauses, [Duration::from_secs(7), Duration::from_millis(400)]);
    assert_eq!((answer.head_sequence, retries.attempts()), (9, 3));
    let asked = server.asked();
    assert!(asked.len() == 3 && asked.iter().all(|request| *request == asked[0]), "{asked:?}");
    assert!(asked[0].starts_with("GET /line/api/v1/ves/head HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked[0].contains(&format!("authorization: ApiKey {KEY}\r\n")), "{}", asked[0]);
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_named_as_such() {
    let server = Server::answering([
        server::answer("200 OK", "Content-Type: text/html\r\n", "<html>another service</html>"),
        server::answer("502 Bad Gateway", "", "upstream is gone\n"),
    ])
    .await;
    let client = client(&server);
    let error = client.json::<Head>(&head()).await.unwrap_err();
    assert!(matches!(error, ApiError::Unexpected { .. }) && !error.retryable(), "{error:?}");
    assert_eq!(error.to_string(), "the server's answer can't be used: expected value at line 1 column 1");
    assert!(error.remedy().contains("is a Bowline server"), "{}", error.remedy());
    let error = client.json::<Head>(&head()).await.unwrap_err();
    assert_eq!(
        (error.status(), error.to_string().as_str()),
        (Some(502), "the server answered 502: upstream is gone")
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_never_a_short_answer() {
    let whole = server::answer("200 OK", "", &"x".repeat(1_000));
    let server = Server::answering([whole[..whole.len() - 10].to_owned()]).await;
    let error = client(&server).text(&head()).await.unwrap_err();
    assert!(matches!(error, ApiError::Unreachable { .. }) && error.retryable(), "{error:?}");
}

#[tokio::test]
async fn an_event_stream_is_read_message_by_message() {
    let body = ": heartbeat\n\nid: 4\nevent: event\ndata: {\"a\":1}\n\ndata: plain\n\n";
    let server =
        Server::answering([server::answer("200 OK", "Content-Type: text/event-stream\r\n", body)]).await;
    let incoming = client(&server).open(&head().header("accept", "text/event-stream")).await.unwrap();
    let messages: Vec<Message> = incoming.messages().map(Result::unwrap).collect().await;
    let said =
        messages.iter().map(|message| (message.kind.as_str(), message.id.as_str(), message.data.as_str()));
    assert_eq!(said.collect::<Vec<_>>(), [("event", "4", "{\"a\":1}"), ("message", "4", "plain")]);
}

#[tokio::test]
async fn no_key_is_ever_printed() {
    let server =
        Server::answering([server::answer("401 Unauthorized", "", r#"{"error":"no","code":"bad_auth"}"#)])
            .await;
    let client = client(&server);
    let call = Call::post(&["x"], &serde_json::json!({ "token": KEY })).unwrap();
    let error = client.text(&call).await.unwrap_err();
    let made = format!(r#"{{"apiKey":"{KEY}","keyHashPrefix":"ab","permissions":"read"}}"#);
    let made: bowline_client::answers::MadeApiKey = bowline_client::answers::parse(&made).unwrap();
    let printed = format!("{client:?} {call:?} {error:?} {error} {made:?} {:?}", ApiKey::new(KEY));
    assert!(!printed.contains("4711"), "{printed}");
    let line = client.curl(&head());
    assert!(line.contains("$BOWLINE_API_KEY") && !line.contains("4711"), "{line}");
    assert_eq!(made.api_key.reveal(), KEY);
    let broken = Client::new(server.url(), Some(ApiKey::new("two\nlines-4711"))).unwrap();
    let error = broken.text(&head()).await.unwrap_err();
    assert!(matches!(error, ApiError::Unsendable { .. }) && !format!("{error:?} {error}").contains("4711"));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let client = Client::new(server::nowhere().await, None).unwrap();
    let error = client.text(&head()).await.unwrap_err();
    assert!(matches!(error, ApiError::Unreachable { .. }) && error.retryable(), "{error:?}");
    assert!(error.remedy().contains("bowline serve"));
}
