//! Why a call has no answer: one enum for all calls.
//!
//! Two shapes of error body are understood: `{"error":{"code","message",…}}`, and for authentication
//! `{"error":"text","code":"snake"}`. Anything else is kept as it came. Texts of the server are not cleaned of control
//! characters: a terminal must not print them as they are.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

/// Why a call has no answer. What mends it says [`remedy`](Self::remedy).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// No connection, or it broke before the answer was complete.
    #[error("cannot reach {url}: {problem}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// The innermost cause.
        problem: String,
    },
    /// The server answered with an error.
    #[error("the server answered {status}{}", in_words(code, message, request_id.as_deref()))]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The code in upper case, one of `bowline_types::Code`; empty if the body has none.
        code: String,
        /// What the server says, or the body as it came.
        message: String,
        /// What the server's log knows the request by.
        request_id: Option<String>,
        /// What mends it, if the server knows.
        fix: Option<String>,
        /// How long the server asks to wait.
        retry_after: Option<Duration>,
    },
    /// An event stream broke off, or it is none.
    #[error("the connection broke: {problem}")]
    Broken {
        /// The cause.
        problem: String,
    },
    /// The server's answer is not what this client understands.
    #[error("the server's answer can't be used: {problem}")]
    Unexpected {
        /// What is wrong with it.
        problem: String,
    },
    /// The API key can't be sent.
    #[error("{problem}")]
    Unsendable {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The request can't be written down.
    #[error("cannot write the request {problem}")]
    Unwritable {
        /// What of it.
        problem: String,
    },
    /// The system lacks what a client needs.
    #[error("cannot start the client: {problem}")]
    NoClient {
        /// What is missing.
        problem: String,
    },
}

/// Code, message and request of a refusal, each with what separates it from the text before.
fn in_words(code: &str, message: &str, request_id: Option<&str>) -> String {
    let mut words = String::new();
    for (separator, part) in [(" ", code), (": ", message)] {
        if !part.is_empty() {
            words.push_str(separator);
            words.push_str(part);
        }
    }
    if let Some(id) = request_id {
        words.push_str(&format!(" (request {id})"));
    }
    words
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Body {
    Full {
        error: FullError,
    },
    Short {
        error: String,
        #[serde(default)]
        code: String,
    },
}

#[derive(Deserialize)]
struct FullError {
    code: String,
    message: String,
    request_id: Option<String>,
    #[serde(default)]
    details: Option<serde_json::Value>,
}

impl FullError {
    /// What mends it, if the server says so.
    fn fix(&self) -> Option<String> {
        Some(self.details.as_ref()?.get("fix")?.as_str()?.to_owned())
    }
}

/// Seconds of a `Retry-After` header; its other form, a date, is ignored.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

impl ApiError {
    pub(crate) fn unreachable(base: &str, error: &reqwest::Error) -> Self {
        // The outermost texts only repeat the URL; the innermost one is the cause.
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let problem = match error.is_timeout() {
            true => "it did not answer in time".to_owned(),
            false => innermost.to_string(),
        };
        Self::Unreachable { url: base.trim_end_matches('/').to_owned(), problem }
    }

    pub(crate) fn refused(status: u16, retry_after: Option<Duration>, body: &str) -> Self {
        let (code, message, request_id, fix) = match serde_json::from_str(body) {
            Ok(Body::Full { error }) => {
                let fix = error.fix();
                (error.code, error.message, error.request_id, fix)
            }
            Ok(Body::Short { error, code }) => (code.to_uppercase(), error, None, None),
            Err(_) => (String::new(), body.trim().to_owned(), None, None),
        };
        Self::Refused { status, code, message, request_id, fix, retry_after }
    }

    /// Whether the same call may succeed later. Every call of the API may be sent twice.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 500..=599),
            Self::Unexpected { .. }
            | Self::Unsendable { .. }
            | Self::Unwritable { .. }
            | Self::NoClient { .. } => false,
        }
    }

    /// How long the server asks to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The HTTP status, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_of_body_and_plain_text_are_understood() {
        let refused = |status, body: &str| ApiError::refused(status, None, body).to_string();
        let full = r#"{"error":{"code":"EVENT_NOT_FOUND","numeric_code":4002,"message":"no such event","request_id":"r1","details":null}}"#;
        assert_eq!(refused(404, full), "the server answered 404 EVENT_NOT_FOUND: no such event (request r1)");
        let short = r#"{"error":"missing credentials","code":"missing_auth"}"#;
        assert_eq!(refused(401, short), "the server answered 401 MISSING_AUTH: missing credentials");
        assert_eq!(refused(502, "Bad Gateway\n"), "the server answered 502: Bad Gateway");
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let refused = |status| ApiError::refused(status, None, "");
        assert!(refused(503).retryable() && refused(429).retryable() && refused(500).retryable());
        assert!(!refused(400).retryable() && !refused(403).retryable() && !refused(413).retryable());
    }
}
