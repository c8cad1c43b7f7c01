//! Anchors: sends hold commitments, marks follow from sends, and what is lost is pending again.
//!
//! Each test runs on both engines through the contract alone.

mod given;
mod reports;

use std::sync::Arc;

use bowline_anchor::tables::{
    ANCHORS, AnchorBlock, AnchorFilter, AnchorRow, AnchorSend, AnchorTarget, AnchorTransaction, AnchoredEnd,
    MinedAt, PendingStream, ReportOutcome, SendChange, SendOrigin, SendState,
};
use bowline_store::{
    AnchorMark, CommitmentFilter, CommitmentOrigin, InsertCommitment, NewCorrection, StoreError,
};
use bowline_types::{BatchId, EvmAddress};
use bowline_ves::{Commitment, Tree};
use uuid::Uuid;

use bowline_conformance::events::{at, new_stream};
use bowline_conformance::{Place, until};

use self::given::{
    OTHER, anchored, committed, counts, is_internal, mark, mark_of, mined, pending, pending_of, ready,
    report, rows, tables, transaction,
};
pub(crate) use self::given::{TARGET, block, lease, send};
pub(crate) use self::reports::{
    a_report_and_a_send_at_a_time_exclude_each_other, somebody_elses_anchor_is_recorded_once,
};

pub(crate) async fn a_send_goes_from_open_to_anchored(place: Arc<Place>) {
    let (store, lease) = ready(&place).await;
    let (stream, ids) = committed(&store, &[1, 2, 3]).await;
    assert_eq!(pending_of(&store, stream).await, ids);
    let waiting = PendingStream { stream, count: 3, oldest: at(1) };
    assert_eq!(tables(&store).pending_streams(9).await.unwrap(), [waiting]);

    let mut sent = send(vec![ids[1], ids[0]], 7);
    tables(&store).record_send(&lease, sent.clone()).await.unwrap();
    assert_eq!(tables(&store).live_sends().await.unwrap(), [sent.clone()]);
    assert_eq!(tables(&store).sends_of(ids[0]).await.unwrap(), [sent.clone()]);
    assert_eq!(pending_of(&store, stream).await, ids[2..]);
    assert_eq!(counts(&store).await, (1, 2, 0));

    let change = async |change| tables(&store).change_send(&lease, sent.send_id, change, at(50)).await;
    change(SendChange::Replaced(transaction(3))).await.unwrap();
    sent.transactions.push(transaction(3));
    assert_eq!(tables(&store).live_sends().await.unwrap(), [sent.clone()]);
    change(SendChange::Mined(mined(3))).await.unwrap();
    let seen = AnchorSend { state: SendState::Mined, mined: Some(mined(3)), ..sent.clone() };
    assert_eq!(tables(&store).live_sends().await.unwrap(), [seen]);
    change(SendChange::Reopened).await.unwrap();
    assert_eq!(tables(&store).live_sends().await.unwrap(), [sent.clone()]);
    is_internal(change(SendChange::Anchored).await);
    assert_eq!(mark(&store, ids[0]).await, None);

    change(SendChange::Mined(mined(7))).await.unwrap();
    change(SendChange::Anchored).await.unwrap();
    // A caller that did not learn of the commit asks again.
    change(SendChange::Anchored).await.unwrap();
    let settled = AnchorSend {
        state: SendState::Anchored,
        mined: Some(mined(7)),
        settled_at: Some(at(50)),
        call: Vec::new(),
        transactions: Vec::new(),
        ..sent.clone()
    };
    assert_eq!(tables(&store).sends_of(ids[1]).await.unwrap(), std::slice::from_ref(&settled));
    assert!(tables(&store).live_sends().await.unwrap().is_empty());
    for (id, expected) in [(ids[0], Some(mark_of(7))), (ids[1], Some(mark_of(7))), (ids[2], None)] {
        assert_eq!(mark(&store, id).await, expected);
    }
    for wrong in [SendChange::Reopened, SendChange::Mined(mined(9)), SendChange::Void(String::new())] {
        is_internal(change(wrong).await);
    }
    store.close().await;

    let store = place.open().await;
    assert_eq!(tables(&store).anchor_target().await.unwrap(), Some(TARGET));
    assert_eq!(counts(&store).await, (1, 0, 2));
    assert_eq!(tables(&store).anchor_backlog().await.unwrap().oldest, Some(at(3)));
    let listed = rows(&store, stream).await;
    let shown: Vec<_> = listed.iter().map(|row| (row.send.clone(), row.shared_by)).collect();
    assert_eq!(shown, [(Some(settled.clone()), 2), (Some(settled), 2), (None, 0)]);
    let end = store.commitment(ids[1]).await.unwrap().unwrap().commitment.new_state_root;
    let expected = AnchoredEnd { stream, position: 2, batch_id: ids[1], state_root: end };
    assert_eq!(tables(&store).anchored_ends(None, 9).await.unwrap(), [expected]);
}

