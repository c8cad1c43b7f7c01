//! What an anchoring process does when nothing is in its way, on both kinds of contract.
//! What is in its way is in `faults`, and where it may die in `steps`.

use std::time::Duration;

use bowline_anchor::tables::{SendOrigin, SendState};
use bowline_anchor::{Kind, Progress};
use bowline_line::Correction;

use crate::rig::{Rig, new_stream};
use crate::support::{Chain, soon};

#[tokio::test]
async fn commitments_are_anchored_in_order_and_marked_when_they_are_final() {
    let rig = Rig::new().await;
    let (one, other) = (new_stream(), new_stream());
    rig.commit(one, 3).await;
    rig.commit(other, 2).await;
    let running = rig.start();
    rig.until_sends(one, SendState::Mined).await;
    // In a block, and nothing on top of it.
    assert!(rig.rows(one).await.iter().all(|row| row.commitment.anchor.is_none()));
    let rows = rig.all_anchored(one).await;
    rig.all_anchored(other).await;
    let send = rows[0].send.clone().unwrap();
    let mark = rows[2].commitment.anchor.unwrap();
    assert_eq!((mark.chain_id, mark.tx_hash), (31_337, send.mined.unwrap().tx_hash));
    assert_eq!((send.origin, send.nonce, rows[0].shared_by), (SendOrigin::Own, Some(0), 5));
    assert!(send.transactions.is_empty() && send.call.is_empty(), "what is final needs no raw bytes");
    assert_eq!((rig.on_chain(one).await, rig.on_chain(other).await), (3, 2));
    // What comes later continues it.
    rig.commit(one, 1).await;
    rig.all_anchored(one).await;
    let status = running.handle.status().await.unwrap();
    assert_eq!((status.anchored, status.pending, status.under_way, status.trouble), (6, 0, 0, None));
    let chain = status.chain.unwrap();
    assert_eq!((chain.kind, chain.may_commit), (Some(Kind::Bowline), Some(true)));
}

#[tokio::test]
async fn a_correction_is_anchored_behind_what_it_corrects() {
    let rig = Rig::new().await;
    let stream = new_stream();
    let made = rig.commit(stream, 2).await;
    let corrected = made[0].commitment.batch_id;
    let correction = Correction { batch_id: corrected, reason: "tried out".to_owned(), force: true };
    rig.commitments().correct(correction).await.unwrap();
    let _running = rig.start();
    let rows = rig.all_anchored(stream).await;
    assert_eq!(rows.len(), 3);
    assert_eq!(rig.on_chain(stream).await, 3);
}

#[tokio::test]
async fn an_original_contract_takes_anchors_too_and_is_asked_before_it_gets_one() {
    let rig = Rig::with(Chain::original().await).await;
    let mut rig = rig;
    // Its owner may anchor, and nobody else.
    rig.config.private_key = Some(bowline_types::Secret::new(crate::support::KEYS[0]));
    let stream = new_stream();
    let made = rig.commit(stream, 3).await;
    let running = rig.start();
    rig.all_anchored(stream).await;
    let verified = running.handle.verify(made[1].commitment.batch_id).await.unwrap();
    assert!(verified.on_chain && verified.kind == Kind::Original);
    running.kill().await;
    // Another store with the same commitments finds them there instead of sending them again.
    let sends = rig.tables().sends_of(made[0].commitment.batch_id).await.unwrap();
    assert_eq!((sends.len(), sends[0].origin), (1, SendOrigin::Own));
}

#[tokio::test]
async fn what_is_asked_for_is_anchored_at_once_and_waited_for() {
    let mut rig = Rig::new().await;
    (rig.config.interval_secs, rig.config.batch_threshold) = (3_600, 1_000);
    let stream = new_stream();
    let made = rig.commit(stream, 2).await;
    let running = rig.start();
    let id = made[0].commitment.batch_id;
    let unasked = running.handle.status().await.unwrap();
    assert_eq!((unasked.pending, unasked.under_way), (2, 0));
    let asked = running.handle.anchor(id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(asked.progress, Progress::Mined);
    rig.all_anchored(stream).await;
    let again = running.handle.anchor(id, Duration::from_secs(20)).await.unwrap();
    assert_eq!(again.progress, Progress::AlreadyAnchored);
    let verified = running.handle.verify(id).await.unwrap();
    assert!(verified.on_chain && verified.confirmations >= Some(1), "{verified:?}");
}

#[tokio::test]
async fn a_long_backlog_goes_in_transactions_of_bounded_size() {
    let mut rig = Rig::new().await;
    rig.config.transaction_commitments_max = 25;
    let streams = [new_stream(), new_stream(), new_stream()];
    for stream in streams {
        rig.commit(stream, 40).await;
    }
    let _running = rig.start();
    for stream in streams {
        let rows = rig.all_anchored(stream).await;
        assert!(rows.iter().all(|row| row.shared_by <= 25), "{:?}", rows[0].shared_by);
        assert_eq!(rig.on_chain(stream).await, 40);
    }
}

#[tokio::test]
async fn a_small_gas_limit_makes_smaller_transactions() {
    let mut rig = Rig::new().await;
    rig.config.gas_max = 300_000;
    let stream = new_stream();
    rig.commit(stream, 20).await;
    let _running = rig.start();
    let rows = rig.all_anchored(stream).await;
    assert!(rows.iter().all(|row| row.shared_by < 10), "{}", rows[0].shared_by);
}

#[tokio::test]
async fn nothing_is_sent_before_it_is_due() {
    let mut rig = Rig::new().await;
    (rig.config.interval_secs, rig.config.batch_threshold) = (3_600, 3);
    let stream = new_stream();
    rig.commit(stream, 2).await;
    let running = rig.start();
    soon(|| async { running.handle.status().await.unwrap().holder.map(drop) }).await;
    let height = rig.chain.anvil.height().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((rig.on_chain(stream).await, rig.chain.anvil.height().await), (0, height));
    rig.commit(stream, 1).await;
    rig.all_anchored(stream).await;
}
