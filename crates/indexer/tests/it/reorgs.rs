//! The chain takes blocks back: what was in them is taken back on the line, what comes again is there again, and it has
//! the same occurrence.

use std::collections::{HashMap, HashSet};

use bowline_store::StoredEvent;
use serde_json::{Value, json};

use crate::registries::Identity;
use crate::rig::{CHAIN, Rig, payload, start};
use alloy_primitives::{U256, hex};
use alloy_sol_types::SolCall;
use bowline_neighbours::{Anvil, number};

fn retractions(events: &[StoredEvent]) -> Vec<Value> {
    let back = events.iter().filter(|event| event.envelope.event_type == "Retracted");
    back.map(payload).collect()
}

/// The signed transaction of a registration with that nonce.
async fn signed(rig: &Rig, id: u64, nonce: u64) -> Value {
    let call = Identity::registerCall { agentId: U256::from(id), uri: format!("ipfs://{id}") };
    let transaction = json!({
        "from": rig.deployed.caller, "to": rig.deployed.identity, "data": hex::encode_prefixed(call.abi_encode()),
        "gas": "0x100000", "type": "0x2", "chainId": "0x7a69", "nonce": format!("{nonce:#x}"),
        "maxFeePerGas": "0xb2d05e00", "maxPriorityFeePerGas": "0x1",
    });
    rig.anvil.call("eth_signTransaction", json!([transaction])).await
}

async fn nonce(anvil: &Anvil, account: alloy_primitives::Address) -> u64 {
    number(&anvil.call("eth_getTransactionCount", json!([account, "latest"])).await)
}

#[tokio::test]
async fn a_reorganization_takes_logs_back_and_gives_some_again() {
    let rig = Rig::new().await;
    rig.register(0..3).await;
    let first_nonce = nonce(&rig.anvil, rig.deployed.caller).await;
    let mut raws = Vec::new();
    for id in 3..8 {
        let raw = signed(&rig, id, first_nonce + id - 3).await;
        rig.anvil.call("eth_sendRawTransaction", json!([raw])).await;
        raws.push(raw);
    }
    let running = rig.start();
    let before = rig.settled(&running).await;
    assert_eq!(before.len(), 32);

    // Five blocks go; two of the transactions come again, two blocks later than they were, in another order of blocks.
    rig.anvil.call("anvil_reorg", json!([5, [[raws[0], 2], [raws[1], 4]]])).await;
    rig.anvil.mine(1).await;
    let after = rig.settled(&running).await;
    let back = retractions(&after);
    assert_eq!((after.len(), back.len()), (32 + 20 + 8, 20));
    let by_id: HashMap<String, &StoredEvent> =
        before.iter().map(|event| (event.envelope.event_id.to_string(), event)).collect();
    for retraction in &back {
        let original = by_id[retraction["retracts"].as_str().unwrap()];
        let mut without = retraction.clone();
        without.as_object_mut().unwrap().remove("retracts");
        assert_eq!(without, payload(original));
    }
    // The last log goes first.
    let order: Vec<u64> = back.iter().map(|p| p["block_number"].as_u64().unwrap()).collect();
    assert!(order.is_sorted_by(|a, b| a >= b), "{order:?}");
    let occurrences = |events: &[StoredEvent]| -> Vec<String> {
        events.iter().map(|event| payload(event)["occurrence"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(occurrences(&after[52..]), occurrences(&before[12..20]));
    let ids: HashSet<_> = after.iter().map(|event| event.envelope.event_id).collect();
    assert_eq!(ids.len(), after.len());
    let checkpoint = rig.store.chain_checkpoint(CHAIN).await.unwrap().unwrap();
    assert_eq!(checkpoint.generation, 1);

    // Once more, over what was already reorganized.
    rig.anvil.reorg(6).await;
    rig.anvil.mine(2).await;
    let last = rig.settled(&running).await;
    assert_eq!(retractions(&last).len(), 28);
    assert_eq!(rig.standing().await.len(), 12);
}

#[tokio::test]
async fn a_reorganization_while_nobody_looks_is_found_at_the_start() {
    let rig = Rig::new().await;
    rig.register(0..10).await;
    let running = rig.start();
    rig.settled(&running).await;
    running.kill().await;
    for round in 0..6_u64 {
        rig.anvil.reorg(2 + round).await;
        rig.register(20 + 10 * round..25 + 10 * round).await;
        let running = rig.start();
        if round % 2 == 0 {
            // Stopped amid taking back, too.
            running.until(|status| status.generation > round).await;
            running.kill().await;
            let running = rig.start();
            rig.settled(&running).await;
            running.kill().await;
        } else {
            rig.settled(&running).await;
            running.kill().await;
        }
    }
}

#[tokio::test]
async fn a_chain_that_starts_near_its_head_survives_a_reorganization_below_its_first_block() {
    let rig = Rig::new().await;
    rig.anvil.mine(100).await;
    let mut config = rig.config.clone();
    config.chains[0].start_block = rig.anvil.height().await;
    let running = start(&config, &rig.store, 1);
    rig.register(0..2).await;
    rig.settled(&running).await;
    rig.anvil.reorg(10).await;
    rig.register(5..8).await;
    rig.anvil.mine(10).await;
    running.until_block(rig.anvil.height().await).await;
    // What is above the first block by the settings is on the line.
    let first = config.chains[0].start_block;
    let truth: Vec<_> = rig.truth().await.into_iter().filter(|log| log.0 >= first).collect();
    bowline_neighbours::soon(|| async { (rig.standing().await == truth).then_some(()) }).await;
}

#[tokio::test]
async fn another_chain_is_never_taken_for_a_reorganization() {
    let rig = Rig::new().await;
    rig.register(0..3).await;
    let running = rig.start();
    let before = rig.settled(&running).await;
    running.kill().await;
    let other = Anvil::start(&["--timestamp", "1000000000"]);
    other.mine(20).await;
    let running = start(&rig.over(other.url()), &rig.store, 1);
    let status = running.until(|status| status.last_error.is_some()).await;
    assert!(status.last_error.unwrap().contains("no block in common"));
    assert_eq!(rig.events().await.len(), before.len());
}
