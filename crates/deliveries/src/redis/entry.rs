//! What Redis holds of a job: ids and its place in the order, at most a kibibyte; never its configuration or event.

use bowline_store::JobRecord;
use bowline_types::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

/// Characters of an action's type that are kept.
const TYPE_CHARS_MAX: usize = 64;

/// Characters of an error that are kept.
const ERROR_CHARS_MAX: usize = 300;

/// A dead letter to be shown in Redis: its error and attempts are those of the record.
#[derive(Debug, Clone)]
pub struct BuriedJob {
    /// The job.
    pub job: JobRecord,
    /// When it was given up.
    pub failed_at: Timestamp,
}

fn value(record: &JobRecord) -> Value {
    let job = &record.job;
    json!({
        "id": job.job_id,
        "trigger_id": job.trigger_id,
        "event_id": job.event_id.uuid(),
        "action_type": cut(&job.action_type, TYPE_CHARS_MAX),
        "priority": job.priority,
        "tag": record.tag,
        "tenant_id": job.tenant_id.uuid(),
        "created_at": record.created_at,
    })
}

fn cut(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).collect()
}

/// An entry of the list of waiting jobs.
pub(super) fn waiting(record: &JobRecord) -> String {
    value(record).to_string()
}

/// An entry of the list of dead letters.
pub(super) fn buried(letter: &BuriedJob) -> String {
    let error = letter.job.last_error.as_deref().unwrap_or_default();
    json!({
        "job": value(&letter.job),
        "error": cut(error, ERROR_CHARS_MAX),
        "attempts": letter.job.attempts,
        "failed_at": letter.failed_at,
    })
    .to_string()
}

/// The job that an entry is of; none if it is not ours.
pub(super) fn id_of(entry: &str) -> Option<Uuid> {
    let entry: Value = serde_json::from_str(entry).ok()?;
    entry.get("id")?.as_str()?.parse().ok()
}
