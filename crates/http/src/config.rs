//! What an operator may set about authentication and rate limits.
//!
//! It only holds values. Which of them fit together is judged where the listener's whole configuration is.

use bowline_types::Secret;
use serde::{Deserialize, Serialize};

/// Whether credentials are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Every request needs a credential.
    #[default]
    Required,
    /// Every request has all rights. Only for a loopback address.
    Disabled,
}

/// How requests are authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Whether credentials are asked for.
    pub mode: AuthMode,
    /// A key with all rights over every tenant, of 8 or more characters; kept only as a hash in memory.
    pub bootstrap_admin_api_key: Option<Secret>,
    /// The HS256 secret of tokens; without it no token is accepted.
    pub jwt_secret: Option<Secret>,
    /// The `iss` that tokens must have.
    pub jwt_issuer: String,
    /// The `aud` that tokens must have.
    pub jwt_audience: String,
    /// Seconds after which a cached API key is read again.
    pub api_key_ttl_secs: u64,
    /// API keys kept in memory.
    pub api_keys_cached_max: usize,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            mode: AuthMode::Required,
            bootstrap_admin_api_key: None,
            jwt_secret: None,
            jwt_issuer: "stateset-sequencer".to_owned(),
            jwt_audience: "stateset-api".to_owned(),
            api_key_ttl_secs: 30,
            api_keys_cached_max: 10_000,
        }
    }
}

/// How many requests and events may come in; an ingest of n events counts n, any other request 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimitConfig {
    /// What each tenant may bring a minute; 0 for no limit. An API key may have a limit of its own besides.
    pub per_minute: u64,
    /// Seconds over which limits are counted: so much of a minute's number may come in any window of that length.
    pub window_secs: u64,
    /// Tenants and API keys that are kept in memory; any other gives way, and asks the database when it comes again.
    pub entries_max: usize,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self { per_minute: 0, window_secs: 60, entries_max: 10_000 }
    }
}
