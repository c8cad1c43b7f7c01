//! Every version of every event, from a contract that emits it to what stands on the line; and what nobody can read.
//! The contract emits what it is told, so a test needs no history to get at any event.

use alloy_primitives::{Address, B256, Bytes, I128, U256};
use bowline_indexer::ContractConfig;
use serde_json::{Value, json};

use crate::registries::{Feedback, Identity, Reputation, Validation};
use crate::rig::{Rig, payload, start};

fn feedback(agent: U256) -> Feedback {
    Feedback {
        agentId: agent,
        index: u64::MAX,
        value: -1_250,
        decimals: 2,
        tag1: "quality".to_owned(),
        tag2: "fast".to_owned(),
        endpoint: "https://agent.example".to_owned(),
        uri: format!("data:application/json;base64,{}", "QUJD".repeat(2_000)),
        hash: B256::repeat_byte(7),
    }
}

fn assert_has(payload: &Value, expected: Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&payload[key], value, "{key} of {payload}");
    }
}

#[tokio::test]
async fn every_version_of_every_event_is_decoded() {
    let rig = Rig::new().await;
    let (anvil, on) = (&rig.anvil, &rig.deployed);
    let (caller, other) = (on.caller.to_string().to_lowercase(), Address::repeat_byte(0xab));
    let (big, zero) = (U256::MAX, U256::ZERO);
    let other_text = other.to_string().to_lowercase();
    on.identity(anvil, Identity::registerCall { agentId: zero, uri: "ipfs://x".to_owned() }).await;
    on.identity(
        anvil,
        Identity::setMetadataCall { agentId: big, key: "k".to_owned(), value: Bytes::from(vec![0, 255]) },
    )
    .await;
    on.identity(anvil, Identity::setUriCall { agentId: big, uri: "é\u{0}\"".to_owned() }).await;
    on.identity(anvil, Identity::transferCall { to: other, agentId: big }).await;
    on.identity(anvil, Identity::approveCall { to: other, agentId: big }).await;
    on.identity(anvil, Identity::approveAllCall { operator: other, approved: true }).await;
    on.identity(anvil, Identity::updateManyCall { from: zero, to: big }).await;
    on.identity(anvil, Identity::upgradeCall { implementation: other }).await;
    on.reputation(anvil, Reputation::giveCall { f: feedback(big) }).await;
    on.reputation(anvil, Reputation::giveScoreCall { f: feedback(zero), score: 85 }).await;
    on.reputation(anvil, Reputation::giveScoreHashedCall { f: feedback(zero), score: 255 }).await;
    let mut tag = B256::ZERO;
    tag[..7].copy_from_slice(b"quality");
    let legacy = Reputation::giveLegacyCall {
        agentId: zero,
        score: 1,
        tag1: tag,
        tag2: B256::repeat_byte(0xfe),
        uri: "u".to_owned(),
        hash: tag,
    };
    on.reputation(anvil, legacy).await;
    on.reputation(anvil, Reputation::revokeCall { agentId: zero, index: 3 }).await;
    on.reputation(
        anvil,
        Reputation::respondCall { agentId: zero, client: other, index: 3, uri: "r".to_owned(), hash: tag },
    )
    .await;
    on.validation(
        anvil,
        Validation::requestCall { validator: other, agentId: big, uri: "q".to_owned(), hash: tag },
    )
    .await;
    on.validation(
        anvil,
        Validation::respondCall {
            agentId: big,
            requestHash: tag,
            response: 100,
            uri: "a".to_owned(),
            hash: tag,
            tag: "t".to_owned(),
        },
    )
    .await;

    let running = rig.start();
    let events = rig.settled(&running).await;
    let payloads: Vec<Value> = events.iter().map(payload).collect();
    let identity = on.identity.to_string().to_lowercase();
    let (zero, big) = ("0", U256::MAX.to_string());
    let tag_hex = tag.to_string();
    let expected = [
        json!({"event_type": "Transfer", "registry": "identity", "from": Address::ZERO.to_string(), "to": caller, "agent_id": zero, "address": identity}),
        json!({"event_type": "MetadataUpdate", "agent_id": zero}),
        json!({"event_type": "Registered", "agent_id": zero, "token_uri": "ipfs://x", "owner": caller}),
        json!({"event_type": "MetadataSet", "agent_id": zero, "metadata_key": "agentWallet", "metadata_value": caller}),
        json!({"event_type": "MetadataSet", "agent_id": big, "metadata_key": "k", "metadata_value": "0x00ff"}),
        json!({"event_type": "URIUpdated", "agent_id": big, "token_uri": "é\u{0}\"", "updated_by": caller}),
        json!({"event_type": "MetadataUpdate", "agent_id": big}),
        json!({"event_type": "MetadataSet", "metadata_value": "0x"}),
        json!({"event_type": "Transfer", "from": caller, "to": other_text, "agent_id": big}),
        json!({"event_type": "Approval", "owner": caller, "approved": other_text, "agent_id": big}),
        json!({"event_type": "ApprovalForAll", "owner": caller, "operator": other_text, "approved": true}),
        json!({"event_type": "BatchMetadataUpdate", "from_agent_id": zero, "to_agent_id": big}),
        json!({"event_type": "Initialized", "version": "2"}),
        json!({"event_type": "Upgraded", "implementation": other_text}),
        json!({"event_type": "OwnershipTransferred", "previous_owner": Address::ZERO.to_string(), "new_owner": caller}),
        json!({"event_type": "NewFeedback", "registry": "reputation", "agent_id": big, "client_address": caller,
            "feedback_index": u64::MAX.to_string(), "value": "-12.5", "value_raw": "-1250", "value_decimals": 2, "score": -12.5,
            "tag1": "quality", "tag2": "fast", "endpoint": "https://agent.example", "file_uri": feedback(U256::ZERO).uri,
            "file_hash": B256::repeat_byte(7).to_string()}),
        json!({"event_type": "NewFeedback", "score": 85, "value": "85", "value_raw": "85", "value_decimals": 0, "tag1": "quality", "tag2": "fast"}),
        json!({"event_type": "NewFeedback", "score": 255, "tag1_hash": alloy_primitives::keccak256("quality").to_string(), "tag1": null, "tag2": "fast"}),
        json!({"event_type": "NewFeedback", "score": 1, "tag1": "quality", "tag1_bytes32": tag_hex, "tag2": B256::repeat_byte(0xfe).to_string(), "file_uri": "u", "file_hash": tag_hex}),
        json!({"event_type": "FeedbackRevoked", "agent_id": zero, "client_address": caller, "feedback_index": "3"}),
        json!({"event_type": "ResponseAppended", "client_address": other_text, "feedback_index": "3", "responder": caller, "response_uri": "r", "response_hash": tag_hex}),
        json!({"event_type": "ValidationRequest", "registry": "validation", "validator_address": other_text, "agent_id": big, "request_uri": "q", "request_hash": tag_hex}),
        json!({"event_type": "ValidationResponse", "validator_address": caller, "request_hash": tag_hex, "response": 100, "response_uri": "a", "response_hash": tag_hex, "tag": "t"}),
    ];
    assert_eq!(payloads.len(), expected.len());
    for ((payload, expected), event) in payloads.iter().zip(expected).zip(&events) {
        assert_has(payload, expected);
        let envelope = &event.envelope;
        assert_eq!(payload["event_type"], envelope.event_type);
        assert_eq!((payload["chain_id"].as_u64(), payload["topics"].is_null()), (Some(31_337), true));
        let entity = match payload["agent_id"].as_str() {
            Some(agent) => ("agent", agent),
            None => ("contract", payload["address"].as_str().unwrap()),
        };
        assert_eq!((&*envelope.entity_type, &*envelope.entity_id), entity);
        let time = envelope.created_at_timestamp().unwrap().micros() / 1_000_000;
        assert_eq!(payload["timestamp"], time);
    }
    assert_eq!(I128::try_from(-1_250).unwrap().to_string(), payloads[15]["value_raw"].as_str().unwrap());
}

