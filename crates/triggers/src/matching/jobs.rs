//! A match becomes jobs: one an action, under an id that is the same for the same occurrence for ever.

use bowline_store::{NewJob, StoredEvent};
use serde_json::Value;
use uuid::Uuid;

use crate::rules::{Advance, Facts, Rule};

/// The id of a job: trigger, action and occurrence decide it, so that it is an idempotency key.
pub(crate) fn job_id(trigger_id: Uuid, action_id: Uuid, occurrence: Uuid) -> Uuid {
    let mut name = [0; 32];
    let (action, what) = name.split_at_mut(16);
    action.copy_from_slice(action_id.as_bytes());
    what.copy_from_slice(occurrence.as_bytes());
    Uuid::new_v5(&trigger_id, &name)
}

/// The text of an event for its jobs: its fields, and its place on the line.
pub(crate) struct EventText<'e> {
    event: &'e StoredEvent,
    facts: &'e Facts,
    /// Written once for all triggers that add nothing to it.
    text: Option<String>,
}

impl<'e> EventText<'e> {
    pub(crate) fn new(event: &'e StoredEvent, facts: &'e Facts) -> Self {
        Self { event, facts, text: None }
    }

    /// The jobs of one trigger that fires.
    pub(crate) fn jobs(&mut self, rule: &Rule, advance: &Advance) -> Vec<NewJob> {
        if rule.actions.is_empty() {
            return Vec::new();
        }
        let text = self.text(advance);
        let (event, occurrence) = (self.event, self.facts.occurrence);
        let jobs = rule.actions.iter().map(|action| NewJob {
            job_id: job_id(rule.trigger_id, action.action_id, occurrence),
            tenant_id: rule.tenant_id,
            trigger_id: rule.trigger_id,
            action_id: action.action_id,
            action_type: action.action_type.to_string(),
            priority: action.priority,
            stream: event.envelope.stream,
            sequence_number: event.receipt.sequence_number,
            event_id: event.envelope.event_id,
            occurrence,
            event: text.clone(),
        });
        jobs.collect()
    }

    fn text(&mut self, advance: &Advance) -> String {
        if advance.average.is_none() && advance.count.is_none() {
            if self.text.is_none() {
                self.text = Some(self.write(advance));
            }
            return self.text.clone().unwrap_or_default();
        }
        self.write(advance)
    }

    fn write(&self, advance: &Advance) -> String {
        let mut fields = self.facts.fields.clone();
        let receipt = &self.event.receipt;
        fields.insert("event_id".to_owned(), self.event.envelope.event_id.to_string().into());
        fields.insert("sequence_number".to_owned(), receipt.sequence_number.into());
        fields.insert("sequenced_at".to_owned(), receipt.sequenced_at.to_string().into());
        if let Some(average) = advance.average {
            fields.insert("ema_score".to_owned(), average.into());
        }
        if let Some(count) = advance.count {
            fields.insert("count".to_owned(), count.into());
        }
        // PostgreSQL has no text with a NUL in it; in JSON one is written as an escape, which is text.
        Value::Object(fields).to_string()
    }
}
