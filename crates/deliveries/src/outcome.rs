//! How an attempt ended, and what that means for the next attempt and for the circuit breakers.
//! No outcome holds a secret: operators and users read the messages.

use std::time::Duration;

/// Bytes of a receiver's answer that are kept at most.
pub(crate) const SNIPPET_BYTES_MAX: usize = 1_024;

/// The receiver's answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReceiverAnswer {
    pub(crate) http_status: Option<u16>,
    /// Its first [`SNIPPET_BYTES_MAX`] bytes at most.
    pub(crate) response: Option<String>,
}

/// Whose fault a failure is, which decides the job's next state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The receiver's or the network's, and it may pass: the job is tried again, not before the receiver's wish.
    Passing { retry_after: Option<Duration> },
    /// The receiver understood and refused: the receiver works, the action is wrong.
    Refused,
    /// The action's, before anything was sent.
    Action,
}

/// Why an attempt failed: the stable word that begins an attempt's error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureCode {
    ActionUnreadable,
    AddressBlocked,
    Connect,
    ConnectionLost,
    HttpStatus,
    Internal,
    Job,
    McpError,
    McpProtocol,
    McpToolError,
    Program,
    RateLimited,
    Redirects,
    Request,
    SecretsUnreadable,
    /// The process stopped before the receiver answered.
    Shutdown,
    Store,
    Telegram,
    TelegramTokenMissing,
    TemplateFailed,
    Timeout,
}

impl FailureCode {
    /// The word in attempts, in the log and on the wire.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::ActionUnreadable => "ACTION_UNREADABLE",
            Self::AddressBlocked => "ADDRESS_BLOCKED",
            Self::Connect => "CONNECT",
            Self::ConnectionLost => "CONNECTION_LOST",
            Self::HttpStatus => "HTTP_STATUS",
            Self::Internal => "INTERNAL",
            Self::Job => "JOB",
            Self::McpError => "MCP_ERROR",
            Self::McpProtocol => "MCP_PROTOCOL",
            Self::McpToolError => "MCP_TOOL_ERROR",
            Self::Program => "PROGRAM",
            Self::RateLimited => "RATE_LIMITED",
            Self::Redirects => "REDIRECTS",
            Self::Request => "REQUEST",
            Self::SecretsUnreadable => "SECRETS_UNREADABLE",
            Self::Shutdown => "SHUTDOWN",
            Self::Store => "STORE",
            Self::Telegram => "TELEGRAM",
            Self::TelegramTokenMissing => "TELEGRAM_TOKEN_MISSING",
            Self::TemplateFailed => "TEMPLATE_FAILED",
            Self::Timeout => "TIMEOUT",
        }
    }

    /// Whether an attempt's error, as [`Failure::text`] wrote it, has this code.
    pub(crate) fn is_of(self, text: &str) -> bool {
        text.split_once(':').is_some_and(|(code, _)| code == self.as_str())
    }
}

/// An attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: FailureCode,
    /// The cause, for people, without secrets.
    pub(crate) message: String,
    pub(crate) fault: Fault,
    pub(crate) answered: ReceiverAnswer,
}

impl Failure {
    pub(crate) fn new(code: FailureCode, message: impl Into<String>, fault: Fault) -> Self {
        Self { code, message: message.into(), fault, answered: ReceiverAnswer::default() }
    }

    pub(crate) fn passing(code: FailureCode, message: impl Into<String>) -> Self {
        Self::new(code, message, Fault::Passing { retry_after: None })
    }

    pub(crate) fn of_action(code: FailureCode, message: impl Into<String>) -> Self {
        Self::new(code, message, Fault::Action)
    }

    /// The text that attempts and logs keep.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}", self.code.as_str(), self.message.replace('\0', "\u{fffd}"));
        cut(&mut text, 2 * SNIPPET_BYTES_MAX);
        text
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver took it.
    Delivered(ReceiverAnswer),
    /// The attempt failed.
    Failed(Failure),
    /// Nothing was sent: the receiver's rate limit has no room before that time has passed. It counts as no attempt.
    RateLimited(Duration),
}

impl From<Result<ReceiverAnswer, Failure>> for Outcome {
    fn from(result: Result<ReceiverAnswer, Failure>) -> Self {
        match result {
            Ok(answered) => Self::Delivered(answered),
            Err(failure) => Self::Failed(failure),
        }
    }
}

/// The beginning of an answer, as text that every store takes.
pub(crate) fn snippet(body: &[u8]) -> Option<String> {
    let mut text =
        String::from_utf8_lossy(&body[..body.len().min(SNIPPET_BYTES_MAX)]).replace('\0', "\u{fffd}");
    cut(&mut text, SNIPPET_BYTES_MAX);
    (!text.is_empty()).then_some(text)
}

/// Cuts a text to that many bytes at most, between two letters.
fn cut(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snippet_is_short_and_has_no_zero_bytes() {
        let text = snippet(&[b'a', 0, 0xff]).unwrap();
        assert_eq!(text, "a\u{fffd}\u{fffd}");
        assert!(snippet("é".repeat(5_000).as_bytes()).unwrap().len() <= SNIPPET_BYTES_MAX);
        assert_eq!(snippet(b""), None);
    }
}
