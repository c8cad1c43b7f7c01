//! Triggers over HTTP: make and try them, see what they set off, and have it done again.
//!
//! These routes say whose a trigger or a delivery is, and render. What a trigger may be is decided by the rules, and the
//! gateway serves the routes.

mod breaker;
mod deliveries;
mod parts;
mod queue;
mod refusal;
mod trials;
mod triggers;
mod written;

use bowline_deliveries::RedisQueue;
use bowline_http::{ApiError, Member};
use bowline_store::Permission;
use bowline_types::TenantId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

use crate::{Deliveries, Handle};

/// What the routes of triggers and deliveries share.
#[derive(Debug, Clone)]
pub struct TriggerRoutes {
    /// Triggers over the line.
    pub triggers: Handle,
    /// What triggers set off, for trying it out.
    pub deliveries: Deliveries,
    /// The line, whose store has the deliveries.
    pub line: bowline_line::Handle,
    /// Redis, if the node has one.
    pub redis: Option<RedisQueue>,
}

impl TriggerRoutes {
    /// The organization of a trigger, if the member may do that to it.
    async fn organization_of(
        &self,
        member: &Member,
        permission: Permission,
        trigger_id: Uuid,
    ) -> Result<TenantId, ApiError> {
        match member.any(permission)? {
            Some(organization) => Ok(organization),
            None => Ok(self.triggers.owner(trigger_id).await?),
        }
    }
}

/// The routes and their description, which needs no state.
pub fn routes() -> OpenApiRouter<TriggerRoutes> {
    OpenApiRouter::new()
        .routes(routes!(triggers::create, triggers::list))
        .routes(routes!(triggers::get, triggers::update, triggers::delete))
        .routes(routes!(breaker::get, breaker::set))
        .routes(routes!(breaker::reset))
        .routes(routes!(parts::add_condition, parts::conditions))
        .routes(routes!(parts::update_condition, parts::delete_condition))
        .routes(routes!(parts::add_action, parts::actions))
        .routes(routes!(parts::update_action, parts::delete_action))
        .routes(routes!(trials::test))
        .routes(routes!(trials::dry_run))
        .routes(routes!(trials::dry_run_given))
        .routes(routes!(trials::backtest))
        .routes(routes!(trials::backtest_given))
        .routes(routes!(trials::state))
        .routes(routes!(deliveries::list, deliveries::purge))
        .routes(routes!(deliveries::redeliver_many))
        .routes(routes!(deliveries::get))
        .routes(routes!(deliveries::redeliver))
        .routes(routes!(queue::stats))
}
