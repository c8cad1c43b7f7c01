//! Trying an action out: it is carried out once, beside the queue and its circuit breakers, and what came of it is
//! told.

use std::sync::Arc;

use bowline_store::{JobRecord, JobState, NewJob};
use bowline_types::{EventId, TenantId, chain_stream};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::Deliveries;
use super::action::{Action, Parcel};
use super::outcome::{Failure, Outcome};
use crate::TriggerError;

/// Which action to try.
#[derive(Debug, Clone)]
pub enum TestSend {
    /// One of a trigger.
    Stored {
        /// The trigger.
        trigger_id: Uuid,
        /// Its action.
        action_id: Uuid,
    },
    /// One that is not kept.
    Given {
        /// `rest`, `telegram` or `mcp`.
        action_type: String,
        /// Its settings.
        config: Value,
    },
}

/// What came of a try.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestAttempt {
    /// `success` or `failed`.
    pub status: &'static str,
    /// A stable word for what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The HTTP status, if there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// The beginning of what the receiver answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Host and port, or another short name of the receiver.
    pub destination: String,
    /// Milliseconds that it took.
    pub duration_ms: u64,
    /// The id that the receiver saw.
    pub job_id: Uuid,
}

impl Deliveries {
    /// Carries an action out once, for `event` or for a made-up one, under an id that no job has.
    ///
    /// # Errors
    /// That there is no such action, or that it can't be taken; what the receiver says is part of the answer.
    pub async fn test_send(
        &self,
        tenant_id: TenantId,
        which: TestSend,
        event: Option<Value>,
    ) -> Result<TestAttempt, TriggerError> {
        let event = event.unwrap_or_else(sample);
        if !event.is_object() {
            return Err(TriggerError::field("event", "must be an object"));
        }
        let (readied, trigger_id, name) = self.find(tenant_id, which).await?;
        let record = self.made_up(tenant_id, trigger_id, &event);
        let job_id = record.job.job_id;
        let since = Instant::now();
        let parcel = Parcel::of(&record, &name, self.0.clock.now());
        let outcome = match (&readied, &parcel) {
            (Ok(action), Ok(parcel)) => self.0.actions.deliver(action, parcel).await,
            (Err(failure), _) | (_, Err(failure)) => Outcome::Failed(failure.clone()),
        };
        let destination = readied.map(|action| action.destination.clone()).unwrap_or_default();
        let duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let attempt = |status, answered: super::outcome::Answered| TestAttempt {
            status,
            code: None,
            error: None,
            http_status: answered.http_status,
            response: answered.response,
            destination: destination.clone(),
            duration_ms,
            job_id,
        };
        Ok(match outcome {
            Outcome::Delivered(answered) => attempt("success", answered),
            Outcome::Failed(failure) => {
                let (code, error) = (Some(failure.code), Some(failure.text()));
                TestAttempt { code, error, ..attempt("failed", failure.answered) }
            }
            Outcome::Held(wait) => {
                let error = format!("the receiver's rate limit leaves no room for {} ms", wait.as_millis());
                TestAttempt {
                    code: Some("RATE_LIMITED"),
                    error: Some(error),
                    ..attempt("failed", Default::default())
                }
            }
        })
    }

    async fn find(
        &self,
        tenant_id: TenantId,
        which: TestSend,
    ) -> Result<(Result<Arc<Action>, Failure>, Uuid, String), TriggerError> {
        match which {
            TestSend::Stored { trigger_id, action_id } => {
                let trigger = self.0.store.trigger(trigger_id).await?;
                let trigger = trigger.filter(|trigger| trigger.tenant_id == tenant_id);
                let trigger = trigger.ok_or(TriggerError::Absent("trigger"))?;
                let action = trigger.actions.iter().find(|action| action.action_id == action_id);
                let action = action.ok_or(TriggerError::Absent("action"))?;
                Ok((self.0.actions.ready(tenant_id, action), trigger_id, trigger.name.clone()))
            }
            TestSend::Given { action_type, config } => {
                let config =
                    config.as_object().ok_or_else(|| TriggerError::field("config", "must be an object"))?;
                let action = self.0.actions.ready_given(tenant_id, &action_type, config);
                Ok((Ok(action.map_err(TriggerError::Invalid)?), Uuid::nil(), "test".to_owned()))
            }
        }
    }

    fn made_up(&self, tenant_id: TenantId, trigger_id: Uuid, event: &Value) -> JobRecord {
        let now = self.0.clock.now();
        let event_id = event["event_id"].as_str().and_then(|id| id.parse().ok());
        JobRecord {
            job: NewJob {
                job_id: Uuid::new_v4(),
                tenant_id,
                trigger_id,
                action_id: Uuid::nil(),
                action_type: String::new(),
                priority: 0,
                stream: chain_stream(0),
                sequence_number: 0,
                event_id: event_id.unwrap_or_else(|| EventId::new(Uuid::new_v4())),
                occurrence: Uuid::nil(),
                event: event.to_string(),
            },
            state: JobState::Running,
            attempts: 1,
            due_at: now,
            created_at: now,
            ended_at: None,
            last_error: None,
            tag: 0,
            attempts_before: 0,
        }
    }
}

/// A feedback that nobody gave.
fn sample() -> Value {
    json!({
        "chain_id": 84532, "block_number": 1, "timestamp": 1_770_724_500, "registry": "reputation",
        "event_type": "NewFeedback", "agent_id": "0", "client_address": "0x0000000000000000000000000000000000000000",
        "feedback_index": "1", "value": "87", "value_raw": "87", "value_decimals": 0, "score": 87,
        "tag1": "test", "tag2": "", "endpoint": "", "file_uri": "", "is_test": true,
        "transaction_hash": format!("0x{}", "0".repeat(64)), "log_index": 0,
    })
}
