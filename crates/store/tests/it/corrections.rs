//! Corrections: the chain goes on behind them, what they correct stays, and whoever asks what covers an event gets
//! the correction.
//!
//! Each test runs on both stores through the contract alone; disks are damaged past it.

use std::sync::Arc;

use bowline_store::{
    ChainPlace, ChainQuery, CommitmentFilter, CommitmentOrigin, CommitmentRecord, InsertCommitment,
    LineStore, NewCorrection, StoreError,
};
use bowline_types::{BatchId, StreamId};
use bowline_ves::{Commitment, Hash, Tree};

use crate::events::{at, grow, new_stream};
use crate::support::{Engine, Place};

async fn sealed(
    store: &Arc<dyn LineStore>,
    stream: StreamId,
    start: u64,
    end: u64,
    prev: Hash,
) -> Commitment {
    let tree = Tree::new(store.leaves(stream, start, end).await.unwrap());
    Commitment::seal(BatchId::random(), stream, &tree, start, end, prev, at(end as i64)).unwrap()
}

async fn insert(store: &Arc<dyn LineStore>, commitment: &Commitment) -> InsertCommitment {
    store.insert_commitment(commitment.clone(), vec![1], CommitmentOrigin::Automatic).await.unwrap()
}

fn correction(commitment: Commitment, of: BatchId) -> NewCorrection {
    NewCorrection {
        commitment: commitment.correcting(of),
        upper_levels: vec![2],
        origin: CommitmentOrigin::Automatic,
        reason: "a bad \"sector\"".to_owned(),
    }
}

async fn chain(
    store: &Arc<dyn LineStore>,
    stream: StreamId,
    corrections_only: bool,
) -> Vec<CommitmentRecord> {
    store.chain(ChainQuery { stream, after: 0, corrections_only, limit: 100 }).await.unwrap()
}

fn ids(records: &[CommitmentRecord]) -> Vec<BatchId> {
    records.iter().map(|record| record.commitment.batch_id).collect()
}

pub(crate) async fn a_correction_stands_behind_the_chain_and_marks_what_it_corrects(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    grow(&store, stream, 12).await;
    let first = sealed(&store, stream, 1, 4, Hash::ZERO).await;
    let second = sealed(&store, stream, 5, 9, first.new_state_root).await;
    for commitment in [&first, &second] {
        assert_eq!(insert(&store, commitment).await, InsertCommitment::Inserted);
    }
    let made = sealed(&store, stream, 1, 4, second.new_state_root).await;
    let new = correction(made, first.batch_id);
    assert_eq!(store.insert_correction(new.clone()).await.unwrap(), InsertCommitment::Inserted);
    let by = new.commitment.batch_id;

    let wrong = store.commitment(first.batch_id).await.unwrap().unwrap();
    let reason = Some(new.reason.clone());
    assert_eq!(wrong.commitment, first);
    assert_eq!(wrong.chain, ChainPlace { position: 1, corrected_by: Some(by), reason: reason.clone() });
    let right = store.commitment(by).await.unwrap().unwrap();
    assert_eq!((&right.commitment, right.origin), (&new.commitment, CommitmentOrigin::Automatic));
    assert_eq!(right.chain, ChainPlace { position: 3, corrected_by: None, reason });
    assert_eq!(store.commitment_upper_levels(by).await.unwrap(), Some(vec![2]));
    assert_eq!(store.last_commitment(stream).await.unwrap(), Some(right.clone()));
    assert_eq!(store.head(stream).await.unwrap().unwrap().committed, 9);
    for (number, holder) in [(1, by), (4, by), (5, second.batch_id), (9, second.batch_id)] {
        let covering = store.commitment_covering(stream, number).await.unwrap().unwrap();
        assert_eq!(covering.commitment.batch_id, holder, "{number}");
    }

    // The next ordinary one follows the highest number and the last state root.
    let late = sealed(&store, stream, 10, 12, second.new_state_root).await;
    assert_eq!(insert(&store, &late).await, InsertCommitment::Superseded);
    let third = sealed(&store, stream, 10, 12, new.commitment.new_state_root).await;
    assert_eq!(insert(&store, &third).await, InsertCommitment::Inserted);
    // A correction may be wrong itself.
    let made = sealed(&store, stream, 1, 4, third.new_state_root).await;
    let again = correction(made, by);
    assert_eq!(store.insert_correction(again.clone()).await.unwrap(), InsertCommitment::Inserted);
    store.close().await;

    let store = place.open().await;
    let last = again.commitment.batch_id;
    let expected = [first.batch_id, second.batch_id, by, third.batch_id, last];
    assert_eq!(ids(&chain(&store, stream, false).await), expected);
    assert_eq!(ids(&chain(&store, stream, true).await), [by, last]);
    let query = ChainQuery { stream, after: 1, corrections_only: false, limit: 2 };
    assert_eq!(ids(&store.chain(query).await.unwrap()), expected[1..3]);
    let listed = store.commitments(CommitmentFilter { stream, from: 1, limit: 100 }).await.unwrap();
    assert_eq!(ids(&listed), [first.batch_id, by, last, second.batch_id, third.batch_id]);
    let covering = store.commitment_covering(stream, 2).await.unwrap().unwrap();
    assert_eq!(covering.commitment.batch_id, last);
    assert!(chain(&store, new_stream(), false).await.is_empty());
}

