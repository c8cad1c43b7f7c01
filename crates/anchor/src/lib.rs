//! Anchors: what the line committed, on an EVM chain that the operator does not control.
//!
//! [`Service`] is the anchoring process: one at a time for a store, it sends pending commitments to a contract, follows
//! its transactions until they are final, and marks the commitments then. [`Handle`] is everything that others may
//! do with anchors, and [`routes`] offers it over HTTP. This crate knows no SQL, and it trusts no endpoint with more than words: what
//! is on the chain is decided by the contract, what was sent by the store.

pub mod abi;
pub mod audit;
mod chapters;
pub mod checks;
mod config;
pub mod deploy;
mod error;
mod fees;
mod follow;
mod handle;
mod metrics;
mod plan;
mod registry;
pub mod routes;
mod send;
mod service;
mod setback;
pub mod status;
mod steps;
pub mod tables;
pub mod verify;
mod wallet;
mod work;

pub use chapters::AnchorChapters;
pub use config::Config;
pub use error::AnchorError;
pub use handle::{Anchored, Handle, Progress, Verification, present};
pub use registry::{Kind, OnChainHead, OnChainPlace, Refusal, Registry, RegistryError};
pub use service::{Dependencies, LEASE, Service};
pub use steps::{Step, Steps};
pub use wallet::Wallet;