pub(crate) async fn a_commitment_is_held_once_or_nothing_is_written(place: Arc<Place>) {
    let (store, lease) = ready(&place).await;
    let (stream, ids) = committed(&store, &[1, 2, 3, 4]).await;
    anchored(&store, &lease, send(vec![ids[0]], 1), 1).await;
    let held = send(vec![ids[1]], 2);
    tables(&store).record_send(&lease, held.clone()).await.unwrap();
    let before = rows(&store, stream).await;

    let new = |batch_ids: Vec<BatchId>| send(batch_ids, 3);
    for wrong in [
        new(vec![ids[2], ids[0]]),
        new(vec![ids[2], ids[1]]),
        new(vec![ids[2], ids[2]]),
        new(vec![ids[2], BatchId::random()]),
        AnchorSend { target: OTHER, ..new(vec![ids[2]]) },
        AnchorSend { state: SendState::Mined, ..new(vec![ids[2]]) },
        AnchorSend { mined: Some(mined(3)), ..new(vec![ids[2]]) },
        AnchorSend { state: SendState::Anchored, mined: Some(mined(3)), ..new(vec![ids[2]]) },
        AnchorSend { send_id: held.send_id, ..new(vec![ids[2]]) },
        AnchorSend { transactions: vec![transaction(3), transaction(3)], ..new(vec![ids[2]]) },
    ] {
        is_internal(tables(&store).record_send(&lease, wrong).await);
    }
    is_internal(tables(&store).change_send(&lease, Uuid::from_u128(3), SendChange::Reopened, at(9)).await);
    let known = SendChange::Replaced(transaction(2));
    is_internal(tables(&store).change_send(&lease, held.send_id, known, at(9)).await);
    assert_eq!(rows(&store, stream).await, before);
    assert_eq!(tables(&store).live_sends().await.unwrap(), [held]);
    assert!(tables(&store).sends_of(ids[2]).await.unwrap().is_empty());
    assert_eq!(counts(&store).await, (2, 1, 1));

    // What was found on the chain needs no nonce and no transaction, and stands before what has one.
    let found = AnchorSend {
        origin: SendOrigin::Adopted,
        sender: EvmAddress::default(),
        nonce: None,
        state: SendState::Mined,
        mined: Some(MinedAt { tx_hash: None, block_hash: None, gas_used: None, gas_price: None, ..mined(3) }),
        transactions: Vec::new(),
        ..new(vec![ids[3], ids[2]])
    };
    tables(&store).record_send(&lease, found.clone()).await.unwrap();
    let live = tables(&store).live_sends().await.unwrap();
    assert_eq!(live.iter().map(|send| send.nonce).collect::<Vec<_>>(), [None, Some(2)]);
    assert_eq!(live[0], found);
    tables(&store).change_send(&lease, found.send_id, SendChange::Anchored, at(50)).await.unwrap();
    assert_eq!(mark(&store, ids[3]).await, Some(AnchorMark { tx_hash: None, ..mark_of(3) }));
}

