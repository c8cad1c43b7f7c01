//! An action that is ready to be sent, and what one attempt at it is given.
//! It holds opened secrets and is never written down.

use std::sync::Arc;
use std::time::Duration;

use bowline_store::JobRecord;
use bowline_types::{TenantId, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::template::Fields;
use crate::JobOwner;
use crate::channels::{McpAction, TelegramAction, WebhookAction};
use crate::outcome::{Failure, FailureCode};

/// All words of the column `action_type`.
pub(crate) const ACTION_TYPES: [&str; 3] = ["rest", "telegram", "mcp"];

/// The kinds of actions.
#[derive(Debug)]
pub(crate) enum Kind {
    Webhook(WebhookAction),
    Telegram(TelegramAction),
    Mcp(McpAction),
}

impl Kind {
    /// How long one attempt may take.
    pub(crate) fn time_max(&self) -> Duration {
        match self {
            Self::Webhook(action) => action.time_max(),
            Self::Telegram(_) => TelegramAction::TIME_MAX,
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

/// An action, or why it can't be sent.
pub(crate) type ReadyAction = Result<Arc<Action>, Failure>;

/// What one attempt at a job is given.
#[derive(Debug)]
pub(crate) struct AttemptInput {
    /// The organization whose delivery it is.
    pub(crate) tenant_id: TenantId,
    pub(crate) job_id: Uuid,
    pub(crate) owner: JobOwner,
    pub(crate) event_id: String,
    /// The attempt's number, from 1.
    pub(crate) attempt: u32,
    /// JSON text of the event.
    pub(crate) event: String,
    /// The event's fields and those of the job, for templates.
    pub(crate) fields: Fields,
    pub(crate) now: Timestamp,
}

impl AttemptInput {
    /// What an attempt at a job is given. Templates name the owner `KIND_id` and `KIND_name`.
    ///
    /// # Errors
    /// The job's event is no JSON object, which only a damaged row has.
    pub(crate) fn new(
        record: &JobRecord,
        owner: JobOwner,
        owner_name: &str,
        now: Timestamp,
    ) -> Result<Self, Failure> {
        let job = &record.job;
        let event: Result<Map<String, Value>, _> = serde_json::from_str(&job.event);
        let mut fields = event.map_err(|error| {
            Failure::of_action(FailureCode::Job, format!("its event can't be read: {error}"))
        })?;
        let event_id = job.event_id.to_string();
        for (name, value) in [
            ("job_id".to_owned(), job.job_id.to_string()),
            (format!("{}_id", owner.kind), owner.id.to_string()),
            (format!("{}_name", owner.kind), owner_name.to_owned()),
            ("event_id".to_owned(), event_id.clone()),
        ] {
            fields.insert(name, Value::String(value));
        }
        Ok(Self {
            tenant_id: job.tenant_id,
            job_id: job.job_id,
            owner,
            event_id,
            attempt: record.attempts,
            event: job.event.clone(),
            fields: Fields::new(&fields),
            now,
        })
    }
}
