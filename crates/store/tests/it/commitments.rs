//! Commitments: each continues the one before, whoever tries otherwise is told, and none is ever lost.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;

use bowline_store::{
    ChainPlace, CommitmentFilter, CommitmentOrigin, CommitmentRecord, InsertCommitment, LineStore,
    StoreError, TILE_HEIGHT,
};
use bowline_types::{BatchId, StreamId};
use bowline_ves::{Commitment, Hash, Tree};

use crate::support::Place;
use bowline_conformance::events::{append, at, grow, new_events, new_stream};

/// The commitment of the stored leaves `start..=end`, and its tree.
async fn sealed(
    store: &Arc<dyn LineStore>,
    stream: StreamId,
    start: u64,
    end: u64,
    prev: Hash,
) -> (Commitment, Tree) {
    let tree = Tree::new(store.leaves(stream, start, end).await.unwrap());
    (Commitment::seal(BatchId::random(), stream, &tree, start, end, prev, at(end as i64)).unwrap(), tree)
}

async fn insert(store: &Arc<dyn LineStore>, commitment: &Commitment) -> InsertCommitment {
    let levels = commitment.merkle_root.as_bytes().to_vec();
    store.insert_commitment(commitment.clone(), levels, CommitmentOrigin::Client).await.unwrap()
}

pub(crate) async fn commitments_chain_and_a_late_one_is_superseded(place: Arc<Place>) {
    let store = place.open().await;
    let (stream, neighbour) = (new_stream(), new_stream());
    grow(&store, stream, 10).await;
    grow(&store, neighbour, 10).await;
    assert!(store.last_commitment(stream).await.unwrap().is_none());

    let (unrooted, _) = sealed(&store, stream, 1, 3, Hash::new([1; 32])).await;
    assert_eq!(insert(&store, &unrooted).await, InsertCommitment::Superseded);
    let (first, _) = sealed(&store, stream, 1, 3, Hash::ZERO).await;
    let (rival, _) = sealed(&store, stream, 1, 2, Hash::ZERO).await;
    assert_eq!(insert(&store, &first).await, InsertCommitment::Inserted);
    for late in [&rival, &first] {
        assert_eq!(insert(&store, late).await, InsertCommitment::Superseded);
    }

    let root = first.new_state_root;
    let gap = sealed(&store, stream, 5, 6, root).await.0;
    let overlap = sealed(&store, stream, 3, 6, root).await.0;
    let wrong_root = sealed(&store, stream, 4, 6, Hash::ZERO).await.0;
    for wrong in [gap, overlap, wrong_root] {
        assert_eq!(insert(&store, &wrong).await, InsertCommitment::Superseded);
        assert!(store.commitment(wrong.batch_id).await.unwrap().is_none());
    }
    let (second, _) = sealed(&store, stream, 4, 10, root).await;
    assert_eq!(insert(&store, &second).await, InsertCommitment::Inserted);
    // A first commitment may begin anywhere, and every stream has its own chain.
    let (other, _) = sealed(&store, neighbour, 3, 4, Hash::ZERO).await;
    assert_eq!(insert(&store, &other).await, InsertCommitment::Inserted);

    let last = store.last_commitment(stream).await.unwrap().unwrap();
    assert_eq!(last.commitment, second);
    second.follows(Some(&first)).unwrap();
    assert_eq!(store.head(stream).await.unwrap().unwrap().committed, 10);
    assert_eq!(store.head(neighbour).await.unwrap().unwrap().committed, 4);
}

