//! Logs to named values, by the contract's address and the first topic.
//!
//! A log is decoded only if nothing of it is lost: encoded again, the values must give the same bytes. Anything else,
//! an unknown event as well, is left to the caller as it came.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use alloy_dyn_abi::{DynSolEvent, DynSolValue, Specifier as _};
use alloy_json_abi::{Event, JsonAbi};
use alloy_primitives::B256;
use bowline_evm::Log;
use bowline_types::EvmAddress;
use serde_json::{Map, Value};

use crate::abi::{IDENTITY, Known, LEFT_OUT, PADDED_TEXT, PROXY, REPUTATION, VALIDATION};
use crate::value::{add_feedback_value, json, padded_text};

/// What every event has beside its own values.
const TAKEN: [&str; 13] = [
    "chain_id",
    "block_number",
    "block_hash",
    "timestamp",
    "transaction_hash",
    "log_index",
    "address",
    "registry",
    "event_type",
    "occurrence",
    "topics",
    "data",
    "retracts",
];

/// What is watched on a chain, and how it is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decoder {
    contracts: BTreeMap<EvmAddress, Contract>,
}

#[derive(Debug, Clone)]
struct Contract {
    name: Arc<str>,
    events: HashMap<B256, Vec<EventKind>>,
}

#[derive(Debug, Clone)]
struct EventKind {
    name: Arc<str>,
    event: DynSolEvent,
    indexed: Vec<Key>,
    body: Vec<Key>,
}

/// What a value is called.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Key {
    LeftOut,
    Plain(String),
    PaddedText(String),
}

/// A log's event.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) event_type: Arc<str>,
    pub(crate) values: Map<String, Value>,
}

impl Decoder {
    /// Whether that is the name of an ERC-8004 registry.
    pub(crate) fn is_registry(name: &str) -> bool {
        registry_events(name).is_some()
    }

    pub(crate) fn add_registry(&mut self, name: &str, address: EvmAddress) -> Result<(), String> {
        let known = registry_events(name).ok_or("no such registry")?;
        let events = known.iter().chain(PROXY).map(builtin).collect::<Result<_, _>>()?;
        self.add(name, address, events)
    }

    pub(crate) fn add_contract(
        &mut self,
        name: &str,
        address: EvmAddress,
        abi: &JsonAbi,
    ) -> Result<(), String> {
        let own: Vec<EventKind> =
            abi.events().filter(|event| !event.anonymous).map(of_abi).collect::<Result<_, _>>()?;
        if own.is_empty() {
            return Err("the ABI has no event".to_owned());
        }
        let is_own = |kind: &EventKind| own.iter().any(|own| own.event.topic_0() == kind.event.topic_0());
        let proxy = PROXY.iter().map(builtin).collect::<Result<Vec<_>, _>>()?;
        let proxy: Vec<EventKind> = proxy.into_iter().filter(|kind| !is_own(kind)).collect();
        self.add(name, address, [own, proxy].concat())
    }

    fn add(&mut self, name: &str, address: EvmAddress, kinds: Vec<EventKind>) -> Result<(), String> {
        let mut events: HashMap<B256, Vec<EventKind>> = HashMap::new();
        for kind in kinds {
            let topic = kind.event.topic_0().ok_or("an event has no topic of its own")?;
            events.entry(topic).or_default().push(kind);
        }
        match self.contracts.insert(address, Contract { name: name.into(), events }) {
            None => Ok(()),
            Some(_) => Err(format!("{address} is there twice")),
        }
    }

    /// The contracts, ascending.
    pub(crate) fn addresses(&self) -> Vec<EvmAddress> {
        self.contracts.keys().copied().collect()
    }

    /// The names that a log's contract may have.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> =
            self.contracts.values().map(|contract| Arc::clone(&contract.name)).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The name of a log's contract, and the log's event unless it can't be read; none if the contract is not watched.
    pub(crate) fn decode(&self, log: &Log) -> Option<(Arc<str>, Option<Decoded>)> {
        let contract = self.contracts.get(&log.address())?;
        let kinds = log.topics.first().and_then(|topic| contract.events.get(topic));
        let decoded = kinds.and_then(|kinds| kinds.iter().find_map(|kind| kind.decode(log)));
        Some((Arc::clone(&contract.name), decoded))
    }
}

impl EventKind {
    fn decode(&self, log: &Log) -> Option<Decoded> {
        let decoded = self.event.decode_log_parts(log.topics.iter().copied(), &log.data).ok()?;
        let mut topics = decoded.indexed.iter().zip(log.topics.get(1..)?);
        let body = DynSolValue::Tuple(decoded.body);
        if !topics.all(|(value, topic)| value.as_word() == Some(*topic))
            || body.abi_encode_sequence()? != log.data
        {
            return None;
        }
        let mut values = Map::new();
        let indexed = self.indexed.iter().zip(&decoded.indexed);
        for (key, value) in indexed.chain(self.body.iter().zip(body.as_tuple()?)) {
            match key {
                Key::LeftOut => {}
                Key::Plain(key) => drop(values.insert(key.clone(), json(value))),
                Key::PaddedText(key) => {
                    values.insert(key.clone(), padded_text(value));
                    values.insert(format!("{key}_bytes32"), json(value));
                }
            }
        }
        add_feedback_value(&mut values);
        Some(Decoded { event_type: Arc::clone(&self.name), values })
    }

