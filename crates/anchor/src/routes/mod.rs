//! Anchors over HTTP: ask for one, compare one with the chain, list them, and act on what is in the way.
//!
//! The anchoring process decides and sends; these routes say who may ask, and render. The gateway serves them.

mod external;
mod operate;
mod refusal;
mod rows;
mod twins;
mod wishes;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Handle;

/// What the routes of anchors share.
#[derive(Debug, Clone)]
pub struct AnchorRoutes {
    /// What others may do with anchors.
    pub anchors: Handle,
    /// The line, whose commitments are anchored.
    pub line: bowline_line::Handle,
}

/// The routes and their description, which needs no state.
pub fn routes() -> OpenApiRouter<AnchorRoutes> {
    OpenApiRouter::new()
        .routes(routes!(wishes::anchor))
        .routes(routes!(wishes::commit_and_anchor))
        .routes(routes!(wishes::verify))
        .routes(routes!(rows::list))
        .routes(routes!(rows::get))
        .routes(routes!(operate::status))
        .routes(routes!(operate::retry))
        .routes(routes!(operate::switch))
        .routes(routes!(external::pending))
        .routes(routes!(external::report))
        .routes(routes!(twins::anchor))
        .routes(routes!(twins::status))
        .routes(routes!(twins::verify))
}
