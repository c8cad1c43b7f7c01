//! The line: takes verified events in, orders and persists them, lets others follow, commits and proves.
//!
//! Everything that happens goes through [`Handle`]: [`Verifier`] checks what agents sent, [`Appender`] orders
//! it, [`LineReader`] reads and follows it, [`Commitments`] seals and proves it. A subsystem that reacts to
//! events is a projection (crate `projection`). This crate knows no HTTP and no SQL, and only it assigns sequence numbers.

mod appender;
pub mod checks;
mod commitment_json;
mod commitments;
mod committer;
mod config;
mod corrections;
mod error;
mod event_json;
pub mod explain;
mod intake;
mod keys;
mod letters;
mod metrics;
mod reader;
mod retries;
mod service;
mod verifier;

pub use appender::{AppendError, Appender};
pub use commitment_json::commitment_json;
pub use commitments::{CommitError, CommitRange, Commitments, ProofAnswer, ProveError};
pub use config::{AutoCommit, CommitmentPolicy, Config, DeadLetterConfig};
pub use corrections::{CORRECTION_REASON_CHARS_MAX, CommitmentCheck, CorrectError, Correction};
pub use error::Error;
pub use event_json::event_json;
pub use intake::{Intake, PayloadCheck, Taken};
pub use metrics::count_rejection;
pub use reader::{LineReader, TailReader};
pub use retries::{Letters, RETRIES_AT_ONCE_MAX, Retried, RetryOutcome};
pub use service::{Dependencies, Handle, Service};
pub use verifier::{Judged, Verdicts, Verifier};
