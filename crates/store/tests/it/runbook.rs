//! The statements that operators paste into `psql`, on a database that the store filled.
//!
//! They stand here as the sequencer's runbook prints them, with its `<placeholders>` filled in: whoever
//! renames a table or a column of the schema breaks an operator's night, and this test first.

use std::sync::Arc;

use bowline_store::{AgentKeyRecord, AgentKeyStatus, CommitmentOrigin, LineStore};
use bowline_types::{AgentId, BatchId, StreamId};
use bowline_ves::{Commitment, Draft, Hash, Tree};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use tracing::instrument::WithSubscriber;

use crate::support::{Engine, Log, Place, run};
use bowline_conformance::events::{append, at, draft, new_stream, signed};

const AGENT: AgentId = AgentId::from_bytes([2; 16]);

/// Two streams of 30 events made just now, the first with a commitment, and an agent's two keys.
async fn populated(place: &Place) -> (Arc<dyn LineStore>, StreamId) {
    let store = place.open().await;
    let now = bowline_types::Timestamp::from_chrono(chrono::Utc::now()).to_string();
    let streams = [new_stream(), new_stream()];
    for stream in streams {
        let event = || signed(Draft { created_at: now.clone(), ..draft(stream) });
        append(&store, (0..30).map(|_| event()).collect()).await;
    }
    let stream = streams[0];
    let tree = Tree::new(store.leaves(stream, 1, 20).await.unwrap());
    let commitment = Commitment::seal(BatchId::random(), stream, &tree, 1, 20, Hash::ZERO, at(0)).unwrap();
    store.insert_commitment(commitment, Vec::new(), CommitmentOrigin::Client).await.unwrap();
    for (key_id, status) in [(1, AgentKeyStatus::Revoked), (2, AgentKeyStatus::Active)] {
        let key = AgentKeyRecord {
            tenant_id: stream.tenant_id,
            agent_id: AGENT,
            key_id,
            public_key: [key_id as u8; 32],
            status,
            valid_from: None,
            valid_to: None,
            revoked_at: None,
            revoked_reason: None,
            created_at: at(i64::from(key_id)),
        };
        store.register_agent_key(key).await.unwrap();
    }
    (store, stream)
}

async fn rows(connection: &mut PgConnection, sql: &str) -> Vec<PgRow> {
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await;
    rows.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

#[test]
fn its_questions_about_events_and_keys_are_answered() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let (_store, stream) = populated(&place).await;
        let mut connection = place.connect().await;
        let (tenant, store) = (stream.tenant_id, stream.store_id);

        let by_tenant = rows(
            &mut connection,
            "SELECT tenant_id, COUNT(*)
             FROM events
             WHERE created_at > NOW() - INTERVAL '1 hour'
             GROUP BY tenant_id
             ORDER BY COUNT(*) DESC;",
        )
        .await;
        assert_eq!(by_tenant.iter().map(|row| row.get::<i64, _>(1)).collect::<Vec<_>>(), [30, 30]);

        let keys = rows(
            &mut connection,
            &format!(
                "SELECT * FROM agent_keys
                 WHERE agent_id = '{AGENT}' AND active = true;"
            ),
        )
        .await;
        assert_eq!(keys.iter().map(|row| row.get::<i64, _>("key_id")).collect::<Vec<_>>(), [2]);
        let rotation = rows(
            &mut connection,
            "SELECT agent_id, key_id, created_at
             FROM agent_keys
             ORDER BY created_at DESC
             LIMIT 10;",
        )
        .await;
        assert_eq!(rotation.iter().map(|row| row.get::<i64, _>("key_id")).collect::<Vec<_>>(), [2, 1]);

        let find_gaps = format!(
            "-- Find gaps in sequence
             WITH seq AS (
               SELECT sequence_number,
                      LAG(sequence_number) OVER (ORDER BY sequence_number) as prev_seq
               FROM events
               WHERE tenant_id = '{tenant}' AND store_id = '{store}'
             )
             SELECT * FROM seq WHERE sequence_number != prev_seq + 1;"
        );
        assert!(rows(&mut connection, &find_gaps).await.is_empty());
        let counted = rows(
            &mut connection,
            &format!(
                "SELECT COUNT(*) FROM events
                 WHERE tenant_id = '{tenant}'
                   AND store_id = '{store}'
                   AND sequence_number BETWEEN 5 AND 14;"
            ),
        )
        .await;
        assert_eq!(counted[0].get::<i64, _>(0), 10);
        // The question must be able to find one.
        place.execute("DELETE FROM events WHERE sequence_number = 7").await;
        assert_eq!(rows(&mut connection, &find_gaps).await.len(), 1);
    });
}

