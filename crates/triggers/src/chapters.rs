//! What triggers tell of an event's life: whether it was matched, and what became of each job.
//! It tells a viewer nothing of another organization's jobs.

use std::sync::Arc;

use async_trait::async_trait;
use bowline_line::explain::{Chapter, ChapterSource, Subject};
use bowline_store::{AttemptRecord, AttemptStatus, JobFilter, JobRecord, JobState, LineStore, StoreError};
use bowline_types::public_tenant;

use crate::matching::FOLLOWER;

/// Jobs that are told of at most.
const JOBS_MAX: usize = 100;

/// Jobs whose every attempt is told.
const JOBS_WITH_ATTEMPTS_MAX: usize = 20;

/// The chapters of triggers.
#[derive(Debug)]
pub struct TriggerChapters {
    store: Arc<dyn LineStore>,
}

impl TriggerChapters {
    /// Those of the triggers in `store`.
    pub fn new(store: Arc<dyn LineStore>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl ChapterSource for TriggerChapters {
    async fn tell(&self, subject: &Subject) -> Result<Vec<Chapter>, StoreError> {
        let envelope = &subject.event.envelope;
        let (stream, event_id) = (envelope.stream, envelope.event_id);
        let Some(row) = self.store.processed_event(stream, event_id).await? else {
            let number = subject.event.receipt.sequence_number;
            let is_past = self.store.cursor(FOLLOWER, stream).await? >= number;
            // Most organizations have no triggers on their own streams; on a chain's every event is matched.
            let is_expected = stream.tenant_id == public_tenant() && !is_past;
            let pending = Chapter::pending("matched", "no process has held triggers against it yet");
            return Ok(if is_expected { vec![pending] } else { Vec::new() });
        };
        let at = Some(row.processed_at);
        // What others' triggers made of a chain's event is not this viewer's business.
        let is_everybodys = subject.viewer.is_none();
        let chapter = match &row.problem {
            Some(problem) => {
                Chapter::wrong("matched", at, format!("it can't be matched and was set aside: {problem}"))
            }
            None if !is_everybodys => Chapter::done("matched", at, "triggers were held against it"),
            None => {
                let (matched, jobs) = (row.triggers_matched, row.actions_enqueued);
                Chapter::done(
                    "matched",
                    at,
                    format!("{matched} triggers matched it, and {jobs} jobs came of it"),
                )
            }
        };
        let chapter = match is_everybodys {
            true => chapter
                .with("triggers_matched", row.triggers_matched)
                .with("actions_enqueued", row.actions_enqueued),
            false => chapter,
        };
        let mut chapters = vec![chapter.with("duration_us", row.duration_us)];
        let filter = JobFilter {
            tenant_id: subject.viewer,
            event_id: Some(event_id),
            limit: JOBS_MAX,
            ..JobFilter::default()
        };
        for (index, job) in self.store.jobs(filter).await?.iter().rev().enumerate() {
            if index < JOBS_WITH_ATTEMPTS_MAX {
                let attempts = self.store.attempts(job.job.job_id).await?;
                chapters.extend(attempts.iter().map(attempted));
            }
            chapters.push(delivered(job));
        }
        Ok(chapters)
    }
}

fn attempted(attempt: &AttemptRecord) -> Chapter {
    let AttemptRecord { attempt: number, destination, duration_ms, executed_at, .. } = attempt;
    let status = attempt.http_status.map(|status| format!(", HTTP {status}")).unwrap_or_default();
    let told = match attempt.status {
        AttemptStatus::Succeeded => format!("try {number} to {destination} took {duration_ms} ms{status}"),
        AttemptStatus::Failed => {
            let why = attempt.error_message.as_deref().unwrap_or("no reason was written down");
            format!("try {number} to {destination} failed after {duration_ms} ms{status}: {why}")
        }
    };
    // A try that failed is not the end of the story: whether the delivery failed is told by its own chapter.
    Chapter::done("attempted", Some(*executed_at), told)
        .with("job_id", &attempt.job_id)
        .with("attempt", *number)
        .with("status", attempt.status.as_str())
        .with("worker", &attempt.worker)
}

fn delivered(record: &JobRecord) -> Chapter {
    let kind = &record.job.action_type;
    let why = record.last_error.as_deref().unwrap_or("no reason was written down");
    let chapter = match record.state {
        JobState::Waiting => Chapter::pending("delivered", format!("a {kind} job waits")),
        JobState::Running => Chapter::pending("delivered", format!("a {kind} job is with a worker")),
        JobState::Succeeded => {
            Chapter::done("delivered", record.ended_at, format!("a {kind} job was delivered"))
        }
        JobState::Dead => {
            Chapter::wrong("delivered", record.ended_at, format!("a {kind} job is a dead letter: {why}"))
        }
        JobState::Cancelled => {
            Chapter::done("delivered", record.ended_at, format!("a {kind} job was cancelled: {why}"))
        }
    };
    chapter
        .with("job_id", &record.job.job_id)
        .with("trigger_id", &record.job.trigger_id)
        .with("action_id", &record.job.action_id)
        .with("state", record.state.as_str())
        .with("attempts", record.attempts)
}
