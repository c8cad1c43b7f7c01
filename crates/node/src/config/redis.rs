//! Where Redis is, for whoever uses it: hands jobs to workers faster, and shares limits among processes.
//!
//! It only holds values. Without an address nothing here is used, and nothing is missed.

use bowline_types::Secret;
use serde::{Deserialize, Serialize};

/// Where Redis is. A URL goes before host, port and password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://[user[:password]@]host[:port][/database]`.
    pub url: Option<Secret>,
    /// The host, if there is no URL.
    pub host: Option<String>,
    /// The port there.
    pub port: u16,
    /// The password there.
    pub password: Option<Secret>,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self { url: None, host: None, port: 6_379, password: None }
    }
}

impl RedisConfig {
    /// The server's URL; none if none is set.
    pub fn address(&self) -> Option<Secret> {
        if let Some(url) = &self.url {
            return Some(url.clone());
        }
        let host = self.host.as_ref()?;
        let port = self.port;
        let user = match &self.password {
            Some(password) => format!(":{}@", escaped(password.reveal())),
            None => String::new(),
        };
        Some(Secret::new(format!("redis://{user}{host}:{port}")))
    }

    /// What is wrong with these settings; empty if nothing is.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let schemes = ["redis://", "rediss://", "unix://", "redis+unix://"];
        if let Some(url) = &self.url
            && !schemes.iter().any(|scheme| url.reveal().starts_with(scheme))
        {
            problems.push("redis.url (REDIS_URL) does not begin with redis://".to_owned());
        }
        if self.url.is_none() && self.host.is_none() && self.password.is_some() {
            problems.push(
                "redis.password (REDIS_PASSWORD) is set, and neither redis.url (REDIS_URL) nor redis.host \
                 (REDIS_HOST) says where Redis is"
                    .to_owned(),
            );
        }
        problems
    }
}

/// A password as it may stand in a URL (RFC 3986, section 2.1).
fn escaped(text: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes()
        .map(|byte| if keep(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_made_of_what_is_there() {
        let of = |config: RedisConfig| config.address().map(|url| url.reveal().to_owned());
        assert_eq!(of(RedisConfig::default()), None);
        let host = RedisConfig { host: Some("redis".to_owned()), ..RedisConfig::default() };
        assert_eq!(of(host.clone()).unwrap(), "redis://redis:6379");
        let with_password = RedisConfig { password: Some(Secret::new("p@ss/w")), port: 6380, ..host };
        assert_eq!(of(with_password.clone()).unwrap(), "redis://:p%40ss%2Fw@redis:6380");
        let url = RedisConfig { url: Some(Secret::new("redis://r:1")), ..with_password };
        assert_eq!(of(url).unwrap(), "redis://r:1");
        let alone = RedisConfig { password: Some(Secret::new("x")), ..RedisConfig::default() };
        assert_eq!(alone.problems().len(), 1);
    }
}
