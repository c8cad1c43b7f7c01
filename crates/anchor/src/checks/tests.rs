//! Each check finds its own trouble, and no other one takes it for its own.
//!
//! Each case is the healthy status with one thing changed.

use bowline_runtime::Status as Verdict;
use bowline_types::{BatchId, EvmAddress, EvmHash, StoreId, StreamId, TenantId};
use uuid::Uuid;

use super::*;
use crate::Kind;
use crate::status::{Blocked, ChainState, Holder, Trouble, UnderWay};
use bowline_evm::EndpointState;

const NOW: i64 = 1_700_000_000_000_000;

fn ago(secs: i64) -> Timestamp {
    Timestamp::from_micros(NOW - secs * 1_000_000)
}

fn healthy() -> Status {
    let (chain_id, contract) = (8_453, EvmAddress::new([7; 20]));
    Status {
        configured: true,
        chain_id: Some(chain_id),
        contract: Some(contract),
        sender: Some(EvmAddress::new([8; 20])),
        chosen_chain_id: Some(chain_id),
        chosen_contract: Some(contract),
        endpoints: vec![EndpointState { name: "a:1".to_owned(), breaker: "closed".to_owned() }],
        chain: Ok(ChainState {
            chain_id,
            block_number: 1_000,
            block_time: ago(2),
            base_fee_wei: Some("1000000000".to_owned()),
            kind: Some(Kind::Bowline),
            contract_problem: None,
            may_commit: Some(true),
            balance_wei: "1000000000000000000".to_owned(),
        }),
        holder: Some(Holder { holder: Uuid::nil(), is_this_process: true, expires_at: ago(-10) }),
        pending: 2,
        under_way: 1,
        anchored: 40,
        oldest_secs: Some(70),
        transactions: vec![UnderWay {
            send_id: Uuid::nil(),
            state: "open".to_owned(),
            nonce: Some(3),
            tx_hash: Some(EvmHash::new([9; 32])),
            transactions: 1,
            commitments: 1,
            created_at: ago(10),
            block_number: None,
            confirmations: None,
        }],
        blocked: Vec::new(),
        trouble: None,
        interval_secs: 60,
        finality_confirmations: 6,
        replace_after_secs: 60,
        fee_cap_wei: "500000000000".to_owned(),
    }
}

fn judged(status: Seen<Status>) -> Vec<(&'static str, Finding)> {
    let facts = AnchorFacts { status, now: Timestamp::from_micros(NOW) };
    CHECKS.iter().map(|check| (check.name, check.run(&facts).finding)).collect()
}

/// Changes a healthy status; only that check may find something, and so bad.
fn finds(check: &str, verdict: Verdict, words: &str, spoil: impl FnOnce(&mut Status)) {
    let mut status = healthy();
    spoil(&mut status);
    for (name, finding) in judged(Ok(status)) {
        if name == check {
            assert_eq!(finding.status, verdict, "{name}: {finding:?}");
            assert!(format!("{finding:?}").contains(words), "{name}: {finding:?}");
            assert!(finding.fix.is_some() && !finding.evidence.is_empty(), "{name}: {finding:?}");
        } else {
            assert!(finding.status <= Verdict::Skipped, "{name} has found what is {check}'s: {finding:?}");
        }
    }
}

fn chain(status: &mut Status) -> &mut ChainState {
    status.chain.as_mut().unwrap()
}

fn blocked(code: &str) -> Blocked {
    Blocked {
        stream: StreamId::new(TenantId::random(), StoreId::random()),
        batch_id: BatchId::random(),
        code: code.to_owned(),
        message: "its root is another one".to_owned(),
        since: ago(60),
    }
}

#[test]
fn healthy_facts_are_healthy() {
    for (name, finding) in judged(Ok(healthy())) {
        assert_eq!(finding.status, Verdict::Ok, "{name}: {finding:?}");
    }
}

