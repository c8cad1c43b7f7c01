//! The registry of payload schemas: what one may be, which may follow which, and whether a payload fits.
//!
//! A tenant registers JSON Schemas for its event types; [`Registry::judge`] stands between verification and the
//! append and rejects the events whose payload breaks the newest active one. A schema is data of a stranger: it never
//! causes a look at the network or at a file, and what it may cost is bounded when it is registered. This crate knows
//! no HTTP and no SQL, and it can't look into encrypted payloads.

mod cache;
mod compatibility;
mod config;
mod document;
mod extent;
mod judge;
mod metrics;
mod registry;

pub use config::{Config, Mode};
pub use judge::Judged;
pub use registry::{Fault, NewSchema, RegisterError, Registered, Registry, Verdict};
