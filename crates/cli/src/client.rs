//! The API client: one call, one answer as the text that the server sent.
//!
//! Answers are kept as text, because `--output json` prints them as they are and because payloads are hashed
//! byte for byte. It refuses to follow redirects, to retry on its own, and to hold more than
//! `ANSWER_BYTES_MAX` of an answer.

mod curl;
mod error;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::exit::Failure;

pub(crate) use curl::quoted;
pub(crate) use error::ApiError;

/// Bytes of one answer that is not streamed: four times what a page may have.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server sends something at least every half of this, if only a heartbeat.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    segments: Vec<String>,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<Bytes>,
    shown: Option<ShownBody>,
}

/// What a line for a shell says in place of a body with secrets in it.
#[derive(Debug, Clone)]
enum ShownBody {
    /// The file that has it.
    File(String),
    /// The same with masks.
    Masked(Bytes),
}

impl Call {
    /// `GET` of the path that these segments make.
    pub(crate) fn get(segments: &[&str]) -> Self {
        Self::of(Method::GET, segments, None)
    }

    /// `DELETE` of the path that these segments make.
    pub(crate) fn delete(segments: &[&str]) -> Self {
        Self::of(Method::DELETE, segments, None)
    }

    /// `PATCH` with `body` as JSON.
    pub(crate) fn patch<T: Serialize>(segments: &[&str], body: &T) -> Result<Self, Failure> {
        Ok(Self { method: Method::PATCH, ..Self::post(segments, body)? })
    }

    /// `POST` of a body that is JSON already.
    pub(crate) fn post_bytes(segments: &[&str], body: Bytes) -> Self {
        Self::of(Method::POST, segments, Some(body))
    }

    /// `POST` of `body` as JSON.
    pub(crate) fn post<T: Serialize>(segments: &[&str], body: &T) -> Result<Self, Failure> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Failure::usage(format!("cannot write the request as JSON: {error}")))?;
        Ok(Self::post_bytes(segments, body.into()))
    }

    /// `PUT` of `body` as JSON.
    pub(crate) fn put<T: Serialize>(segments: &[&str], body: &T) -> Result<Self, Failure> {
        Ok(Self { method: Method::PUT, ..Self::post(segments, body)? })
    }

    fn of(method: Method, segments: &[&str], body: Option<Bytes>) -> Self {
        let segments = segments.iter().map(|segment| (*segment).to_owned()).collect();
        Self { method, segments, query: Vec::new(), headers: Vec::new(), body, shown: None }
    }

    /// With `--curl` the body is not shown: the line names the file that it is from, `-` for standard input.
    #[must_use]
    pub(crate) fn shown_as_file(mut self, path: &Path) -> Self {
        self.shown = Some(ShownBody::File(path.to_string_lossy().into_owned()));
        self
    }

    /// With `--curl` this is shown in place of the body.
    pub(crate) fn shown_as<T: Serialize>(mut self, masked: &T) -> Result<Self, Failure> {
        self.shown = Self::post(&[], masked)?.body.map(ShownBody::Masked);
        Ok(self)
    }

    /// Whether what `--curl` shows has masks in the place of secrets.
    pub(crate) fn shows_masks(&self) -> bool {
        matches!(self.shown, Some(ShownBody::Masked(_)))
    }

    /// Adds a query parameter if there is a value.
    #[must_use]
    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    /// Adds the stream's two query parameters.
    #[must_use]
    pub(crate) fn stream(self, stream: bowline_types::StreamId) -> Self {
        self.query("tenant_id", Some(stream.tenant_id)).query("store_id", Some(stream.store_id))
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// A key to the server.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ApiKey {
    pub(crate) secret: String,
    /// What stands for it in a shell.
    pub(crate) in_shell: String,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ApiKey({})", self.in_shell)
    }
}

/// A server and the key to it.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    api_key: Option<ApiKey>,
}

