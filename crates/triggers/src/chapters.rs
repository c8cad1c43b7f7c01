//! What triggers tell of an event's life: whether it was matched, and what became of each job.

use std::sync::Arc;

use async_trait::async_trait;
use bowline_line::explain::{Chapter, ChapterSource, Subject};
use bowline_store::{JobFilter, JobRecord, JobState, LineStore, StoreError};
use bowline_types::public_tenant;

use crate::matching::FOLLOWER;

/// Jobs that are told of at most.
const JOBS_MAX: usize = 100;

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
        let chapter = match &row.problem {
            Some(problem) => {
                Chapter::wrong("matched", at, format!("it can't be matched and was set aside: {problem}"))
            }
            None => {
                let (matched, jobs) = (row.triggers_matched, row.actions_enqueued);
                Chapter::done(
                    "matched",
                    at,
                    format!("{matched} triggers matched it, and {jobs} jobs came of it"),
                )
            }
        };
        let mut chapters = vec![
            chapter
                .with("triggers_matched", row.triggers_matched)
                .with("actions_enqueued", row.actions_enqueued)
                .with("duration_us", row.duration_us),
        ];
        let filter = JobFilter { event_id: Some(event_id), limit: JOBS_MAX, ..JobFilter::default() };
        chapters.extend(self.store.jobs(filter).await?.iter().rev().map(delivered));
        Ok(chapters)
    }
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
