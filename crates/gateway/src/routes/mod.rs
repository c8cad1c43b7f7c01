//! All routes on one address: the line's own, each group in a file here, and those of the subsystems, which have theirs.
//!
//! The same declarations serve the routes and describe them, and one list composes both.

mod agent_keys;
mod agents;
mod api_keys;
mod commitments;
mod corrections;
mod dead_letters;
mod detailed;
mod events;
mod explain;
mod export;
mod export_chain;
pub(crate) mod figures;
mod follow;
mod health;
mod ingest;
mod proofs;
mod refusal;
mod schemas;

use axum::Router;
use axum::http::header;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use bowline_http::openapi::Fragment;
use bowline_http::{ApiError, framed};
use bowline_types::Code;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::openapi::{PAGE, openapi_json};
use crate::state::{Api, Serves, States};

/// Every group of routes that the gateway serves, with the state that it gets.
fn groups() -> Vec<Group> {
    vec![
        Group::new("line", line(), |states| states.api.clone()),
        Group::new("vital signs", vital_signs(), |states| states.api.clone()),
        Group::new("anchor", bowline_anchor::routes::routes(), |states| states.anchors.clone()),
        Group::new("indexer", bowline_indexer::routes::routes(), |states| states.indexer.clone()),
        Group::new("triggers", bowline_triggers::routes::routes(), |states| states.triggers.clone()),
    ]
}

/// The described routes of one subsystem, and which state they get.
struct Group {
    fragment: Fragment,
    serve: Box<dyn FnOnce(&States) -> Router>,
}

impl Group {
    fn new<S: Clone + Send + Sync + 'static>(
        name: &'static str,
        routes: OpenApiRouter<S>,
        state: fn(&States) -> S,
    ) -> Self {
        let (routes, document) = routes.split_for_parts();
        let fragment = Fragment { name, document };
        Self { fragment, serve: Box::new(move |states| routes.with_state(state(states))) }
    }
}

/// What each group says of its routes.
pub(crate) fn fragments() -> Vec<Fragment> {
    groups().into_iter().map(|group| group.fragment).collect()
}

/// The line's own routes.
fn line() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
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
pub(crate) fn router(states: &States, serves: Serves) -> Router {
    let routes = match serves {
        Serves::Everything => {
            let groups = groups().into_iter().map(|group| (group.serve)(states));
            let routes = groups.fold(Router::new(), Router::merge);
            routes.route("/openapi.json", get(openapi)).route("/docs", get(async || Html(PAGE)))
        }
        Serves::VitalSigns => Router::from(vital_signs()).with_state(states.api.clone()),
    };
    let routes = routes
        .fallback(async move || ApiError::new(Code::ResourceNotFound, unknown_path(serves)))
        .method_not_allowed_fallback(async || {
            ApiError::new(Code::MethodNotAllowed, "the path exists and takes another method; see `/docs`")
        });
    framed(routes, states.api.access.clone())
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
