//! Test sends: an action is sent once, beside the queue and its circuit breakers, and the caller gets the outcome.
//! No job is written, and no breaker learns of it.

use bowline_store::{JobRecord, JobState, NewJob};
use bowline_types::{EventId, TenantId, chain_stream};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::actions::{AttemptInput, ReadyAction};
use crate::error::MissingPart;
use crate::outcome::{FailureCode, Outcome, ReceiverAnswer};
use crate::{Deliveries, DeliveryError, JobOwner, OwnerKind};

/// The action of a test send.
#[derive(Debug, Clone)]
pub enum TestSend {
    /// A stored one.
    Stored {
        /// Its owner.
        owner: JobOwner,
        /// Which of the owner's actions.
        action_id: Uuid,
    },
    /// One that is not stored.
    Given {
        /// The kind of owner that would have it.
        kind: OwnerKind,
        /// `rest`, `telegram` or `mcp`.
        action_type: String,
        /// Its settings.
        config: Value,
    },
}

/// The outcome of a test send.
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

/// An action that was found, with what templates name of its owner.
struct Found {
    action: ReadyAction,
    owner: JobOwner,
    owner_name: String,
}

impl Deliveries {
    /// Sends an action once, for `event` or for the example of its owner's kind, under an id that no job has.
    ///
    /// # Errors
    /// There is no such action, or it can't be taken. A receiver's refusal is part of the answer.
    pub async fn test_send(
        &self,
        tenant_id: TenantId,
        test: TestSend,
        event: Option<Value>,
    ) -> Result<TestAttempt, DeliveryError> {
        if event.as_ref().is_some_and(|event| !event.is_object()) {
            return Err(DeliveryError::field("event", "must be an object"));
        }
        let Found { action, owner, owner_name } = self.find(tenant_id, test).await?;
        let example = || self.0.owners.get(&owner.kind).map_or_else(|| json!({}), |o| o.example_event());
        let record = self.test_job(tenant_id, owner, &event.unwrap_or_else(example));
        let job_id = record.job.job_id;
        let since = Instant::now();
        let input = AttemptInput::new(&record, owner, &owner_name, self.0.clock.now());
        let outcome = match (&action, &input) {
            (Ok(action), Ok(input)) => self.0.actions.deliver(action, input).await,
            (Err(failure), _) | (_, Err(failure)) => Outcome::Failed(failure.clone()),
        };
        let destination = action.map(|action| action.destination.clone()).unwrap_or_default();
        let duration_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let attempt = |status, answered: ReceiverAnswer| TestAttempt {
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
                let (code, error) = (Some(failure.code.as_str()), Some(failure.text()));
                TestAttempt { code, error, ..attempt("failed", failure.answered) }
            }
            Outcome::RateLimited(wait) => {
                let error = format!("the receiver's rate limit leaves no room for {} ms", wait.as_millis());
                TestAttempt {
                    code: Some(FailureCode::RateLimited.as_str()),
                    error: Some(error),
                    ..attempt("failed", ReceiverAnswer::default())
                }
            }
        })
    }

    async fn find(&self, tenant_id: TenantId, test: TestSend) -> Result<Found, DeliveryError> {
        match test {
            TestSend::Stored { owner, action_id } => {
                let absent = DeliveryError::Absent(MissingPart::Owner);
                let Some(owners) = self.0.owners.get(&owner.kind) else { return Err(absent) };
                let record = owners.owner(owner.id).await?.filter(|record| record.tenant_id == tenant_id);
                let record = record.ok_or(absent)?;
                let action = record.actions.iter().find(|action| action.action_id == action_id);
                let action = action.ok_or(DeliveryError::Absent(MissingPart::Action))?;
                let action = self.0.actions.ready(tenant_id, action);
                Ok(Found { action, owner, owner_name: record.name })
            }
            TestSend::Given { kind, action_type, config } => {
                let config =
                    config.as_object().ok_or_else(|| DeliveryError::field("config", "must be an object"))?;
                let action = self.0.actions.ready_given(tenant_id, &action_type, config);
                let action = Ok(action.map_err(DeliveryError::Invalid)?);
                let owner = JobOwner { kind, id: Uuid::nil() };
                Ok(Found { action, owner, owner_name: "test".to_owned() })
            }
        }
    }

    /// A job that is in no queue.
    fn test_job(&self, tenant_id: TenantId, owner: JobOwner, event: &Value) -> JobRecord {
        let now = self.0.clock.now();
        let event_id = event["event_id"].as_str().and_then(|id| id.parse().ok());
        JobRecord {
            job: NewJob {
                job_id: Uuid::new_v4(),
                tenant_id,
                trigger_id: owner.id,
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
