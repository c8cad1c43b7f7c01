//! What an operator may set about the gateway.
//!
//! It only holds and judges values: nothing is opened or read here.

use std::net::{IpAddr, Ipv4Addr};

use bowline_http::{AccessConfig, AuthConfig, AuthMode, Networks, RateLimitConfig};
use serde::{Deserialize, Serialize};

/// Settings of the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The address to listen on; the default is reachable from this machine only.
    pub host: IpAddr,
    /// The port to listen on; 0 for any free one.
    pub port: u16,
    /// Who may do what.
    pub auth: AuthConfig,
    /// The addresses and networks that administrators may come from; anywhere if empty.
    pub admin_ip_allowlist: Networks,
    /// The addresses and networks that may read `/metrics` without a credential, besides this machine.
    pub metrics_ip_allowlist: Networks,
    /// Whether `X-Forwarded-For` is believed from the proxies named in `trust_proxy_allowlist`.
    pub trust_proxy_headers: bool,
    /// The addresses and networks of those proxies.
    pub trust_proxy_allowlist: Networks,
    /// Whether an agent key is registered only with a signature by that key.
    pub require_proof_of_possession: bool,
    /// How much tenants and API keys may bring.
    pub rate_limits: RateLimitConfig,
    /// Seconds between two heartbeats on a silent event stream.
    pub heartbeat_secs: u64,
    /// Seconds that a client may take to send a request's head.
    pub header_secs_max: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            auth: AuthConfig::default(),
            admin_ip_allowlist: Networks::default(),
            metrics_ip_allowlist: Networks::default(),
            trust_proxy_headers: false,
            trust_proxy_allowlist: Networks::default(),
            require_proof_of_possession: false,
            rate_limits: RateLimitConfig::default(),
            heartbeat_secs: 15,
            header_secs_max: 10,
        }
    }
}

/// Seconds of the longest window that limits are counted over.
const WINDOW_SECS_MAX: u64 = 3_600;

/// Characters that a bootstrap key has at least.
const BOOTSTRAP_KEY_CHARS_MIN: usize = 8;

impl Config {
    /// What the listener's extractors need of it.
    pub(crate) fn access(&self) -> AccessConfig {
        let proxies = match self.trust_proxy_headers {
            true => self.trust_proxy_allowlist.clone(),
            false => Networks::default(),
        };
        AccessConfig {
            auth: self.auth.clone(),
            rate_limits: self.rate_limits,
            administrators: self.admin_ip_allowlist.clone(),
            proxies,
        }
    }

    /// What is wrong with these settings; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.auth.mode == AuthMode::Disabled && !self.host.is_loopback() {
            problems.push(format!(
                "api.auth.mode is `disabled` and api.host is {}: set api.host to 127.0.0.1, or the mode to `required`",
                self.host
            ));
        }
        let key = self.auth.bootstrap_admin_api_key.as_ref();
        if key.is_some_and(|key| key.reveal().chars().count() < BOOTSTRAP_KEY_CHARS_MIN) {
            problems.push(format!(
                "api.auth.bootstrap_admin_api_key (BOOTSTRAP_ADMIN_API_KEY) has fewer than {BOOTSTRAP_KEY_CHARS_MIN} characters"
            ));
        }
        if !(1..=WINDOW_SECS_MAX).contains(&self.rate_limits.window_secs) {
            problems.push(format!(
                "api.rate_limits.window_secs (RATE_LIMIT_WINDOW_SECONDS) is {} and must be 1 to {WINDOW_SECS_MAX}",
                self.rate_limits.window_secs
            ));
        }
        if self.rate_limits.entries_max == 0 {
            problems
                .push("api.rate_limits.entries_max (RATE_LIMIT_MAX_ENTRIES) must be 1 or more".to_owned());
        }
        if self.auth.jwt_secret.as_ref().is_some_and(|secret| secret.reveal().len() < 32) {
            problems.push("api.auth.jwt_secret (JWT_SECRET) has fewer than 32 bytes".to_owned());
        }
        if self.trust_proxy_headers && self.trust_proxy_allowlist.is_empty() {
            problems.push(
                "api.trust_proxy_headers (TRUST_PROXY_HEADERS) is true and api.trust_proxy_allowlist \
                 (TRUST_PROXY_ALLOWLIST) is empty: name the proxies whose headers are to be believed"
                    .to_owned(),
            );
        }
        problems
    }
}
