//! Errors as clients see them: one closed code set, one body shape, and the two older shapes that clients of
//! the sequencer API already parse.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bowline_anchor::AnchorError;
use bowline_line::{AppendError, CommitError, CorrectError, ProveError};
use bowline_store::StoreError;
use bowline_triggers::{Missing, TriggerError};
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
pub(crate) struct ApiError {
    code: Code,
    message: String,
    details: Option<Value>,
    retry_after_secs: Option<u64>,
    shape: Shape,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        let retry_after_secs = (code.http_status() == 503).then_some(1);
        Self { code, message: message.into(), details: None, retry_after_secs, shape: Shape::Standard }
    }

    pub(crate) fn auth(code: Code, word: &'static str, message: impl Into<String>) -> Self {
        Self { shape: Shape::Auth(word), ..Self::new(code, message) }
    }

    pub(crate) fn field(field: &str, problem: impl std::fmt::Display) -> Self {
        Self::new(Code::InvalidFieldValue, format!("{field}: {problem}"))
            .with_details(json!({ "field": field }))
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    pub(crate) fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_secs = Some(seconds);
        self
    }

    pub(crate) fn for_agents(mut self) -> Self {
        if self.shape == Shape::Standard {
            self.shape = Shape::Agents;
        }
        self
    }

    /// The body, with the request's id in it.
    pub(crate) fn body(&self, request_id: &str) -> Value {
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

impl From<AppendError> for ApiError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Store(error) => error.into(),
            AppendError::Overloaded { retry_after_secs, .. } => Self {
                retry_after_secs: Some(retry_after_secs),
                ..Self::new(error.code(), error.to_string())
            },
            AppendError::Draining => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<CommitError> for ApiError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Store(error) => error.into(),
            _ => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<ProveError> for ApiError {
    fn from(error: ProveError) -> Self {
        match error {
            ProveError::Store(error) => error.into(),
            ProveError::Corrected { corrected_by, .. } => Self::new(error.code(), error.to_string())
                .with_details(json!({ "corrected_by": corrected_by })),
            _ => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<CorrectError> for ApiError {
    fn from(error: CorrectError) -> Self {
        match error {
            CorrectError::Store(error) => error.into(),
            CorrectError::Corrected { corrected_by, .. } => Self::new(error.code(), error.to_string())
                .with_details(json!({ "corrected_by": corrected_by })),
            _ => Self::new(error.code(), error.to_string()),
        }
    }
}

impl From<AnchorError> for ApiError {
    fn from(error: AnchorError) -> Self {
        let advice = error.advice();
        let known = |(code, fix): (String, String)| json!({ "code": code, "fix": fix });
        match error {
            AnchorError::Store(error) => error.into(),
            // It does not go by itself, so there is nothing to wait for.
            AnchorError::NotConfigured => {
                Self { retry_after_secs: None, ..Self::new(error.code(), error.to_string()) }
            }
            AnchorError::Refused { ref code, ref message, .. } if code == "ANCHORS_ITSELF" => {
                Self { details: advice.map(known), ..Self::new(Code::AnchorConflict, message) }
            }
            _ => Self { details: advice.map(known), ..Self::new(error.code(), error.to_string()) },
        }
    }
}

impl From<TriggerError> for ApiError {
    fn from(error: TriggerError) -> Self {
        let message = error.to_string();
        match error {
            TriggerError::Invalid(problems) => {
                Self::new(Code::InvalidTrigger, message).with_details(json!(problems))
            }
            TriggerError::Absent(Missing::Trigger) => Self::new(Code::TriggerNotFound, message),
            TriggerError::Absent(Missing::Event) => Self::new(Code::EventNotFound, message),
            TriggerError::Absent(Missing::Condition | Missing::Action) => {
                Self::new(Code::TriggerPartNotFound, message)
            }
            TriggerError::Changed { revision } => {
                Self::new(Code::TriggerChanged, message).with_details(json!({ "revision": revision }))
            }
            TriggerError::TooMany { .. } => Self::new(Code::TooManyTriggers, message),
            TriggerError::Busy { retry_after_secs, .. } => {
                Self::new(Code::BacktestsBusy, message).with_retry_after(retry_after_secs)
            }
            TriggerError::Store(error) => error.into(),
        }
    }
}
