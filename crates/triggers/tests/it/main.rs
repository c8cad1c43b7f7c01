//! Triggers and deliveries against real neighbours.

// Clippy excuses unwraps in test functions only, and much of this stands in functions that tests share.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod delivery_kinds;
mod delivery_mcp;
mod delivery_place;
mod delivery_receiver;
mod delivery_redis;
mod delivery_rig;
mod delivery_telegram;
mod delivery_webhooks;
mod delivery_workers;