pub(crate) async fn a_correction_that_fits_nothing_changes_nothing(place: Arc<Place>) {
    let store = place.open().await;
    let (stream, neighbour) = (new_stream(), new_stream());
    grow(&store, stream, 6).await;
    grow(&store, neighbour, 6).await;
    let first = sealed(&store, stream, 1, 3, Hash::ZERO).await;
    insert(&store, &first).await;
    insert(&store, &sealed(&store, neighbour, 1, 3, Hash::ZERO).await).await;

    let other_range = sealed(&store, stream, 1, 2, first.new_state_root).await;
    let other_stream = sealed(&store, neighbour, 1, 3, first.new_state_root).await;
    let right = sealed(&store, stream, 1, 3, first.new_state_root).await;
    for new in [
        correction(other_range, first.batch_id),
        correction(other_stream, first.batch_id),
        correction(right.clone(), BatchId::random()),
        NewCorrection { commitment: right.clone(), ..correction(right.clone(), first.batch_id) },
    ] {
        let refused = store.insert_correction(new).await;
        assert!(matches!(refused, Err(StoreError::Internal(_))), "{refused:?}");
    }
    let unlinked = correction(sealed(&store, stream, 1, 3, Hash::ZERO).await, first.batch_id);
    assert_eq!(store.insert_correction(unlinked).await.unwrap(), InsertCommitment::Superseded);
    assert_eq!(chain(&store, stream, false).await.len(), 1);
    let untouched = store.commitment(first.batch_id).await.unwrap().unwrap();
    assert_eq!(untouched.chain, ChainPlace { position: 1, ..ChainPlace::default() });
}

pub(crate) async fn of_two_corrections_at_a_time_one_wins(place: Arc<Place>) {
    let stores = place.open_two().await;
    let stream = new_stream();
    grow(&stores[0], stream, 5).await;
    let first = sealed(&stores[0], stream, 1, 5, Hash::ZERO).await;
    insert(&stores[0], &first).await;
    let tasks = [0, 1, 0, 1].map(|user: usize| {
        let (store, first) = (Arc::clone(&stores[user]), first.clone());
        tokio::spawn(async move {
            let made = sealed(&store, stream, 1, 5, first.new_state_root).await;
            store.insert_correction(correction(made, first.batch_id)).await.unwrap()
        })
    });
    let mut inserted = 0;
    for task in tasks {
        inserted += usize::from(task.await.unwrap() == InsertCommitment::Inserted);
    }
    assert_eq!(inserted, 1);
    assert_eq!(chain(&stores[1], stream, false).await.len(), 2);
    // One that names the new last one's root comes too late all the same.
    let last = stores[0].last_commitment(stream).await.unwrap().unwrap().commitment;
    let second = correction(sealed(&stores[0], stream, 1, 5, last.new_state_root).await, first.batch_id);
    assert_eq!(stores[0].insert_correction(second).await.unwrap(), InsertCommitment::Superseded);
}

