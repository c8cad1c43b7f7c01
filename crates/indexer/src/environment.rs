//! The well-known names of environment variables that set up a chain, such as `BASE_SEPOLIA_RPC_URL`.
//!
//! It reads nothing itself: whoever reads the environment hands in a look-up.

use bowline_types::Secret;

use crate::config::{ChainConfig, Config};

/// The networks that have names of their own, with the first block of the registries where it is known.
const NETWORKS: [(&str, u64, u64); 7] = [
    ("ETHEREUM_SEPOLIA", 11_155_111, 9_989_393),
    ("BASE_SEPOLIA", 84_532, 0),
    ("LINEA_SEPOLIA", 59_141, 0),
    ("POLYGON_AMOY", 80_002, 0),
    ("ETHEREUM_MAINNET", 1, 0),
    ("BASE_MAINNET", 8_453, 0),
    ("LINEA_MAINNET", 59_144, 0),
];

/// What an address of an endpoint may be called, in the order in which endpoints are asked.
const ENDPOINTS: [&str; 7] =
    ["RPC_URL", "RPC_ALCHEMY", "RPC_INFURA", "RPC_QUIKNODE", "RPC_ANKR", "RPC_PUBLICNODE", "RPC_LLAMANODES"];

/// The other settings of a chain.
const SETTINGS: [&str; 6] = [
    "START_BLOCK",
    "IDENTITY_ADDRESS",
    "REPUTATION_ADDRESS",
    "VALIDATION_ADDRESS",
    "CONFIRMATIONS",
    "FINALIZED",
];

impl Config {
    /// All names that [`Self::add_environment`] may look up.
    pub fn environment_names() -> Vec<String> {
        let of = |(network, _, _): &(&str, u64, u64)| {
            let names = ENDPOINTS.iter().chain(&SETTINGS);
            names.map(|name| format!("{network}_{name}")).collect::<Vec<_>>()
        };
        NETWORKS.iter().flat_map(of).collect()
    }

    /// Adds each chain that has an endpoint by these names, and replaces settings of chains that are there already.
    ///
    /// # Errors
    /// What is wrong with the values, by their names.
    pub fn add_environment(&mut self, look_up: &dyn Fn(&str) -> Option<String>) -> Result<(), Vec<String>> {
        let mut problems = Vec::new();
        for (network, chain_id, start_block) in NETWORKS {
            let value = |name: &str| {
                look_up(&format!("{network}_{name}"))
                    .map(|value| value.trim().to_owned())
                    .filter(|value| !value.is_empty())
            };
            let endpoints: Vec<String> = ENDPOINTS.iter().filter_map(|name| value(name)).collect();
            let known = self.chains.iter().position(|chain| chain.chain_id == chain_id);
            let index = match (known, endpoints.is_empty()) {
                (Some(index), _) => index,
                (None, true) => continue,
                (None, false) => {
                    self.chains.push(ChainConfig { chain_id, start_block, ..ChainConfig::default() });
                    self.chains.len() - 1
                }
            };
            let Some(chain) = self.chains.get_mut(index) else { continue };
            if !endpoints.is_empty() {
                chain.rpc_urls = Secret::new(endpoints.join(","));
            }
            let registries = &mut chain.registries;
            for (name, field) in [
                ("IDENTITY_ADDRESS", &mut registries.identity),
                ("REPUTATION_ADDRESS", &mut registries.reputation),
                ("VALIDATION_ADDRESS", &mut registries.validation),
            ] {
                if let Some(address) = value(name) {
                    *field = Some(address);
                }
            }
            for (name, field) in
                [("START_BLOCK", &mut chain.start_block), ("CONFIRMATIONS", &mut chain.confirmations)]
            {
                match value(name).map(|text| text.parse()) {
                    Some(Ok(number)) => *field = number,
                    Some(Err(_)) => problems.push(format!("{network}_{name} is not a number of blocks")),
                    None => {}
                }
            }
            match value("FINALIZED").as_deref() {
                Some("true") => chain.finalized = true,
                Some("false") => chain.finalized = false,
                Some(_) => problems.push(format!("{network}_FINALIZED is neither true nor false")),
                None => {}
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn with(values: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let values: HashMap<String, String> =
            values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut config = Config::default();
        config.add_environment(&|name| values.get(name).cloned()).map(|()| config)
    }

    #[test]
    fn a_chain_is_there_if_it_has_an_endpoint() {
        assert_eq!(with(&[("BASE_SEPOLIA_START_BLOCK", "7")]).unwrap(), Config::default());
        let config = with(&[
            ("ETHEREUM_SEPOLIA_RPC_URL", "http://a, http://b"),
            ("ETHEREUM_SEPOLIA_RPC_ANKR", "http://c"),
            ("BASE_SEPOLIA_RPC_INFURA", "http://d"),
            ("BASE_SEPOLIA_START_BLOCK", "7"),
            ("BASE_SEPOLIA_CONFIRMATIONS", "3"),
            ("BASE_SEPOLIA_FINALIZED", "true"),
            ("BASE_SEPOLIA_VALIDATION_ADDRESS", "0x0000000000000000000000000000000000000000"),
            ("BASE_SEPOLIA_IDENTITY_ADDRESS", ""),
        ])
        .unwrap();
        assert_eq!(config.problems(), Vec::<String>::new());
        let [sepolia, base] = &config.chains[..] else { panic!("{config:?}") };
        assert_eq!(sepolia.rpc_urls.reveal(), "http://a, http://b,http://c");
        assert_eq!((sepolia.chain_id, sepolia.start_block), (11_155_111, 9_989_393));
        assert_eq!(
            (base.chain_id, base.start_block, base.confirmations, base.finalized),
            (84_532, 7, 3, true)
        );
        assert!(base.registries.identity.is_none() && base.registries.validation.is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let values = [
            ("BASE_SEPOLIA_RPC_URL", "http://a"),
            ("BASE_SEPOLIA_START_BLOCK", "seven"),
            ("BASE_SEPOLIA_FINALIZED", "1"),
        ];
        let problems = with(&values).unwrap_err().join("; ");
        assert!(problems.contains("START_BLOCK") && problems.contains("FINALIZED"), "{problems}");
        assert!(Config::environment_names().iter().any(|name| name == "POLYGON_AMOY_RPC_QUIKNODE"));
    }
}
