//! Corrections: the chain goes on behind them, what they correct stays, and whoever asks what covers an event gets
//! the correction.
//!
//! Each test runs on both stores through the contract alone; disks are damaged past it.

use std::sync::Arc;

use bowline_store::{
    ChainPlace, ChainQuery, CommitmentFilter, CommitmentOrigin, CommitmentRecord, InsertCommitment,
    LetterFilter, LetterOrder, LineStore, NewCorrection, StoreError,
};
use bowline_types::{BatchId, StoreId, StreamId, TenantId};
use bowline_ves::{Commitment, Hash, Tree};

use crate::support::{Engine, Place};
use bowline_conformance::events::{at, grow, new_stream};

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
    let listed = store
        .commitments(CommitmentFilter { stream, from: 1, unanchored_only: false, limit: 100 })
        .await
        .unwrap();
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

/// A database from before this migration, with commitments and a letter, is opened by this version.
pub(crate) async fn commitments_from_before_corrections_keep_their_order(place: Arc<Place>) {
    let mut files = migrations(place.engine());
    files.retain(|(name, _)| name.as_str() < corrections_migration(place.engine()).as_str());
    place.execute("CREATE TABLE schema_migrations (version bigint PRIMARY KEY, name text NOT NULL, applied_at text)").await;
    for (version, (name, sql)) in (1..).zip(&files) {
        place.execute(sql).await;
        place.execute(&format!("INSERT INTO schema_migrations VALUES ({version}, '{name}', NULL)")).await;
    }
    place.execute(&rows_from_before(place.engine())).await;

    let (store, applied) = place.try_open(true).await.unwrap();
    assert_eq!(applied[0].version, files.len() as i64 + 1);
    let stream = StreamId::new(TenantId::from_bytes([1; 16]), StoreId::from_bytes([2; 16]));
    let found = chain(&store, stream, false).await;
    let places = found.iter().map(|record| (record.chain.position, record.commitment.sequence_start));
    assert_eq!(places.collect::<Vec<_>>(), [(1, 1), (2, 5), (3, 6)]);
    assert!(found.iter().all(|record| record.commitment.corrects.is_none()));
    assert_eq!(store.commitment_upper_levels(BatchId::from_bytes([5; 16])).await.unwrap(), Some(vec![1]));
    let letters = store.letters(LetterFilter::default(), LetterOrder::Newest(None), 10).await.unwrap();
    assert_eq!((letters.len(), letters[0].letter.stream, letters[0].seen_count), (1, stream, 1));
    assert_eq!((letters[0].letter.payload.as_str(), letters[0].letter.follower.as_str()), ("{}", ""));
}

/// Names and texts of an engine's migrations, in their order.
fn migrations(engine: Engine) -> Vec<(String, String)> {
    let folder = match engine {
        Engine::Sqlite => "src/migrations/sqlite",
        Engine::Postgres => "src/migrations/postgres",
    };
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn corrections_migration(engine: Engine) -> String {
    let mut names = migrations(engine).into_iter().map(|(name, _)| name);
    names.find(|name| name.ends_with("_corrections")).unwrap()
}

/// Three commitments, the last one written first, and a letter.
fn rows_from_before(engine: Engine) -> String {
    let id = |byte: u8| match engine {
        Engine::Sqlite => format!("x'{}'", hex(byte)),
        Engine::Postgres => format!("'{}'::uuid", hex(byte)),
    };
    let (hash, levels, moment) = match engine {
        Engine::Sqlite => ("zeroblob(32)", "x'01'", "0"),
        Engine::Postgres => ("decode(repeat('00', 32), 'hex')", r"'\x01'::bytea", "now()"),
    };
    let (tenant, store) = (id(1), id(2));
    let (stream, of) = match engine {
        Engine::Sqlite => ("stream_no", "1".to_owned()),
        Engine::Postgres => ("tenant_id, store_id", format!("{tenant}, {store}")),
    };
    let mut sql = format!(
        "INSERT INTO streams (tenant_id, store_id, created_at) VALUES ({tenant}, {store}, {moment});
         INSERT INTO sequence_counters ({stream}, current_sequence, updated_at) VALUES ({of}, 9, {moment});
         INSERT INTO dead_letter_events (id, event_id, tenant_id, store_id, event_type, reason, created_at, payload)
         VALUES ({}, {}, {tenant}, {store}, 't', 'unknown', {moment}, '{{}}');",
        id(7),
        id(8),
    );
    for (start, end) in [(6, 9), (1, 4), (5, 5)] {
        sql += &format!(
            "INSERT INTO ves_commitments (batch_id, {stream}, ves_version, tree_depth, leaf_count, padded_leaf_count,
                 merkle_root, prev_state_root, new_state_root, sequence_start, sequence_end, committed_at, origin,
                 upper_levels)
             VALUES ({}, {of}, 1, 0, 1, 1, {hash}, {hash}, {hash}, {start}, {end}, {moment}, 'client', {levels});",
            id(start)
        );
    }
    sql
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(16)
}
