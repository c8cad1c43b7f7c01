//! The indexer's settings: which chains, over which endpoints, and which contracts. Without a chain nothing runs.
//! What is wrong with a value is said with its name, and never with an endpoint's address in it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use alloy_json_abi::JsonAbi;
use bowline_evm::{Patience, endpoint_addresses};
use bowline_types::{EvmAddress, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decode::Decoder;
use crate::networks::network;

/// A chain's id is a number in payloads, which are canonical JSON.
const CHAIN_ID_MAX: u64 = 1 << 53;

/// Settings of the indexer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The chains that are indexed.
    pub chains: Vec<ChainConfig>,
    /// Seconds after which a chain is taken over from a process that died.
    pub lease_secs: u64,
    /// Seconds that an endpoint may take to answer.
    pub call_secs_max: u64,
    /// Seconds that an endpoint which failed is left alone at first; five times as long at most.
    pub breaker_open_secs: u64,
    /// Where the indexer alone tells how far chains are, without a credential: 127.0.0.1:42069; nowhere if absent.
    pub status_address: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            chains: Vec::new(),
            lease_secs: 15,
            call_secs_max: 30,
            breaker_open_secs: 60,
            status_address: None,
        }
    }
}

/// Settings of one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChainConfig {
    /// Its id by EIP-155.
    pub chain_id: u64,
    /// Its name for people; a known chain has one.
    pub name: Option<String>,
    /// Addresses of its JSON-RPC endpoints, with commas between them. They may hold keys, so they are never shown.
    pub rpc_urls: Secret,
    /// The first block, if the chain was not indexed before.
    pub start_block: u64,
    /// Blocks on top that a block must have before it is read.
    pub confirmations: u64,
    /// Whether only blocks are read that the chain calls final.
    pub finalized: bool,
    /// Where the ERC-8004 registries are, if not where this chain has them.
    pub registries: Registries,
    /// Whether the registries of 2025 are read too, where a known chain has them.
    pub legacy: bool,
    /// Other contracts.
    pub contracts: Vec<ContractConfig>,
    /// Blocks that are asked for at once at most; fewer if an endpoint can't answer so many.
    pub range_max: u64,
    /// Requests a second to each endpoint; 0 is any number.
    pub requests_per_sec: u32,
    /// Milliseconds between two looks at the chain's head.
    pub poll_ms: u64,
}

impl Default for ChainConfig {
    fn default() -> Self {
        Self {
            chain_id: 0,
            name: None,
            rpc_urls: Secret::new(""),
            start_block: 0,
            confirmations: 0,
            finalized: false,
            registries: Registries::default(),
            legacy: true,
            contracts: Vec::new(),
            range_max: 10_000,
            requests_per_sec: 25,
            poll_ms: 2_000,
        }
    }
}

/// Addresses of the registries. What is absent is where a known chain has it; the zero address leaves one out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Registries {
    /// The identity registry.
    pub identity: Option<String>,
    /// The reputation registry.
    pub reputation: Option<String>,
    /// The validation registry.
    pub validation: Option<String>,
}

/// A contract that is no ERC-8004 registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractConfig {
    /// What stands as `registry` with its events.
    pub name: String,
    /// Where it is.
    pub address: String,
    /// Its ABI: the JSON array, a compiler's object with one under `abi`, or the path of a file with either.
    pub abi: Value,
}

impl Config {
    /// Whether any chain is indexed.
    pub fn is_on(&self) -> bool {
        !self.chains.is_empty()
    }

    /// What is wrong with the values; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let max = u64::from(u32::MAX);
        let seconds = [
            ("lease_secs", self.lease_secs),
            ("call_secs_max", self.call_secs_max),
            ("breaker_open_secs", self.breaker_open_secs),
        ];
        for (name, value) in seconds {
            if value == 0 || value > max {
                problems.push(format!("indexer.{name} is {value}; it must be 1 to {max}"));
            }
        }
        let mut seen = BTreeSet::new();
        for (index, chain) in self.chains.iter().enumerate() {
            if !seen.insert(chain.chain_id) {
                problems
                    .push(format!("indexer.chains[{index}]: the chain {} is there twice", chain.chain_id));
            }
            let of_chain = chain.problems();
            problems.extend(of_chain.into_iter().map(|problem| format!("indexer.chains[{index}].{problem}")));
        }
        problems
    }

    pub(crate) fn patience(&self) -> Patience {
        Patience { call_secs_max: self.call_secs_max, breaker_open_secs: self.breaker_open_secs }
    }
}

impl ChainConfig {
    /// The name for people.
    pub fn title(&self) -> String {
        let known = || network(self.chain_id).map(|network| network.name.to_owned());
        self.name.clone().or_else(known).unwrap_or_else(|| format!("chain {}", self.chain_id))
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.chain_id == 0 || self.chain_id > CHAIN_ID_MAX {
            problems.push(format!("chain_id: no chain has the id {}", self.chain_id));
        }
        if let Err(problem) = endpoint_addresses(&self.rpc_urls) {
            problems.push(format!("rpc_urls: {problem}"));
        }
        for (name, value) in [("range_max", self.range_max), ("poll_ms", self.poll_ms)] {
            if value == 0 || value > u64::from(u32::MAX) {
                problems.push(format!("{name} is {value}; it must be 1 to {}", u32::MAX));
            }
        }
        if let Err(problem) = self.decoder() {
            problems.push(problem);
        }
        problems
    }

