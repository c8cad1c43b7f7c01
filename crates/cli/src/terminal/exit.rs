//! Exit codes, and the one way in which a command fails: a cause and what to do next.
//!
//! Scripts branch on the code, people read the two lines. A failure without a next step is allowed only
//! where there is none; a code is never given another meaning.

use std::process::ExitCode;

use crate::terminal::output;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what it was told.
    Done = 0,
    /// The answer is no.
    No = 1,
    /// Wrong usage, or an input file that can't be used.
    Usage = 2,
    /// The server can't be reached, or it failed.
    Unreachable = 3,
    /// The credential is missing or lacks a permission.
    NotAllowed = 4,
    /// Ctrl-C, as shells count it: 128 + SIGINT.
    Interrupted = 130,
}

/// What `bowline --help` says about the codes: the one place where they are documented.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    done
  1    the answer is no: a verification failed, an event was rejected, nothing was found
  2    wrong usage, or an input file that can't be used
  3    the server can't be reached, or it answered 429 or 5xx
  4    not allowed: no API key, a wrong one, or one without the permission
  130  interrupted";

/// What every command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

/// Why a command could not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// One line; empty if there is nothing to say.
    pub(crate) cause: String,
    /// A command or a setting that mends it.
    pub(crate) next: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, cause: impl Into<String>) -> Self {
        Self { exit, cause: cause.into(), next: None }
    }

    /// Wrong usage or a bad input file.
    pub(crate) fn usage(cause: impl Into<String>) -> Self {
        Self::new(Exit::Usage, cause)
    }

    /// The answer is no.
    pub(crate) fn no(cause: impl Into<String>) -> Self {
        Self::new(Exit::No, cause)
    }

    /// Nothing to say: whoever read our output has seen enough.
    pub(crate) fn reader_left() -> Self {
        Self::new(Exit::Done, "")
    }

    #[must_use]
    pub(crate) fn next(mut self, step: impl Into<String>) -> Self {
        self.next = Some(step.into());
        self
    }

    /// Says it on stderr; returns the code to end with.
    pub(crate) fn report(&self) -> Exit {
        if !self.cause.is_empty() {
            output::talk(&format!("error: {}", self.cause));
        }
        if let Some(step) = &self.next {
            output::talk(&format!("next: {step}"));
        }
        self.exit
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_documents_every_code() {
        let codes =
            [Exit::Done, Exit::No, Exit::Usage, Exit::Unreachable, Exit::NotAllowed, Exit::Interrupted];
        for code in codes {
            let start = format!("  {} ", code as u8);
            assert!(EXIT_CODES_HELP.lines().any(|line| line.starts_with(&start)), "{code:?}");
        }
        assert_eq!(EXIT_CODES_HELP.lines().count(), codes.len() + 1);
    }
}
