//! The words in which every subsystem reports on its health: a check looks at facts and comes to a finding.
//!
//! A check is a pure function of facts that somebody else gathered, so that each can be tried on healthy and on
//! sick ones. Each subsystem lists its own checks; this file knows none of them. What could not be looked at is
//! [`Status::Skipped`] with the reason, never `Ok`.

use serde::Serialize;

/// Facts, or why they could not be had.
pub type Seen<T> = Result<T, String>;

/// How a check ended, from the best to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing is wrong.
    Ok,
    /// It could not be looked at, or there is nothing to look at.
    Skipped,
    /// An operator should look at it soon.
    Warn,
    /// An operator must act.
    Fail,
}

impl Status {
    /// The word in answers and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One figure that a check looked at, and what it was held against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// What it is.
    pub name: String,
    /// Its value with its unit.
    pub value: String,
    /// From which value on it is trouble, if there is such a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<String>,
}

/// What a check came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it ended.
    pub status: Status,
    /// One sentence: what is so, and why if it is trouble.
    pub cause: String,
    /// The figures behind it.
    pub evidence: Vec<Evidence>,
    /// The command or the setting that mends it; none if there is nothing to mend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    /// Nothing is wrong.
    pub fn ok(cause: impl Into<String>) -> Self {
        Self { status: Status::Ok, cause: cause.into(), evidence: Vec::new(), fix: None }
    }

    /// It could not be looked at.
    pub fn skipped(reason: impl Into<String>) -> Self {
        Self { status: Status::Skipped, ..Self::ok(reason) }
    }

    /// An operator should look at it, and do that.
    pub fn warn(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Warn, fix: Some(fix.into()), ..Self::ok(cause) }
    }

    /// An operator must act, and do that.
    pub fn fail(cause: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { status: Status::Fail, ..Self::warn(cause, fix) }
    }

    /// With a figure.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.evidence.push(Evidence { name: name.into(), value: value.to_string(), threshold: None });
        self
    }

    /// With a figure and the value from which on it is trouble.
    #[must_use]
    pub fn held_against(
        mut self,
        name: impl Into<String>,
        value: impl ToString,
        threshold: impl ToString,
    ) -> Self {
        let threshold = Some(threshold.to_string());
        self.evidence.push(Evidence { name: name.into(), value: value.to_string(), threshold });
        self
    }
}

/// One question to facts of the type `F`.
#[derive(Debug)]
pub struct Check<F> {
    /// Its name, as `bowline doctor --check` takes it.
    pub name: &'static str,
    /// What it looks at, in one line.
    pub about: &'static str,
    /// Comes to a finding.
    pub judge: fn(&F) -> Finding,
}

/// A finding with the check that came to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The check's name.
    pub check: &'static str,
    /// What it looks at.
    pub about: &'static str,
    /// What it came to.
    #[serde(flatten)]
    pub finding: Finding,
}

impl<F> Check<F> {
    /// Asks the question.
    pub fn run(&self, facts: &F) -> Checked {
        Checked { check: self.name, about: self.about, finding: (self.judge)(facts) }
    }
}
