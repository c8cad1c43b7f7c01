//! The part of an event's life after its jobs were made: each attempt, and how each job ended.
//! It shows a viewer nothing of another organization's jobs.

use std::sync::Arc;

use async_trait::async_trait;
use bowline_line::explain::{Chapter, ChapterSource, Subject};
use bowline_store::{AttemptRecord, AttemptStatus, JobFilter, JobRecord, JobState, LineStore, StoreError};

/// Jobs that are told of at most.
const JOBS_MAX: usize = 100;

/// Jobs whose every attempt is told.
const JOBS_WITH_ATTEMPTS_MAX: usize = 20;

/// The chapters of deliveries.
#[derive(Debug)]
pub struct DeliveryChapters {
    store: Arc<dyn LineStore>,
}

impl DeliveryChapters {
    /// Those of the jobs in `store`.
    pub fn new(store: Arc<dyn LineStore>) -> Self {
        Self { store }
    }
}

#[async_trait]
impl ChapterSource for DeliveryChapters {
    async fn tell(&self, subject: &Subject) -> Result<Vec<Chapter>, StoreError> {
        let filter = JobFilter {
            tenant_id: subject.viewer,
            event_id: Some(subject.event.envelope.event_id),
            limit: JOBS_MAX,
            ..JobFilter::default()
        };
        let mut chapters = Vec::new();
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
    let text = match attempt.status {
        AttemptStatus::Succeeded => format!("try {number} to {destination} took {duration_ms} ms{status}"),
        AttemptStatus::Failed => {
            let why = attempt.error_message.as_deref().unwrap_or("no reason was written down");
            format!("try {number} to {destination} failed after {duration_ms} ms{status}: {why}")
        }
    };
    // A failed attempt is done, not wrong: the chapter of its job says whether the delivery failed.
    Chapter::done("attempted", Some(*executed_at), text)
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
