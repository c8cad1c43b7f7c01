//! A real registration on Base Sepolia, as its receipt has it, over an endpoint that serves that block.
//! Its topics and data are those of the chain; only the blocks around it are made up.

use std::sync::Arc;

use bowline_indexer::{ChainConfig, Config};
use bowline_store::{LineStore, SqliteConfig, SqliteStore};
use bowline_types::Secret;
use serde_json::{Value, json};

use crate::rig::{payload, start, whole};
use crate::stand_in::{Answer, StandIn};

const BLOCK: u64 = 37_478_106;
const TIME: u64 = 1_770_724_500;
const BLOCK_HASH: &str = "0x8699f29397c8b6b921d5e3f754220fa84ba049a0cfed875dc5deffcfd5f5dcb9";
const TX_HASH: &str = "0x0edda2928ec45aaa4091a2fa2cc863f249e78b86931aed31e2c5365d3b99175c";
const EMITTER: &str = "0x8004a818bfb912233c491871b3d84c89a494bd9e";
const OWNER: &str = "0x44896a716f7b5ed343c6962b3d56faa5377cd052";
const URI: &str = "ipfs://bafybeihhal5hlbylkibniig6j72wdrm7lr4nf6z47natleh2jkyosrg7di/github-agent-card.json";

fn word(hex: &str) -> String {
    format!("{hex:0>64}")
}

/// Texts and bytes as the ABI pads them.
fn padded(bytes: &[u8]) -> String {
    let mut hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    hex += &"0".repeat((64 - hex.len() % 64) % 64);
    hex
}

fn logs() -> Vec<Value> {
    let (owner, agent) = (format!("0x{}", word(&OWNER[2..])), format!("0x{}", word("18e")));
    let owner_bytes: Vec<u8> =
        (0..20).map(|i| u8::from_str_radix(&OWNER[2 + 2 * i..4 + 2 * i], 16).unwrap()).collect();
    let registered = word("20") + &word("59") + &padded(URI.as_bytes());
    let metadata =
        word("40") + &word("80") + &word("b") + &padded(b"agentWallet") + &word("14") + &padded(&owner_bytes);
    let parts = [
        (
            vec![
                "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef".to_owned(),
                format!("0x{}", word("0")),
                owner.clone(),
                agent.clone(),
            ],
            String::new(),
        ),
        (vec!["0xf8e1a15aba9398e019f0b49df1a4fde98ee17ae345cb5f6b5e2c27f5033e8ce7".to_owned()], word("18e")),
        (
            vec![
                "0xca52e62c367d81bb2e328eb795f7c7ba24afb478408a26c0e201d155c449bc4a".to_owned(),
                agent.clone(),
                owner,
            ],
            registered,
        ),
        (
            vec![
                "0x2c149ed548c6d2993cd73efe187df6eccabe4538091b33adbd25fafdb8a1468b".to_owned(),
                agent,
                "0x2ac6109326e720d1435c0db66f7e35eda7839f52b6f1f5520a60788e132b4e39".to_owned(),
            ],
            metadata,
        ),
    ];
    let log = |(index, (topics, data)): (u64, (Vec<String>, String))| {
        json!({"address": EMITTER, "topics": topics, "data": format!("0x{data}"), "blockNumber": format!("{BLOCK:#x}"),
            "blockHash": BLOCK_HASH, "transactionHash": TX_HASH, "transactionIndex": "0x1",
            "logIndex": format!("{index:#x}"), "removed": false})
    };
    (0xe0..).zip(parts).map(log).collect()
}

fn block(number: u64) -> Value {
    let hash = |number: u64| match number {
        BLOCK => BLOCK_HASH.to_owned(),
        other => format!("0x{other:064x}"),
    };
    json!({"number": format!("{number:#x}"), "hash": hash(number), "parentHash": hash(number - 1),
        "timestamp": format!("{:#x}", TIME + 2 * number - 2 * BLOCK)})
}

async fn answer(method: String, params: Value) -> Answer {
    const HEAD: u64 = BLOCK + 3;
    let number = params[0].as_str().and_then(|text| text.strip_prefix("0x"));
    let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Answer::Result(match method.as_str() {
        "eth_chainId" => json!("0x14a34"),
        "eth_getBlockByNumber" if params[0] == "latest" => block(HEAD),
        "eth_getBlockByNumber" => number.filter(|number| *number <= HEAD).map_or(Value::Null, block),
        "eth_getLogs" if params[0]["blockHash"] == BLOCK_HASH => json!(logs()),
        "eth_getLogs" => json!([]),
        _ => return Answer::Refusal(-32_601, "no such method"),
    })
}

#[tokio::test]
async fn a_real_registration_has_its_four_events() {
    let endpoint = StandIn::start(answer).await;
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = SqliteStore::open(SqliteConfig::at(folder.path().join("line.db"))).await.unwrap();
    let store: Arc<dyn LineStore> = Arc::new(store);
    let chain = ChainConfig {
        chain_id: 84_532,
        rpc_urls: Secret::new(endpoint.url()),
        start_block: BLOCK - 1,
        poll_ms: 20,
        ..ChainConfig::default()
    };
    let running = start(&Config { chains: vec![chain], ..Config::default() }, &store, 1);
    running.until_block(BLOCK + 3).await;
    let events = whole(&store, 84_532).await;
    let types: Vec<&str> = events.iter().map(|event| &*event.envelope.event_type).collect();
    assert_eq!(types, ["Transfer", "MetadataUpdate", "Registered", "MetadataSet"]);
    for (event, index) in events.iter().zip(0xe0..) {
        let payload = payload(event);
        assert_eq!((payload["agent_id"].as_str(), payload["log_index"].as_u64()), (Some("398"), Some(index)));
        assert_eq!(
            (payload["block_number"].as_u64(), payload["timestamp"].as_u64()),
            (Some(BLOCK), Some(TIME))
        );
        assert_eq!(
            (payload["transaction_hash"].as_str(), payload["address"].as_str()),
            (Some(TX_HASH), Some(EMITTER))
        );
        assert_eq!(
            (&*event.envelope.entity_id, &*event.envelope.created_at),
            ("398", "2026-02-10T11:55:00+00:00")
        );
    }
    let registered = payload(&events[2]);
    assert_eq!((registered["token_uri"].as_str(), registered["owner"].as_str()), (Some(URI), Some(OWNER)));
    let set = payload(&events[3]);
    assert_eq!(
        (set["metadata_key"].as_str(), set["metadata_value"].as_str()),
        (Some("agentWallet"), Some(OWNER))
    );
}
