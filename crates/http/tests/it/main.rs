//! Listeners as subsystems use them: a server on a free port, tiny routes of the tests' own, and a real embedded store.
//!
//! Every test has its own listener and asks it over TCP. No test knows how the server is built inside.

// Clippy excuses unwraps in test functions only, and much of this stands in functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod event_streams;
mod extract;
mod frame;
mod listener;
mod openapi;
mod server;
