//! Anchors against a real EVM node: every test has a chain of its own.

// Clippy excuses unwraps in test functions only, and much of this stands in functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod abi;
mod anvil;
mod contract;
mod corrections;
mod endpoints;
mod faults;
mod gas;
mod original;
mod ownership;
mod proxy;
mod rig;
mod service;
mod steps;
mod support;
