//! Liveness, readiness, status and metrics, as the operators' runbooks ask for them.
//!
//! Health and readiness need no credential. Metrics need none from this machine; from elsewhere they take one
//! with the `admin` permission.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{ConnectInfo, State};
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bowline_http::ApiError;
use bowline_store::{Permission, Room, WriteGate};
use bowline_types::Timestamp;
use metrics::gauge;
use serde::Serialize;
use serde_json::{Value, json};

use super::figures;
use crate::metrics::UPTIME;
use crate::state::Api;

/// The name that operators' checks expect of a sequencer.
pub(super) const SERVICE: &str = "stateset-sequencer";

/// How long the database may take to answer before it counts as away.
const PING_TIME_MAX: Duration = Duration::from_secs(2);

/// How long a neighbour may take to answer where the whole answer must come within half a second.
const PROBE_TIME_MAX: Duration = Duration::from_millis(300);

/// Whether the process lives.
#[utoipa::path(get, path = "/health", tag = "operate", security(()), responses(
    (status = 200, description = "`{\"status\":\"healthy\",\"service\",\"version\",\"timestamp\"}`", body = Object)))]
pub(super) async fn health(State(api): State<Api>) -> Json<Health> {
    let timestamp = api.line.clock.now();
    Json(Health { status: "healthy", service: SERVICE, version: env!("CARGO_PKG_VERSION"), timestamp })
}

/// Fields in the order in which the runbook shows them.
#[derive(Serialize)]
pub(super) struct Health {
    status: &'static str,
    service: &'static str,
    version: &'static str,
    timestamp: Timestamp,
}

/// Whether the process and what it works with are there, in the words of the former gateway.
#[utoipa::path(get, path = "/api/v1/health", tag = "operate", security(()), responses(
    (status = 200, description = "`{\"status\":\"healthy\",\"timestamp\",\"database\":\"connected\",\
        \"redis\":\"connected\"|\"not configured\",\"version\"}`", body = Object),
    (status = 503, description = "The same with `unhealthy` and `disconnected`", body = Object)))]
pub(super) async fn health_v1(State(api): State<Api>) -> Response {
    let database = async {
        let ping = tokio::time::timeout(PROBE_TIME_MAX, api.line.store.ping()).await;
        matches!(ping, Ok(Ok(())))
    };
    let redis = async {
        let redis = api.redis.as_ref()?;
        let ping = tokio::time::timeout(PROBE_TIME_MAX, redis.ping()).await;
        if let Ok(Err(cause)) = &ping {
            tracing::debug!(component = "api", %cause, "Redis does not answer");
        }
        Some(matches!(ping, Ok(Ok(()))))
    };
    let (database, redis) = tokio::join!(database, redis);
    let healthy = database && redis != Some(false);
    let word = |there: bool| if there { "connected" } else { "disconnected" };
    let now = api.line.clock.now().to_string();
    // Whole seconds, as the runbook shows them.
    let seconds = now.split(['.', '+']).next().unwrap_or_default();
    let body = HealthV1 {
        status: if healthy { "healthy" } else { "unhealthy" },
        timestamp: format!("{seconds}Z"),
        database: word(database),
        redis: redis.map_or("not configured", word),
        version: env!("CARGO_PKG_VERSION"),
    };
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

/// Fields in the order in which the runbook shows them.
#[derive(Serialize)]
struct HealthV1 {
    status: &'static str,
    timestamp: String,
    database: &'static str,
    redis: &'static str,
    version: &'static str,
}

/// Whether requests can be served: the database answers, its disk has room, and the node is not draining.
#[utoipa::path(get, path = "/ready", tag = "operate", security(()), responses(
    (status = 200, description = "`{\"status\":\"ready\",\"database\":\"connected\",…}`", body = Object),
    (status = 503, description = "The same with `not_ready` and what fails", body = Object)))]
pub(super) async fn ready(State(api): State<Api>) -> Response {
    let began = Instant::now();
    let ping = tokio::time::timeout(PING_TIME_MAX, api.line.store.ping()).await;
    let connected = matches!(ping, Ok(Ok(())));
    let draining = api.drain.has_begun();
    let mut failing = Vec::new();
    if !connected {
        failing.push("database");
    }
    if api.line.store.gate().map_or(Room::Enough, WriteGate::room) != Room::Enough {
        failing.push("disk");
    }
    if draining {
        failing.push("draining");
    }
    let body = Readiness {
        status: if failing.is_empty() { "ready" } else { "not_ready" },
        database: if connected { "connected" } else { "disconnected" },
        engine: api.line.store.engine().name(),
        response_time_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        failing: failing.clone(),
    };
    let status = if failing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

/// Fields in the order in which the runbook shows them.
#[derive(Serialize)]
struct Readiness {
    status: &'static str,
    database: &'static str,
    engine: &'static str,
    response_time_ms: u64,
    failing: Vec<&'static str>,
}

/// What runs here.
#[utoipa::path(get, path = "/status", tag = "operate", security(()), responses(
    (status = 200, description = "`{\"version\",\"roles\",\"engine\",\"uptime_secs\",\"chains\",\"deliveries\"}`; the figures are up to a second old",
        body = Object)))]
pub(super) async fn status(State(api): State<Api>) -> Json<Value> {
    Json(json!({
        "service": SERVICE,
        "version": env!("CARGO_PKG_VERSION"),
        "roles": api.roles,
        "engine": api.line.store.engine().name(),
        "uptime_secs": api.started.elapsed().as_secs(),
        "draining": api.drain.has_begun(),
        "chains": figures::chains(&api),
        "deliveries": figures::recent_deliveries(&api, PROBE_TIME_MAX).await,
    }))
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", tag = "operate", responses(
    (status = 200, description = "The metrics", content_type = "text/plain", body = String),
    (status = 401, description = "From another machine an administrator's credential is needed")))]
pub(super) async fn metrics(
    State(api): State<Api>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    extensions: Extensions,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    // A proxy on this machine speaks for somebody elsewhere.
    let proxied = headers.contains_key("x-forwarded-for") || headers.contains_key(header::FORWARDED);
    let peer = peer.ip().to_canonical();
    let known = peer.is_loopback() || api.config.metrics_ip_allowlist.contains(peer);
    if !known || proxied {
        api.access.principal(&extensions, &headers).await?.require(Permission::Admin)?;
    }
    gauge!(UPTIME).set(api.started.elapsed().as_secs_f64());
    let text = api.metrics.render();
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
