//! The gateway: everything that Bowline serves over HTTP.
//!
//! It turns requests into calls of the line and answers into JSON, authenticates and authorizes, and keeps
//! slow or hostile clients from costing others anything. It decides nothing about events, and no other crate
//! serves HTTP for the gateway.

mod auth;
mod chain_window;
mod config;
mod error;
mod frame;
mod limiter;
mod meter;
mod metrics;
mod openapi;
mod recent;
mod routes;
mod server;
mod state;

pub use auth::{ApiKeySecret, Networks, TokenClaims, sign_token};
pub use chain_window::ChainWindow;
pub use config::{AuthConfig, AuthMode, Config, RateLimitConfig};
pub use openapi::openapi_json;
pub use server::{Error, Service};
pub use state::{Dependencies, Drain, Serves};
