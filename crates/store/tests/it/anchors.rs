//! Anchors: sends hold commitments, marks follow from sends, and what is lost is pending again.
//!
//! Each test runs on both stores through the contract alone; what must be the same again is read from `picture`.

use std::sync::Arc;
use std::time::Duration;

use bowline_store::{
    AnchorBacklog, AnchorBlock, AnchorFilter, AnchorMark, AnchorRow, AnchorSend, AnchorTarget,
    AnchorTransaction, AnchoredEnd, ChangeKind, CommitmentFilter, CommitmentOrigin, InsertCommitment, Lease,
    LineStore, MinedAt, NewCorrection, PendingStream, ReportOutcome, ReportedAnchor, SendChange, SendOrigin,
    SendState, StoreError,
};
use bowline_types::{BatchId, EvmAddress, EvmHash, StreamId, Timestamp};
use bowline_ves::{Commitment, Hash, Tree};
use uuid::Uuid;

use crate::events::{at, grow, new_stream};
use crate::support::{Place, until};

pub(crate) const TARGET: AnchorTarget = AnchorTarget { chain_id: 31_337, contract: EvmAddress::new([5; 20]) };
const OTHER: AnchorTarget = AnchorTarget { chain_id: 31_337, contract: EvmAddress::new([6; 20]) };

pub(crate) async fn lease(store: &Arc<dyn LineStore>, holder: u128) -> Lease {
    let ttl = Duration::from_secs(600);
    store.take_lease("anchors", Uuid::from_u128(holder), ttl, at(0)).await.unwrap().unwrap()
}

/// A store whose target is chosen.
async fn ready(place: &Place) -> (Arc<dyn LineStore>, Lease) {
    let store = place.open().await;
    let lease = lease(&store, 1).await;
    store.choose_anchor_target(&lease, TARGET, at(0)).await.unwrap();
    (store, lease)
}

/// Commits so many events of a new stream one by one, at those seconds.
async fn committed(store: &Arc<dyn LineStore>, seconds: &[i64]) -> (StreamId, Vec<BatchId>) {
    let stream = new_stream();
    grow(store, stream, seconds.len()).await;
    let (mut prev, mut ids) = (Hash::ZERO, Vec::new());
    for (number, second) in (1..).zip(seconds) {
        let tree = Tree::new(store.leaves(stream, number, number).await.unwrap());
        let made =
            Commitment::seal(BatchId::random(), stream, &tree, number, number, prev, at(*second)).unwrap();
        prev = made.new_state_root;
        ids.push(made.batch_id);
        let inserted = store.insert_commitment(made, vec![1], CommitmentOrigin::Automatic).await.unwrap();
        assert_eq!(inserted, InsertCommitment::Inserted);
    }
    (stream, ids)
}

fn hash(byte: u8) -> EvmHash {
    EvmHash::new([byte; 32])
}

fn transaction(byte: u8) -> AnchorTransaction {
    AnchorTransaction {
        tx_hash: hash(byte),
        raw: vec![2, byte],
        fee_max: u128::MAX - u128::from(byte),
        tip: 1_000_000_007,
        recorded_at: at(i64::from(byte)),
    }
}

fn mined(byte: u8) -> MinedAt {
    MinedAt {
        tx_hash: Some(hash(byte)),
        block_number: 1_000 + u64::from(byte),
        block_hash: Some(hash(byte + 100)),
        gas_used: Some(77_000),
        gas_price: Some(u128::from(u64::MAX) * 3),
    }
}

/// An open send of those commitments, with one transaction.
pub(crate) fn send(batch_ids: Vec<BatchId>, byte: u8) -> AnchorSend {
    AnchorSend {
        send_id: Uuid::from_u128(u128::from(byte)),
        target: TARGET,
        origin: SendOrigin::Own,
        sender: EvmAddress::new([9; 20]),
        nonce: Some(u64::from(byte)),
        call: vec![byte; 5],
        gas_limit: 400_000,
        state: SendState::Open,
        created_at: at(i64::from(byte)),
        mined: None,
        settled_at: None,
        reason: None,
        transactions: vec![transaction(byte)],
        batch_ids,
    }
}

pub(crate) fn block(stream: StreamId, batch_id: BatchId) -> AnchorBlock {
    AnchorBlock {
        stream,
        batch_id,
        code: "FORKED".to_owned(),
        message: "another root".to_owned(),
        since: at(3),
    }
}

/// Brings a send of those commitments to its end.
async fn anchored(store: &Arc<dyn LineStore>, lease: &Lease, send: AnchorSend, byte: u8) {
    let id = send.send_id;
    store.record_send(lease, send).await.unwrap();
    store.change_send(lease, id, SendChange::Mined(mined(byte)), at(40)).await.unwrap();
    store.change_send(lease, id, SendChange::Anchored, at(50)).await.unwrap();
}

