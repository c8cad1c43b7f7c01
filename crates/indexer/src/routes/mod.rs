//! Chains over HTTP: what happened on them and how far the indexer is; and the indexer's own status listener.
//!
//! These routes read and render. [`routes`] is served by the gateway to principals that may read, [`StatusListener`] on an
//! address of its own without a credential.

mod events;
mod status_listener;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use self::status_listener::{StatusListener, status_routes};
use crate::Handle;

/// What the routes of chains share.
#[derive(Debug, Clone)]
pub struct IndexerRoutes {
    /// How far the chains of this process are.
    pub indexer: Handle,
    /// The line, which the chains' events are on.
    pub line: bowline_line::Handle,
    /// Whether this process indexes.
    pub runs_here: bool,
}

/// The routes and their description, which needs no state.
pub fn routes() -> OpenApiRouter<IndexerRoutes> {
    OpenApiRouter::new().routes(routes!(events::events)).routes(routes!(events::status))
}
