//! A server and the key to it: sends a call and returns the answer as the text that the server sent.
//!
//! Answers are kept as text where they are passed on as they are, and because payloads are hashed byte for byte. It
//! refuses to follow redirects, to retry on its own, and to hold more than `ANSWER_BYTES_MAX` of an answer. The key is
//! in no `Debug` output.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use bowline_types::Secret;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Response, Url};
use serde::de::DeserializeOwned;

use crate::{ApiError, Call, Incoming, answers, curl, error};

/// Bytes of one answer that is not streamed: four times what a page may have.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server sends something at least every half of this, if only a heartbeat.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// The variable that a shell's line names if nothing else is said of a key.
const KEY_VARIABLE: &str = "$BOWLINE_API_KEY";

/// A key to the server, which is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    secret: Secret,
    /// What stands for it in a shell.
    in_shell: String,
}

impl ApiKey {
    /// The key as it was handed out; in a shell's line `$BOWLINE_API_KEY` stands for it.
    pub fn new(secret: impl Into<String>) -> Self {
        Self { secret: Secret::new(secret), in_shell: KEY_VARIABLE.to_owned() }
    }

    /// What stands for the key in a shell's line instead, such as `$(cat data/admin.key)`.
    #[must_use]
    pub fn in_shell(mut self, text: impl Into<String>) -> Self {
        self.in_shell = text.into();
        self
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({})", self.in_shell)
    }
}

/// A server and the key to it.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    api_key: Option<ApiKey>,
}

impl Client {
    /// A client of the server at `base`, which may have a path; connects on first use.
    ///
    /// # Errors
    /// [`ApiError::NoClient`] if the system lacks what a client needs, such as root certificates.
    pub fn new(base: Url, api_key: Option<ApiKey>) -> Result<Self, ApiError> {
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
        let http = builder.build().map_err(|error| ApiError::NoClient { problem: error.to_string() })?;
        Ok(Self { http, base, api_key })
    }

    /// Sends the call and returns the whole answer.
    ///
    /// # Errors
    /// Every [`ApiError`]; [`ApiError::Unexpected`] if the answer is no UTF-8 or larger than 64 MiB.
    pub async fn text(&self, call: &Call) -> Result<String, ApiError> {
        read(self.open(call).await?).await
    }

    /// Sends the call and parses the answer.
    ///
    /// # Errors
    /// Those of [`text`](Self::text), and [`ApiError::Unexpected`] if the answer is not the JSON of a `T`.
    pub async fn json<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ApiError> {
        answers::parse(&self.text(call).await?)
    }

    /// Sends the call and returns a successful answer whose body is still to come.
    ///
    /// # Errors
    /// [`ApiError::Refused`] if the server answers with anything but a success.
    pub async fn open(&self, call: &Call) -> Result<Incoming, ApiError> {
        let response = self.send(call).await?;
        let (status, retry_after) = (response.status(), error::retry_after(response.headers()));
        let incoming = Incoming::new(response, self.base.as_str());
        if status.is_success() {
            return Ok(incoming);
        }
        let body = read(incoming).await.unwrap_or_default();
        Err(ApiError::refused(status.as_u16(), retry_after, &body))
    }

    /// Sends the call and returns status and body, whatever they are.
    ///
    /// # Errors
    /// That there is no answer, or none that is text.
    pub async fn answer(&self, call: &Call) -> Result<(u16, String), ApiError> {
        let incoming = Incoming::new(self.send(call).await?, self.base.as_str());
        Ok((incoming.status(), read(incoming).await?))
    }

    async fn send(&self, call: &Call) -> Result<Response, ApiError> {
        let mut request = self.http.request(call.method.clone(), self.url(call));
        for (name, value) in &call.headers {
            let header = HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| ApiError::Unwritable { problem: format!("with a header named `{name}`") })?;
            request = request.header(header, value);
        }
        if let Some(key) = &self.api_key {
            let mut value = HeaderValue::from_str(&format!("ApiKey {}", key.secret.reveal()))
                .map_err(|_| ApiError::Unsendable { problem: "the API key is not one line of text" })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.clone());
        }
        request.send().await.map_err(|error| ApiError::unreachable(self.base.as_str(), &error))
    }

    /// The call as a line of `curl` for a shell; where the API key comes from stands there, not the key.
    pub fn curl(&self, call: &Call) -> String {
        curl::render(call, &self.url(call), self.api_key.as_ref().map(|key| key.in_shell.as_str()))
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

async fn read(mut incoming: Incoming) -> Result<String, ApiError> {
    let mut body = Vec::new();
    while let Some(chunk) = incoming.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            let problem = format!("the answer is larger than {ANSWER_BYTES_MAX} bytes");
            return Err(ApiError::Unexpected { problem });
        }
    }
    String::from_utf8(body).map_err(|error| ApiError::Unexpected { problem: error.to_string() })
}

/// Whether the server is on this machine, so that its key file may be used and no proxy is asked.
pub fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
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