    /// What is watched, and how it is read.
    pub(crate) fn decoder(&self) -> Result<Decoder, String> {
        let mut decoder = Decoder::default();
        let known = network(self.chain_id);
        let given = &self.registries;
        let current = known.map(|known| known.addresses);
        let legacy = known.and_then(|known| known.legacy).filter(|_| self.legacy);
        for (name, given, current, legacy) in [
            ("identity", &given.identity, current.and_then(|a| a.identity), legacy.and_then(|a| a.identity)),
            (
                "reputation",
                &given.reputation,
                current.and_then(|a| a.reputation),
                legacy.and_then(|a| a.reputation),
            ),
            (
                "validation",
                &given.validation,
                current.and_then(|a| a.validation),
                legacy.and_then(|a| a.validation),
            ),
        ] {
            let first = given.as_deref().or(current).map(|text| address(text, &format!("registries.{name}")));
            let first = first.transpose()?;
            if first == Some(EvmAddress::default()) {
                continue;
            }
            let legacy = legacy.map(|text| address(text, "registries")).transpose()?;
            for address in first.into_iter().chain(legacy.filter(|legacy| Some(*legacy) != first)) {
                decoder.add_registry(name, address).map_err(|e| format!("registries.{name}: {e}"))?;
            }
        }
        for (index, contract) in self.contracts.iter().enumerate() {
            let place = format!("contracts[{index}]");
            if contract.name.is_empty() || contract.name.len() > 64 || Decoder::is_registry(&contract.name) {
                return Err(format!("{place}.name must be 1 to 64 bytes and no registry's"));
            }
            let at = address(&contract.address, &format!("{place}.address"))?;
            let abi = read_abi(&contract.abi).map_err(|e| format!("{place}.abi: {e}"))?;
            decoder.add_contract(&contract.name, at, &abi).map_err(|e| format!("{place}: {e}"))?;
        }
        if decoder.addresses().is_empty() {
            return Err(
                "registries: nothing to watch on this chain; give an address or a contract".to_owned()
            );
        }
        Ok(decoder)
    }
}

fn address(text: &str, name: &str) -> Result<EvmAddress, String> {
    text.trim().parse().map_err(|e| format!("{name}: {e}"))
}

fn read_abi(abi: &Value) -> Result<JsonAbi, String> {
    let parse = |abi: &Value| {
        serde_json::from_value::<JsonAbi>(abi.get("abi").unwrap_or(abi).clone()).map_err(|e| e.to_string())
    };
    let Some(text) = abi.as_str() else { return parse(abi) };
    let read = if text.trim_start().starts_with(['[', '{']) {
        text.to_owned()
    } else {
        std::fs::read_to_string(text).map_err(|e| format!("{text} can't be read: {e}"))?
    };
    parse(&serde_json::from_str(&read).map_err(|e| e.to_string())?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn on(chain_id: u64) -> ChainConfig {
        ChainConfig {
            chain_id,
            rpc_urls: Secret::new("http://127.0.0.1:8545/secret"),
            ..ChainConfig::default()
        }
    }

    fn config(chain: ChainConfig) -> Config {
        Config { chains: vec![chain], ..Config::default() }
    }

    #[test]
    fn nothing_is_indexed_unless_a_chain_is_named() {
        assert!(!Config::default().is_on() && Config::default().problems().is_empty());
        let config = config(on(84_532));
        assert!(config.is_on() && config.problems().is_empty(), "{:?}", config.problems());
        assert_eq!(config.chains[0].title(), "Base Sepolia");
    }

    #[test]
    fn a_known_chain_has_its_registries_and_those_of_2025() {
        assert_eq!(on(84_532).decoder().unwrap().addresses().len(), 5);
        assert_eq!(on(8_453).decoder().unwrap().addresses().len(), 2);
        let zero = Some(format!("0x{}", "0".repeat(40)));
        let some = Registries { identity: zero.clone(), validation: zero, ..Registries::default() };
        let chain = ChainConfig { registries: some, ..on(84_532) };
        assert_eq!(chain.decoder().unwrap().addresses().len(), 2);
        assert_eq!(ChainConfig { legacy: false, ..on(84_532) }.decoder().unwrap().addresses().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_and_addresses_are_not_repeated() {
        let contract =
            |abi: Value| ContractConfig { name: "t".to_owned(), address: format!("0x{:040x}", 9), abi };
        let bad_address = Registries { identity: Some("0x12".to_owned()), ..Registries::default() };
        let cases = [
            (on(0), "chain_id"),
            (on(31_337), "nothing to watch"),
            (ChainConfig { rpc_urls: Secret::new("ws://h/secret"), ..on(1) }, "rpc_urls"),
            (ChainConfig { poll_ms: 0, ..on(1) }, "poll_ms"),
            (ChainConfig { registries: bad_address, ..on(1) }, "registries.identity"),
            (ChainConfig { contracts: vec![contract(json!("/no/such/file"))], ..on(1) }, "contracts[0].abi"),
            (ChainConfig { contracts: vec![contract(json!([]))], ..on(1) }, "contracts[0]"),
        ];
        for (chain, named) in cases {
            let problems = config(chain).problems().join("; ");
            assert!(problems.contains(named) && !problems.contains("secret"), "{named}: {problems}");
        }
        let twice = Config { chains: vec![on(1), on(1)], ..Config::default() };
        assert!(twice.problems()[0].contains("twice"));
    }
}
