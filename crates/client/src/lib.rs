//! The HTTP client of a Bowline server, for Rust programs: what the `bowline` command line itself is built on.
//!
//! A [`Client`] holds a server's address and an [`ApiKey`]; a [`Call`] is one request; [`answers`] are the typed
//! answers, and every [`ApiError`] says what mends it ([`ApiError::remedy`]). Events are signed with `bowline-ves`.
//! Nothing is retried unless the caller asks [`Retries`] for the next pause, and nothing is ever printed.
//!
//! ```no_run
//! use bowline_client::answers::Head;
//! use bowline_client::{ApiError, ApiKey, Call, Client, Url};
//! use bowline_types::StreamId;
//!
//! /// The sequence number of a stream's last event.
//! async fn head(server: Url, api_key: &str, stream: StreamId) -> Result<u64, ApiError> {
//!     let client = Client::new(server, Some(ApiKey::new(api_key)))?;
//!     let head: Head = client.json(&Call::get(&["api", "v1", "ves", "head"]).stream(stream)).await?;
//!     Ok(head.head_sequence)
//! }
//! ```

mod agent_key;
pub mod answers;
mod call;
mod client;
mod curl;
mod error;
mod incoming;
mod remedy;
mod retries;

pub use agent_key::possession_proof;
pub use call::Call;
pub use client::{ApiKey, Client, is_loopback};
pub use curl::quoted;
pub use error::ApiError;
pub use incoming::{Incoming, Message};
pub use remedy::remedy_of_code;
pub use reqwest::Url;
pub use retries::{ATTEMPTS_MAX, Retries};
