//! What every HTTP listener of Bowline needs, and no route.
//!
//! [`Server`] binds, serves and drains within limits. [`framed`] puts the frame around a listener's routes: request id,
//! time limit, panics, error body, metrics, and one [`Access`] in each request's extensions. The extractors take
//! authentication, rate limits and bounds from there, so a route of any subsystem may have any state of its own. A route
//! outside of the frame answers 500 and admits no one. This crate knows no route and no subsystem above the store.

mod access;
mod auth;
mod commitment;
mod config;
mod error;
mod event_stream;
mod extract;
mod frame;
mod limiter;
mod meter;
mod metrics;
pub mod openapi;
mod organization;
mod page;
mod server;

pub use access::{Access, AccessConfig};
pub use auth::{ApiKeySecret, Networks, Principal, TokenClaims, sign_token};
pub use commitment::readable_commitment;
pub use config::{AuthConfig, AuthMode, RateLimitConfig};
pub use error::ApiError;
pub use event_stream::{EventSource, EventStreamLimits, EventStreams, Reader, StreamEnd};
pub use extract::{JsonBody, Params, PathParams, RawBody, StreamQuery};
pub use frame::framed;
pub use meter::PayingByEvent;
pub use metrics::declare as declare_metrics;
pub use organization::Member;
pub use page::{PageQuery, data, limit};
pub use server::{Error, Server, ServerLimits};
