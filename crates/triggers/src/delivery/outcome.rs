//! How a delivery ended, and what that means for the next attempt and for the circuit breakers.
//! No outcome holds a secret: messages are made for people to read.

use std::time::Duration;

/// Bytes of a receiver's answer that are kept at most.
pub(crate) const SNIPPET_BYTES_MAX: usize = 1_024;

/// What the receiver said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) http_status: Option<u16>,
    /// The beginning of it, [`SNIPPET_BYTES_MAX`] at most.
    pub(crate) response: Option<String>,
}

/// Whose fault a failure is, which decides what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The receiver's or the way's, and it may pass: tried again, not before what the receiver asked for.
    Passing { retry_after: Option<Duration> },
    /// The receiver understood and refused: it is well, the action is wrong.
    Refused,
    /// The action's, before anything was sent.
    Action,
}

/// A delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A stable word.
    pub(crate) code: &'static str,
    /// The cause, for people, without secrets.
    pub(crate) message: String,
    pub(crate) fault: Fault,
    pub(crate) answered: Answered,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>, fault: Fault) -> Self {
        Self { code, message: message.into(), fault, answered: Answered::default() }
    }

    pub(crate) fn passing(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, message, Fault::Passing { retry_after: None })
    }

    pub(crate) fn of_action(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code, message, Fault::Action)
    }

    /// What is written down.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}", self.code, self.message.replace('\0', "\u{fffd}"));
        cut(&mut text, 2 * SNIPPET_BYTES_MAX);
        text
    }
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The receiver took it.
    Delivered(Answered),
    /// It did not.
    Failed(Failure),
    /// Nothing was sent: a limit of the receiver's leaves no room for so long. It is no attempt.
    Held(Duration),
}

impl From<Result<Answered, Failure>> for Outcome {
    fn from(result: Result<Answered, Failure>) -> Self {
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

/// Cuts a text to so many bytes at most, between two letters.
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
