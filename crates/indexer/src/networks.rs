//! The networks that have ERC-8004 registries: their ids, names, the words of their environment variables, and where
//! the registries are. Every mainnet has the same addresses, and so has every test network.

/// Where a network's registries are; none where there is no such registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) identity: Option<&'static str>,
    pub(crate) reputation: Option<&'static str>,
    pub(crate) validation: Option<&'static str>,
}

/// A network that is known by its id.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network {
    pub(crate) chain_id: u64,
    pub(crate) name: &'static str,
    pub(crate) addresses: Addresses,
    /// Registries of 2025 that are still there and have other addresses.
    pub(crate) legacy: Option<Addresses>,
}

const MAINNETS: Addresses = Addresses {
    identity: Some("0x8004A169FB4a3325136EB29fA0ceB6D2e539a432"),
    reputation: Some("0x8004BAa17C55a88189AE136b182e5fdA19dE9b63"),
    validation: None,
};

const TESTNETS: Addresses = Addresses {
    identity: Some("0x8004A818BFB912233c491871b3d84c89A494BD9e"),
    reputation: Some("0x8004B663056A597Dffe9eCcC1965A193B7388713"),
    validation: None,
};

const fn mainnet(chain_id: u64, name: &'static str) -> Network {
    Network { chain_id, name, addresses: MAINNETS, legacy: None }
}

const fn testnet(chain_id: u64, name: &'static str, legacy: [&'static str; 3]) -> Network {
    let [identity, reputation, validation] = legacy;
    let legacy =
        Addresses { identity: Some(identity), reputation: Some(reputation), validation: Some(validation) };
    Network { chain_id, name, addresses: TESTNETS, legacy: Some(legacy) }
}

/// All of them.
pub(crate) const NETWORKS: [Network; 20] = [
    mainnet(1, "Ethereum Mainnet"),
    mainnet(10, "Optimism"),
    mainnet(56, "BNB Smart Chain"),
    mainnet(100, "Gnosis"),
    mainnet(137, "Polygon"),
    mainnet(143, "Monad"),
    mainnet(2_741, "Abstract"),
    mainnet(4_326, "MegaETH"),
    mainnet(5_000, "Mantle"),
    mainnet(8_453, "Base Mainnet"),
    mainnet(42_161, "Arbitrum One"),
    mainnet(42_220, "Celo"),
    mainnet(43_114, "Avalanche"),
    mainnet(59_144, "Linea Mainnet"),
    mainnet(167_000, "Taiko"),
    mainnet(534_352, "Scroll"),
    testnet(
        11_155_111,
        "Ethereum Sepolia",
        [
            "0x8004a6090Cd10A7288092483047B097295Fb8847",
            "0x8004B8FD1A363aa02fDC07635C0c5F94f6Af5B7E",
            "0x8004CB39f29c09145F24Ad9dDe2A108C1A2cdfC5",
        ],
    ),
    testnet(
        84_532,
        "Base Sepolia",
        [
            "0x8004AA63c570c570eBF15376c0dB199918BFe9Fb",
            "0x8004bd8daB57f14Ed299135749a5CB5c42d341BF",
            "0x8004C269D0A5647E51E121FeB226200ECE932d55",
        ],
    ),
    testnet(
        59_141,
        "Linea Sepolia",
        [
            "0x8004aa7C931bCE1233973a0C6A667f73F66282e7",
            "0x8004bd8483b99310df121c46ED8858616b2Bba02",
            "0x8004c44d1EFdd699B2A26e781eF7F77c56A9a4EB",
        ],
    ),
    testnet(
        80_002,
        "Polygon Amoy",
        [
            "0x8004ad19E14B9e0654f73353e8a0B600D46C2898",
            "0x8004B12F4C2B42d00c46479e859C92e39044C930",
            "0x8004C11C213ff7BaD36489bcBDF947ba5eee289B",
        ],
    ),
];

/// The network of that id.
pub(crate) fn network(chain_id: u64) -> Option<&'static Network> {
    NETWORKS.iter().find(|network| network.chain_id == chain_id)
}

#[cfg(test)]
mod tests {
    use bowline_types::EvmAddress;

    use super::*;

    #[test]
    fn ids_are_different_and_addresses_can_be_read() {
        for (index, network) in NETWORKS.iter().enumerate() {
            assert!(!NETWORKS[..index].iter().any(|other| other.chain_id == network.chain_id));
            for set in [Some(network.addresses), network.legacy].into_iter().flatten() {
                for address in [set.identity, set.reputation, set.validation].into_iter().flatten() {
                    assert!(address.parse::<EvmAddress>().is_ok(), "{address}");
                }
            }
        }
    }
}
