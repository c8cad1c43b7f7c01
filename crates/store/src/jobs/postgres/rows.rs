//! Rows of jobs, attempts and breakers to records, and the query of jobs by filter.
//! A row that can't be read is an error, never left out.

use bowline_types::{EventId, StoreId, StreamId, TenantId, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres, Row};

use crate::postgres::rows::{corrupt, moment, signed, unsigned};
use crate::{
    AttemptRecord, AttemptStatus, BreakerKey, BreakerRecord, BreakerSettings, BreakerState, ClaimedJob,
    JobFilter, JobRecord, JobState, NewJob,
};

/// The columns that [`job`] reads.
pub(crate) const JOB_COLUMNS: &str = "job_id, tenant_id, trigger_id, action_id, action_type, priority, \
     stream_tenant_id, stream_store_id, sequence_number, event_id, occurrence, event, state, tag, attempts, \
     attempts_before, claim, due_at, created_at, ended_at, last_error";

/// A number of an `integer` column.
pub(crate) fn count(row: &PgRow, column: &str) -> sqlx::Result<u32> {
    u32::try_from(row.try_get::<i32, _>(column)?).map_err(|_| corrupt(column, "negative"))
}

/// A number for an `integer` column.
pub(crate) fn small(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn optional_moment(row: &PgRow, column: &str) -> sqlx::Result<Option<Timestamp>> {
    Ok(row.try_get::<Option<DateTime<Utc>>, _>(column)?.map(Timestamp::from_chrono))
}

pub(crate) fn job(row: &PgRow) -> sqlx::Result<JobRecord> {
    let state: &str = row.try_get("state")?;
    let stream = StreamId::new(
        TenantId::new(row.try_get("stream_tenant_id")?),
        StoreId::new(row.try_get("stream_store_id")?),
    );
    let job = NewJob {
        job_id: row.try_get("job_id")?,
        tenant_id: TenantId::new(row.try_get("tenant_id")?),
        trigger_id: row.try_get("trigger_id")?,
        action_id: row.try_get("action_id")?,
        action_type: row.try_get("action_type")?,
        priority: row.try_get("priority")?,
        stream,
        sequence_number: unsigned(row, "sequence_number")?,
        event_id: EventId::new(row.try_get("event_id")?),
        occurrence: row.try_get("occurrence")?,
        event: row.try_get("event")?,
    };
    Ok(JobRecord {
        job,
        state: JobState::parse(state).ok_or_else(|| corrupt("state", "not a state of a job"))?,
        tag: unsigned(row, "tag")?,
        attempts: count(row, "attempts")?,
        attempts_before: count(row, "attempts_before")?,
        due_at: moment(row, "due_at")?,
        created_at: moment(row, "created_at")?,
        ended_at: optional_moment(row, "ended_at")?,
        last_error: row.try_get("last_error")?,
    })
}

pub(crate) fn claimed(row: &PgRow) -> sqlx::Result<ClaimedJob> {
    Ok(ClaimedJob { job: job(row)?, claim: count(row, "claim")? })
}

pub(crate) fn attempt(row: &PgRow) -> sqlx::Result<AttemptRecord> {
    let status: &str = row.try_get("status")?;
    let succeeded = status == AttemptStatus::Succeeded.as_str();
    let http_status: Option<i32> = row.try_get("http_status")?;
    Ok(AttemptRecord {
        job_id: row.try_get("job_id")?,
        attempt: count(row, "attempt")?,
        status: if succeeded { AttemptStatus::Succeeded } else { AttemptStatus::Failed },
        executed_at: moment(row, "executed_at")?,
        duration_ms: unsigned(row, "duration_ms")?,
        http_status: http_status.and_then(|status| u16::try_from(status).ok()),
        error_message: row.try_get("error_message")?,
        response_data: row.try_get("response_data")?,
        destination: row.try_get("destination")?,
        worker: row.try_get("worker")?,
    })
}

/// The columns of a breaker but its key, which [`breaker`] reads.
pub(crate) const BREAKER_COLUMNS: &str = "state, failure_count, last_failure_at, opened_at, probes, \
     failure_threshold, recovery_secs, half_open_calls_max";

pub(crate) fn breaker(row: &PgRow, key: BreakerKey) -> sqlx::Result<BreakerRecord> {
    let state: &str = row.try_get("state")?;
    Ok(BreakerRecord {
        key,
        state: BreakerState::parse(state).ok_or_else(|| corrupt("state", "not a state of a breaker"))?,
        failure_count: count(row, "failure_count")?,
        last_failure_at: optional_moment(row, "last_failure_at")?,
        opened_at: optional_moment(row, "opened_at")?,
        probes: count(row, "probes")?,
        settings: BreakerSettings {
            failure_threshold: count(row, "failure_threshold")?,
            recovery_secs: count(row, "recovery_secs")?,
            half_open_calls_max: count(row, "half_open_calls_max")?,
        },
    })
}

/// That a job fits a filter: conditions for those of its parts that are given, so that the planner finds an index.
pub(crate) fn fits(filter: &JobFilter) -> String {
    let mut conditions = vec!["true".to_owned()];
    let mut place = 0;
    let mut next = |count: usize| {
        place += count;
        place
    };
    for (is_given, column) in [
        (filter.tenant_id.is_some(), "tenant_id"),
        (filter.state.is_some(), "state"),
        (filter.trigger_id.is_some(), "trigger_id"),
        (filter.event_id.is_some(), "event_id"),
        (filter.job_id.is_some(), "job_id"),
    ] {
        if is_given {
            conditions.push(format!("{column} = ${}", next(1)));
        }
    }
    if filter.before.is_some() {
        let last = next(2);
        conditions.push(format!("(created_at, job_id) < (${}, ${last})", last - 1));
    }
    format!("{} ORDER BY created_at DESC, job_id DESC LIMIT ${}", conditions.join(" AND "), next(1))
}

/// A query that begins with the parameters of [`fits`].
pub(crate) fn filtered(sql: String, filter: &JobFilter) -> Query<'static, Postgres, PgArguments> {
    let mut query = sqlx::query(AssertSqlSafe(sql));
    if let Some(tenant_id) = filter.tenant_id {
        query = query.bind(tenant_id.uuid());
    }
    if let Some(state) = filter.state {
        query = query.bind(state.as_str());
    }
    for id in [filter.trigger_id, filter.event_id.map(|id| id.uuid()), filter.job_id].into_iter().flatten() {
        query = query.bind(id);
    }
    if let Some((created_at, job_id)) = filter.before {
        query = query.bind(created_at.to_chrono()).bind(job_id);
    }
    query.bind(signed(filter.limit as u64))
}