#[test]
fn what_is_not_set_up_or_not_told_is_skipped_with_the_reason() {
    let off = Status { configured: false, chain_id: None, contract: None, sender: None, ..healthy() };
    for (name, finding) in judged(Ok(off)) {
        assert_eq!(finding.status, Verdict::Skipped, "{name}");
        let named = if name == "anchor_settings" { "SEQUENCER_PRIVATE_KEY" } else { "anchor_settings" };
        assert!(finding.cause.contains(named), "{name}: {finding:?}");
    }
    for (name, finding) in judged(Err("the node is away".to_owned())) {
        assert_eq!(
            (finding.status, finding.cause.as_str()),
            (Verdict::Skipped, "the node is away"),
            "{name}"
        );
    }
}

#[test]
fn the_chain() {
    use Verdict::{Fail, Warn};
    finds("anchor_chain", Fail, "refused to connect", |s| {
        s.chain = Err("a:1: refused to connect".to_owned());
    });
    finds("anchor_chain", Fail, "not 8453", |s| chain(s).chain_id = 1);
    finds("anchor_chain", Warn, "601", |s| chain(s).block_time = ago(601));
    finds("anchor_chain", Warn, "a:1", |s| s.endpoints[0].breaker = "open".to_owned());
}

#[test]
fn the_contract() {
    use Verdict::Fail;
    finds("anchor_contract", Fail, "no contract at", |s| {
        (chain(s).kind, chain(s).contract_problem) = (None, Some("there is no contract at 0x07".to_owned()));
    });
    finds("anchor_contract", Fail, "anchors switch", |s| s.chosen_contract = Some(EvmAddress::new([1; 20])));
    finds("anchor_contract", Fail, "on chain 5", |s| s.chosen_chain_id = Some(5));
}

#[test]
fn the_account() {
    use Verdict::{Fail, Warn};
    finds("anchor_account", Fail, "setCommitter", |s| chain(s).may_commit = Some(false));
    // One transaction costs a million gas at 1 gwei: 10^15 wei.
    finds("anchor_account", Fail, "can't pay", |s| chain(s).balance_wei = "999999999999999".to_owned());
    finds("anchor_account", Warn, "fewer than 100", |s| {
        chain(s).balance_wei = "99999999999999999".to_owned()
    });
    let mut rich = healthy();
    chain(&mut rich).balance_wei = "100000000000000000".to_owned();
    assert!(judged(Ok(rich)).iter().all(|(_, finding)| finding.status == Verdict::Ok));
}

#[test]
fn the_holder() {
    use Verdict::Fail;
    finds("anchor_holder", Fail, "ever anchored", |s| s.holder = None);
    finds("anchor_holder", Fail, "took over", |s| s.holder.as_mut().unwrap().expires_at = ago(20));
    let idle = Status { holder: None, pending: 0, under_way: 0, oldest_secs: None, ..healthy() };
    assert!(judged(Ok(idle)).iter().all(|(_, finding)| finding.status == Verdict::Ok));
}

#[test]
fn the_backlog() {
    use Verdict::{Fail, Warn};
    finds("anchor_backlog", Warn, "750", |s| s.oldest_secs = Some(750));
    finds("anchor_backlog", Fail, "7500", |s| s.oldest_secs = Some(7_500));
}

#[test]
fn transactions_that_do_not_get_through() {
    use Verdict::{Fail, Warn};
    finds("anchor_stuck", Warn, "0x0909", |s| s.transactions[0].created_at = ago(301));
    finds("anchor_stuck", Fail, "ANCHOR_FEE_GWEI_MAX", |s| s.fee_cap_wei = "999999999".to_owned());
    finds("anchor_stuck", Warn, "RPC_REFUSED", |s| {
        s.trouble = Some(Trouble {
            code: "RPC_REFUSED".to_owned(),
            message: "it refuses".to_owned(),
            fix: "look at its log".to_owned(),
            since: ago(5),
        });
    });
}

#[test]
fn streams_that_are_set_aside() {
    use Verdict::{Fail, Warn};
    finds("anchor_streams", Warn, "anchors retry", |s| s.blocked = vec![blocked("BAD_STATE_ROOT")]);
    let fork = blocked("FORKED");
    let stream = fork.stream.to_string();
    finds("anchor_streams", Fail, &format!("another history of stream {stream}"), |s| {
        s.blocked = vec![blocked("REVERTED"), fork];
    });
}

#[test]
fn a_status_travels_as_json() {
    for status in [healthy(), Status { chain: Err("away".to_owned()), ..healthy() }] {
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&text).unwrap(), status, "{text}");
    }
}
