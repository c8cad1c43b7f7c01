//! An EVM chain, over several endpoints that stand for each other.
//!
//! [`Rpc`] asks the first endpoint that answers; each has a circuit breaker of its own, its chain is checked, and no
//! address ever stands in a message, since it may hold a key. Nothing here knows what it is asked for.

mod address;
mod calls;
mod error;
mod pace;
mod patience;
mod refusals;
mod rpc;
mod transport;
mod types;

pub use address::{endpoint_addresses, parse_address, shortened};
pub use error::RpcError;
pub use patience::{Bounds, EndpointState, Patience};
pub use rpc::Rpc;
pub use types::{Block, Log, Receipt};
