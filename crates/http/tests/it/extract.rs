//! Query, path and body: what is refused, and with which code.
//! The routes answer with what they were given, so that nothing else can be the cause.

use axum::Router;
use axum::routing::{get, post};
use bowline_http::{JsonBody, PageQuery, Params, PathParams, RawBody, StreamQuery};
use bowline_types::StreamId;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::listener::Site;

/// A query that takes nothing that it does not know.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

fn routes() -> Router {
    Router::new()
        .route("/strict", get(async |Params(query): Params<Strict>| query.limit.unwrap_or(0).to_string()))
        .route("/stream", get(async |Params(query): Params<StreamQuery>| query.stream().to_string()))
        .route(
            "/page",
            get(async |Params(page): Params<PageQuery>| {
                page.bounds().map(|_| page.list(vec![json!(1), json!(2)], 3))
            }),
        )
        .route("/number/{number}", get(async |PathParams(number): PathParams<u64>| number.to_string()))
        .route("/named", post(async |JsonBody(named): JsonBody<Named>| named.name))
        .route("/raw", post(async |RawBody(bytes): RawBody| bytes.len().to_string()))
}

const INVALID: &str = "INVALID_FIELD_VALUE";

#[tokio::test]
async fn a_query_says_itself_whether_it_takes_unknown_parameters() {
    let listener = Site::new().await.serve(routes()).await;
    assert_eq!(listener.get("/strict?limit=7").await.text, "7");
    let refused = listener.get("/strict?limits=7").await;
    assert_eq!(refused.error(), (400, INVALID.to_owned()));
    assert!(refused.text.contains("limits"), "{refused:?}");
    let stream: StreamId = StreamId::new(
        "00000000-0000-4000-8000-000000000001".parse().unwrap(),
        "00000000-0000-4000-8000-000000000002".parse().unwrap(),
    );
    let query = format!("/stream?tenant_id={}&store_id={}", stream.tenant_id, stream.store_id);
    assert_eq!(listener.get(&format!("{query}&more=1")).await.text, stream.to_string());
    assert_eq!(listener.get("/stream?tenant_id=1").await.error(), (400, INVALID.to_owned()));
}

#[tokio::test]
async fn a_path_parameter_of_another_type_is_refused_as_json() {
    let listener = Site::new().await.serve(routes()).await;
    assert_eq!(listener.get("/number/12").await.text, "12");
    assert_eq!(listener.get("/number/twelve").await.error(), (400, INVALID.to_owned()));
}

#[tokio::test]
async fn a_page_has_bounds_and_says_whether_there_is_more() {
    let listener = Site::new().await.serve(routes()).await;
    let pagination = json!({ "total": 3, "limit": 20, "offset": 0, "has_more": true });
    assert_eq!(listener.get("/page").await.json(), json!({ "data": [1, 2], "pagination": pagination }));
    assert_eq!(listener.get("/page?offset=1&limit=100").await.json()["pagination"]["has_more"], json!(false));
    for limit in ["0", "101", "-1", "x"] {
        let refused = listener.get(&format!("/page?limit={limit}")).await;
        assert_eq!(refused.error(), (400, INVALID.to_owned()), "{limit}");
    }
}

#[tokio::test]
async fn a_body_is_bounded_before_it_is_read_and_refused_with_the_place_of_its_fault() {
    let mut site = Site::new().await;
    site.limits.body_bytes_max = 64;
    let listener = site.serve(routes()).await;
    let post = |path: &str, body: String| {
        let request = listener.request(Method::POST, path).body(body);
        let listener = &listener;
        async move { listener.ask(request).await }
    };
    assert_eq!(post("/named", r#"{"name":"n"}"#.to_owned()).await.text, "n");
    let refused = post("/named", r#"{"nmae":"n"}"#.to_owned()).await;
    assert_eq!(refused.error(), (400, "INVALID_REQUEST_BODY".to_owned()));
    let message: Value = refused.json()["error"]["message"].clone();
    assert!(message.as_str().unwrap().contains("`name`"), "{message}");
    assert_eq!(post("/raw", "x".repeat(64)).await.text, "64");
    for path in ["/raw", "/named"] {
        assert_eq!(post(path, "x".repeat(65)).await.error(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
    }
    // Without a declared length it is counted while it comes.
    let chunks = (0..65).map(|_| Ok::<_, std::io::Error>("x"));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
    let counted = listener.ask(listener.request(Method::POST, "/raw").body(body)).await;
    assert_eq!(counted.error(), (413, "PAYLOAD_TOO_LARGE".to_owned()));
}
