//! What a store says of its own health: on a healthy one, and on one whose rows were changed past the line.
//!
//! The same questions go to the store's own connections and to an inspector beside it, which must see the same.

use std::sync::Arc;

use bowline_store::{
    CommitmentOrigin, Diagnostics, PostgresInspector, Scope, SqliteInspector, StoreFacts, schema_version,
};
use bowline_types::{BatchId, EventId, StreamId, Timestamp};
use bowline_ves::{Commitment, Hash, Tree};
use sqlx::Connection as _;

use crate::events::{at, grow, new_stream};
use crate::support::{Engine, Place, run, soon, until};

async fn inspector(place: &Place) -> Arc<dyn Diagnostics> {
    match place {
        Place::Folder(_) => SqliteInspector::open(&place.file().path).await.unwrap(),
        Place::Database { .. } => PostgresInspector::connect(&place.database().url).await.unwrap(),
    }
}

fn of(facts: &StoreFacts, stream: StreamId) -> &bowline_store::StreamFacts {
    facts.streams.as_ref().unwrap().iter().find(|facts| facts.stream == stream).unwrap()
}

pub(crate) async fn facts_are_those_of_the_rows(place: Arc<Place>) {
    let store = place.open().await;
    let (stream, other) = (new_stream(), new_stream());
    let receipts = grow(&store, stream, 12).await;
    grow(&store, other, 3).await;
    let mut prev = Hash::ZERO;
    for (start, end) in [(1, 4), (5, 9)] {
        let tree = Tree::new(store.leaves(stream, start, end).await.unwrap());
        let commitment = Commitment::seal(BatchId::random(), stream, &tree, start, end, prev, at(0)).unwrap();
        prev = commitment.new_state_root;
        store.insert_commitment(commitment, Vec::new(), CommitmentOrigin::Client).await.unwrap();
    }
    let beside = inspector(&place).await;
    // The node's own connections and those of somebody beside it see the same.
    for asked in [beside.as_ref(), store.as_ref() as &dyn Diagnostics] {
        let facts = asked.diagnose(Scope::default()).await.unwrap();
        assert_eq!(facts.engine, store.engine());
        let schema = facts.schema.as_ref().unwrap();
        assert_eq!((schema.found, schema.known), (schema_version(), schema_version()));
        let seen = of(&facts, stream);
        assert_eq!((seen.head, seen.committed, seen.present, seen.last), (12, 9, 12, 12));
        assert_eq!(seen.uncommitted_since, Some(receipts[9].sequenced_at));
        assert!(facts.streams.as_ref().unwrap().iter().all(|stream| stream.gaps.is_empty()));
        let chains = facts.chains.as_ref().unwrap();
        assert_eq!((chains.len(), chains[0].commitments.len(), chains[0].whole), (1, 2, true));
        let of_chain = |place: usize| &chains[0].commitments[place].commitment;
        of_chain(1).follows(Some(of_chain(0))).unwrap();
        assert_eq!(facts.dead_letters, Ok(Vec::new()));
        assert!(facts.indexes.as_ref().unwrap().iter().all(|index| index.usable));
        assert!(facts.tables.as_ref().unwrap().iter().any(|table| table.name == "ves_events"));
        assert_eq!(asked.streams_of_event(receipts[3].event_id).await.unwrap(), [stream]);
        assert_eq!(asked.streams_of_event(EventId::random()).await.unwrap(), []);
        let narrow = Scope { events_per_stream: 5, commitments_per_stream: 1 };
        let facts = asked.diagnose(narrow).await.unwrap();
        assert_eq!((of(&facts, stream).looked_from, of(&facts, stream).present), (8, 5));
        let chain = &facts.chains.as_ref().unwrap()[0];
        assert_eq!(
            (chain.commitments.len(), chain.whole, chain.commitments[0].commitment.sequence_start),
            (1, false, 5)
        );
        let told = asked.database_time().await.unwrap().micros();
        let now = chrono::Utc::now().timestamp_micros();
        assert!(told.abs_diff(now) < 60_000_000, "{told} {now}");
    }
}

