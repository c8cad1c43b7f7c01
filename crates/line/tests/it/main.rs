//! The line on a real embedded store: one folder, one sequencer and one manual clock a test.
//!
//! Faults come from one place: [`tampered::TamperedStore`] hands every call on to SQLite and may hold, change or refuse it
//! on the way. No test knows how the line is built inside; each uses the handle that the node uses.

// Clippy excuses unwraps in test functions only, and much of this stands in functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod appender;
mod checks;
mod commitments;
mod committer;
mod events;
mod key_changes;
mod letters;
mod proofs;
mod reader;
mod support;
mod tampered;
mod tampered_diagnostics;
mod tampered_keys;
mod verifier;