/// A database of the first version, with commitments, becomes one that knows corrections.
pub(crate) async fn commitments_from_before_corrections_keep_their_order(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    grow(&store, stream, 9).await;
    let mut made: Vec<Commitment> = Vec::new();
    for (start, end) in [(1, 4), (5, 5), (6, 9)] {
        let prev = made.last().map_or(Hash::ZERO, |last| last.new_state_root);
        let commitment = sealed(&store, stream, start, end, prev).await;
        insert(&store, &commitment).await;
        made.push(commitment);
    }
    store.close().await;
    place.execute(before_corrections(&place)).await;

    let (store, applied) = place.try_open(true).await.unwrap();
    assert!(applied.iter().any(|migration| migration.name == "0003_corrections"), "{applied:?}");
    let found = chain(&store, stream, false).await;
    let commitments: Vec<Commitment> = found.iter().map(|record| record.commitment.clone()).collect();
    assert_eq!(commitments, made);
    let positions: Vec<u64> = found.iter().map(|record| record.chain.position).collect();
    assert_eq!(positions, [1, 2, 3]);
    assert_eq!(store.commitment_upper_levels(made[1].batch_id).await.unwrap(), Some(vec![1]));
}

/// Takes the migration back, as far as it shows.
fn before_corrections(place: &Place) -> &'static str {
    match place.engine() {
        Engine::Sqlite => {
            "DROP INDEX ves_commitments_range; DROP INDEX ves_commitments_corrects;
             DROP INDEX ves_commitments_covering;
             ALTER TABLE ves_commitments RENAME TO newer;
             CREATE TABLE ves_commitments (
                 batch_id BLOB PRIMARY KEY, stream_no INTEGER NOT NULL REFERENCES streams, ves_version INTEGER NOT NULL,
                 tree_depth INTEGER NOT NULL, leaf_count INTEGER NOT NULL, padded_leaf_count INTEGER NOT NULL,
                 merkle_root BLOB NOT NULL, prev_state_root BLOB NOT NULL, new_state_root BLOB NOT NULL,
                 sequence_start INTEGER NOT NULL, sequence_end INTEGER NOT NULL, committed_at INTEGER NOT NULL,
                 origin TEXT NOT NULL, upper_levels BLOB NOT NULL, chain_id INTEGER, chain_tx_hash BLOB,
                 chain_block_number INTEGER, anchored_at INTEGER, metadata TEXT, UNIQUE (stream_no, sequence_start)
             ) STRICT;
             INSERT INTO ves_commitments
             SELECT batch_id, stream_no, ves_version, tree_depth, leaf_count, padded_leaf_count, merkle_root,
                    prev_state_root, new_state_root, sequence_start, sequence_end, committed_at, origin, upper_levels,
                    chain_id, chain_tx_hash, chain_block_number, anchored_at, metadata FROM newer;
             DROP TABLE newer;
             DROP TABLE dead_letter_events;
             CREATE TABLE dead_letter_events (
                 id BLOB PRIMARY KEY, event_id BLOB NOT NULL, tenant_id BLOB NOT NULL, store_id BLOB NOT NULL,
                 event_type TEXT NOT NULL, reason TEXT NOT NULL, status TEXT NOT NULL, error_message TEXT NOT NULL,
                 retry_count INTEGER NOT NULL, max_retries INTEGER NOT NULL, last_retry_at INTEGER,
                 next_retry_at INTEGER, created_at INTEGER NOT NULL, payload TEXT NOT NULL, metadata TEXT) STRICT;
             DELETE FROM schema_migrations WHERE version > 2"
        }
        Engine::Postgres => {
            "DROP INDEX ves_commitments_chain; DROP INDEX ves_commitments_range; DROP INDEX ves_commitments_corrects;
             DROP INDEX ves_commitments_covering;
             ALTER TABLE commitments DROP COLUMN chain_position, DROP COLUMN corrects;
             CREATE UNIQUE INDEX ves_commitments_chain ON ves_commitments (tenant_id, store_id, sequence_start);
             DROP INDEX dead_letter_events_newest; DROP INDEX dead_letter_events_room;
             DROP INDEX dead_letter_events_handed;
             ALTER TABLE dead_letter_events
                 DROP COLUMN follower, DROP COLUMN sequence_number, DROP COLUMN seen_count, DROP COLUMN last_seen_at,
                 DROP COLUMN payload_bytes,
                 ADD CONSTRAINT dead_letter_events_tenant_id_store_id_event_id_key UNIQUE (tenant_id, store_id, event_id);
             DELETE FROM schema_migrations WHERE version > 2"
        }
    }
}