pub(crate) async fn what_is_void_is_pending_again(place: Arc<Place>) {
    let (store, lease) = ready(&place).await;
    let (stream, ids) = committed(&store, &[1, 2]).await;
    let first = send(ids.clone(), 1);
    tables(&store).record_send(&lease, first.clone()).await.unwrap();
    assert!(
        pending_of(&store, stream).await.is_empty()
            && tables(&store).pending_streams(9).await.unwrap().is_empty()
    );
    assert_eq!(rows(&store, stream).await[1].send.as_ref().map(|send| send.send_id), Some(first.send_id));
    let void = SendChange::Void("reverted: NotChained".to_owned());
    for _ in 0..2 {
        tables(&store).change_send(&lease, first.send_id, void.clone(), at(9)).await.unwrap();
    }
    assert_eq!(pending_of(&store, stream).await, ids);
    assert_eq!(counts(&store).await, (2, 0, 0));
    assert!(rows(&store, stream).await.iter().all(|row| row.send.is_none() && row.shared_by == 0));
    is_internal(tables(&store).change_send(&lease, first.send_id, SendChange::Mined(mined(1)), at(10)).await);

    let second = AnchorSend { transactions: first.transactions.clone(), ..send(vec![ids[0]], 2) };
    tables(&store).record_send(&lease, second.clone()).await.unwrap();
    let reason = Some("reverted: NotChained".to_owned());
    // Its bytes are of no use any more; what was signed stays to be seen, and may be signed again.
    let transactions =
        first.transactions.iter().map(|one| AnchorTransaction { raw: Vec::new(), ..one.clone() });
    let transactions: Vec<_> = transactions.collect();
    let voided = AnchorSend {
        state: SendState::Void,
        settled_at: Some(at(9)),
        call: Vec::new(),
        reason,
        transactions,
        ..first.clone()
    };
    assert_eq!(tables(&store).sends_of(ids[0]).await.unwrap(), [voided.clone(), second.clone()]);
    assert_eq!(tables(&store).sends_of(ids[1]).await.unwrap(), [voided]);
    assert_eq!(tables(&store).live_sends().await.unwrap(), [second]);
}

pub(crate) async fn marks_that_the_chain_has_lost_are_taken_away(place: Arc<Place>) {
    let (store, lease) = ready(&place).await;
    let (stream, ids) = committed(&store, &[1, 2, 3, 4, 5]).await;
    let (neighbour, others) = committed(&store, &[1, 2]).await;
    anchored(&store, &lease, send(vec![ids[0], ids[1]], 1), 1).await;
    anchored(&store, &lease, send(vec![ids[2], others[0]], 2), 2).await;
    anchored(&store, &lease, send(vec![ids[3]], 3), 3).await;
    tables(&store).record_send(&lease, send(vec![ids[4]], 4)).await.unwrap();

    let unmark = async |stream, after| {
        tables(&store).unmark_anchors(&lease, stream, after, "a reorg", at(60)).await.unwrap()
    };
    assert_eq!(unmark(stream, 4).await, 0);
    assert_eq!(unmark(new_stream(), 0).await, 0);
    assert_eq!(unmark(stream, 1).await, 3);
    let states = async |id| {
        let sends = tables(&store).sends_of(id).await.unwrap();
        sends.into_iter().map(|send| (send.state, send.reason, send.settled_at)).collect::<Vec<_>>()
    };
    // The first two sends still hold a commitment that is marked.
    assert_eq!(states(ids[0]).await, [(SendState::Anchored, None, Some(at(50)))]);
    assert_eq!(states(ids[2]).await, [(SendState::Anchored, None, Some(at(50)))]);
    assert_eq!(states(ids[3]).await, [(SendState::Void, Some("a reorg".to_owned()), Some(at(60)))]);
    assert_eq!(states(ids[4]).await, [(SendState::Open, None, None)]);
    assert_eq!(pending_of(&store, stream).await, ids[1..4]);
    assert_eq!((mark(&store, ids[0]).await, mark(&store, ids[1]).await), (Some(mark_of(1)), None));
    assert_eq!(mark(&store, others[0]).await, Some(mark_of(2)));
    assert_eq!(counts(&store).await, (4, 1, 2));
    let ends = tables(&store).anchored_ends(None, 9).await.unwrap();
    let mut expected = [(stream, 1), (neighbour, 1)];
    expected.sort();
    assert_eq!(ends.iter().map(|end| (end.stream, end.position)).collect::<Vec<_>>(), expected);
    assert_eq!(tables(&store).anchored_ends(Some(expected[0].0), 9).await.unwrap(), ends[1..]);
    assert_eq!(tables(&store).anchored_ends(None, 1).await.unwrap(), ends[..1]);

    // They are anchored anew, in other company.
    anchored(&store, &lease, send(ids[1..4].to_vec(), 5), 5).await;
    let listed = rows(&store, stream).await;
    let shared: Vec<_> = listed.iter().map(|row| row.shared_by).collect();
    assert_eq!(shared, [2, 3, 3, 3, 1]);
    assert_eq!(unmark(neighbour, 0).await, 1);
    assert_eq!(states(others[0]).await, [(SendState::Void, Some("a reorg".to_owned()), Some(at(60)))]);
    assert_eq!(mark(&store, ids[2]).await, Some(mark_of(5)));
}

