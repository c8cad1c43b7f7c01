//! Jobs into workers' hands and back: claims, reports, leases that run out.
//!
//! One connection writes, so nothing here can be raced; what a report says counts only under the job's last claim.

use bowline_types::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::rows::{JOB_COLUMNS, claimed, uuid};
use crate::changes::sqlite::bump;
use crate::jobs::queueing::{
    LEASE_RAN_OUT, READIED_MAX, RECLAIMED_MAX, Wait, claim_order, kept_text, state_after,
};
use crate::sqlite::pool::Failure;
use crate::sqlite::rows::signed;
use crate::{AttemptRecord, ChangeKind, Changes, Claim, ClaimedJob, JobReport};

/// Makes jobs ready whose time has come; returns how many.
pub(crate) fn ready_what_is_due(transaction: &Transaction<'_>, now: Timestamp) -> Result<usize, Failure> {
    let mut statement = transaction.prepare_cached(
        "UPDATE action_jobs SET ready = 1 WHERE job_id IN (
             SELECT job_id FROM action_jobs WHERE state = 'waiting' AND ready = 0 AND due_at <= ?1
             ORDER BY due_at LIMIT ?2)",
    )?;
    Ok(statement.execute((now.micros(), READIED_MAX))?)
}

/// Whether a job's time has come that is not ready yet.
pub(crate) fn is_any_due(connection: &Connection, now: Timestamp) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM action_jobs WHERE state = 'waiting' AND ready = 0 AND due_at <= ?1)",
        )?
        .query_row([now.micros()], |row| row.get(0))
}

/// Ends a transaction, and wakes whoever waits for jobs if `wakes`.
pub(crate) fn commit(transaction: Transaction<'_>, changes: &Changes, wakes: bool) -> Result<(), Failure> {
    let epoch = if wakes { Some(bump(&transaction, ChangeKind::JOBS)?) } else { None };
    transaction.commit()?;
    if let Some(epoch) = epoch {
        changes.observe(ChangeKind::JOBS, epoch);
    }
    Ok(())
}

pub(crate) fn claim(
    connection: &mut Connection,
    changes: &Changes,
    claim: &Claim,
    worker: &str,
    lease_until: Timestamp,
    now: Timestamp,
) -> Result<Vec<ClaimedJob>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let readied = ready_what_is_due(&transaction, now)?;
    let picked = pick(&transaction, claim)?;
    if readied == 0 && picked.is_empty() {
        return Ok(Vec::new());
    }
    let mut jobs = Vec::with_capacity(picked.len());
    let sql = format!(
        "UPDATE action_jobs SET state = 'running', ready = 0, handed_over = 0, attempts = attempts + 1,
             claim = claim + 1, worker = ?2, lease_until = ?3
         WHERE job_id = ?1 AND state = 'waiting' AND ready RETURNING {JOB_COLUMNS}"
    );
    let mut take = transaction.prepare_cached(&sql)?;
    for job_id in picked {
        let taken = take.query_row((job_id.as_bytes(), worker, lease_until.micros()), claimed).optional()?;
        jobs.extend(taken);
    }
    drop(take);
    if let Some(highest) = jobs.iter().map(|claimed| claimed.job.tag).max() {
        raise_claimed_tag(&transaction, signed(highest))?;
    }
    jobs.sort_by_key(|claimed| claim_order(&claimed.job));
    commit(transaction, changes, readied > jobs.len())?;
    Ok(jobs)
}

fn pick(transaction: &Transaction<'_>, claim: &Claim) -> Result<Vec<Uuid>, Failure> {
    match claim {
        Claim::These(ids) => Ok(ids.clone()),
        Claim::Next { limit } => {
            let mut statement = transaction.prepare_cached(
                "SELECT job_id FROM action_jobs WHERE state = 'waiting' AND ready
                 ORDER BY tag, priority DESC, job_id LIMIT ?1",
            )?;
            let picked = statement.query_map([signed(*limit as u64)], |row| uuid(row, 0))?;
            Ok(picked.collect::<rusqlite::Result<_>>()?)
        }
    }
}

/// Keeps the highest tag that was claimed.
fn raise_claimed_tag(transaction: &Transaction<'_>, tag: i64) -> Result<(), Failure> {
    transaction
        .prepare_cached(
            "INSERT INTO job_tags (tenant_id, last_tag) VALUES (?1, ?2)
             ON CONFLICT (tenant_id) DO UPDATE SET last_tag = max(last_tag, excluded.last_tag)",
        )?
        .execute((Uuid::nil().as_bytes(), tag))?;
    Ok(())
}

