//! Deliveries on real stores to real neighbours: workers, channels, breakers, and the queue in Redis.
//!
//! A test is an async function of an engine; `on_both!` makes `sqlite::name` and `postgres::name` of it.

// Clippy excuses unwraps in test functions only, and these tests are async functions that a macro calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod actions;
mod claims;
mod jobs;
mod mcp;
mod owners;
mod receiver;
mod redis_queue;
mod redis_server;
mod redis_workers;
mod rig;
mod telegram;
mod test_store;
mod webhooks;
mod workers;
