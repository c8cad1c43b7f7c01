//! History, then live, then stopped wherever it is: no log is missing and none is there twice.
//! What the chain itself says is compared with what stands on the line.

use std::collections::HashSet;
use std::time::Duration;

use bowline_indexer::ChainState;
use serde_json::json;

use crate::registries::{Feedback, Reputation};
use crate::rig::{CHAIN, Rig, start};
use alloy_primitives::{B256, U256};
use bowline_neighbours::soon;

fn feedback() -> Feedback {
    Feedback {
        agentId: U256::ZERO,
        index: 1,
        value: 5,
        decimals: 0,
        tag1: "t".to_owned(),
        tag2: String::new(),
        endpoint: String::new(),
        uri: String::new(),
        hash: B256::ZERO,
    }
}

#[tokio::test]
async fn history_and_what_comes_after_it_are_on_the_line() {
    let rig = Rig::new().await;
    rig.register(0..10).await;
    rig.anvil.mine(300).await;
    rig.register(10..20).await;
    let running = rig.start();
    assert_eq!(rig.settled(&running).await.len(), 80);
    let status = running.until(|status| status.state == ChainState::Live).await;
    assert_eq!((&*status.name, status.lag_blocks, status.percent), ("Test Chain", Some(0), Some(100.0)));
    for id in 20..30 {
        rig.register(id..id + 1).await;
        rig.settled(&running).await;
    }
    assert_eq!(rig.events().await.len(), 120);
    let checkpoint = rig.store.chain_checkpoint(CHAIN).await.unwrap().unwrap();
    let block = checkpoint.block.unwrap();
    assert_eq!((block.number, block.head, checkpoint.generation), (rig.anvil.height().await, 120, 0));
}

/// Equal logs of one transaction are told apart, and a block of more logs than a step may have is written whole.
#[tokio::test]
async fn many_logs_of_one_block_are_each_there_once() {
    let rig = Rig::new().await;
    let twice = Feedback { index: 1, ..feedback() };
    for _ in 0..3 {
        rig.deployed
            .reputation(&rig.anvil, Reputation::giveManyCall { f: feedback(), count: U256::from(2_100) })
            .await;
    }
    rig.deployed.reputation(&rig.anvil, Reputation::giveCall { f: twice }).await;
    rig.anvil.mine(100).await;
    let running = rig.start();
    let events = rig.settled(&running).await;
    assert_eq!(events.len(), 6_301);
    let ids: HashSet<_> = events.iter().map(|event| event.envelope.event_id).collect();
    assert_eq!(ids.len(), events.len());
}

#[tokio::test]
async fn wherever_it_is_stopped_nothing_is_lost_or_doubled() {
    let rig = Rig::new().await;
    let mut config = rig.config.clone();
    config.chains[0].range_max = 7;
    rig.register(0..20).await;
    rig.anvil.mine(150).await;
    for round in 0..25_u64 {
        rig.register(20 + round..21 + round).await;
        let running = start(&config, &rig.store, u8::try_from(round % 3).unwrap());
        // Each time a little later: before anything was done, amid history, or up to date.
        let before = running.status().block;
        match round % 4 {
            0 => tokio::time::sleep(Duration::from_millis(7 * round)).await,
            1 => drop(running.until(|status| status.block > before).await),
            2 => running.until_block(rig.anvil.height().await / 2).await,
            _ => running.until_block(rig.anvil.height().await).await,
        }
        running.kill().await;
        let standing = rig.standing().await;
        let truth = rig.truth().await;
        assert_eq!(standing, truth[..standing.len()], "round {round}");
    }
    let running = start(&config, &rig.store, 1);
    rig.settled(&running).await;
}

#[tokio::test]
async fn only_what_is_confirmed_or_final_is_read() {
    let rig = Rig::new().await;
    rig.register(0..5).await;
    let mut config = rig.config.clone();
    config.chains[0].confirmations = 3;
    let running = start(&config, &rig.store, 1);
    let height = rig.anvil.height().await;
    running.until(|status| status.state == ChainState::Live).await;
    let status = running.until(|status| status.block == Some(height - 3)).await;
    assert_eq!((status.head, status.target), (Some(height), Some(height - 3)));
    running.kill().await;
    config.chains[0].finalized = true;
    let running = start(&config, &rig.store, 1);
    rig.anvil.mine(200).await;
    let last = rig.anvil.call("eth_getBlockByNumber", json!(["finalized", false])).await;
    let last = bowline_neighbours::number(&last["number"]);
    running.until_block(last.min(height + 197)).await;
    soon(|| async { (rig.standing().await == rig.truth().await).then_some(()) }).await;
    assert!(running.status().block <= Some(last));
}

#[tokio::test]
async fn a_start_block_leaves_out_what_was_before() {
    let rig = Rig::new().await;
    rig.register(0..5).await;
    let first = rig.anvil.height().await + 1;
    rig.register(5..10).await;
    let mut config = rig.config.clone();
    config.chains[0].start_block = first;
    let running = start(&config, &rig.store, 1);
    running.until_block(rig.anvil.height().await).await;
    let (standing, truth) = (rig.standing().await, rig.truth().await);
    assert_eq!(standing, truth[20..]);
    assert!(running.status().start_block == first);
}
