//! The indexer's own address: how far every chain is, for whoever watches the indexer alone.
//!
//! It needs no credential and says nothing but figures: `/status`, `/ready` and `/health`. Metrics are on the process's other address.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bowline_http::{Error, Server, ServerLimits};
use bowline_runtime::Shutdown;
use serde_json::{Map, Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::{ChainState, ChainStatus, Handle};

/// Watchers come now and then, and ask for little.
const LIMITS: ServerLimits =
    ServerLimits { header_secs_max: 10, slow_reader_secs_max: 10, connections_max: 64 };

/// What answers that were begun get when the node stops.
const GRACE: Duration = Duration::from_secs(1);

/// The indexer's own listener, bound and not yet serving.
#[derive(Debug)]
pub struct StatusListener(Server);

/// The listener's routes and their description: all of them are public by design.
pub fn status_routes() -> OpenApiRouter<Handle> {
    OpenApiRouter::new().routes(routes!(status)).routes(routes!(ready)).routes(routes!(health))
}

impl StatusListener {
    /// Binds the address.
    ///
    /// # Errors
    /// It can't be listened on.
    pub async fn bind(address: SocketAddr, indexer: Handle) -> Result<Self, Error> {
        let server = Server::bind(address, LIMITS).await?;
        let address = server.address();
        tracing::info!(component = "indexer", %address, "Telling how far chains are");
        let router = Router::from(status_routes()).with_state(indexer);
        Ok(Self(server.serving(router)))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }

    /// Serves until `shutdown` begins.
    ///
    /// # Errors
    /// None: a connection that stays open is cut.
    pub async fn run(self, shutdown: Shutdown) -> Result<(), Error> {
        self.0.run(shutdown, GRACE).await.ok();
        Ok(())
    }
}

/// How far each chain of this process is, by its name.
#[utoipa::path(get, path = "/status", tag = "chains", security(()), responses(
    (status = 200, description = "`{NAME:{\"id\",\"block\",\"state\",\"head\",\"lag_blocks\",\"percent\",\"eta_secs\",\
        \"updated_at\",\"last_error\"}}`", body = Object)))]
async fn status(State(indexer): State<Handle>) -> Json<Value> {
    let chains = indexer.status();
    Json(Value::Object(
        chains.iter().map(|chain| (chain.name.clone(), chain_json(chain))).collect::<Map<_, _>>(),
    ))
}

/// 200 once every chain is live, or another process indexes it.
#[utoipa::path(get, path = "/ready", tag = "chains", security(()), responses(
    (status = 200, description = "`{\"status\":\"ready\",\"behind\":[]}`", body = Object),
    (status = 503, description = "`{\"status\":\"not_ready\",\"behind\":[names]}`", body = Object)))]
async fn ready(State(indexer): State<Handle>) -> Response {
    let chains = indexer.status();
    let behind: Vec<&ChainStatus> = chains.iter().filter(|chain| !is_ready(chain.state)).collect();
    let names: Vec<&String> = behind.iter().map(|chain| &chain.name).collect();
    let (status, word) = match names.is_empty() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    (status, Json(json!({ "status": word, "behind": names }))).into_response()
}

/// Whether the process lives.
#[utoipa::path(get, path = "/health", tag = "chains", security(()), responses(
    (status = 200, description = "`{\"status\":\"healthy\"}`", body = Object)))]
async fn health() -> Json<Value> {
    Json(json!({ "status": "healthy" }))
}

const fn is_ready(state: ChainState) -> bool {
    match state {
        ChainState::Live | ChainState::Idle => true,
        ChainState::Starting | ChainState::Syncing | ChainState::Away => false,
    }
}

fn chain_json(chain: &ChainStatus) -> Value {
    json!({
        "id": chain.chain_id,
        "block": chain.block.map(|number| json!({ "number": number, "timestamp": chain.block_timestamp })),
        "state": chain.state,
        "head": chain.head,
        "lag_blocks": chain.lag_blocks,
        "percent": chain.percent,
        "eta_secs": chain.eta_secs,
        "updated_at": chain.updated_at,
        "last_error": chain.last_error,
    })
}
