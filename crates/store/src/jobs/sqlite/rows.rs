//! Rows of jobs, attempts and breakers to records, and the query of jobs by filter.
//! A row that can't be read is an error, never left out.

use bowline_types::{EventId, TenantId, Timestamp};
use rusqlite::Row;
use rusqlite::types::{Type, Value};
use uuid::Uuid;

use crate::sqlite::rows::{fixed, moment, signed, stream_columns, unsigned};
use crate::{
    AttemptRecord, AttemptStatus, BreakerKey, BreakerRecord, BreakerSettings, BreakerState, ClaimedJob,
    JobFilter, JobRecord, JobState, NewJob,
};

/// The columns that [`job`] reads, in its order.
pub(crate) const JOB_COLUMNS: &str = "job_id, tenant_id, trigger_id, action_id, action_type, priority, \
     stream_tenant_id, stream_store_id, sequence_number, event_id, occurrence, event, state, tag, attempts, \
     attempts_before, claim, due_at, created_at, ended_at, last_error";

fn no_word(column: usize, problem: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, problem.into())
}

pub(crate) fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    fixed(row, column).map(Uuid::from_bytes)
}

fn optional_moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

pub(crate) fn job(row: &Row<'_>) -> rusqlite::Result<JobRecord> {
    let state: String = row.get(12)?;
    let job = NewJob {
        job_id: uuid(row, 0)?,
        tenant_id: TenantId::from_bytes(fixed(row, 1)?),
        trigger_id: uuid(row, 2)?,
        action_id: uuid(row, 3)?,
        action_type: row.get(4)?,
        priority: row.get(5)?,
        stream: stream_columns(row, 6)?,
        sequence_number: unsigned(row, 8)?,
        event_id: EventId::from_bytes(fixed(row, 9)?),
        occurrence: uuid(row, 10)?,
        event: row.get(11)?,
    };
    Ok(JobRecord {
        job,
        state: JobState::parse(&state).ok_or_else(|| no_word(12, "not a state of a job"))?,
        tag: unsigned(row, 13)?,
        attempts: row.get(14)?,
        attempts_before: row.get(15)?,
        due_at: moment(row, 17)?,
        created_at: moment(row, 18)?,
        ended_at: optional_moment(row, 19)?,
        last_error: row.get(20)?,
    })
}

pub(crate) fn claimed(row: &Row<'_>) -> rusqlite::Result<ClaimedJob> {
    Ok(ClaimedJob { job: job(row)?, claim: row.get(16)? })
}

/// The columns that [`attempt`] reads, in its order.
pub(crate) const ATTEMPT_COLUMNS: &str = "job_id, attempt, status, executed_at, duration_ms, http_status, \
     error_message, response_data, destination, worker";

pub(crate) fn attempt(row: &Row<'_>) -> rusqlite::Result<AttemptRecord> {
    let succeeded = row.get::<_, String>(2)? == AttemptStatus::Succeeded.as_str();
    Ok(AttemptRecord {
        job_id: uuid(row, 0)?,
        attempt: row.get(1)?,
        status: if succeeded { AttemptStatus::Succeeded } else { AttemptStatus::Failed },
        executed_at: moment(row, 3)?,
        duration_ms: unsigned(row, 4)?,
        http_status: row.get(5)?,
        error_message: row.get(6)?,
        response_data: row.get(7)?,
        destination: row.get(8)?,
        worker: row.get(9)?,
    })
}

/// The columns of a breaker but its key, which [`breaker`] reads from the second on.
pub(crate) const BREAKER_COLUMNS: &str = "state, failure_count, last_failure_at, opened_at, probes, \
     failure_threshold, recovery_secs, half_open_calls_max";

pub(crate) fn breaker(row: &Row<'_>, key: BreakerKey) -> rusqlite::Result<BreakerRecord> {
    let state: String = row.get(1)?;
    Ok(BreakerRecord {
        key,
        state: BreakerState::parse(&state).ok_or_else(|| no_word(1, "not a state of a breaker"))?,
        failure_count: row.get(2)?,
        last_failure_at: optional_moment(row, 3)?,
        opened_at: optional_moment(row, 4)?,
        probes: row.get(5)?,
        settings: BreakerSettings {
            failure_threshold: row.get(6)?,
            recovery_secs: row.get(7)?,
            half_open_calls_max: row.get(8)?,
        },
    })
}

/// The key of a breaker of a trigger, which operators see and write as text.
pub(crate) fn trigger_key(row: &Row<'_>) -> rusqlite::Result<BreakerKey> {
    let text: String = row.get(0)?;
    let id = Uuid::parse_str(&text).map_err(|_| no_word(0, "not the id of a trigger"))?;
    Ok(BreakerKey::Trigger(id))
}

/// That a job fits a filter, with its parameters: conditions for those of its parts that are given, so that the planner
/// finds an index.
pub(crate) fn fits(filter: &JobFilter) -> (String, Vec<Value>) {
    let mut conditions = vec!["true".to_owned()];
    let mut values = Vec::new();
    let bytes = |id: Uuid| Value::Blob(id.into_bytes().to_vec());
    for (column, value) in [
        ("tenant_id", filter.tenant_id.map(|id| bytes(id.uuid()))),
        ("state", filter.state.map(|state| Value::Text(state.as_str().to_owned()))),
        ("trigger_id", filter.trigger_id.map(bytes)),
        ("event_id", filter.event_id.map(|id| bytes(id.uuid()))),
        ("job_id", filter.job_id.map(bytes)),
    ] {
        if let Some(value) = value {
            values.push(value);
            conditions.push(format!("{column} = ?{}", values.len()));
        }
    }
    if let Some((created_at, job_id)) = filter.before {
        values.extend([Value::Integer(created_at.micros()), bytes(job_id)]);
        conditions.push(format!("(created_at, job_id) < (?{}, ?{})", values.len() - 1, values.len()));
    }
    values.push(Value::Integer(signed(filter.limit as u64)));
    let limit = values.len();
    (format!("{} ORDER BY created_at DESC, job_id DESC LIMIT ?{limit}", conditions.join(" AND ")), values)
}
