//! The description of the API, made from the routes themselves, and a page to read it without the internet.

use bowline_http::openapi::{self, DocumentError};
use utoipa::OpenApi;
use utoipa::openapi::OpenApi as OpenApiDocument;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};

/// The part of the document that no route contributes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Bowline",
        description = "One durable, ordered, provable line of signed events. Errors are \
            `{\"error\":{\"code\",\"numeric_code\",\"message\",\"request_id\",\"details\"}}` with a stable code; \
            authentication errors are `{\"error\":\"text\",\"code\":\"word\"}`. Where a rate limit holds, an ingest of n \
            events costs n and any other request 1; answers carry `X-RateLimit-Limit`, `X-RateLimit-Remaining` and \
            `X-RateLimit-Reset` (seconds since 1970), and 429 carries the `Retry-After` after which the same request \
            passes if nobody else uses the budget.",
        license(name = "MIT OR Apache-2.0")
    ),
    security(("api_key" = []), ("token" = [])),
    tags(
        (name = "ingest", description = "Take signed events in."),
        (name = "read", description = "Read and follow streams."),
        (name = "prove", description = "Commit, prove and export."),
        (name = "anchor", description = "Put commitments on a chain that nobody here controls, and compare with it."),
        (name = "chains", description = "What happened on the chains that are indexed."),
        (name = "triggers", description = "Rules over the line, and what they set off."),
        (name = "keys", description = "Agents' keys, API keys and the sequencer's own."),
        (name = "schemas", description = "What payloads must look like."),
        (name = "operate", description = "Health, metrics and dead letters.")
    ),
    modifiers(&Schemes)
)]
struct Document;

struct Schemes;

impl utoipa::Modify for Schemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        let key = SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::new("x-api-key")));
        let token = SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build());
        components.add_security_scheme("api_key", key);
        components.add_security_scheme("token", token);
    }
}

/// The description of everything that the gateway serves, without a node: the fragments of all subsystems in one.
///
/// # Errors
/// Two subsystems claim one name, which is a defect.
pub fn document() -> Result<OpenApiDocument, DocumentError> {
    openapi::merge(Document::openapi(), crate::routes::fragments())
}

/// The document as it is served at `/openapi.json`.
///
/// # Errors
/// As of [`document`]; or it can't be written as JSON, which is a defect, too.
pub fn openapi_json() -> Result<String, DocumentError> {
    Ok(serde_json::to_string_pretty(&document()?)?)
}

/// The page at `/docs`.
pub(crate) const PAGE: &str = include_str!("docs.html");
