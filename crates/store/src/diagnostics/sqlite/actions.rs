//! Facts about chains, matching and deliveries in an embedded store: statements that only read, each bounded.
//!
//! They judge nothing. Counts stop at a limit, and attempts are looked at for the newest jobs of each kind alone, as in
//! PostgreSQL.

use bowline_types::Timestamp;
use rusqlite::{Connection, Row, params};

use super::database_time;
use crate::diagnostics::records::{
    ActionFacts, COUNTED_MAX, DELIVERED_MINUTES, DestinationFacts, JOBS_LOOKED_AT_MAX, MATCHED_MINUTES,
    MATCHER, MatchingFacts, OpenBreaker, ROWS_MAX, SourceFacts,
};
use crate::sqlite::rows::{moment, unsigned};

/// Microseconds of a minute.
const MINUTE: i64 = 60 * 1_000_000;

pub(crate) fn sources(connection: &Connection) -> rusqlite::Result<Vec<SourceFacts>> {
    let mut statement = connection.prepare(
        "SELECT chain_id, last_block_number, generation, updated_at FROM checkpoints ORDER BY chain_id LIMIT ?1",
    )?;
    let source = |row: &Row<'_>| {
        Ok(SourceFacts {
            chain_id: unsigned(row, 0)?,
            block: row.get::<_, Option<i64>>(1)?.map(i64::unsigned_abs),
            generation: unsigned(row, 2)?,
            updated_at: moment(row, 3)?,
        })
    };
    statement.query_map([ROWS_MAX], source)?.collect()
}

pub(crate) fn matching(connection: &Connection) -> rusqlite::Result<MatchingFacts> {
    let now = database_time(connection)?.micros();
    let mut statement = connection.prepare(
        "WITH followed AS (
             SELECT s.stream_no FROM checkpoints c JOIN streams s USING (tenant_id, store_id)
             UNION SELECT stream_no FROM follower_cursors WHERE follower = ?1)
         SELECT (SELECT count(*) FROM triggers WHERE enabled AND deleted_at IS NULL),
                (SELECT coalesce(sum(max(c.current_sequence - coalesce(f.sequence_number, 0), 0)), 0)
                 FROM followed JOIN sequence_counters c USING (stream_no)
                 LEFT JOIN follower_cursors f ON f.follower = ?1 AND f.stream_no = c.stream_no),
                (SELECT max(processed_at) FROM processed_events),
                (SELECT count(*) FROM (SELECT 1 FROM processed_events WHERE processed_at > ?2 LIMIT ?4)),
                (SELECT count(*) FROM (SELECT problem FROM processed_events WHERE processed_at > ?3 LIMIT ?4)
                 WHERE problem IS NOT NULL)",
    )?;
    let (recent, hour) = (now - MATCHED_MINUTES * MINUTE, now - 60 * MINUTE);
    statement.query_row(params![MATCHER, recent, hour, COUNTED_MAX], |row| {
        Ok(MatchingFacts {
            triggers: unsigned(row, 0)?,
            behind_events: unsigned(row, 1)?,
            last_at: at(row, 2)?,
            matched: unsigned(row, 3)?,
            set_aside: unsigned(row, 4)?,
        })
    })
}

pub(crate) fn actions(connection: &Connection) -> rusqlite::Result<ActionFacts> {
    let now = database_time(connection)?.micros();
    let attempts = attempts(connection, now - DELIVERED_MINUTES * MINUTE)?;
    let mut statement = connection.prepare(
        "SELECT (SELECT count(*) FROM (SELECT 1 FROM action_jobs WHERE state = 'waiting' LIMIT ?1)),
                (SELECT count(*) FROM (SELECT 1 FROM action_jobs WHERE state = 'running' LIMIT ?1)),
                (SELECT count(*) FROM (SELECT 1 FROM action_jobs WHERE state = 'dead' LIMIT ?1)),
                (SELECT min(due_at) FROM action_jobs WHERE state = 'waiting' AND due_at <= ?2)",
    )?;
    statement.query_row(params![COUNTED_MAX, now], |row| {
        Ok(ActionFacts {
            waiting: unsigned(row, 0)?,
            running: unsigned(row, 1)?,
            dead: unsigned(row, 2)?,
            oldest_due_at: at(row, 3)?,
            attempts,
        })
    })
}

/// Of the jobs that ended last, died last or are to be tried again.
fn attempts(connection: &Connection, since: i64) -> rusqlite::Result<Vec<DestinationFacts>> {
    let mut statement = connection.prepare(
        "WITH jobs AS (
             SELECT job_id FROM (SELECT job_id FROM action_jobs WHERE state IN ('succeeded', 'cancelled')
                                 ORDER BY ended_at DESC LIMIT ?1)
             UNION SELECT job_id FROM (SELECT job_id FROM action_jobs WHERE state = 'dead'
                                       ORDER BY created_at DESC, job_id DESC LIMIT ?1)
             UNION SELECT job_id FROM (SELECT job_id FROM action_jobs WHERE state = 'waiting' AND NOT ready LIMIT ?1))
         SELECT destination, count(*), sum(status <> 'success') AS failed, max(error_message)
         FROM jobs JOIN action_results USING (job_id) WHERE executed_at > ?2
         GROUP BY destination ORDER BY failed DESC, count(*) DESC LIMIT ?3",
    )?;
    let destination = |row: &Row<'_>| {
        Ok(DestinationFacts {
            destination: row.get(0)?,
            attempts: unsigned(row, 1)?,
            failed: unsigned(row, 2)?,
            error: row.get(3)?,
        })
    };
    statement.query_map(params![JOBS_LOOKED_AT_MAX, since, ROWS_MAX], destination)?.collect()
}

pub(crate) fn open_breakers(connection: &Connection) -> rusqlite::Result<Vec<OpenBreaker>> {
    let mut breakers = Vec::new();
    for (kind, sql) in [
        (
            "trigger",
            "SELECT trigger_id, state, failure_count, last_failure_at FROM circuit_breaker_state
             WHERE state <> 'closed' ORDER BY last_failure_at DESC LIMIT ?1",
        ),
        (
            "destination",
            "SELECT destination, state, failure_count, last_failure_at FROM destination_breakers
             WHERE state <> 'closed' ORDER BY last_failure_at DESC LIMIT ?1",
        ),
    ] {
        let mut statement = connection.prepare(sql)?;
        let breaker = |row: &Row<'_>| {
            Ok(OpenBreaker {
                kind,
                name: row.get(0)?,
                state: row.get(1)?,
                failure_count: unsigned(row, 2)?,
                last_failure_at: at(row, 3)?,
            })
        };
        for found in statement.query_map([ROWS_MAX], breaker)? {
            breakers.push(found?);
        }
    }
    Ok(breakers)
}

fn at(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}
