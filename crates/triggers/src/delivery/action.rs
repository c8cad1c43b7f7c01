//! An action that is ready to be carried out, and what it is given.

use std::sync::Arc;
use std::time::Duration;

use bowline_store::JobRecord;
use bowline_types::{TenantId, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::mcp::McpAction;
use super::outcome::Failure;
use super::rest::RestAction;
use super::telegram::{self, TelegramAction};
use super::template::Fields;

/// The kinds of actions.
#[derive(Debug)]
pub(crate) enum Kind {
    Rest(RestAction),
    Telegram(TelegramAction),
    Mcp(McpAction),
}

impl Kind {
    /// All words of the column `action_type`.
    pub(crate) const WORDS: [&'static str; 3] = ["rest", "telegram", "mcp"];

    /// How long one attempt may take.
    pub(crate) fn time_max(&self) -> Duration {
        match self {
            Self::Rest(action) => action.time_max(),
            Self::Telegram(_) => telegram::TIME_MAX,
            Self::Mcp(action) => action.time_max(),
        }
    }
}

/// An action with its secrets.
#[derive(Debug)]
pub(crate) struct Action {
    pub(crate) kind: Kind,
    /// Host and port, or another short name of the receiver.
    pub(crate) destination: String,
    /// Attempts at one job, if the action says.
    pub(crate) attempts_max: Option<u32>,
}

/// An action, or why it can't be carried out.
pub(crate) type Readied = Result<Arc<Action>, Failure>;

/// What one attempt is given.
#[derive(Debug)]
pub(crate) struct Parcel {
    /// Whose delivery it is.
    pub(crate) tenant_id: TenantId,
    pub(crate) job_id: Uuid,
    pub(crate) trigger_id: Uuid,
    pub(crate) event_id: String,
    pub(crate) attempt: u32,
    /// JSON text of the event.
    pub(crate) event: String,
    /// What templates may name.
    pub(crate) fields: Fields,
    pub(crate) now: Timestamp,
}

impl Parcel {
    /// What a job's attempt is given.
    ///
    /// # Errors
    /// That its event is no object, which it always is.
    pub(crate) fn of(record: &JobRecord, trigger_name: &str, now: Timestamp) -> Result<Self, Failure> {
        let job = &record.job;
        let event: Result<Map<String, Value>, _> = serde_json::from_str(&job.event);
        let mut fields =
            event.map_err(|error| Failure::of_action("JOB", format!("its event can't be read: {error}")))?;
        let event_id = job.event_id.to_string();
        for (name, value) in [
            ("job_id", job.job_id.to_string()),
            ("trigger_id", job.trigger_id.to_string()),
            ("trigger_name", trigger_name.to_owned()),
            ("event_id", event_id.clone()),
        ] {
            fields.insert(name.to_owned(), Value::String(value));
        }
        Ok(Self {
            tenant_id: job.tenant_id,
            job_id: job.job_id,
            trigger_id: job.trigger_id,
            event_id,
            attempt: record.attempts,
            event: job.event.clone(),
            fields: Fields::new(&fields),
            now,
        })
    }
}
