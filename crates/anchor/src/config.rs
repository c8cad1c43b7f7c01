//! The anchors' settings. Anchoring is on if address, contract and key are all there.
//! What is wrong with a value is said with the names that operators use, and never with a secret in it.

use std::time::Duration;

use bowline_types::{EvmAddress, Secret};
use serde::{Deserialize, Serialize};

use crate::wallet::Wallet;
use bowline_evm::{Patience, endpoint_addresses};

const GWEI: u128 = 1_000_000_000;

/// Settings of the anchors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses of the chain's JSON-RPC endpoints, with commas between them; asked in this order, each if the
    /// ones before it do not answer. They may hold keys, so they are never shown.
    pub rpc_url: Option<Secret>,
    /// The contract.
    pub contract: Option<String>,
    /// The private key of the account that commits, 32 bytes in hex.
    pub private_key: Option<Secret>,
    /// The chain's id; nothing is sent to a chain with another one.
    pub chain_id: u64,
    /// Seconds that a commitment waits at most before it is sent.
    pub interval_secs: u64,
    /// Pending commitments that are sent without waiting.
    pub batch_threshold: u64,
    /// Commitments in one transaction at most.
    pub transaction_commitments_max: usize,
    /// Blocks on top of a transaction's block that make it final.
    pub finality_confirmations: u64,
    /// Seconds between two looks at what is not final yet.
    pub finality_poll_secs: u64,
    /// Seconds between two comparisons of all that is marked as anchored with the chain.
    pub reconcile_secs: u64,
    /// Gwei a unit of gas that a transaction may cost at most; while the chain asks for more, nothing is sent.
    pub fee_gwei_max: u64,
    /// Gas of one transaction at most.
    pub gas_max: u64,
    /// Seconds after which a transaction that no block has taken is replaced by one that pays more.
    pub replace_after_secs: u64,
    /// Seconds that an endpoint may take to answer.
    pub call_secs_max: u64,
    /// Seconds that an endpoint which failed is left alone at first; five times as long at most.
    pub breaker_open_secs: u64,
    /// Seconds after which the work of a process that died is taken over.
    pub lease_secs: u64,
    /// Milliseconds between two looks at a transaction that is in no block, and at whether anything is due.
    pub poll_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rpc_url: None,
            contract: None,
            private_key: None,
            chain_id: 84_532_001,
            interval_secs: 60,
            batch_threshold: 10,
            transaction_commitments_max: 100,
            finality_confirmations: 6,
            finality_poll_secs: 30,
            reconcile_secs: 300,
            fee_gwei_max: 500,
            gas_max: 15_000_000,
            replace_after_secs: 60,
            call_secs_max: 30,
            breaker_open_secs: 60,
            lease_secs: 15,
            poll_ms: 1_000,
        }
    }
}

/// What is there if anchoring is on.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) addresses: Vec<Secret>,
    pub(crate) contract: EvmAddress,
    pub(crate) wallet: Wallet,
}

impl Config {
    /// Whether anchoring is on.
    pub fn is_on(&self) -> bool {
        self.rpc_url.is_some() && self.contract.is_some() && self.private_key.is_some()
    }