pub(crate) fn report(
    connection: &mut Connection,
    changes: &Changes,
    reports: &[JobReport],
    now: Timestamp,
) -> Result<Vec<Uuid>, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut counted = Vec::new();
    let mut wakes = false;
    let mut write = transaction.prepare_cached(
        "UPDATE action_jobs SET state = ?3, ready = ?4, handed_over = 0, worker = NULL, lease_until = NULL,
             attempts = max(attempts - ?5, 0), due_at = coalesce(?6, due_at), last_error = coalesce(?7, last_error),
             ended_at = ?8, barred_since = CASE WHEN ?9 THEN coalesce(barred_since + max(?10 - due_at, 0), ?10) END
         WHERE job_id = ?1 AND claim = ?2 AND state = 'running'",
    )?;
    for report in reports {
        let Wait { due_at, is_given_back, is_barred } = Wait::of(&report.end);
        let is_ready = due_at.is_some_and(|due_at| due_at <= now);
        let written = write.execute((
            report.job_id.as_bytes(),
            report.claim,
            state_after(&report.end).as_str(),
            is_ready,
            i64::from(is_given_back),
            due_at.map(Timestamp::micros),
            report.error.as_deref().map(kept_text),
            due_at.is_none().then_some(now.micros()),
            is_barred,
            now.micros(),
        ))?;
        if written == 1 {
            counted.push(report.job_id);
            wakes |= is_ready;
        }
        if let Some(attempt) = &report.attempt {
            keep(&transaction, attempt)?;
        }
    }
    drop(write);
    commit(transaction, changes, wakes)?;
    Ok(counted)
}

/// Keeps an attempt at a job that is still there.
fn keep(transaction: &Transaction<'_>, attempt: &AttemptRecord) -> Result<(), Failure> {
    transaction
        .prepare_cached(
            "INSERT INTO action_results SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10
             WHERE EXISTS (SELECT 1 FROM action_jobs WHERE job_id = ?1) ON CONFLICT DO NOTHING",
        )?
        .execute((
            attempt.job_id.as_bytes(),
            attempt.attempt,
            attempt.status.as_str(),
            attempt.executed_at.micros(),
            signed(attempt.duration_ms),
            attempt.http_status,
            attempt.error_message.as_deref().map(kept_text),
            attempt.response_data.as_deref().map(kept_text),
            kept_text(&attempt.destination),
            kept_text(&attempt.worker),
        ))?;
    Ok(())
}

/// Prolongs those claims that are still held and end at `half` or before; returns all that are still held.
pub(crate) fn extend(
    connection: &mut Connection,
    claims: &[(Uuid, u32)],
    half: Timestamp,
    lease_until: Timestamp,
) -> Result<Vec<(Uuid, u32)>, Failure> {
    let mut look = connection.prepare_cached(
        "SELECT coalesce(lease_until, 0) FROM action_jobs WHERE job_id = ?1 AND claim = ?2 AND state = 'running'",
    )?;
    let (mut held, mut ending) = (Vec::with_capacity(claims.len()), Vec::new());
    for (job_id, claim) in claims {
        let until: Option<i64> = look.query_row((job_id.as_bytes(), claim), |row| row.get(0)).optional()?;
        let Some(until) = until else { continue };
        held.push((*job_id, *claim));
        if until <= half.micros() {
            ending.push(job_id);
        }
    }
    drop(look);
    if ending.is_empty() {
        return Ok(held);
    }
    // Nobody else writes between the look and this.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut statement = transaction
        .prepare_cached("UPDATE action_jobs SET lease_until = ?2 WHERE job_id = ?1 AND state = 'running'")?;
    for job_id in ending {
        statement.execute((job_id.as_bytes(), lease_until.micros()))?;
    }
    drop(statement);
    transaction.commit()?;
    Ok(held)
}

pub(crate) fn reclaim(
    connection: &mut Connection,
    changes: &Changes,
    now: Timestamp,
) -> Result<u64, Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let reclaimed = transaction
        .prepare_cached(
            "UPDATE action_jobs SET state = 'waiting', ready = 1, handed_over = 0, worker = NULL, lease_until = NULL,
                 due_at = ?1, last_error = ?3, barred_since = NULL
             WHERE job_id IN (SELECT job_id FROM action_jobs WHERE state = 'running' AND lease_until <= ?1
                              ORDER BY lease_until LIMIT ?2)",
        )?
        .execute((now.micros(), RECLAIMED_MAX, LEASE_RAN_OUT))?;
    commit(transaction, changes, reclaimed > 0)?;
    Ok(reclaimed as u64)
}
