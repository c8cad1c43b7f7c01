//! What may go wrong with a chain, an account or a contract: each ends with every commitment anchored exactly once,
//! or with an error that says what to do.

use std::time::Duration;

use bowline_anchor::Service;
use bowline_anchor::abi::BowlineAnchor::{Commitment as OnChain, commitBatchCall, setCommitterCall};
use bowline_anchor::tables::{ReportOutcome, ReportedAnchor, SendState};
use bowline_types::{EvmHash, Secret};
use bowline_ves::{Commitment, Hash, Tree};
use serde_json::json;

use crate::rig::{Rig, new_stream};
use crate::support::{Anvil, KEYS, on_chain, soon};

/// Wei of one ether.
const ETHER: &str = "0xde0b6b3a7640000";

#[tokio::test]
async fn a_node_that_is_away_opens_the_breaker_and_is_found_again() {
    let rig = Rig::new().await;
    let stream = new_stream();
    rig.commit(stream, 2).await;
    let mut config = rig.config.clone();
    let proxy = crate::proxy::Proxy::start(rig.chain.anvil.url()).await;
    config.rpc_url = Some(Secret::new(proxy.url()));
    config.breaker_open_secs = 2;
    proxy.cut();
    let running = rig.start_with(&config, None);
    let text = rig.until_trouble(&running, "RPC_UNAVAILABLE").await;
    assert!(text.contains("L2_RPC_URL"), "{text}");
    soon(|| async {
        let state = running.handle.status().await.unwrap();
        (state.endpoints[0].breaker == "open").then_some(())
    })
    .await;
    // Longer than the breaker's window.
    tokio::time::sleep(Duration::from_secs(3)).await;
    rig.commit(stream, 1).await;
    assert_eq!(running.handle.status().await.unwrap().pending, 3);
    proxy.mend();
    rig.all_anchored(stream).await;
    let status = running.handle.status().await.unwrap();
    assert_eq!((status.trouble, status.endpoints[0].breaker.as_str()), (None, "closed"));
    assert_eq!(rig.on_chain(stream).await, 3);
}

#[tokio::test]
async fn another_endpoint_stands_in() {
    let rig = Rig::new().await;
    let stream = new_stream();
    rig.commit(stream, 1).await;
    let mut config = rig.config.clone();
    let url = rig.chain.anvil.url();
    config.rpc_url = Some(Secret::new(format!("http://127.0.0.1:1/key-of-an-account,{url}")));
    let running = rig.start_with(&config, None);
    rig.all_anchored(stream).await;
    let status = running.handle.status().await.unwrap();
    assert_eq!(status.endpoints[0].name, "127.0.0.1:1");
    assert!(!format!("{status:?}").contains("key-of-an-account"));
}

#[tokio::test]
async fn a_transaction_that_the_chain_drops_is_sent_again() {
    let rig = Rig::new().await;
    rig.chain.anvil.call("evm_setAutomine", json!([false])).await;
    let stream = new_stream();
    rig.commit(stream, 2).await;
    let _running = rig.start();
    rig.until_sends(stream, SendState::Open).await;
    let hash = pool_hash(&rig.chain.anvil).await;
    rig.chain.anvil.call("anvil_dropTransaction", json!([hash])).await;
    soon(|| async { (pool_hash(&rig.chain.anvil).await == hash).then_some(()) }).await;
    rig.all_anchored(stream).await;
    assert_eq!(rig.on_chain(stream).await, 2);
}

#[tokio::test]
async fn a_reorganization_that_removes_a_transaction_is_noticed() {
    let mut rig = Rig::new().await;
    rig.config.finality_confirmations = 3;
    let stream = new_stream();
    rig.commit(stream, 2).await;
    let _running = rig.start();
    rig.until_sends(stream, SendState::Mined).await;
    rig.chain.anvil.mine(1).await;
    rig.chain.anvil.reorg(2).await;
    assert_eq!(rig.on_chain(stream).await, 0, "the reorganization took it");
    let rows = rig.all_anchored(stream).await;
    assert_eq!(rig.on_chain(stream).await, 2);
    // The same transaction was sent again: nothing was signed anew.
    let sends = rig.tables().sends_of(rows[0].commitment.commitment.batch_id).await.unwrap();
    assert_eq!(sends.len(), 1);
}

#[tokio::test]
async fn a_reorganization_that_puts_another_transaction_in_its_place_makes_a_new_one() {
    let mut rig = Rig::new().await;
    rig.config.finality_confirmations = 3;
    let stream = new_stream();
    rig.commit(stream, 2).await;
    let _running = rig.start();
    rig.until_sends(stream, SendState::Mined).await;
    let other = json!({"from": rig.chain.committer, "to": rig.chain.stranger, "value": "0x1"});
    rig.chain.anvil.call("anvil_reorg", json!([1, [[other, 0]]])).await;
    let rows = rig.all_anchored(stream).await;
    assert_eq!(rig.on_chain(stream).await, 2);
    let sends = rig.tables().sends_of(rows[0].commitment.commitment.batch_id).await.unwrap();
    let states: Vec<SendState> = sends.iter().map(|send| send.state).collect();
    assert_eq!(states, [SendState::Void, SendState::Anchored]);
    assert!(sends[0].reason.as_ref().unwrap().contains("nonce"), "{:?}", sends[0].reason);
}