#[tokio::test]
async fn what_nobody_can_read_is_kept_as_it_came() {
    let rig = Rig::new().await;
    let (anvil, on) = (&rig.anvil, &rig.deployed);
    let transfer: B256 =
        "0xddf252ad1be2c89b69c2b068fc378daa952ba7f163c4a11628f55a4df523b3ef".parse().unwrap();
    let update: B256 = "0xf8e1a15aba9398e019f0b49df1a4fde98ee17ae345cb5f6b5e2c27f5033e8ce7".parse().unwrap();
    let cases = [
        (B256::repeat_byte(1), vec![1, 2, 3]),
        // Fewer topics than the event has, no data where there must be some, and more than there can be.
        (transfer, vec![]),
        (update, vec![0; 31]),
        (update, vec![0; 64]),
    ];
    for (topic, data) in cases.clone() {
        on.identity(anvil, Identity::emitRawCall { topic, data: data.into() }).await;
    }
    let running = rig.start();
    let events = rig.settled(&running).await;
    assert_eq!(events.len(), cases.len());
    for (event, (topic, data)) in events.iter().zip(cases) {
        let expected = json!({"event_type": "Unknown", "registry": "identity", "topics": [topic.to_string()], "data": Bytes::from(data).to_string()});
        assert_has(&payload(event), expected);
        assert_eq!((&*event.envelope.event_type, &*event.envelope.entity_type), ("Unknown", "contract"));
    }
}

