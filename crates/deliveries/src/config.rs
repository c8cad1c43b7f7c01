//! The settings of deliveries: `triggers.delivery` in the configuration.
//! Every limit of a delivery that an operator may change is here, with its unit.

use std::time::Duration;

use bowline_types::{Secret, TenantId};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use crate::guard::Clients;

/// Settings of deliveries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Deliveries of this process at a time.
    pub workers: usize,
    /// Deliveries of one organization at a time; 0 for all workers but a fifth.
    pub tenant_in_flight_max: usize,
    /// Deliveries to one host at a time; 0 for all workers but a fifth.
    pub destination_in_flight_max: usize,
    /// Attempts at one job, if its action does not say.
    pub attempts_max: u32,
    /// Seconds after which jobs of a process that died are delivered by another one.
    pub lease_secs: u64,
    /// Milliseconds between two polls for jobs, beside wake-ups.
    pub poll_ms: u64,
    /// Seconds that deliveries under way get when the process stops.
    pub drain_secs: u64,
    /// Hours that a job waits behind open circuit breakers before it becomes a dead letter.
    pub barred_hours_max: u64,
    /// Days for which delivered and cancelled jobs are kept, with their attempts.
    pub jobs_keep_days: u64,
    /// Days for which dead letters are kept; 0 for until an operator purges them.
    pub dead_letters_keep_days: u64,
    /// Where deliveries may go beside public addresses: networks, addresses, and `host:port`.
    pub allow: Vec<String>,
    /// Where the deliveries of one organization may go beside these: 100 organizations at most.
    pub allow_by_organization: Vec<OrganizationAllow>,
    /// Where the Telegram Bot API is.
    pub telegram_api_url: String,
    /// The bot of actions that name none.
    pub telegram_bot_token: Option<Secret>,
    /// Whether actions may start programs of this machine.
    pub mcp_stdio_allowed: bool,
    /// The search path of these programs, and all of this process's environment that they get (`PATH`).
    pub mcp_path: String,
}

/// Where one organization's deliveries may go beside the addresses that all may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationAllow {
    /// The organization.
    pub organization: TenantId,
    /// Networks, addresses, and `host:port`.
    pub allow: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 5,
            tenant_in_flight_max: 0,
            destination_in_flight_max: 0,
            attempts_max: 5,
            lease_secs: 60,
            poll_ms: 1_000,
            drain_secs: 10,
            barred_hours_max: 24,
            jobs_keep_days: 30,
            dead_letters_keep_days: 0,
            allow: Vec::new(),
            allow_by_organization: Vec::new(),
            telegram_api_url: "https://api.telegram.org".to_owned(),
            telegram_bot_token: None,
            mcp_stdio_allowed: false,
            mcp_path: "/usr/local/bin:/usr/bin:/bin".to_owned(),
        }
    }
}

impl Config {
    /// What is wrong with the values; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, value, min, max) in [
            ("workers", self.workers as u64, 1, 10_000),
            ("tenant_in_flight_max", self.tenant_in_flight_max as u64, 0, 10_000),
            ("destination_in_flight_max", self.destination_in_flight_max as u64, 0, 10_000),
            ("attempts_max", u64::from(self.attempts_max), 1, 20),
            ("lease_secs", self.lease_secs, 3, 3_600),
            ("poll_ms", self.poll_ms, 10, 60_000),
            ("drain_secs", self.drain_secs, 0, 600),
            ("barred_hours_max", self.barred_hours_max, 1, 8_760),
        ] {
            if value < min || value > max {
                problems.push(format!("triggers.delivery.{name} is {value}: take {min} to {max}"));
            }
        }
        if let Err(problem) = Clients::check(&self.allow, &self.allow_by_organization) {
            problems.push(format!("triggers.delivery.{problem}"));
        }
        if let Err(problem) = self.telegram_api() {
            problems.push(format!("triggers.delivery.telegram_api_url: {problem}"));
        }
        problems
    }

    pub(crate) fn telegram_api(&self) -> Result<Url, String> {
        let url: Url = self.telegram_api_url.parse().map_err(|error| format!("is no address: {error}"))?;
        let is_plain =
            matches!(url.scheme(), "http" | "https") && url.query().is_none() && url.fragment().is_none();
        if is_plain { Ok(url) } else { Err("must be http or https, without a query".to_owned()) }
    }

    pub(crate) fn tenant_max(&self) -> usize {
        self.share(self.tenant_in_flight_max)
    }

    pub(crate) fn destination_max(&self) -> usize {
        self.share(self.destination_in_flight_max)
    }

    fn share(&self, max: usize) -> usize {
        let most = self.workers - (self.workers / 5).max(usize::from(self.workers > 1));
        if max == 0 { most } else { max }
    }

    pub(crate) fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_secs)
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(Config::default().problems(), Vec::<String>::new());
        let default = Config::default;
        for (config, named) in [
            (Config { workers: 0, ..default() }, "workers"),
            (Config { allow: vec!["nonsense".to_owned()], ..default() }, "allow"),
            (
                Config {
                    allow_by_organization: vec![OrganizationAllow {
                        organization: TenantId::NIL,
                        allow: vec!["nonsense".to_owned()],
                    }],
                    ..default()
                },
                "allow_by_organization[0]",
            ),
            (Config { telegram_api_url: "ftp://h".to_owned(), ..default() }, "telegram_api_url"),
            (Config { lease_secs: 1, ..default() }, "lease_secs"),
            (Config { barred_hours_max: 0, ..default() }, "barred_hours_max"),
        ] {
            assert!(config.problems().join(";").contains(named), "{named}");
        }
        assert_eq!(default().tenant_max(), 4);
        assert_eq!(Config { workers: 1, ..default() }.tenant_max(), 1);
        assert_eq!(Config { workers: 2, ..default() }.tenant_max(), 1);
    }
}
