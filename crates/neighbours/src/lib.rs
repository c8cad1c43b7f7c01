//! The real neighbours of tests and load generators: a private chain, and a contract on it. Nothing that ships knows this
//! crate.
//!
//! What goes wrong here is a test or a measurement that failed, so it panics and says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's support fails the test")]

mod anvil;
mod reputation;
mod waiting;

pub use anvil::{Anvil, CHAIN, KEYS, Refusal, number};
pub use reputation::{Feedback, ReputationRegistry};
pub use waiting::soon;
