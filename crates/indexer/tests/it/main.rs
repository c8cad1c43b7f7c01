//! The indexer against a real EVM node, over endpoints that lie, lag and refuse: every test has a chain of its own.

// Clippy excuses unwraps in test functions only, and much of this stands in functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod decoding;
mod endpoints;
mod keys;
mod receipt;
mod registries;
mod reorgs;
mod restarts;
mod rig;
mod stand_in;
mod together;
