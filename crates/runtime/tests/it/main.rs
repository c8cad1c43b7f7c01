//! The runtime's parts against time that the test holds in its hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod breaker;
