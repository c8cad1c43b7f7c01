//! The real neighbours of tests. A dev-dependency alone: nothing that ships knows this crate.
//!
//! What goes wrong here is a test that failed, so it panics and says why.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test's support fails the test")]

mod anvil;
mod waiting;

pub use anvil::{Anvil, CHAIN, KEYS, Refusal, number};
pub use waiting::soon;