#[tokio::test]
async fn any_contract_is_read_by_its_abi() {
    let rig = Rig::new().await;
    let abi = json!([{"type": "event", "name": "NewFeedback", "anonymous": false, "inputs": [
        {"name": "agentId", "type": "uint256", "indexed": true}, {"name": "address", "type": "address", "indexed": true},
        {"name": "score", "type": "uint8"}, {"name": "tag1", "type": "bytes32", "indexed": true},
        {"name": "", "type": "bytes32"}, {"name": "uri", "type": "string"}, {"name": "hash", "type": "bytes32"}]}]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), json!({ "abi": abi }).to_string()).unwrap();
    for abi in [abi.clone(), json!(abi.to_string()), json!(file.path().to_str().unwrap())] {
        let mut config = rig.config.clone();
        let address =
            config.chains[0].registries.reputation.replace(format!("0x{}", "0".repeat(40))).unwrap();
        config.chains[0].contracts = vec![ContractConfig { name: "shop".to_owned(), address, abi }];
        assert_eq!(config.problems(), Vec::<String>::new());
    }
    let mut config = rig.config.clone();
    let address = config.chains[0].registries.reputation.replace(format!("0x{}", "0".repeat(40))).unwrap();
    config.chains[0].contracts = vec![ContractConfig { name: "shop".to_owned(), address, abi }];
    let tag = B256::repeat_byte(3);
    let call = Reputation::giveLegacyCall {
        agentId: U256::from(5),
        score: 9,
        tag1: tag,
        tag2: tag,
        uri: "u".to_owned(),
        hash: tag,
    };
    rig.deployed.reputation(&rig.anvil, call).await;
    rig.deployed.reputation(&rig.anvil, Reputation::revokeCall { agentId: U256::ZERO, index: 3 }).await;
    let running = start(&config, &rig.store, 1);
    let events = rig.settled(&running).await;
    let expected = json!({"registry": "shop", "event_type": "NewFeedback", "agentId": "5", "score": 9, "arg4": tag.to_string(),
        "arg_address": rig.deployed.caller.to_string().to_lowercase(), "address": rig.deployed.reputation.to_string().to_lowercase()});
    assert_has(&payload(&events[0]), expected);
    assert_eq!(events[0].envelope.entity_type, "contract");
    assert_has(&payload(&events[1]), json!({"registry": "shop", "event_type": "Unknown", "data": "0x"}));
}