#[test]
fn its_questions_about_the_server_are_answered() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let (_store, _) = populated(&place).await;
        let mut connection = place.connect().await;
        let statements = [
            "SELECT pid, now() - pg_stat_activity.query_start AS duration, query
             FROM pg_stat_activity
             WHERE state != 'idle'
             ORDER BY duration DESC;",
            "SELECT * FROM pg_locks
             WHERE relation = 'sequence_counters'::regclass;",
            "SELECT count(*) FROM pg_stat_activity;",
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = 'stateset_sequencer';",
            "SELECT * FROM dead_letter_events
             ORDER BY created_at DESC
             LIMIT 100;",
            // The runbook's own interval would find nothing to end either; this one is sure not to.
            "SELECT pg_terminate_backend(pid)
             FROM pg_stat_activity
             WHERE datname = 'stateset_sequencer'
               AND state = 'idle'
               AND query_start < NOW() - INTERVAL '10 years';",
        ];
        for statement in statements {
            rows(&mut connection, statement).await;
        }
        // Printed with `tablename` and `indexname`, which no version of PostgreSQL has in this view.
        let usage = "SELECT schemaname, relname, indexrelname, idx_scan, idx_tup_read
             FROM pg_stat_user_indexes
             ORDER BY idx_scan DESC;";
        assert!(!rows(&mut connection, usage).await.is_empty());
    });
}

#[test]
fn its_list_of_dead_letters_shows_them() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let (store, stream) = populated(&place).await;
        let letters = [1, 2].map(|n| crate::dead_letters::letter(stream, n));
        for (n, letter) in (1..).zip(letters.clone()) {
            store.keep_letters(vec![letter], crate::dead_letters::LIMITS, at(n)).await.unwrap();
        }
        let mut connection = place.connect().await;
        let found = rows(
            &mut connection,
            "SELECT * FROM dead_letter_events
             ORDER BY created_at DESC
             LIMIT 100;",
        )
        .await;
        let ids: Vec<_> = found.iter().map(|row| row.get::<uuid::Uuid, _>("event_id")).collect();
        assert_eq!(ids, [letters[1].event_id.uuid(), letters[0].event_id.uuid()]);
        let text = |column: &str| found[0].get::<String, _>(column);
        assert_eq!((text("status"), text("reason")), ("pending".to_owned(), "version_conflict".to_owned()));
        assert_eq!((text("payload"), found[0].get::<i32, _>("max_retries")), (letters[1].payload.clone(), 3));
    });
}

#[test]
fn its_tables_are_vacuumed_without_a_warning() {
    run(Engine::Postgres, |place: Arc<Place>| async move {
        let (_store, _) = populated(&place).await;
        let mut connection = place.connect().await;
        let canary = warnings_of(&mut connection, "DO $$ BEGIN RAISE WARNING 'canary'; END $$").await;
        assert_eq!(canary.len(), 1, "warnings are not seen");
        for table in ["events", "ves_events", "commitments"] {
            let warnings = warnings_of(&mut connection, &format!("VACUUM ANALYZE {table};")).await;
            assert!(warnings.is_empty(), "{table}: {warnings:?}");
        }
        // The planner knows the tables that the rows are in, and those that the runbook names.
        for table in ["events", "ves_events", "commitments", "ves_commitments"] {
            let sql = format!("SELECT count(*) FROM pg_stats WHERE tablename = '{table}'");
            assert!(rows(&mut connection, &sql).await[0].get::<i64, _>(0) > 0, "{table} was not analyzed");
        }
    });
}

/// What the server says beside its answer to a statement.
async fn warnings_of(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    let log = Log::of("sqlx::postgres::notice");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).with_subscriber(log.clone()).await.unwrap();
    log.lines()
}
