//! What can go wrong with a call, which exit code that is, and what to do next.
//!
//! Two shapes of error body are understood: `{"error":{"code","message",…}}`, and for authentication
//! `{"error":"text","code":"snake"}`. Anything else is shown as it came, shortened.

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use crate::exit::{Exit, Failure};
use crate::output::shown;

/// Characters of a foreign error text that are shown.
const TEXT_CHARS_MAX: usize = 300;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApiError {
    /// No connection, or it broke before the answer was complete.
    Unreachable { url: String, problem: String },
    /// The server answered with an error.
    Refused {
        status: u16,
        code: String,
        message: String,
        request_id: Option<String>,
        /// What mends it, if the server knows.
        fix: Option<String>,
        retry_after: Option<Duration>,
    },
    /// The server's answer is not what this client understands.
    Unexpected { problem: String },
    /// The call can't be sent at all.
    Unsendable { problem: &'static str },
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
        let fix = self.details.as_ref()?.get("fix")?.as_str()?;
        Some(shown(fix, TEXT_CHARS_MAX))
    }
}

/// Seconds of a `Retry-After` header; its other form, a date, is ignored.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    text.trim().parse().ok().map(Duration::from_secs)
}

impl ApiError {
    pub(super) fn unreachable(base: &str, error: &reqwest::Error) -> Self {
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

    pub(super) fn refused(status: u16, retry_after: Option<Duration>, body: &str) -> Self {
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

    /// Whether the same call may succeed later. Every call of this program may be sent twice.
    pub(crate) fn retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 500..=599),
            Self::Unexpected { .. } | Self::Unsendable { .. } => false,
        }
    }

    /// How long the server asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The HTTP status, if there was an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::Unexpected { .. } => Exit::Unreachable,
            Self::Unsendable { .. } => Exit::Usage,
            Self::Refused { status, .. } => match status {
                401 | 403 => Exit::NotAllowed,
                404 | 409 => Exit::No,
                429 | 500..=599 => Exit::Unreachable,
                _ => Exit::Usage,
            },
        }
    }

    fn next_step(&self) -> &str {
        match self {
            Self::Unreachable { .. } => {
                "start a node with `bowline serve`, or set --url or BOWLINE_URL to where one runs"
            }
            Self::Unexpected { .. } => "see that --url is a Bowline server of this version",
            Self::Unsendable { .. } => "see --api-key and BOWLINE_API_KEY",
            Self::Refused { fix: Some(fix), .. } => fix,
            Self::Refused { status, code, .. } => remedy(*status, code),
        }
    }
}