pub(crate) async fn commitments_are_found_by_id_number_and_page(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    append(&store, new_events(stream, 1_500)).await;
    let (mut made, mut prev) = (Vec::new(), Hash::ZERO);
    for (start, end, origin) in [
        (2, 2, CommitmentOrigin::Client),
        (3, 1_400, CommitmentOrigin::Automatic),
        (1_401, 1_500, CommitmentOrigin::Client),
    ] {
        let (commitment, tree) = sealed(&store, stream, start, end, prev).await;
        let levels = tree.upper(TILE_HEIGHT);
        let inserted = store.insert_commitment(commitment.clone(), levels.clone(), origin).await.unwrap();
        assert_eq!(inserted, InsertCommitment::Inserted);
        prev = commitment.new_state_root;
        let chain = ChainPlace { position: made.len() as u64 + 1, ..ChainPlace::default() };
        made.push((CommitmentRecord { commitment, origin, chain, anchor: None }, levels));
    }
    store.close().await;

    let store = place.open().await;
    for (record, levels) in &made {
        let id = record.commitment.batch_id;
        assert_eq!(store.commitment(id).await.unwrap().as_ref(), Some(record));
        assert_eq!(store.commitment_upper_levels(id).await.unwrap().as_ref(), Some(levels));
    }
    assert_eq!(made[1].1.len(), 3 * 32);
    for (number, holder) in [
        (0, None),
        (1, None),
        (2, Some(0)),
        (3, Some(1)),
        (1_400, Some(1)),
        (1_401, Some(2)),
        (1_500, Some(2)),
    ] {
        let found = store.commitment_covering(stream, number).await.unwrap();
        assert_eq!(found.as_ref(), holder.map(|index: usize| &made[index].0), "{number}");
    }
    for number in [1_501, u64::MAX] {
        assert!(store.commitment_covering(stream, number).await.unwrap().is_none());
    }
    for (from, limit, expected) in
        [(0, 10, 0..3), (3, 10, 1..3), (4, 10, 2..3), (1, 2, 0..2), (1_402, 10, 0..0)]
    {
        let found = store
            .commitments(CommitmentFilter { stream, from, unanchored_only: false, limit })
            .await
            .unwrap();
        let expected: Vec<CommitmentRecord> =
            made[expected].iter().map(|(record, _)| record.clone()).collect();
        assert_eq!(found, expected, "from {from}, {limit} at most");
    }
    let nobody = new_stream();
    assert!(store.commitment(BatchId::random()).await.unwrap().is_none());
    assert!(store.commitment_upper_levels(BatchId::random()).await.unwrap().is_none());
    assert!(store.commitment_covering(nobody, 1).await.unwrap().is_none());
    assert!(
        store
            .commitments(CommitmentFilter { stream: nobody, from: 1, unanchored_only: false, limit: 9 })
            .await
            .unwrap()
            .is_empty()
    );
}

pub(crate) async fn a_commitment_of_events_that_are_not_there_is_refused(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    grow(&store, stream, 3).await;
    let tree = Tree::new(vec![Hash::new([9; 32]); 4]);
    for of in [stream, new_stream()] {
        let commitment = Commitment::seal(BatchId::random(), of, &tree, 1, 4, Hash::ZERO, at(0)).unwrap();
        let refused =
            store.insert_commitment(commitment.clone(), Vec::new(), CommitmentOrigin::Automatic).await;
        assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
        assert!(store.commitment(commitment.batch_id).await.unwrap().is_none());
    }
}

pub(crate) async fn of_two_commitments_at_a_time_one_wins(place: Arc<Place>) {
    let stores = place.open_two().await;
    let stream = new_stream();
    grow(&stores[0], stream, 16).await;
    let mut prev = Hash::ZERO;
    for end in 1..=16 {
        let tasks = [0, 1, 0, 1].map(|user: usize| {
            let store = Arc::clone(&stores[user]);
            tokio::spawn(async move {
                let (commitment, _) = sealed(&store, stream, end, end, prev).await;
                (insert(&store, &commitment).await, commitment)
            })
        });
        let mut winners = Vec::new();
        for task in tasks {
            let (inserted, commitment) = task.await.unwrap();
            if inserted == InsertCommitment::Inserted {
                winners.push(commitment);
            }
        }
        assert_eq!(winners.len(), 1);
        let last = stores[1].last_commitment(stream).await.unwrap().unwrap();
        assert_eq!(last.commitment, winners[0]);
        prev = winners[0].new_state_root;
    }
    let chain = stores[0]
        .commitments(CommitmentFilter { stream, from: 1, unanchored_only: false, limit: 100 })
        .await
        .unwrap();
    assert_eq!(chain.len(), 16);
    for pair in chain.windows(2) {
        pair[1].commitment.follows(Some(&pair[0].commitment)).unwrap();
    }
}