impl Client {
    /// A client of the server at `base`; connects on first use.
    pub(crate) fn new(base: Url, api_key: Option<ApiKey>) -> Result<Self, Failure> {
        // A second installation is refused, and the first one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("bowline/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            builder = builder.no_proxy();
        }
        let http =
            builder.build().map_err(|error| Failure::usage(format!("cannot start the client: {error}")))?;
        Ok(Self { http, base, api_key })
    }

    pub(crate) fn base(&self) -> &Url {
        &self.base
    }

    pub(crate) fn api_key(&self) -> Option<&str> {
        self.api_key.as_ref().map(|key| key.secret.as_str())
    }

    /// Sends the call and returns the whole answer.
    pub(crate) async fn text(&self, call: &Call) -> Result<String, ApiError> {
        let response = self.open(call).await?;
        self.read(response).await
    }

    /// Sends the call and parses the answer.
    pub(crate) async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ApiError> {
        let text = self.text(call).await?;
        serde_json::from_str(&text).map_err(|error| ApiError::Unexpected { problem: error.to_string() })
    }

    /// Sends the call and returns a successful answer whose body is still to come.
    pub(crate) async fn open(&self, call: &Call) -> Result<Response, ApiError> {
        let response = self.send(call).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status().as_u16();
        let retry_after = error::retry_after(response.headers());
        let body = self.read(response).await.unwrap_or_default();
        Err(ApiError::refused(status, retry_after, &body))
    }

    /// Sends the call and returns status and body, whatever they are.
    pub(crate) async fn answer(&self, call: &Call) -> Result<(u16, String), ApiError> {
        let response = self.send(call).await?;
        let status = response.status().as_u16();
        Ok((status, self.read(response).await?))
    }

    async fn send(&self, call: &Call) -> Result<Response, ApiError> {
        let mut request = self.http.request(call.method.clone(), self.url(call));
        for (name, value) in &call.headers {
            request = request.header(HeaderName::from_static(name), value);
        }
        if let Some(key) = self.api_key() {
            let mut value = HeaderValue::from_str(&format!("ApiKey {key}"))
                .map_err(|_| ApiError::Unsendable { problem: "the API key is not one line of text" })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    /// The call as a line for a shell; where the API key comes from stands there, not the key.
    pub(crate) fn curl(&self, call: &Call) -> String {
        curl::render(call, &self.url(call), self.api_key.as_ref().map(|key| key.in_shell.as_str()))
    }

    /// An error of the transport as ours.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> ApiError {
        ApiError::unreachable(self.base.as_str(), error)
    }

    async fn read(&self, mut response: Response) -> Result<String, ApiError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER_BYTES_MAX {
                let problem = format!("the answer is larger than {ANSWER_BYTES_MAX} bytes");
                return Err(ApiError::Unexpected { problem });
            }
        }
        String::from_utf8(body).map_err(|error| ApiError::Unexpected { problem: error.to_string() })
    }

    fn url(&self, call: &Call) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&call.segments);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }
}

/// Whether the server is on this machine, so that its key file may be used and no proxy is asked.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(base: &str) -> Client {
        Client::new(Url::parse(base).unwrap(), None).unwrap()
    }

    #[test]
    fn paths_are_joined_and_escaped() {
        let call = Call::get(&["api", "v1", "a b/c"]).query("from", Some(7)).query("to", None::<u64>);
        let url = |base: &str| client(base).url(&call).to_string();
        assert_eq!(url("http://127.0.0.1:8080"), "http://127.0.0.1:8080/api/v1/a%20b%2Fc?from=7");
        assert_eq!(url("https://x.example/line/"), "https://x.example/line/api/v1/a%20b%2Fc?from=7");
    }

    #[test]
    fn only_this_machine_is_loopback() {
        let is = |url: &str| is_loopback(&Url::parse(url).unwrap());
        assert!(is("http://localhost:1") && is("http://127.1.2.3") && is("http://[::1]:8080/x"));
        assert!(
            !is("http://localhost.example") && !is("http://10.0.0.1") && !is("https://127.0.0.1.example")
        );
    }
}
