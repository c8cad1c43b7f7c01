//! One request: method, path, query, headers and body, and what `curl` shows of it.
//!
//! A call knows no server: the same one may be sent to several. Its `Debug` output has no body, since a body may hold
//! what only the server shall see.

use std::fmt;
use std::path::Path;

use bowline_types::StreamId;
use bytes::Bytes;
use reqwest::Method;
use serde::Serialize;

use crate::ApiError;

/// One request.
#[derive(Clone)]
pub struct Call {
    pub(crate) method: Method,
    pub(crate) segments: Vec<String>,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Bytes>,
    pub(crate) shown: Option<ShownBody>,
}

/// What a line for a shell says in place of a body with secrets in it.
#[derive(Clone)]
pub(crate) enum ShownBody {
    /// The file that has it.
    File(String),
    /// The same with masks.
    Masked(Bytes),
}

impl Call {
    /// `GET` of the path that these segments make; each is escaped where it has to be.
    pub fn get(segments: &[&str]) -> Self {
        Self::of(Method::GET, segments, None)
    }

    /// `DELETE` of the path that these segments make.
    pub fn delete(segments: &[&str]) -> Self {
        Self::of(Method::DELETE, segments, None)
    }

    /// `PATCH` with `body` as JSON.
    ///
    /// # Errors
    /// [`ApiError::Unwritable`] if it can't be written as JSON.
    pub fn patch<T: Serialize>(segments: &[&str], body: &T) -> Result<Self, ApiError> {
        Ok(Self { method: Method::PATCH, ..Self::post(segments, body)? })
    }

    /// `POST` of a batch of signed events: `{"agentId":…,"events":[…]}` as JSON.
    pub fn ingest(batch: Bytes) -> Self {
        Self::post_bytes(&["api", "v1", "ves", "events", "ingest"], batch)
    }

    /// `POST` of a body that is JSON already.
    pub fn post_bytes(segments: &[&str], body: Bytes) -> Self {
        Self::of(Method::POST, segments, Some(body))
    }

    /// `POST` of `body` as JSON.
    ///
    /// # Errors
    /// [`ApiError::Unwritable`] if it can't be written as JSON.
    pub fn post<T: Serialize>(segments: &[&str], body: &T) -> Result<Self, ApiError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| ApiError::Unwritable { problem: format!("as JSON: {error}") })?;
        Ok(Self::post_bytes(segments, body.into()))
    }

    /// `PUT` of `body` as JSON.
    ///
    /// # Errors
    /// [`ApiError::Unwritable`] if it can't be written as JSON.
    pub fn put<T: Serialize>(segments: &[&str], body: &T) -> Result<Self, ApiError> {
        Ok(Self { method: Method::PUT, ..Self::post(segments, body)? })
    }

    fn of(method: Method, segments: &[&str], body: Option<Bytes>) -> Self {
        let segments = segments.iter().map(|segment| (*segment).to_owned()).collect();
        Self { method, segments, query: Vec::new(), headers: Vec::new(), body, shown: None }
    }

    /// [`Client::curl`](crate::Client::curl) does not show the body: it names the file that it is from, `-` for standard input.
    #[must_use]
    pub fn shown_as_file(mut self, path: &Path) -> Self {
        self.shown = Some(ShownBody::File(path.to_string_lossy().into_owned()));
        self
    }

    /// [`Client::curl`](crate::Client::curl) shows this in place of the body.
    ///
    /// # Errors
    /// [`ApiError::Unwritable`] if it can't be written as JSON.
    pub fn shown_as<T: Serialize>(mut self, masked: &T) -> Result<Self, ApiError> {
        self.shown = Self::post(&[], masked)?.body.map(ShownBody::Masked);
        Ok(self)
    }

    /// Whether a shell's line has masks in the place of secrets.
    pub fn shows_masks(&self) -> bool {
        matches!(self.shown, Some(ShownBody::Masked(_)))
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Adds the stream's two query parameters, `tenant_id` and `store_id`.
    #[must_use]
    pub fn stream(self, stream: StreamId) -> Self {
        self.query("tenant_id", Some(stream.tenant_id)).query("store_id", Some(stream.store_id))
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("segments", &self.segments)
            .field("query", &self.query)
            .field("body_bytes", &self.body.as_ref().map(Bytes::len))
            .finish_non_exhaustive()
    }
}