pub(crate) async fn another_target_has_marks_of_its_own(place: Arc<Place>) {
    let (store, lease) = ready(&place).await;
    let (stream, ids) = committed(&store, &[1, 2, 3]).await;
    anchored(&store, &lease, send(vec![ids[0]], 1), 1).await;
    let open = send(vec![ids[1]], 2);
    tables(&store).record_send(&lease, open.clone()).await.unwrap();
    tables(&store).block_anchors(&lease, block(stream, ids[2])).await.unwrap();
    let before = rows(&store, stream).await;
    let epoch = || store.changes().epoch(ANCHORS);
    let known = epoch();
    tables(&store).choose_anchor_target(&lease, TARGET, at(70)).await.unwrap();
    assert_eq!((epoch(), rows(&store, stream).await), (known, before));

    tables(&store).choose_anchor_target(&lease, OTHER, at(70)).await.unwrap();
    assert!(epoch() > known);
    assert_eq!(tables(&store).anchor_target().await.unwrap(), Some(OTHER));
    assert_eq!(pending_of(&store, stream).await, ids);
    assert_eq!(counts(&store).await, (3, 0, 0));
    assert!(tables(&store).anchor_blocks(9).await.unwrap().is_empty());
    assert!(
        tables(&store).live_sends().await.unwrap().is_empty()
            && tables(&store).anchored_ends(None, 9).await.unwrap().is_empty()
    );
    let left = tables(&store).sends_of(ids[1]).await.unwrap();
    assert_eq!((left[0].state, left[0].settled_at), (SendState::Void, Some(at(70))));
    assert!(left[0].reason.is_some());

    anchored(&store, &lease, AnchorSend { target: OTHER, ..send(vec![ids[0], ids[2]], 3) }, 3).await;
    assert_eq!(mark(&store, ids[0]).await, Some(mark_of(3)));
    let elsewhere = AnchorTarget { chain_id: 1, ..TARGET };
    for target in [TARGET, elsewhere, TARGET] {
        tables(&store).choose_anchor_target(&lease, target, at(80)).await.unwrap();
        assert_eq!(tables(&store).anchor_target().await.unwrap(), Some(target));
        let first = (target == TARGET).then(|| mark_of(1));
        assert_eq!((mark(&store, ids[0]).await, mark(&store, ids[2]).await), (first, None));
    }
    assert_eq!(pending_of(&store, stream).await, ids[1..]);
    let held: Vec<_> =
        rows(&store, stream).await.into_iter().map(|row| row.send.map(|s| s.send_id)).collect();
    assert_eq!(held, [Some(Uuid::from_u128(1)), None, None]);
    for chain_id in [0, u64::MAX] {
        let nowhere = AnchorTarget { chain_id, ..TARGET };
        is_internal(tables(&store).choose_anchor_target(&lease, nowhere, at(90)).await);
    }
    assert_eq!(tables(&store).anchor_target().await.unwrap(), Some(TARGET));
}

