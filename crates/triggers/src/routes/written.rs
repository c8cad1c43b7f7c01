//! A body that a trigger's endpoints take: what can't be taken is named with its field.
//!
//! It judges only the shape. What a trigger may be is decided by the rules.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use bowline_http::{ApiError, RawBody};
use bowline_types::Code;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::FieldProblem;

/// What a shown trigger has and a written one has not: it may be sent back, and says nothing, as the
/// path says which one is meant.
const SHOWN_ALONE: [&str; 6] =
    ["id", "organization_id", "is_stateful", "created_at", "updated_at", "revision"];

/// A JSON body; what can't be taken is named with its field. What only a shown trigger has is left out.
#[derive(Debug)]
pub(super) struct Written<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Written<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, ApiError> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        // An empty body is how `curl -X POST` sends no wishes.
        let bytes = if bytes.is_empty() { b"{}" } else { &bytes[..] };
        let body: Value = serde_json::from_slice(bytes)
            .map_err(|error| ApiError::new(Code::InvalidRequestBody, format!("the body: {error}")))?;
        read(body).map(Self)
    }
}

fn read<T: DeserializeOwned>(mut body: Value) -> Result<T, ApiError> {
    // A list would be taken for the fields in their order.
    let Value::Object(fields) = &mut body else {
        let found = FieldProblem::new("body", "is not an object");
        return Err(ApiError::new(Code::InvalidTrigger, found.to_string()).with_details(json!([found])));
    };
    fields.retain(|name, _| !SHOWN_ALONE.contains(&name.as_str()));
    serde_path_to_error::deserialize(body).map_err(|error| refused(&error))
}

fn refused(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let problem = error.inner().to_string();
    let path = error.path().to_string();
    let place = if path == "." { String::new() } else { path };
    // Of a field that is missing or unknown the path names the parent, and the text the field.
    let named = ["missing field `", "unknown field `"].iter().find_map(|start| {
        let name = problem.strip_prefix(start)?.split('`').next()?;
        (!place.ends_with(name)).then(|| name.to_owned())
    });
    let field = match (place.is_empty(), named) {
        (true, Some(name)) => name,
        (true, None) => "body".to_owned(),
        (false, Some(name)) => format!("{place}.{name}"),
        (false, None) => place,
    };
    let found = FieldProblem::new(field, problem);
    ApiError::new(Code::InvalidTrigger, found.to_string()).with_details(json!([found]))
}

#[cfg(test)]
mod tests {
    use crate::TriggerInput;

    use super::*;

    fn problem(text: &str) -> Value {
        let value: Value = serde_json::from_str(text).unwrap();
        read::<TriggerInput>(value).unwrap_err().body("r")["error"]["details"][0]["field"].clone()
    }

    #[test]
    fn a_body_that_does_not_fit_names_its_field() {
        assert_eq!(problem(r#"{"enabled":true}"#), "name");
        assert_eq!(problem(r#"{"name":"n","nmae":1}"#), "nmae");
        assert_eq!(problem(r#"{"name":"n","chain_id":"x"}"#), "chain_id");
        assert_eq!(
            problem(r#"{"name":"n","conditions":[{"field":"tag1"}]}"#),
            "conditions[0].condition_type"
        );
        assert_eq!(
            problem(r#"{"name":"n","actions":[{"action_type":"rest","confg":{}}]}"#),
            "actions[0].confg"
        );
        assert_eq!(problem("[1]"), "body");
    }
}
