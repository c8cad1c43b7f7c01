//! The gateway: everything that a node serves on its main address.
//!
//! It composes the routes of all subsystems into one listener and one description, and has the line's own routes: they
//! turn requests into calls of the line and answers into JSON. The listener itself, authentication and limits are
//! `bowline-http`'s. It decides nothing about events.

mod config;
mod metrics;
mod openapi;
mod recent;
mod routes;
mod service;
mod state;

pub use config::Config;
pub use openapi::{document, openapi_json};
pub use service::Service;
pub use state::{Dependencies, Drain, Serves};
