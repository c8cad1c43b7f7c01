//! The binary from the outside, without a server: exit codes, what goes to stdout and what to stderr, and the
//! offline verifier on files made here.
//!
//! What needs a node or a database is in `tests/it`; these tests run anywhere.

// Clippy excuses unwraps in test functions only, and these files have helpers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod evidence;
mod usage;
mod verify;