pub(crate) async fn what_was_changed_past_the_line_is_seen(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let receipts = grow(&store, stream, 20).await;
    let (id, event) = (stream, receipts[0].event_id);
    let bytes = |uuid: String| match *place {
        Place::Folder(_) => format!("x'{}'", uuid.replace('-', "")),
        Place::Database { .. } => format!("'{uuid}'"),
    };
    let moment = if matches!(*place, Place::Folder(_)) { "7000000" } else { "to_timestamp(7)" };
    place
        .execute(&format!(
            "DELETE FROM ves_events WHERE sequence_number IN (1, 7, 8, 20);
             DROP INDEX ves_events_type;
             INSERT INTO dead_letter_events (id, event_id, tenant_id, store_id, event_type, reason, error_message,
                                             retry_count, created_at, last_seen_at, payload_bytes, payload)
             VALUES ({0}, {0}, {1}, {2}, 't', 'handler_error', 'it burnt', 2, {moment}, {moment}, 1, '1');",
            bytes(event.to_string()),
            bytes(id.tenant_id.to_string()),
            bytes(id.store_id.to_string()),
        ))
        .await;
    let facts = inspector(&place).await.diagnose(Scope::WHOLE).await.unwrap();
    let seen = of(&facts, stream);
    assert_eq!((seen.head, seen.last, seen.present), (20, 19, 16));
    assert_eq!(seen.gaps, [(1, 1), (7, 8), (20, 20)]);
    let gone = facts.indexes.as_ref().unwrap().iter().find(|index| !index.usable).unwrap();
    assert_eq!(gone.name, "ves_events_type");
    let letters = facts.dead_letters.unwrap();
    assert_eq!(
        (letters.len(), letters[0].count, letters[0].oldest),
        (1, 1, Some(Timestamp::from_micros(7_000_000)))
    );
    let letter = &store.dead_letters_of_event(event).await.unwrap()[0];
    assert_eq!((letter.stream, letter.message.as_str(), letter.retries), (stream, "it burnt", 2));
    // A fact that can't be had takes no other one away.
    place.execute("DROP TABLE dead_letter_events").await;
    let facts = store.diagnose(Scope::default()).await.unwrap();
    assert!(facts.dead_letters.is_err() && facts.streams.is_ok());
}

#[test]
fn who_holds_a_streams_counter_is_named() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let store = place.open().await;
        let stream = new_stream();
        grow(&store, stream, 1).await;
        let inspector = inspector(&place).await;
        let mut holder = place.connect().await;
        let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut holder).await.unwrap();
        let mut held = holder.begin().await.unwrap();
        sqlx::raw_sql("SELECT * FROM sequence_counters FOR UPDATE").execute(&mut *held).await.unwrap();
        let waiting = tokio::spawn(async move { grow(&store, stream, 1).await });
        until(async || {
            let facts = inspector.diagnose(Scope::default()).await.unwrap();
            let locks = facts.counter_locks.unwrap();
            let holds = locks.iter().any(|lock| lock.pid == pid && lock.granted && lock.blocks == 1);
            let activity = facts.activity.unwrap();
            holds && activity.iter().any(|active| active.waits_for_lock && active.blocked_by == [pid])
        })
        .await;
        let connections = inspector.diagnose(Scope::default()).await.unwrap().connections.unwrap();
        assert!((3..connections.max).contains(&connections.used), "{connections:?}");
        held.rollback().await.unwrap();
        soon(waiting).await.unwrap();
    });
}

#[test]
fn an_inspector_takes_any_schema() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let facts = inspector(&place).await.diagnose(Scope::default()).await.unwrap();
        assert_eq!(facts.schema.unwrap().found, 0);
        assert!(facts.streams.is_err() && facts.connections.is_ok());
    });
}
