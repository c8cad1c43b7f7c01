//! The frame: request ids, panics, time, errors' bodies and safe headers.

use axum::Router;
use axum::routing::{get, post};
use bowline_http::ApiError;
use bowline_types::Code;
use reqwest::Method;
use serde_json::json;

use crate::listener::Site;

async fn panics() -> &'static str {
    panic!("for the test")
}

async fn refuses() -> ApiError {
    ApiError::new(Code::EventNotFound, "there is no such event").with_details(json!({ "event": 7 }))
}

fn routes() -> Router {
    Router::new()
        .route("/ok", get(async || "ok"))
        .route("/panics", get(panics))
        .route("/hangs", get(async || std::future::pending::<&str>().await))
        .route("/refuses", get(refuses))
        .route("/later", post(async || ApiError::new(Code::ServiceUnavailable, "later").with_retry_after(7)))
        .fallback(async || ApiError::new(Code::ResourceNotFound, "no such path"))
}

#[tokio::test]
async fn a_panic_answers_500_with_the_request_id_and_harms_no_other_request() {
    let listener = Site::new().await.serve(routes()).await;
    let answer = listener.ask(listener.request(Method::GET, "/panics").header("x-request-id", "seven")).await;
    assert_eq!(answer.error(), (500, "INTERNAL_ERROR".to_owned()));
    assert_eq!(
        (answer.header("x-request-id"), &answer.json()["error"]["request_id"]),
        ("seven", &json!("seven"))
    );
    assert!(!answer.text.contains("for the test"), "{answer:?}");
    assert_eq!(listener.get("/ok").await.text, "ok");
}

#[tokio::test]
async fn a_request_beyond_its_time_answers_504() {
    let mut site = Site::new().await;
    site.limits.request_secs_max = 1;
    let listener = site.serve(routes()).await;
    assert_eq!(listener.get("/hangs").await.error(), (504, "TIMEOUT".to_owned()));
}

#[tokio::test]
async fn an_error_has_one_body_wherever_it_comes_from() {
    let listener = Site::new().await.serve(routes()).await;
    let answer = listener.get("/refuses").await;
    let id = answer.header("x-request-id").to_owned();
    assert_eq!(id.len(), 36, "{id}");
    let code = Code::EventNotFound;
    assert_eq!(
        answer.json(),
        json!({ "error": {
            "code": code.as_str(), "numeric_code": code.number(), "message": "there is no such event",
            "request_id": id, "details": { "event": 7 },
        }})
    );
    assert_eq!((answer.status.as_u16(), answer.header("x-error-code")), (404, code.as_str()));
    assert_eq!(listener.get("/nowhere").await.error(), (404, "RESOURCE_NOT_FOUND".to_owned()));
    let later = listener.ask(listener.request(Method::POST, "/later")).await;
    assert_eq!((later.header("retry-after"), &later.json()["error"]["retry_after"]), ("7", &json!(7)));
}

#[tokio::test]
async fn every_answer_has_safe_headers_and_a_request_id_of_bounded_length() {
    let listener = Site::new().await.serve(routes()).await;
    let long = "x".repeat(129);
    let answer = listener.ask(listener.request(Method::GET, "/ok").header("x-request-id", &long)).await;
    assert_eq!(answer.header("x-request-id").len(), 36);
    for (name, value) in
        [("x-content-type-options", "nosniff"), ("x-frame-options", "DENY"), ("cache-control", "no-store")]
    {
        assert_eq!(answer.header(name), value);
    }
    // The body was not read, so the connection can't be used again.
    let unread = listener.request(Method::POST, "/nowhere").body("unread");
    assert_eq!(listener.ask(unread).await.header("connection"), "close");
}
