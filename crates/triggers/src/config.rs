//! The triggers' settings: how many there may be, and how they are matched.
//!
//! Every limit has its unit in its name, and what is wrong with a value is said with the setting's name.

use bowline_types::Secret;
use serde::{Deserialize, Serialize};

/// Settings of the triggers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Triggers that one organization may have.
    pub per_tenant_max: u64,
    /// Back-tests that this process runs at a time; one organization may have half of them.
    pub backtests_max: usize,
    /// The key under which the secrets of actions are kept: 32 bytes in hex or base64, the same in every process of a
    /// store. Made on the first start and kept in the data folder if absent.
    pub secrets_key: Option<Secret>,
    /// How they are matched.
    pub matching: MatchingConfig,
    /// How their jobs are delivered.
    pub delivery: bowline_deliveries::Config,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            per_tenant_max: 10_000,
            backtests_max: 4,
            secrets_key: None,
            matching: MatchingConfig::default(),
            delivery: bowline_deliveries::Config::default(),
        }
    }
}

/// Settings of matching.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MatchingConfig {
    /// Events that one step takes at most.
    pub page_events: usize,
    /// Payload bytes that one step takes at most.
    pub page_bytes: usize,
    /// Jobs that one transaction writes at most.
    pub step_jobs_max: usize,
    /// Milliseconds between two looks at streams of which no wake-up came.
    pub poll_ms: u64,
    /// Seconds after which a process that died is replaced.
    pub lease_secs: u64,
    /// Seconds that one step may take; one that takes longer is tried again with half of its events.
    pub step_secs_max: u64,
    /// Tries at an event that fails, panics or takes too long alone before it is set aside.
    pub tries_max: u32,
    /// Waiting jobs from which on a warning is logged.
    pub queue_high_depth: u64,
    /// Waiting jobs from which on nothing more is matched until there are fewer.
    pub queue_critical_depth: u64,
    /// Waiting jobs that one organization keeps: when the queue reaches its critical depth, those of an
    /// organization with more that circuit breakers bar or that were tried before become dead letters, the oldest first.
    /// Below `queue_critical_depth`; 0 for two fifths of it.
    pub queue_tenant_depth: u64,
    /// Days that it is remembered which events were matched.
    pub processed_keep_days: u64,
    /// Whether every event gets a line in the log, a hundred a second at most.
    pub log_each_event: bool,
}

impl Default for MatchingConfig {
    fn default() -> Self {
        Self {
            page_events: 500,
            page_bytes: 4 << 20,
            step_jobs_max: 5_000,
            poll_ms: 5_000,
            lease_secs: 15,
            step_secs_max: 30,
            tries_max: 3,
            queue_high_depth: 10_000,
            queue_critical_depth: 50_000,
            queue_tenant_depth: 0,
            processed_keep_days: 7,
            log_each_event: true,
        }
    }
}

impl MatchingConfig {
    /// Waiting jobs that an organization keeps when the queue is at its critical depth.
    pub fn tenant_depth(&self) -> u64 {
        match self.queue_tenant_depth {
            0 => (self.queue_critical_depth / 5).saturating_mul(2).max(1),
            depth => depth,
        }
    }
}

impl Config {
    /// What is wrong with the values; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let MatchingConfig { page_events, page_bytes, step_jobs_max, poll_ms, lease_secs, .. } =
            self.matching;
        let MatchingConfig { step_secs_max, tries_max, queue_high_depth, queue_critical_depth, .. } =
            self.matching;
        let max = u64::from(u32::MAX);
        let mut problems = Vec::new();
        for (name, value) in [
            ("per_tenant_max", self.per_tenant_max),
            ("backtests_max", self.backtests_max as u64),
            ("matching.page_events", page_events as u64),
            ("matching.page_bytes", page_bytes as u64),
            ("matching.step_jobs_max", step_jobs_max as u64),
            ("matching.poll_ms", poll_ms),
            ("matching.lease_secs", lease_secs),
            ("matching.step_secs_max", step_secs_max),
            ("matching.tries_max", u64::from(tries_max)),
            ("matching.queue_critical_depth", queue_critical_depth),
            ("matching.processed_keep_days", self.matching.processed_keep_days),
        ] {
            if value == 0 || value > max {
                problems.push(format!("triggers.{name} is {value}: take 1 to {max}"));
            }
        }
        if queue_high_depth > queue_critical_depth {
            problems.push("triggers.matching.queue_high_depth is above queue_critical_depth".to_owned());
        }
        let queue_tenant_depth = self.matching.queue_tenant_depth;
        if queue_tenant_depth != 0 && queue_tenant_depth >= queue_critical_depth {
            problems.push(format!(
                "triggers.matching.queue_tenant_depth is {queue_tenant_depth}: take less than queue_critical_depth"
            ));
        }
        problems.extend(self.delivery.problems());
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_organization_never_fills_the_queue() {
        let depth = |queue_critical_depth, queue_tenant_depth| {
            let matching = MatchingConfig {
                queue_high_depth: 1,
                queue_critical_depth,
                queue_tenant_depth,
                ..MatchingConfig::default()
            };
            let config = Config { matching, ..Config::default() };
            (config.matching.tenant_depth(), config.problems())
        };
        assert_eq!(Config::default().matching.tenant_depth(), 20_000);
        assert_eq!(depth(1_000, 0), (400, Vec::new()));
        assert_eq!(depth(1_000, 999), (999, Vec::new()));
        assert_eq!(
            depth(1_000, 1_000).1,
            ["triggers.matching.queue_tenant_depth is 1000: take less than queue_critical_depth"]
        );
    }
}