async fn mark(store: &Arc<dyn LineStore>, id: BatchId) -> Option<AnchorMark> {
    store.commitment(id).await.unwrap().unwrap().anchor
}

/// The mark that [`anchored`] gives.
fn mark_of(byte: u8) -> AnchorMark {
    let at_block = mined(byte);
    AnchorMark {
        chain_id: TARGET.chain_id,
        tx_hash: at_block.tx_hash,
        block_number: Some(at_block.block_number),
        anchored_at: at(50),
    }
}

async fn pending_of(store: &Arc<dyn LineStore>, stream: StreamId) -> Vec<BatchId> {
    let found = store.pending_of(stream, 10_000).await.unwrap();
    found.into_iter().map(|record| record.commitment.batch_id).collect()
}

async fn pending(store: &Arc<dyn LineStore>) -> Vec<BatchId> {
    let (found, count) = store.pending(10_000).await.unwrap();
    assert_eq!(found.len() as u64, count);
    found.into_iter().map(|record| record.commitment.batch_id).collect()
}

async fn rows(store: &Arc<dyn LineStore>, stream: StreamId) -> Vec<AnchorRow> {
    store.anchor_rows(AnchorFilter { stream, after: 0, limit: 10_000 }).await.unwrap()
}

async fn counts(store: &Arc<dyn LineStore>) -> (u64, u64, u64) {
    let AnchorBacklog { pending, under_way, anchored, .. } = store.anchor_backlog().await.unwrap();
    (pending, under_way, anchored)
}

fn is_internal<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Internal(_))), "{result:?}");
}

pub(crate) async fn a_send_goes_from_open_to_anchored(place: Arc<Place>) {
    let (store, lease) = ready(&place).await;
    let (stream, ids) = committed(&store, &[1, 2, 3]).await;
    assert_eq!(pending_of(&store, stream).await, ids);
    let waiting = PendingStream { stream, count: 3, oldest: at(1) };
    assert_eq!(store.pending_streams(9).await.unwrap(), [waiting]);

    let mut sent = send(vec![ids[1], ids[0]], 7);
    store.record_send(&lease, sent.clone()).await.unwrap();
    assert_eq!(store.live_sends().await.unwrap(), [sent.clone()]);
    assert_eq!(store.sends_of(ids[0]).await.unwrap(), [sent.clone()]);
    assert_eq!(pending_of(&store, stream).await, ids[2..]);
    assert_eq!(counts(&store).await, (1, 2, 0));

    let change = async |change| store.change_send(&lease, sent.send_id, change, at(50)).await;
    change(SendChange::Replaced(transaction(3))).await.unwrap();
    sent.transactions.push(transaction(3));
    assert_eq!(store.live_sends().await.unwrap(), [sent.clone()]);
    change(SendChange::Mined(mined(3))).await.unwrap();
    let seen = AnchorSend { state: SendState::Mined, mined: Some(mined(3)), ..sent.clone() };
    assert_eq!(store.live_sends().await.unwrap(), [seen]);
    change(SendChange::Reopened).await.unwrap();
    assert_eq!(store.live_sends().await.unwrap(), [sent.clone()]);
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
    assert_eq!(store.sends_of(ids[1]).await.unwrap(), [settled.clone()]);
    assert!(store.live_sends().await.unwrap().is_empty());
    for (id, expected) in [(ids[0], Some(mark_of(7))), (ids[1], Some(mark_of(7))), (ids[2], None)] {
        assert_eq!(mark(&store, id).await, expected);
    }
    for wrong in [SendChange::Reopened, SendChange::Mined(mined(9)), SendChange::Void(String::new())] {
        is_internal(change(wrong).await);
    }
    store.close().await;

    let store = place.open().await;
    assert_eq!(store.anchor_target().await.unwrap(), Some(TARGET));
    assert_eq!(counts(&store).await, (1, 0, 2));
    assert_eq!(store.anchor_backlog().await.unwrap().oldest, Some(at(3)));
    let listed = rows(&store, stream).await;
    let shown: Vec<_> = listed.iter().map(|row| (row.send.clone(), row.shared_by)).collect();
    assert_eq!(shown, [(Some(settled.clone()), 2), (Some(settled), 2), (None, 0)]);
    let end = store.commitment(ids[1]).await.unwrap().unwrap().commitment.new_state_root;
    let expected = AnchoredEnd { stream, position: 2, batch_id: ids[1], state_root: end };
    assert_eq!(store.anchored_ends(None, 9).await.unwrap(), [expected]);
}
