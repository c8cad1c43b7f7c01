//! EVM networks on the line: the logs of contracts as signed events, in the order of their blocks, each once.
//!
//! [`Service`] is the indexing process: for each chain that it holds the lease of, it reads what the checkpoint does
//! not cover yet, decodes and signs it, and writes it in one transaction with the next checkpoint. What a chain takes
//! back is taken back on the line by a further event. [`routes`] tells of it over HTTP. This crate knows no SQL, and it believes no
//! endpoint alone: an answer is bound to the blocks that it was asked for, and a fork must be seen twice.

mod abi;
mod chain;
pub mod checks;
mod config;
mod decode;
mod environment;
mod event;
mod fetch;
mod fork;
mod halt;
mod handle;
mod look;
mod metrics;
mod networks;
mod pipeline;
mod place;
mod range;
pub mod routes;
mod service;
mod sign;
mod value;

pub use config::{ChainConfig, Config, ContractConfig, Registries};
pub use handle::{ChainState, ChainStatus, Handle};
pub use service::{Dependencies, Service, lease_name};
