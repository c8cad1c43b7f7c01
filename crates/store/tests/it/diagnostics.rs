//! What a store says of its own health: on a healthy one, and on one whose rows were changed past the line.
//!
//! The same questions go to the store's own connections and to an inspector beside it, which must see the same.

use std::sync::Arc;

use bowline_store::{
    CommitmentOrigin, Diagnostics, PostgresInspector, Schema, Scope, SqliteInspector, StoreFacts,
};
use bowline_types::{BatchId, EventId, StreamId, Timestamp};
use bowline_ves::{Commitment, Hash, Tree};
use sqlx::Connection as _;

use crate::support::{Engine, Place, run, soon, until};
use bowline_conformance::events::{at, grow, new_stream};

async fn inspector(place: &Place) -> Arc<dyn Diagnostics> {
    match place.engine() {
        Engine::Sqlite => SqliteInspector::open(&place.file().path, Schema::default()).await.unwrap(),
        Engine::Postgres => {
            PostgresInspector::connect(&place.database().url, Schema::default()).await.unwrap()
        }
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
        assert_eq!(facts.engine, store.engine().name());
        let schema = facts.schema.as_ref().unwrap();
        assert_eq!((schema.found, schema.known), (Schema::default().version(), Schema::default().version()));
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
    let bytes = |uuid: String| match place.engine() {
        Engine::Sqlite => format!("x'{}'", uuid.replace('-', "")),
        Engine::Postgres => format!("'{uuid}'"),
    };
    let moment = if place.engine() == Engine::Sqlite { "7000000" } else { "to_timestamp(7)" };
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

pub(crate) async fn what_becomes_of_events_is_told(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    grow(&store, stream, 12).await;
    let is_file = place.engine() == Engine::Sqlite;
    let bytes = |uuid: uuid::Uuid| match is_file {
        true => format!("x'{}'", uuid.simple()),
        false => format!("'{uuid}'"),
    };
    let now = Timestamp::from_chrono(chrono::Utc::now()).micros();
    let at = |secs_ago: i64| match is_file {
        true => format!("{}", now - secs_ago * 1_000_000),
        false => format!("to_timestamp({}::float8 / 1000000)", now - secs_ago * 1_000_000),
    };
    let boolean = |yes: bool| match (is_file, yes) {
        (true, yes) => u8::from(yes).to_string(),
        (false, yes) => yes.to_string(),
    };
    let (tenant, of_stream) = (bytes(stream.tenant_id.uuid()), bytes(stream.store_id.uuid()));
    let fresh = || bytes(uuid::Uuid::new_v4());
    let breaker = uuid::Uuid::new_v4();
    let breaker_key = if is_file { format!("'{breaker}'") } else { bytes(breaker) };
    let mut statements = vec![
        format!("INSERT INTO checkpoints (chain_id, tenant_id, store_id, last_block_number, generation, updated_at)
                 VALUES (84532, {tenant}, {of_stream}, 77, 1, {})", at(30)),
        format!("INSERT INTO triggers (trigger_id, tenant_id, name, enabled, is_stateful, failure_threshold, recovery_secs,
                                       half_open_calls_max, created_at, updated_at, revision)
                 VALUES ({}, {tenant}, 't', {}, {}, 10, 60, 1, {}, {}, 1)",
                fresh(), boolean(true), boolean(false), at(90), at(90)),
        format!("INSERT INTO circuit_breaker_state (trigger_id, state, failure_count, last_failure_at)
                 VALUES ({breaker_key}, 'open', 10, {})", at(7)),
        format!("INSERT INTO destination_breakers (destination, state, failure_count) VALUES ('a.example:443', 'half_open', 3)"),
    ];
    for (number, secs_ago, problem) in [(1, 400, "NULL"), (2, 60, "NULL"), (3, 60, "'it burnt'")] {
        statements.push(format!(
            "INSERT INTO processed_events (tenant_id, store_id, sequence_number, event_id, processed_at, processor_instance,
                                           processing_duration_us, triggers_matched, actions_enqueued, problem)
             VALUES ({tenant}, {of_stream}, {number}, {}, {}, 'p', 9, 1, 1, {problem})", fresh(), at(secs_ago)));
    }
    for (state, ready, due, status) in [
        ("waiting", true, 40, None),
        ("waiting", false, -60, Some("failed")),
        ("succeeded", false, 50, Some("success")),
        ("dead", false, 50, Some("failed")),
    ] {
        let job = fresh();
        let ended = if state == "succeeded" { at(5) } else { "NULL".to_owned() };
        statements.push(format!(
            "INSERT INTO action_jobs (job_id, tenant_id, trigger_id, action_id, action_type, priority, stream_tenant_id,
                 stream_store_id, sequence_number, event_id, occurrence, event, state, ready, handed_over, tag, attempts, claim,
                 due_at, created_at, ended_at)
             VALUES ({job}, {tenant}, {}, {}, 'rest', 0, {tenant}, {of_stream}, 1, {}, {}, '{{}}', '{state}', {}, {}, 1, 1, 1, {},
                     {}, {ended})",
            fresh(), fresh(), fresh(), fresh(), boolean(ready), boolean(false), at(due), at(80)));
        if let Some(status) = status {
            let error = if status == "failed" { "'HTTP 503'" } else { "NULL" };
            statements.push(format!(
                "INSERT INTO action_results (job_id, attempt, status, executed_at, duration_ms, error_message, destination, worker)
                 VALUES ({job}, 1, '{status}', {}, 3, {error}, 'a.example:443', 'w')", at(20)));
        }
    }
    place.execute(&statements.join(";\n")).await;
    let beside = inspector(&place).await;
    for asked in [beside.as_ref(), store.as_ref() as &dyn Diagnostics] {
        let facts = asked.diagnose(Scope::default()).await.unwrap();
        let sources = facts.sources.unwrap();
        assert_eq!((sources.len(), sources[0].chain_id, sources[0].block), (1, 84_532, Some(77)));
        let matching = facts.matching.unwrap();
        assert_eq!((matching.triggers, matching.behind_events), (1, 12), "nothing follows it yet");
        assert_eq!((matching.matched, matching.set_aside), (2, 1));
        assert_eq!(matching.last_at, Some(Timestamp::from_micros(now - 60_000_000)));
        let actions = facts.actions.unwrap();
        assert_eq!((actions.waiting, actions.running, actions.dead), (2, 0, 1));
        assert_eq!(actions.oldest_due_at, Some(Timestamp::from_micros(now - 40_000_000)));
        let [destination] = &actions.attempts[..] else { panic!("{:?}", actions.attempts) };
        assert_eq!((destination.attempts, destination.failed), (3, 2));
        assert_eq!(destination.error.as_deref(), Some("HTTP 503"));
        let breakers = facts.open_breakers.unwrap();
        let names: Vec<_> =
            breakers.iter().map(|one| (one.kind, one.name.clone(), one.failure_count)).collect();
        let of_trigger = ("trigger", breaker.to_string(), 10);
        assert_eq!(names, [of_trigger, ("destination", "a.example:443".to_owned(), 3)]);
    }
}

#[test]
fn the_former_question_for_the_version_is_answered() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let _store = place.open().await;
        let question = "SELECT version FROM _sqlx_migrations ORDER BY version DESC LIMIT 1";
        let version: i64 = sqlx::query_scalar(question).fetch_one(&mut place.connect().await).await.unwrap();
        assert_eq!(version, Schema::default().version());
    });
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