    fn new(event: &Event, keys: Vec<Key>) -> Result<Self, String> {
        let resolved = event.resolve().map_err(|e| format!("event {}: {e}", event.name))?;
        let keyed = |is_indexed: bool| {
            let inputs = event.inputs.iter().zip(&keys);
            inputs.filter(|(input, _)| input.indexed == is_indexed).map(|(_, key)| key.clone()).collect()
        };
        let (indexed, body) = (keyed(true), keyed(false));
        Ok(Self { name: event.name.as_str().into(), event: resolved, indexed, body })
    }
}

fn registry_events(name: &str) -> Option<&'static [Known]> {
    match name {
        "identity" => Some(IDENTITY),
        "reputation" => Some(REPUTATION),
        "validation" => Some(VALIDATION),
        _ => None,
    }
}

fn builtin((signature, keys): &Known) -> Result<EventKind, String> {
    let event = Event::parse(signature).map_err(|e| format!("{signature}: {e}"))?;
    let keys = keys.iter().map(|key| match (*key, key.strip_suffix(PADDED_TEXT)) {
        (LEFT_OUT, _) => Key::LeftOut,
        (_, Some(key)) => Key::PaddedText(key.to_owned()),
        (key, None) => Key::Plain(key.to_owned()),
    });
    EventKind::new(&event, keys.collect())
}

/// Values keep the names of the ABI, unless the event has such a field anyway.
fn of_abi(event: &Event) -> Result<EventKind, String> {
    if event.name.is_empty() || event.name.len() > 256 {
        return Err("an event's name must be 1 to 256 bytes".to_owned());
    }
    let mut keys: Vec<Key> = Vec::new();
    for (index, input) in event.inputs.iter().enumerate() {
        let plain = Key::Plain(input.name.clone());
        let key = match input.name.as_str() {
            "" => Key::Plain(format!("arg{index}")),
            name if TAKEN.contains(&name) => Key::Plain(format!("arg_{name}")),
            _ if keys.contains(&plain) => Key::Plain(format!("arg{index}")),
            _ => plain,
        };
        keys.push(key);
    }
    EventKind::new(event, keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_has_the_first_topic_that_chains_know() {
        let pinned = [
            ("Registered", "0xca52e62c367d81bb2e328eb795f7c7ba24afb478408a26c0e201d155c449bc4a"),
            ("MetadataSet", "0x2c149ed548c6d2993cd73efe187df6eccabe4538091b33adbd25fafdb8a1468b"),
            ("URIUpdated", "0x3a2c7fffc2cba7582c690e3b82c453ea02a308326a98a3ad7576c606336409fb"),
            ("Transfer", "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef"),
            ("Approval", "0x8c5be1e5ebec7d5bd14f71427d1e84f3dd0314c0f7b2291e5b200ac8c7c3b925"),
            ("ApprovalForAll", "0x17307eab39ab6107e8899845ad3d59bd9653f200f220920489ca2b5937696c31"),
            ("MetadataUpdate", "0xf8e1a15aba9398e019f0b49df1a4fde98ee17ae345cb5f6b5e2c27f5033e8ce7"),
            ("BatchMetadataUpdate", "0x6bd5c950a8d8df17f772f5af37cb3655737899cbf903264b9795592da439661c"),
            ("NewFeedback", "0x6a4a61743519c9d648a14e6493f47dbe3ff1aa29e7785c96c8326a205e58febc"),
            ("NewFeedback", "0x31f01d2aa5cdbe0619011211e9ffc39d678bc82e46d60c35953396ae61e896d8"),
            ("NewFeedback", "0x801d7d4264128f6f43835850f1fabb91902c3543c3738f1f62fbf7e9fd80531d"),
            ("NewFeedback", "0x54b3254e4cc01969e70376d20390cc2f6af90539d9adaa78a53ebcda17f78154"),
            ("FeedbackRevoked", "0x25156fd3288212246d8b008d5921fde376c71ed14ac2e072a506eb06fde6d09d"),
            ("ResponseAppended", "0xb1c6be0b5b8aef6539e2fac0fd131a2faa7b49edf8e505b5eb0ad487d56051d4"),
            ("ValidationRequest", "0x530436c3634a98e1e626b0898be2f1e9980cc1bd2a78c07a0aba52d0a48a5059"),
            ("ValidationResponse", "0xafddf629e874ccc3963b6a888c477bd464a6c8525024fc88759ea3b2326349ae"),
            ("Initialized", "0xc7f505b2f371ae2175ee4913f4499e1f2633a7b5936321eed1cdaeb6115181d2"),
            ("Upgraded", "0xbc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b"),
            ("OwnershipTransferred", "0x8be0079c531659141344cd1fd0a4f28419497f9722a3daafe3b4186f6b6457e0"),
        ];
        let all = [IDENTITY, REPUTATION, VALIDATION, PROXY].concat();
        assert_eq!(all.len(), pinned.len());
        for (known, (name, topic)) in all.iter().zip(pinned) {
            let kind = builtin(known).unwrap();
            assert_eq!((&*kind.name, kind.event.topic_0()), (name, Some(topic.parse().unwrap())));
            assert_eq!(kind.indexed.len() + kind.body.len(), known.1.len());
        }
    }

    #[test]
    fn names_of_an_abi_never_hide_what_every_event_has() {
        let event = Event::parse("event E(uint256 address, uint256 x, uint256 x, uint256)").unwrap();
        let keys: Vec<Key> = of_abi(&event).unwrap().body;
        let plain = |key: &str| Key::Plain(key.to_owned());
        assert_eq!(keys, [plain("arg_address"), plain("x"), plain("arg2"), plain("arg3")]);
    }
}