pub(crate) async fn a_blocked_stream_is_set_aside_until_somebody_looks(place: Arc<Place>) {
    let (store, lease) = ready(&place).await;
    let (stream, ids) = committed(&store, &[5, 6]).await;
    let (other, others) = committed(&store, &[7]).await;
    let streams = async || {
        let found = tables(&store).pending_streams(9).await.unwrap();
        found.into_iter().map(|pending| pending.stream).collect::<Vec<_>>()
    };
    assert_eq!(streams().await, [stream, other]);
    let first = block(stream, ids[0]);
    tables(&store).block_anchors(&lease, first.clone()).await.unwrap();
    let later = AnchorBlock { code: "REFUSED".to_owned(), since: at(4), ..block(stream, ids[1]) };
    tables(&store).block_anchors(&lease, later).await.unwrap();
    let second = AnchorBlock { since: at(2), ..block(other, others[0]) };
    tables(&store).block_anchors(&lease, second.clone()).await.unwrap();
    is_internal(tables(&store).block_anchors(&lease, block(new_stream(), ids[0])).await);
    assert_eq!(tables(&store).anchor_blocks(9).await.unwrap(), [second.clone(), first]);
    assert_eq!(tables(&store).anchor_blocks(1).await.unwrap(), [second]);
    assert!(streams().await.is_empty());
    // They wait all the same.
    assert_eq!(pending(&store).await, [ids[0], ids[1], others[0]]);
    assert_eq!(pending_of(&store, stream).await, ids);
    assert_eq!(counts(&store).await, (3, 0, 0));

    let epoch = store.changes().epoch(ANCHORS);
    assert_eq!(tables(&store).unblock_anchors(Some(new_stream())).await.unwrap(), 0);
    assert_eq!(tables(&store).unblock_anchors(Some(stream)).await.unwrap(), 1);
    assert!(store.changes().epoch(ANCHORS) > epoch);
    assert_eq!(streams().await, [stream]);
    assert_eq!(tables(&store).unblock_anchors(None).await.unwrap(), 1);
    assert_eq!(streams().await, [stream, other]);
    assert_eq!(tables(&store).pending_streams(1).await.unwrap().len(), 1);
}

pub(crate) async fn what_waits_keeps_the_order_of_its_chain(place: Arc<Place>) {
    let store = place.open().await;
    // A clock went back within the first stream.
    let (stream, ids) = committed(&store, &[10, 5, 20]).await;
    let (early, firsts) = committed(&store, &[7, 8]).await;
    assert_eq!(pending_of(&store, stream).await, ids);
    assert_eq!(pending(&store).await, [firsts[0], firsts[1], ids[0], ids[1], ids[2]]);
    let (page, count) = tables(&store).pending(3).await.unwrap();
    assert_eq!((page.len(), count), (3, 5));
    assert_eq!(page[2].commitment.batch_id, ids[0]);
    let streams = tables(&store).pending_streams(9).await.unwrap();
    let expected = [
        PendingStream { stream, count: 3, oldest: at(5) },
        PendingStream { stream: early, count: 2, oldest: at(7) },
    ];
    assert_eq!(streams, expected);
    assert_eq!(tables(&store).anchor_backlog().await.unwrap().oldest, Some(at(5)));

    // A correction stands at the end of the chain, and is anchored like all others.
    let last = store.last_commitment(stream).await.unwrap().unwrap().commitment;
    let tree = Tree::new(store.leaves(stream, 1, 1).await.unwrap());
    let made = Commitment::seal(BatchId::random(), stream, &tree, 1, 1, last.new_state_root, at(1)).unwrap();
    let id = made.batch_id;
    let correction = NewCorrection {
        commitment: made.correcting(ids[0]),
        upper_levels: vec![1],
        origin: CommitmentOrigin::Automatic,
        reason: "r".to_owned(),
    };
    assert_eq!(store.insert_correction(correction).await.unwrap(), InsertCommitment::Inserted);
    let chain = [ids[0], ids[1], ids[2], id];
    assert_eq!(pending_of(&store, stream).await, chain);
    assert_eq!(pending(&store).await[2..], chain);
    let found = tables(&store).pending_of(stream, 2).await.unwrap();
    assert_eq!(found[0].chain.corrected_by, Some(id));
    assert_eq!(found.len(), 2);
    // What is marked is on no list of what is not.
    assert_eq!(
        tables(&store).report_anchor(report(ids[1], 1), at(1)).await.unwrap(),
        ReportOutcome::Recorded
    );
    let listed = async |unanchored_only, from, limit| {
        let filter = CommitmentFilter { stream, from, unanchored_only, limit };
        let found = store.commitments(filter).await.unwrap();
        found.into_iter().map(|record| record.commitment.batch_id).collect::<Vec<_>>()
    };
    assert_eq!(listed(true, 1, 9).await, [ids[0], id, ids[2]]);
    assert_eq!(listed(true, 2, 9).await, [ids[2]]);
    assert_eq!(listed(true, 1, 2).await, [ids[0], id]);
    assert_eq!(listed(false, 1, 9).await, [ids[0], id, ids[1], ids[2]]);
}

