//! Anchors against a real EVM node: every test has a chain of its own.

mod abi;
mod anvil;
mod contract;
mod corrections;
mod gas;
mod original;
mod ownership;
mod support;
