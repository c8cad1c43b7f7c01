//! Extractors whose refusals are errors of ours: query, path and body.
//!
//! A body is bounded before it is read; no refusal is plain text.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use bowline_types::{Code, StoreId, StreamId, TenantId};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::access::Access;
use crate::error::ApiError;

/// A stream, in the query.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// The tenant.
    #[param(value_type = String, format = "uuid")]
    pub tenant_id: TenantId,
    /// The store.
    #[param(value_type = String, format = "uuid")]
    pub store_id: StoreId,
}

impl StreamQuery {
    /// The stream.
    pub fn stream(self) -> StreamId {
        StreamId::new(self.tenant_id, self.store_id)
    }
}

/// The query string as a `T`.
#[derive(Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::try_from_uri(&parts.uri);
        query
            .map(|Query(value)| Self(value))
            .map_err(|error| ApiError::new(Code::InvalidFieldValue, error.body_text()))
    }
}

/// The path's parameters as a `T`.
#[derive(Debug)]
pub struct PathParams<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathParams<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(value)| Self(value))
            .map_err(|error| ApiError::new(Code::InvalidFieldValue, error.body_text()))
    }
}

/// The whole body, within the limit.
#[derive(Debug)]
pub struct RawBody(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, ApiError> {
        let max = Access::of(request.extensions())?.limits().body_bytes_max;
        let declared =
            request.headers().get("content-length").and_then(|v| v.to_str().ok()?.parse::<usize>().ok());
        let too_large =
            || ApiError::new(Code::PayloadTooLarge, format!("the body is larger than {max} bytes"));
        if declared.is_some_and(|bytes| bytes > max) {
            return Err(too_large());
        }
        match axum::body::to_bytes(request.into_body(), max).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(error) if is_limit(&error) => Err(too_large()),
            Err(error) => Err(ApiError::new(
                Code::InvalidRequestBody,
                format!("the body did not arrive whole: {error}"),
            )),
        }
    }
}

fn is_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    // `to_bytes` reports its limit as an error of the crate that counts, by text only.
    std::iter::successors(Some(error), |error| error.source())
        .any(|error| error.to_string().contains("length limit"))
}

/// The body as JSON; the content type does not matter.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, ApiError> {
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| ApiError::new(Code::InvalidRequestBody, format!("the body: {error}")))
    }
}