#[tokio::test]
async fn what_was_final_and_is_gone_is_sent_again() {
    let rig = Rig::new().await;
    let stream = new_stream();
    let snapshot = rig.chain.anvil.call("evm_snapshot", json!([])).await;
    rig.commit(stream, 2).await;
    let running = rig.start();
    rig.all_anchored(stream).await;
    running.kill().await;
    rig.chain.anvil.call("evm_revert", json!([snapshot])).await;
    rig.chain.anvil.mine(30).await;
    assert_eq!(rig.on_chain(stream).await, 0);
    let _running = rig.start();
    soon(|| async {
        rig.chain.anvil.mine(1).await;
        (rig.on_chain(stream).await == 2).then_some(())
    })
    .await;
    rig.all_anchored(stream).await;
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_by_one_that_pays_more() {
    let mut rig = Rig::new().await;
    rig.chain.anvil.call("evm_setAutomine", json!([false])).await;
    rig.config.replace_after_secs = 1;
    let stream = new_stream();
    rig.commit(stream, 1).await;
    let _running = rig.start();
    rig.until_sends(stream, SendState::Open).await;
    let sent = soon(|| async {
        let sends = rig.tables().live_sends().await.unwrap();
        sends.into_iter().next().filter(|send| send.transactions.len() > 1)
    })
    .await;
    let [first, second, ..] = &sent.transactions[..] else { panic!("{sent:?}") };
    assert!(second.tip * 10 >= first.tip * 11 && second.fee_max * 10 >= first.fee_max * 11);
    rig.all_anchored(stream).await;
    assert_eq!(rig.on_chain(stream).await, 1);
}

#[tokio::test]
async fn a_chain_that_is_dearer_than_the_cap_is_waited_for() {
    let mut rig = Rig::new().await;
    rig.config.fee_gwei_max = 2;
    rig.chain.anvil.call("anvil_setNextBlockBaseFeePerGas", json!(["0x2540be400"])).await;
    rig.chain.anvil.mine(1).await;
    let stream = new_stream();
    rig.commit(stream, 1).await;
    let running = rig.start();
    let text = rig.until_trouble(&running, "FEE_ABOVE_CAP").await;
    assert!(text.contains("ANCHOR_FEE_GWEI_MAX"), "{text}");
    rig.chain.anvil.call("anvil_setNextBlockBaseFeePerGas", json!(["0x5f5e100"])).await;
    rig.all_anchored(stream).await;
}

#[tokio::test]
async fn an_empty_account_is_named_and_goes_on_when_it_is_filled() {
    let rig = Rig::new().await;
    rig.chain.anvil.call("anvil_setBalance", json!([rig.chain.committer, "0x1"])).await;
    let stream = new_stream();
    rig.commit(stream, 1).await;
    let running = rig.start();
    let text = rig.until_trouble(&running, "INSUFFICIENT_FUNDS").await;
    assert!(text.contains(&rig.chain.committer.to_string().to_lowercase()), "{text}");
    rig.chain.anvil.call("anvil_setBalance", json!([rig.chain.committer, ETHER])).await;
    rig.all_anchored(stream).await;
}

#[tokio::test]
async fn a_key_that_may_not_commit_is_named_until_it_may() {
    let mut rig = Rig::new().await;
    rig.config.private_key = Some(Secret::new(KEYS[2]));
    let stream = new_stream();
    rig.commit(stream, 1).await;
    let running = rig.start();
    let text = rig.until_trouble(&running, "NOT_COMMITTER").await;
    assert!(text.contains("setCommitter"), "{text}");
    let allow = setCommitterCall { committer: rig.chain.stranger, allowed: true };
    rig.chain.send(rig.chain.owner, &allow).await;
    rig.all_anchored(stream).await;
}

#[tokio::test]
async fn a_wrong_address_a_wrong_chain_and_a_changed_contract_send_nothing() {
    let mut rig = Rig::new().await;
    let stream = new_stream();
    rig.commit(stream, 1).await;
    let right = rig.config.contract.clone();
    rig.config.contract = Some("0x00000000000000000000000000000000000000aa".to_owned());
    let running = rig.start();
    assert!(rig.until_trouble(&running, "NO_CONTRACT").await.contains("SET_REGISTRY_ADDRESS"));
    running.kill().await;
    (rig.config.contract, rig.config.chain_id) = (right, 1);
    let running = rig.start();
    assert!(rig.until_trouble(&running, "CHAIN_MISMATCH").await.contains("L2_CHAIN_ID"));
    running.kill().await;
    rig.config.chain_id = 31_337;
    let running = rig.start();
    rig.all_anchored(stream).await;
    running.kill().await;
    // Another contract of the same kind, which knows nothing.
    let other = rig.chain.deploy_another().await;
    rig.config.contract = Some(other.to_string());
    rig.commit(stream, 1).await;
    let running = rig.start();
    let text = rig.until_trouble(&running, "TARGET_CHANGED").await;
    assert!(text.contains("bowline anchors switch"), "{text}");
    running.handle.switch().await.unwrap();
    let rows = rig.all_anchored(stream).await;
    assert_eq!(rows.len(), 2, "everything is anchored anew there");
    let status = running.handle.status().await.unwrap();
    assert_eq!((status.chosen_contract, status.anchored), (status.contract, 2));
}

#[tokio::test]
async fn another_history_on_the_chain_sets_the_stream_aside_and_no_other() {
    let rig = Rig::new().await;
    let (forked, other) = (new_stream(), new_stream());
    let made = rig.commit(forked, 2).await;
    let tree = Tree::new(vec![Hash::new([9; 32]); 2]);
    let now = made[0].commitment.committed_at;
    let fork = Commitment::seal(made[0].commitment.batch_id, forked, &tree, 1, 2, Hash::ZERO, now).unwrap();
    let commitments: Vec<OnChain> = vec![on_chain(&fork)];
    rig.chain.send(rig.chain.committer, &commitBatchCall { commitments }).await;
    rig.commit(other, 2).await;
    let running = rig.start();
    rig.all_anchored(other).await;
    let blocked = running.handle.status().await.unwrap().blocked;
    assert_eq!((blocked.len(), blocked[0].stream, blocked[0].code.as_str()), (1, forked, "FORKED"));
    let refused = running.handle.anchor(made[0].commitment.batch_id, Duration::from_secs(5)).await;
    assert!(refused.unwrap_err().to_string().contains("FORKED"));
    // Trying again finds the same.
    assert_eq!(running.handle.retry(Some(forked)).await.unwrap(), 1);
    soon(|| async { (!running.handle.status().await.unwrap().blocked.is_empty()).then_some(()) }).await;
    assert!(rig.rows(forked).await.iter().all(|row| row.send.is_none()));
}

#[tokio::test]
async fn a_transaction_that_is_reverted_in_its_block_has_no_effect_and_is_tried_again() {
    let rig = Rig::new().await;
    rig.chain.anvil.call("evm_setAutomine", json!([false])).await;
    let stream = new_stream();
    let made = rig.commit(stream, 1).await;
    let running = rig.start();
    rig.until_sends(stream, SendState::Open).await;
    // Between the question and the block the account loses its right.
    let forbid = setCommitterCall { committer: rig.chain.committer, allowed: false };
    rig.chain.send_first(rig.chain.owner, &forbid).await;
    rig.chain.anvil.mine(1).await;
    let sends = soon(|| async {
        let sends = rig.tables().sends_of(made[0].commitment.batch_id).await.unwrap();
        sends.first().filter(|send| send.state == SendState::Void).cloned()
    })
    .await;
    assert!(sends.reason.as_ref().unwrap().contains("reverted"), "{:?}", sends.reason);
    let text = rig.until_trouble(&running, "NOT_COMMITTER").await;
    assert!(text.contains("setCommitter"), "{text}");
    rig.chain.anvil.call("evm_setAutomine", json!([true])).await;
    let allow = setCommitterCall { committer: rig.chain.committer, allowed: true };
    rig.chain.send(rig.chain.owner, &allow).await;
    rig.all_anchored(stream).await;
}

/// The only transaction that waits.
async fn pool_hash(anvil: &Anvil) -> serde_json::Value {
    soon(|| async {
        let content = anvil.call("txpool_content", json!([])).await;
        let pending = content["pending"].as_object()?.values().next()?.as_object()?.values().next()?.clone();
        Some(pending["hash"].clone())
    })
    .await
}

#[tokio::test]
async fn anchors_that_others_reported_are_not_overwritten_unasked() {
    let rig = Rig::new().await;
    let stream = new_stream();
    let made = rig.commit(stream, 2).await;
    let mut elsewhere = rig.config.clone();
    elsewhere.rpc_url = None;
    let (_, handle) = Service::build(&elsewhere, rig.dependencies()).unwrap();
    let report = ReportedAnchor {
        batch_id: made[0].commitment.batch_id,
        chain_id: 1,
        tx_hash: EvmHash::new([7; 32]),
        block_number: Some(5),
        gas_used: None,
    };
    assert_eq!(handle.report(report).await.unwrap(), ReportOutcome::Recorded);
    let running = rig.start();
    rig.until_trouble(&running, "TARGET_CHANGED").await;
    assert!(running.handle.report(report).await.unwrap_err().to_string().contains("ANCHORS_ITSELF"));
    assert_eq!(rig.on_chain(stream).await, 0);
    running.handle.switch().await.unwrap();
    let rows = rig.all_anchored(stream).await;
    assert!(rows.iter().all(|row| row.commitment.anchor.unwrap().chain_id == 31_337));
    assert_eq!(rig.on_chain(stream).await, 2);
}
