//! The frame around every route: request id, time limit, panics, rate limit and safe headers, metrics and the error
//! body.
//!
//! It decides nothing about a request: what a route or an extractor has said becomes an answer here.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bowline_types::Code;
use futures_util::FutureExt;
use metrics::{counter, gauge, histogram};
use uuid::Uuid;

use crate::access::Access;
use crate::error::ApiError;
use crate::meter::Meter;
use crate::metrics::{PANICS, REQUEST_SECONDS_NAMES, REQUESTS_IN_FLIGHT, REQUESTS_NAMES};

/// Characters of a client's request id that are kept; a longer one is replaced.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The routes within the frame. Routes and fallbacks that are added later stay outside of it, and admit no one.
pub fn framed(routes: Router, access: Access) -> Router {
    routes.layer(middleware::from_fn_with_state(access, frame))
}

async fn frame(State(access): State<Access>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let _in_flight = InFlight::begin();
    let request_id = request_id(&request);
    let method = method_label(request.method());
    let path = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let has_body = !request.body().is_end_stream();
    let meter = Meter::default();
    let time_max = Duration::from_secs(access.limits().request_secs_max);
    request.extensions_mut().insert(meter.clone());
    request.extensions_mut().insert(access);
    let served = AssertUnwindSafe(next.run(request)).catch_unwind();
    let mut response = match tokio::time::timeout(time_max, served).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            counter!(PANICS).increment(1);
            tracing::error!(component = "api", %request_id, %method, %path, "Request panicked");
            ApiError::new(Code::InternalError, "a defect of this server; its log has the request id")
                .into_response()
        }
        Err(_) => {
            let message = format!("the request took more than {} s", time_max.as_secs());
            ApiError::new(Code::Timeout, message).into_response()
        }
    };
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        write_body(&mut response, &error, &request_id);
    }
    meter.write(response.headers_mut());
    if has_body && leaves_body_unread(response.status()) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    safe_headers(&mut response, &request_id);
    let status = response.status().as_u16().to_string();
    for name in REQUESTS_NAMES {
        counter!(name, "method" => method, "path" => path.clone(), "status" => status.clone()).increment(1);
    }
    for name in REQUEST_SECONDS_NAMES {
        histogram!(name, "method" => method, "path" => path.clone()).record(began.elapsed());
    }
    response
}

/// Counts a request from its head to its answer, also when its client has gone before that.
struct InFlight;

impl InFlight {
    fn begin() -> Self {
        gauge!(REQUESTS_IN_FLIGHT).increment(1.0);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        gauge!(REQUESTS_IN_FLIGHT).decrement(1.0);
    }
}

/// A client may invent methods; a metric's label may not grow with them.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

fn request_id(request: &Request) -> String {
    let given = request.headers().get("x-request-id").and_then(|id| id.to_str().ok());
    let fits = |id: &&str| !id.is_empty() && id.len() <= REQUEST_ID_CHARS_MAX;
    given.filter(fits).map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}

/// Refusals that may come before the body was read. The connection can't be used again then, and a client that
/// is not told so would lose its next request.
fn leaves_body_unread(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 403 | 404 | 405 | 413 | 429 | 504)
}

fn write_body(response: &mut Response, error: &ApiError, request_id: &str) {
    let body = error.body(request_id).to_string();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = body.into();
}

fn safe_headers(response: &mut Response, request_id: &str) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
