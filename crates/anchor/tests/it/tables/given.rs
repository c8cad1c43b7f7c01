//! What tests of anchors are given: a target, leases, commitments, sends that hold them, and what is read of all that.
//! Everything goes through the store's contract alone.

use std::sync::Arc;
use std::time::Duration;

use bowline_anchor::tables::{
    AnchorBacklog, AnchorBlock, AnchorFilter, AnchorRow, AnchorSend, AnchorStore, AnchorTarget,
    AnchorTransaction, MinedAt, ReportedAnchor, SendChange, SendOrigin, SendState,
};
use bowline_store::{AnchorMark, CommitmentOrigin, InsertCommitment, Lease, LineStore, StoreError};
use bowline_types::{BatchId, EvmAddress, EvmHash, StreamId};
use bowline_ves::{Commitment, Hash, Tree};
use uuid::Uuid;

use bowline_conformance::Place;
use bowline_conformance::events::{at, grow, new_stream};

pub(crate) const TARGET: AnchorTarget = AnchorTarget { chain_id: 31_337, contract: EvmAddress::new([5; 20]) };
pub(crate) const OTHER: AnchorTarget = AnchorTarget { chain_id: 31_337, contract: EvmAddress::new([6; 20]) };

/// Anchors' tables in the database of that store.
pub(crate) fn tables(store: &Arc<dyn LineStore>) -> Arc<dyn AnchorStore> {
    bowline_anchor::tables::open(&store.engine())
}

pub(crate) async fn lease(store: &Arc<dyn LineStore>, holder: u128) -> Lease {
    let ttl = Duration::from_secs(600);
    store.take_lease("anchors", Uuid::from_u128(holder), ttl, at(0)).await.unwrap().unwrap()
}

/// A store whose target is chosen.
pub(crate) async fn ready(place: &Place) -> (Arc<dyn LineStore>, Lease) {
    let store = place.open().await;
    let lease = lease(&store, 1).await;
    tables(&store).choose_anchor_target(&lease, TARGET, at(0)).await.unwrap();
    (store, lease)
}

/// Commits so many events of a new stream one by one, at those seconds.
pub(crate) async fn committed(store: &Arc<dyn LineStore>, seconds: &[i64]) -> (StreamId, Vec<BatchId>) {
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

pub(crate) fn hash(byte: u8) -> EvmHash {
    EvmHash::new([byte; 32])
}

pub(crate) fn transaction(byte: u8) -> AnchorTransaction {
    AnchorTransaction {
        tx_hash: hash(byte),
        raw: vec![2, byte],
        fee_max: u128::MAX - u128::from(byte),
        tip: 1_000_000_007,
        recorded_at: at(i64::from(byte)),
    }
}

pub(crate) fn mined(byte: u8) -> MinedAt {
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
pub(crate) async fn anchored(store: &Arc<dyn LineStore>, lease: &Lease, send: AnchorSend, byte: u8) {
    let id = send.send_id;
    tables(store).record_send(lease, send).await.unwrap();
    tables(store).change_send(lease, id, SendChange::Mined(mined(byte)), at(40)).await.unwrap();
    tables(store).change_send(lease, id, SendChange::Anchored, at(50)).await.unwrap();
}

pub(crate) async fn mark(store: &Arc<dyn LineStore>, id: BatchId) -> Option<AnchorMark> {
    store.commitment(id).await.unwrap().unwrap().anchor
}

/// The mark that [`anchored`] gives.
pub(crate) fn mark_of(byte: u8) -> AnchorMark {
    let at_block = mined(byte);
    AnchorMark {
        chain_id: TARGET.chain_id,
        tx_hash: at_block.tx_hash,
        block_number: Some(at_block.block_number),
        anchored_at: at(50),
    }
}

pub(crate) async fn pending_of(store: &Arc<dyn LineStore>, stream: StreamId) -> Vec<BatchId> {
    let found = tables(store).pending_of(stream, 10_000).await.unwrap();
    found.into_iter().map(|record| record.commitment.batch_id).collect()
}

pub(crate) async fn pending(store: &Arc<dyn LineStore>) -> Vec<BatchId> {
    let (found, count) = tables(store).pending(10_000).await.unwrap();
    assert_eq!(found.len() as u64, count);
    found.into_iter().map(|record| record.commitment.batch_id).collect()
}

pub(crate) async fn rows(store: &Arc<dyn LineStore>, stream: StreamId) -> Vec<AnchorRow> {
    tables(store).anchor_rows(AnchorFilter { stream, after: 0, limit: 10_000 }).await.unwrap()
}

pub(crate) async fn counts(store: &Arc<dyn LineStore>) -> (u64, u64, u64) {
    let AnchorBacklog { pending, under_way, anchored, .. } = tables(store).anchor_backlog().await.unwrap();
    (pending, under_way, anchored)
}

pub(crate) fn is_internal<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Internal(_))), "{result:?}");
}

pub(crate) fn report(batch_id: BatchId, byte: u8) -> ReportedAnchor {
    ReportedAnchor {
        batch_id,
        chain_id: TARGET.chain_id,
        tx_hash: hash(byte),
        block_number: Some(1_000 + u64::from(byte)),
        gas_used: Some(50_000),
    }
}