pub(crate) async fn a_thousand_commitments_are_paged_and_anchored(place: Arc<Place>) {
    let (store, lease) = ready(&place).await;
    let (stream, ids) = committed(&store, &(1..=1_000).collect::<Vec<_>>()).await;
    assert_eq!(pending_of(&store, stream).await, ids);
    for (byte, part) in (1..).zip(ids.chunks(150).take(3)) {
        anchored(&store, &lease, send(part.to_vec(), byte), byte).await;
    }
    tables(&store).record_send(&lease, send(ids[450..460].to_vec(), 9)).await.unwrap();
    assert_eq!(counts(&store).await, (540, 10, 450));
    assert_eq!(pending_of(&store, stream).await, ids[460..]);
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = tables(&store).anchor_rows(AnchorFilter { stream, after, limit: 130 }).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 130);
        after = last.commitment.chain.position;
        seen.extend(page);
    }
    assert_eq!(seen.iter().map(|row| row.commitment.commitment.batch_id).collect::<Vec<_>>(), ids);
    let held = |row: &AnchorRow| row.send.as_ref().map(|send| send.send_id.as_u128());
    let expected = (0..1_000).map(|index| match index {
        0..450 => Some(index / 150 + 1),
        450..460 => Some(9),
        _ => None,
    });
    assert_eq!(seen.iter().map(held).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    let outline = seen[455].send.clone().unwrap();
    assert!(outline.call.is_empty() && outline.transactions[0].raw.is_empty());
    assert_eq!(outline.batch_ids, ids[450..460]);
    assert_eq!(tables(&store).unmark_anchors(&lease, stream, 100, "lost", at(60)).await.unwrap(), 350);
    assert_eq!(counts(&store).await, (890, 10, 100));
}

pub(crate) async fn every_process_hears_that_there_is_something_to_anchor(place: Arc<Place>) {
    let stores = place.open_two().await;
    let known = stores[1].changes().epoch(ANCHORS);
    tables(&stores[0]).wake_anchoring().await.unwrap();
    let woken = stores[0].changes().epoch(ANCHORS);
    assert!(woken > known);
    until(async || stores[1].changes().epoch(ANCHORS) == woken).await;
}

pub(crate) async fn every_write_looks_at_its_lease(place: Arc<Place>) {
    let store = place.open().await;
    let stale = lease(&store, 1).await;
    store.release_lease(&stale).await.unwrap();
    let lost = |result: Result<(), StoreError>| assert!(matches!(result, Err(StoreError::LeaseLost(_))));
    let stream = new_stream();
    lost(tables(&store).choose_anchor_target(&stale, TARGET, at(0)).await);
    lost(tables(&store).record_send(&stale, send(Vec::new(), 1)).await);
    let void = SendChange::Void(String::new());
    lost(tables(&store).change_send(&stale, Uuid::new_v4(), void, at(0)).await);
    lost(tables(&store).unmark_anchors(&stale, stream, 0, "r", at(0)).await.map(drop));
    lost(tables(&store).block_anchors(&stale, block(stream, BatchId::random())).await);
    assert_eq!(tables(&store).anchor_target().await.unwrap(), None);
}
