//! The vocabulary of Bowline: ids, timestamps, limits and the closed set of error codes.
//!
//! Every other crate speaks these types. This crate refuses to do I/O, to be async, and to hold any
//! subsystem's configuration: what only one subsystem needs lives in that subsystem.

mod chain;
mod code;
mod evm;
mod ids;
mod limits;
mod secret;
mod timestamp;

pub use chain::{chain_agent, chain_stream, chain_stream_name, public_tenant};
pub use code::Code;
pub use evm::{EvmAddress, EvmHash, ParseEvmError};
pub use ids::{
    AgentId, BatchId, CommandId, EventId, LetterId, ParseIdError, SchemaId, StoreId, StreamId, TenantId,
};
pub use limits::Limits;
pub use secret::Secret;
pub use timestamp::{ParseTimestampError, Timestamp};
