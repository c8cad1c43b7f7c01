//! The indexer's own address: how far every chain is, for whoever watches the indexer alone.
//!
//! It needs no credential and says nothing but figures: `/status`, `/ready` and `/health`. Metrics are on the process's other address.

use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bowline_indexer::{ChainState, ChainStatus, Handle};
use bowline_runtime::Shutdown;
use serde_json::{Map, Value, json};

use crate::server::{Error, Patience, Service};

/// Watchers come now and then, and ask for little.
const PATIENCE: Patience = Patience { header_secs_max: 10, slow_reader_secs_max: 10, connections_max: 64 };

/// What answers that were begun get when the node stops.
const GRACE: Duration = Duration::from_secs(1);

/// The indexer's own listener, bound and not yet serving.
#[derive(Debug)]
pub struct ChainWindow(Service);

#[derive(Debug, Clone)]
struct Seen {
    indexer: Handle,
}

impl ChainWindow {
    /// Binds the address.
    ///
    /// # Errors
    /// It can't be listened on.
    pub async fn bind(address: SocketAddr, indexer: Handle) -> Result<Self, Error> {
        let service = Service::bind(address, PATIENCE).await?;
        let address = service.address();
        tracing::info!(component = "indexer", %address, "Telling how far chains are");
        let router = Router::new()
            .route("/status", get(status))
            .route("/ready", get(ready))
            .route("/health", get(async || Json(json!({ "status": "healthy" }))))
            .with_state(Seen { indexer });
        Ok(Self(service.serving(router)))
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

async fn status(State(seen): State<Seen>) -> Json<Value> {
    let chains = seen.indexer.status();
    Json(Value::Object(
        chains.iter().map(|chain| (chain.name.clone(), chain_json(chain))).collect::<Map<_, _>>(),
    ))
}

/// 200 once every chain is live, or another process indexes it.
async fn ready(State(seen): State<Seen>) -> Response {
    let chains = seen.indexer.status();
    let behind: Vec<&ChainStatus> = chains.iter().filter(|chain| !is_ready(chain.state)).collect();
    let names: Vec<&String> = behind.iter().map(|chain| &chain.name).collect();
    let (status, word) = match names.is_empty() {
        true => (StatusCode::OK, "ready"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not_ready"),
    };
    (status, Json(json!({ "status": word, "behind": names }))).into_response()
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
