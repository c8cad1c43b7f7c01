//! The routes: each group in a file of its own, all of them described by the same declarations that serve
//! them.

mod agent_keys;
mod agents;
mod anchors;
mod api_keys;
mod chain;
mod chain_events;
mod commitments;
mod corrections;
mod dead_letters;
mod deliveries;
mod detailed;
mod envelope;
mod events;
mod explain;
mod export;
mod extract;
pub(crate) mod figures;
mod follow;
mod health;
mod ingest;
mod organization;
mod proofs;
mod queue;
mod schemas;
mod triggers;

use axum::Router;
use axum::http::header;
use axum::middleware;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use bowline_types::Code;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::error::ApiError;
use crate::frame::frame;
use crate::openapi::{Document, PAGE, openapi_json};
use crate::state::{Api, Serves};

/// The described routes and their description.
pub(crate) fn described() -> (Router<Api>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(ingest::ingest))
        .routes(routes!(events::list))
        .routes(routes!(events::get))
        .routes(routes!(events::receipt))
        .routes(routes!(explain::explain))
        .routes(routes!(events::entity))
        .routes(routes!(events::head))
        .routes(routes!(events::streams))
        .routes(routes!(follow::follow))
        .routes(routes!(export::export))
        .routes(routes!(commitments::create, commitments::list))
        .routes(routes!(commitments::get))
        .routes(routes!(anchors::anchor))
        .routes(routes!(anchors::commit_and_anchor))
        .routes(routes!(anchors::verify))
        .routes(routes!(anchors::rows::list))
        .routes(routes!(anchors::rows::get))
        .routes(routes!(anchors::operate::status))
        .routes(routes!(anchors::operate::retry))
        .routes(routes!(anchors::operate::switch))
        .routes(routes!(anchors::external::pending))
        .routes(routes!(anchors::external::report))
        .routes(routes!(anchors::twins::anchor))
        .routes(routes!(anchors::twins::status))
        .routes(routes!(anchors::twins::verify))
        .routes(routes!(corrections::check))
        .routes(routes!(corrections::correct))
        .routes(routes!(dead_letters::list))
        .routes(routes!(dead_letters::retry_many))
        .routes(routes!(dead_letters::get, dead_letters::delete))
        .routes(routes!(dead_letters::retry))
        .routes(routes!(proofs::prove))
        .routes(routes!(proofs::verify))
        .routes(routes!(agents::register_key, agent_keys::list_keys))
        .routes(routes!(agent_keys::rotate_key))
        .routes(routes!(agent_keys::get_key, agent_keys::change_key))
        .routes(routes!(agent_keys::revoke_key))
        .routes(routes!(agents::create_api_key, api_keys::list_of_agent))
        .routes(routes!(api_keys::get_of_agent, api_keys::revoke_of_agent))
        .routes(routes!(api_keys::list_all))
        .routes(routes!(api_keys::get_any, api_keys::revoke_any))
        .routes(routes!(agents::sequencer_keys))
        .routes(routes!(schemas::register, schemas::list))
        .routes(routes!(schemas::get, schemas::delete))
        .routes(routes!(schemas::set_status))
        .routes(routes!(schemas::validate))
        .routes(routes!(schemas::versions))
        .routes(routes!(schemas::latest))
        .routes(routes!(detailed::detailed))
        .merge(triggers())
        .merge(vital_signs())
        .split_for_parts()
}

/// Triggers, what they set off, and the chains that they watch.
fn triggers() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(triggers::create, triggers::list))
        .routes(routes!(triggers::get, triggers::update, triggers::delete))
        .routes(routes!(triggers::breaker::get, triggers::breaker::set))
        .routes(routes!(triggers::breaker::reset))
        .routes(routes!(triggers::parts::add_condition, triggers::parts::conditions))
        .routes(routes!(triggers::parts::update_condition, triggers::parts::delete_condition))
        .routes(routes!(triggers::parts::add_action, triggers::parts::actions))
        .routes(routes!(triggers::parts::update_action, triggers::parts::delete_action))
        .routes(routes!(triggers::trials::test))
        .routes(routes!(triggers::trials::dry_run))
        .routes(routes!(triggers::trials::dry_run_given))
        .routes(routes!(triggers::trials::backtest))
        .routes(routes!(triggers::trials::backtest_given))
        .routes(routes!(triggers::trials::state))
        .routes(routes!(deliveries::list, deliveries::purge))
        .routes(routes!(deliveries::redeliver_many))
        .routes(routes!(deliveries::get))
        .routes(routes!(deliveries::redeliver))
        .routes(routes!(queue::stats))
        .routes(routes!(chain_events::events))
        .routes(routes!(chain_events::status))
}

/// What every process answers, whatever it is for.
fn vital_signs() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(health::health))
        .routes(routes!(health::health_v1))
        .routes(routes!(health::ready))
        .routes(routes!(health::status))
        .routes(routes!(health::metrics))
}

/// Everything that this process serves.
pub(crate) fn router(api: Api, serves: Serves) -> Router {
    let routes = match serves {
        Serves::Everything => {
            let (routes, _) = described();
            routes.route("/openapi.json", get(openapi)).route("/docs", get(async || Html(PAGE)))
        }
        Serves::VitalSigns => Router::from(vital_signs()),
    };
    routes
        .fallback(async move || ApiError::new(Code::ResourceNotFound, unknown_path(serves)))
        .method_not_allowed_fallback(async || {
            ApiError::new(Code::MethodNotAllowed, "the path exists and takes another method; see `/docs`")
        })
        .layer(middleware::from_fn_with_state(api.clone(), frame))
        .with_state(api)
}

const fn unknown_path(serves: Serves) -> &'static str {
    match serves {
        Serves::Everything => "no such path; `/docs` lists what there is",
        Serves::VitalSigns => {
            "this process has not the role `gateway`: it serves /health, /ready, /status and /metrics alone"
        }
    }
}

async fn openapi() -> impl IntoResponse {
    match openapi_json() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => ApiError::new(Code::InternalError, error.to_string()).into_response(),
    }
}
