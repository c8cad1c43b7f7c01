//! Errors as clients see them: one closed code set, one body shape, and the two older shapes that clients of
//! the sequencer API already parse.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bowline_store::StoreError;
use bowline_types::Code;
use serde_json::{Value, json};

/// Which body a client of the endpoint expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `{"error":{"code",…}}`.
    Standard,
    /// `{"error":"text","code":"snake"}`: authentication.
    Auth(&'static str),
    /// `{"success":false,"error","code"}`: the agents' endpoints.
    Agents,
}

/// Why a request was not served.
#[derive(Debug, Clone)]
pub struct ApiError {
    code: Code,
    message: String,
    details: Option<Value>,
    retry_after_secs: Option<u64>,
    shape: Shape,
}

impl ApiError {
    /// An error in the standard shape. One that answers 503 says to come back in a second.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let retry_after_secs = (code.http_status() == 503).then_some(1);
        Self { code, message: message.into(), details: None, retry_after_secs, shape: Shape::Standard }
    }

    /// An error of authentication, whose older shape has a word of its own.
    pub fn auth(code: Code, word: &'static str, message: impl Into<String>) -> Self {
        Self { shape: Shape::Auth(word), ..Self::new(code, message) }
    }

    /// `INVALID_FIELD_VALUE`, with the field named in the message and in `details`.
    pub fn field(field: &str, problem: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidFieldValue, format!("{field}: {problem}"))
            .with_details(json!({ "field": field }))
    }

    /// Its code, which gives the status.
    pub fn code(&self) -> Code {
        self.code
    }

    /// With particulars for programs.
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// With the seconds after which the same request may pass.
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_secs = Some(seconds);
        self
    }

    /// Without a time to come back: the cause does not go by itself.
    pub fn without_retry_after(mut self) -> Self {
        self.retry_after_secs = None;
        self
    }

    /// In the older shape of the agents' endpoints, unless it has a shape of its own already.
    pub fn for_agents(mut self) -> Self {
        if self.shape == Shape::Standard {
            self.shape = Shape::Agents;
        }
        self
    }

    /// The body, with the request's id in it.
    pub fn body(&self, request_id: &str) -> Value {
        match self.shape {
            Shape::Standard => {
                let mut error = json!({
                    "code": self.code.as_str(),
                    "numeric_code": self.code.number(),
                    "message": self.message,
                    "request_id": request_id,
                });
                if let Some(details) = &self.details {
                    error["details"] = details.clone();
                }
                if let Some(seconds) = self.retry_after_secs {
                    error["retry_after"] = json!(seconds);
                }
                json!({ "error": error })
            }
            Shape::Auth(word) => json!({ "error": self.message, "code": word, "request_id": request_id }),
            Shape::Agents => json!({
                "success": false,
                "error": self.message,
                "code": self.code.as_str(),
                "request_id": request_id,
            }),
        }
    }
}

impl IntoResponse for ApiError {
    /// The body is written by the frame around all routes, which knows the request's id.
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("x-error-code"), HeaderValue::from_static(self.code.as_str()));
        if let Some(seconds) = self.retry_after_secs {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("ApiKey, Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let code = error.code();
        // What a database says of itself is for the log, not for a client.
        let message = match &error {
            StoreError::Unavailable(_) => "the database is away; nothing was done, try again",
            StoreError::OutcomeUnknown(_) => {
                "the database broke off during the commit; send the same events again to learn the outcome"
            }
            StoreError::KeysChanged { .. } => {
                "agent keys kept changing while the events were on their way; nothing was done, try again"
            }
            StoreError::Full(_) => {
                "the database has no room left and takes no events until there is; nothing was done, reading goes on"
            }
            StoreError::LeaseLost(_) | StoreError::SourceMoved(_) | StoreError::CursorMoved { .. } => {
                "another process took this work over; nothing was done, try again"
            }
            StoreError::NewerSchema { .. } | StoreError::NeedsMigration { .. } | StoreError::Internal(_) => {
                "the database failed; the server's log says why"
            }
        };
        if error.is_known_absence() {
            tracing::debug!(component = "api", %error, code = code.as_str(), "Request refused, the store is away");
        } else if !matches!(error, StoreError::KeysChanged { .. }) {
            tracing::warn!(component = "api", %error, code = code.as_str(), "Request failed in the store");
        }
        Self::new(code, message)
    }
}