/// What mends a refusal, by its code and else by its status.
fn remedy(status: u16, code: &str) -> &'static str {
    match code {
        "EVENT_NOT_FOUND" => "see what there is with `bowline events list`, and check --tenant and --store",
        "BATCH_NOT_FOUND" => "see what there is with `bowline commitments list --all`",
        "NOT_COMMITTED" => {
            "commit the events that no commitment covers yet with `bowline commitments create`"
        }
        "SEQUENCE_GAP" => {
            "see the last range with `bowline commitments list --all`, or leave --start and --end out"
        }
        "BATCH_TOO_LARGE" | "PAYLOAD_TOO_LARGE" => {
            "send less at once: a smaller --batch, or smaller payloads"
        }
        "STORAGE_FULL" => "make room on the server's disk; nothing was written",
        "ALREADY_EXISTS" => {
            "look at what there is with `bowline keys list`: choose another id, or take a new key with `bowline keys rotate`"
        }
        "DEAD_LETTER_NOT_FOUND" => "see what there is with `bowline dead-letters list`",
        "COMMITMENT_CORRECTED" => "see the commitment that replaces it with `bowline commitments show`",
        "COMMITMENT_INTACT" => {
            "see what is wrong with `bowline commitments check --all`; --force corrects it anyway"
        }
        "ANCHOR_NOT_CONFIGURED" => {
            "set L2_RPC_URL, SET_REGISTRY_ADDRESS and SEQUENCER_PRIVATE_KEY in the node's environment, and restart it"
        }
        "ANCHOR_FAILED" => "see what is in the way with `bowline anchors status`; the commitment stays valid",
        "ANCHOR_CONFLICT" => "see what is known of it with `bowline anchors show`",
        "INVALID_TRIGGER" => "change the fields that the message names, and try again",
        "TRIGGER_NOT_FOUND" | "TRIGGER_PART_NOT_FOUND" => {
            "see what there is with `bowline triggers list` and `show`, and check --organization"
        }
        "TRIGGER_CHANGED" => "look at it with `bowline triggers show`, and change its present revision",
        "TOO_MANY_TRIGGERS" => {
            "delete triggers that nobody needs, or raise triggers.per_tenant_max at the server"
        }
        "DELIVERY_NOT_FOUND" => "see what there is with `bowline deliveries list`, and check --organization",
        "DELIVERY_NOT_ENDED" => "`bowline queue drain` waits until it has ended",
        "AGENT_KEY_NOT_FOUND" => "see the registered keys with `bowline keys list`",
        "INVALID_SIGNATURE" => {
            "with the secret key on this machine, name it with --name; else give its proof with --proof"
        }
        "ADMIN_IP_DENIED" => {
            "ask from an address in the server's api.admin_ip_allowlist (ADMIN_IP_ALLOWLIST)"
        }
        "SCHEMA_NOT_FOUND" => "see what there is with `bowline schemas list`, and check --tenant",
        "SCHEMA_VALIDATION_FAILED" => "change the schema as the message says, and try again",
        "RATE_LIMIT_EXCEEDED" | "RATE_LIMITED" => {
            "wait as long as the message says; a larger --batch does not help"
        }
        "INVALID_PUBLIC_KEY" => "make a key with `bowline keys generate`",
        "OUTCOME_UNKNOWN" | "TIMEOUT" => "send the same again: an event with the same id is taken once",
        _ => match status {
            401 => {
                "set --api-key or BOWLINE_API_KEY; a node on this machine keeps one in DATA/admin.key, see --data"
            }
            403 => "use an API key that has the permission, the tenant and the store",
            404 | 405 => "check the ids, and that --url is a Bowline server of this version",
            429 | 503 => "try again in a few seconds; GET /ready says what the server lacks",
            500..=599 => "look at the server's log for the request id, then try again",
            _ => "change what the message names; `bowline help COMMAND` lists the options",
        },
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let cause = match &error {
            ApiError::Unreachable { url, problem } => format!("cannot reach {url}: {problem}"),
            ApiError::Unexpected { problem } => format!("the server's answer can't be used: {problem}"),
            ApiError::Unsendable { problem } => (*problem).to_owned(),
            ApiError::Refused { status, code, message, request_id, .. } => {
                let mut cause = format!("the server answered {status}");
                for part in [code, message] {
                    if !part.is_empty() {
                        cause.push_str(if part == code { " " } else { ": " });
                        cause.push_str(part);
                    }
                }
                if let Some(id) = request_id {
                    cause.push_str(&format!(" (request {id})"));
                }
                cause
            }
        };
        Self::new(error.exit(), shown(&cause, TEXT_CHARS_MAX)).next(error.next_step())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, body: &str) -> Failure {
        ApiError::refused(status, None, body).into()
    }

    #[test]
    fn both_shapes_of_body_and_plain_text_are_understood() {
        let full = r#"{"error":{"code":"EVENT_NOT_FOUND","numeric_code":4002,"message":"no such event","request_id":"r1","details":null}}"#;
        let found = failure(404, full);
        assert_eq!(found.exit, Exit::No);
        assert_eq!(found.cause, "the server answered 404 EVENT_NOT_FOUND: no such event (request r1)");
        assert!(found.next.unwrap().contains("bowline events list"));
        let short = failure(401, r#"{"error":"missing credentials","code":"missing_auth"}"#);
        assert_eq!(short.exit, Exit::NotAllowed);
        assert_eq!(short.cause, "the server answered 401 MISSING_AUTH: missing credentials");
        let advised = r#"{"error":{"code":"ANCHOR_FAILED","message":"x","request_id":"r1","details":{"fix":"buy\u001b gas"}}}"#;
        assert_eq!(failure(502, advised).next.unwrap(), "buy\\u{1b} gas");
        let text = failure(502, "Bad Gateway\n");
        assert_eq!(
            (text.exit, text.cause.as_str()),
            (Exit::Unreachable, "the server answered 502: Bad Gateway")
        );
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let refused = |status| ApiError::refused(status, None, "");
        assert!(refused(503).retryable() && refused(429).retryable() && refused(500).retryable());
        assert!(!refused(400).retryable() && !refused(403).retryable() && !refused(413).retryable());
    }
}
