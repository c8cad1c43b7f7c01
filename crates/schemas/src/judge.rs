//! Payloads of verified events held against the schemas of their types, before the append.
//!
//! Only plain payloads can be judged. An event that is in its stream already is let through whatever its payload: it
//! was right by the schema of its time, and its sender is owed the same receipt again.

use std::sync::Arc;

use bowline_store::StoreError;
use bowline_ves::{Payload, Rejected, Rejection, VerifiedEvent};
use metrics::counter;

use crate::config::Mode;
use crate::metrics::{ERRORS, VALIDATIONS};
use crate::registry::{Fault, Registry, Rule};

/// Payloads beyond so many bytes are judged on a thread that serves no connections.
const INLINE_BYTES_MAX: usize = 16 << 10;

/// What was said of one event.
pub type Judged = Result<VerifiedEvent, Box<Rejected>>;

/// An event with the rule that it must satisfy.
struct Case {
    event: VerifiedEvent,
    rule: Option<Arc<Rule>>,
    fault: Option<Fault>,
}

impl Registry {
    /// Judges each event, in order.
    ///
    /// # Errors
    /// A schema could not be looked up; nothing is known about the events then.
    pub async fn judge(&self, events: Vec<VerifiedEvent>) -> Result<Vec<Judged>, StoreError> {
        if self.config.mode == Mode::Disabled {
            return Ok(events.into_iter().map(Ok).collect());
        }
        let mut cases = Vec::with_capacity(events.len());
        let mut bytes = 0;
        for event in events {
            let case = self.case(event).await?;
            if case.rule.is_some() {
                bytes += case.event.envelope.payload.text().len();
            }
            cases.push(case);
        }
        let cases = if bytes <= INLINE_BYTES_MAX {
            validate(cases)
        } else {
            let validated = tokio::task::spawn_blocking(move || validate(cases)).await;
            validated.map_err(|error| StoreError::Internal(error.to_string()))?
        };
        let mut judged = Vec::with_capacity(cases.len());
        for case in cases {
            judged.push(self.decide(case).await?);
        }
        Ok(judged)
    }

    async fn case(&self, event: VerifiedEvent) -> Result<Case, StoreError> {
        let envelope = &event.envelope;
        if matches!(envelope.payload, Payload::Encrypted(_)) {
            return Ok(Case { event, rule: None, fault: None });
        }
        let rule = self.rule(envelope.stream.tenant_id, &envelope.event_type).await?;
        let fault = (rule.is_none() && self.config.mode == Mode::Required).then(|| Fault {
            path: String::new(),
            problem: format!(
                "no schema is active for the event type `{}`, and this node requires one",
                envelope.event_type
            ),
        });
        Ok(Case { event, rule, fault })
    }

    async fn decide(&self, case: Case) -> Result<Judged, StoreError> {
        let Case { event, rule, fault } = case;
        let Some(fault) = fault else {
            if rule.is_some() {
                counter!(VALIDATIONS, "outcome" => "valid").increment(1);
            }
            return Ok(Ok(event));
        };
        let (event_id, stream) = (event.envelope.event_id, event.envelope.stream);
        if self.config.mode == Mode::Warn {
            counter!(ERRORS).increment(1);
            counter!(VALIDATIONS, "outcome" => "warned").increment(1);
            tracing::warn!(component = "schemas", %event_id, %stream, event_type = event.envelope.event_type,
                path = fault.path, problem = fault.problem, "Payload breaks its schema and is taken");
            return Ok(Ok(event));
        }
        let known = self.store.event(stream, event_id).await?;
        if known.is_some_and(|known| known.signing_hash == event.signing_hash) {
            counter!(VALIDATIONS, "outcome" => "replayed").increment(1);
            return Ok(Ok(event));
        }
        counter!(ERRORS).increment(1);
        counter!(VALIDATIONS, "outcome" => "rejected").increment(1);
        let rejection = rejection(fault, rule.as_deref());
        Ok(Err(Box::new(Rejected { envelope: event.envelope, rejection })))
    }
}

fn validate(mut cases: Vec<Case>) -> Vec<Case> {
    for case in &mut cases {
        if let Some(rule) = &case.rule {
            case.fault = rule.faults(case.event.envelope.payload.text(), 1).pop();
        }
    }
    cases
}

fn rejection(fault: Fault, rule: Option<&Rule>) -> Rejection {
    let Fault { path, problem } = fault;
    let field = (!path.is_empty()).then(|| path.clone());
    let problem = match rule {
        None => problem,
        Some(rule) => {
            let place = if path.is_empty() { "payload".to_owned() } else { format!("payload{path}") };
            format!("{place}: {problem}, by version {} of its schema ({})", rule.version, rule.schema_id)
        }
    };
    Rejection::SchemaValidation { field, problem }
}