    /// What is wrong with the values; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let names = [
            ("anchor.rpc_url (L2_RPC_URL)", self.rpc_url.is_some()),
            ("anchor.contract (SET_REGISTRY_ADDRESS)", self.contract.is_some()),
            ("anchor.private_key (SEQUENCER_PRIVATE_KEY)", self.private_key.is_some()),
        ];
        let missing: Vec<&str> = names.iter().filter(|(_, set)| !set).map(|(name, _)| *name).collect();
        let mut problems = Vec::new();
        if !missing.is_empty() && missing.len() < names.len() {
            let missing = missing.join(" and ");
            problems.push(format!("anchoring needs {missing} too: set all three, or none to anchor nothing"));
        }
        if let Err(error) = self.chain() {
            problems.push(error);
        }
        for (name, value) in [
            ("transaction_commitments_max", self.transaction_commitments_max as u64),
            ("finality_confirmations", self.finality_confirmations),
            ("fee_gwei_max", self.fee_gwei_max),
            ("call_secs_max", self.call_secs_max),
            ("lease_secs", self.lease_secs),
            ("poll_ms", self.poll_ms),
        ] {
            if value == 0 {
                problems.push(format!("anchor.{name} is 0"));
            }
        }
        let max = u64::from(u32::MAX);
        for (name, value) in [
            ("interval_secs", self.interval_secs),
            ("finality_poll_secs", self.finality_poll_secs),
            ("reconcile_secs", self.reconcile_secs),
            ("replace_after_secs", self.replace_after_secs),
            ("call_secs_max", self.call_secs_max),
            ("breaker_open_secs", self.breaker_open_secs),
            ("lease_secs", self.lease_secs),
            ("poll_ms", self.poll_ms),
        ] {
            if value > max {
                problems.push(format!("anchor.{name} is larger than {max}"));
            }
        }
        if self.chain_id == 0 || i64::try_from(self.chain_id).is_err() {
            problems.push(format!("anchor.chain_id (L2_CHAIN_ID): no chain has the id {}", self.chain_id));
        }
        problems
    }

    /// The chain, if anchoring is on.
    pub(crate) fn chain(&self) -> Result<Option<Chain>, String> {
        let (Some(urls), Some(contract), Some(key)) = (&self.rpc_url, &self.contract, &self.private_key)
        else {
            return Ok(None);
        };
        let addresses = endpoint_addresses(urls).map_err(|e| format!("anchor.rpc_url (L2_RPC_URL): {e}"))?;
        let contract =
            contract.parse().map_err(|e| format!("anchor.contract (SET_REGISTRY_ADDRESS): {e}"))?;
        let wallet =
            Wallet::new(key).map_err(|e| format!("anchor.private_key (SEQUENCER_PRIVATE_KEY): {e}"))?;
        Ok(Some(Chain { addresses, contract, wallet }))
    }

    pub(crate) fn fee_cap(&self) -> u128 {
        u128::from(self.fee_gwei_max) * GWEI
    }

    /// When an endpoint is left alone: 5 failures within 120 s, or within 6 calls that hang; two answers in a row close its breaker.
    pub(crate) fn patience(&self) -> Patience {
        Patience { call_secs_max: self.call_secs_max, breaker_open_secs: self.breaker_open_secs }
    }

    pub(crate) fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms.max(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

    fn on() -> Config {
        Config {
            rpc_url: Some(Secret::new("http://127.0.0.1:8545, https://rpc.example/v2/abc")),
            contract: Some("0x5fbdb2315678afecb367f032d93f642f64180aa3".to_owned()),
            private_key: Some(Secret::new(KEY)),
            ..Config::default()
        }
    }

    #[test]
    fn all_three_or_none() {
        assert!(Config::default().problems().is_empty() && !Config::default().is_on());
        assert!(on().problems().is_empty() && on().is_on());
        let half = Config { private_key: None, ..on() };
        assert!(!half.is_on());
        assert!(half.problems().iter().any(|p| p.contains("SEQUENCER_PRIVATE_KEY")), "{:?}", half.problems());
    }

    #[test]
    fn what_is_wrong_is_named_and_secrets_are_not_repeated() {
        let cases = [
            (Config { rpc_url: Some(Secret::new("ws://h/secret")), ..on() }, "L2_RPC_URL"),
            (Config { rpc_url: Some(Secret::new(" , ")), ..on() }, "L2_RPC_URL"),
            (Config { contract: Some("0x12".to_owned()), ..on() }, "SET_REGISTRY_ADDRESS"),
            (Config { private_key: Some(Secret::new("secret")), ..on() }, "SEQUENCER_PRIVATE_KEY"),
            (Config { poll_ms: 0, ..on() }, "poll_ms"),
        ];
        for (config, named) in cases {
            let problems = config.problems().join("; ");
            assert!(problems.contains(named) && !problems.contains("secret"), "{problems}");
        }
    }
}
