//! Tries a trigger on one event, without doing anything.
//!
//! What conditions remember is read and advanced in memory only.

use std::collections::HashMap;

use bowline_store::{StoredEvent, TriggerRecord};
use bowline_types::{EventId, StreamId, TenantId};
use serde_json::Value;
use uuid::Uuid;

use super::{EventSummary, Explanation, Handle, ScopeCheck, compose};
use crate::rules::{self, Facts, State};
use crate::{Missing, TriggerError, TriggerInput};

/// A trigger that is there, or one that is not yet.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// It is there.
    Stored(Uuid),
    /// It is not.
    Given(Box<TriggerInput>),
}

/// A stored event, or one that the caller made up.
#[derive(Debug, Clone, PartialEq)]
pub enum EventRef {
    /// It is on a chain's stream or on one of the organization's.
    Stored {
        /// Which stream; all of these are searched if absent.
        stream: Option<StreamId>,
        /// The event.
        event_id: EventId,
    },
    /// Its payload, as a chain's indexer writes it (or, with `registry` `line`, as the organization does).
    Given(Value),
}

impl Handle {
    /// Whether a trigger would fire on an event, and why or why not. Nothing is written.
    ///
    /// # Errors
    /// [`TriggerError::Absent`], [`TriggerError::Invalid`], or the store's.
    pub async fn dry_run(
        &self,
        tenant_id: TenantId,
        rule: Rule,
        event: EventRef,
    ) -> Result<Explanation, TriggerError> {
        let is_stored = matches!(rule, Rule::Stored(_));
        let (record, rule) = self.compiled(tenant_id, rule).await?;
        let (facts, stored) = self.facts(tenant_id, event).await?;
        let mut memories = HashMap::new();
        if let (true, Some(event)) = (is_stored, &stored) {
            let stream = event.envelope.stream;
            let names = rule.memories().into_iter();
            let keys =
                names.map(|(name, fallback)| (rule.key(name, stream, &facts), (name.clone(), fallback)));
            let keys: HashMap<_, _> = keys.collect();
            for (key, text) in self.store().trigger_state(keys.keys().cloned().collect()).await? {
                if let Some((name, fallback)) = keys.get(&key) {
                    memories.insert(name.clone(), State::read(Some(&text), *fallback));
                }
            }
        }
        let recall =
            |name: &_, fallback| memories.get(name).cloned().unwrap_or_else(|| State::read(None, fallback));
        let (conditions, advance) = rules::explain(&rule, &record.conditions, &facts, recall);
        let scope = scope(&record, &facts, stored.as_ref().filter(|_| is_stored));
        let would_fire = advance.fires && scope.iter().all(|check| check.holds);
        Ok(Explanation {
            would_fire,
            jobs: if would_fire { rule.actions.len() } else { 0 },
            event: summary(&facts, stored.as_ref()),
            scope,
            conditions,
        })
    }

    /// A trigger, and the rule that it is.
    pub(super) async fn compiled(
        &self,
        tenant_id: TenantId,
        rule: Rule,
    ) -> Result<(TriggerRecord, rules::Rule), TriggerError> {
        let record = match rule {
            Rule::Stored(trigger_id) => self.record(tenant_id, trigger_id).await?,
            Rule::Given(input) => compose::new_record(tenant_id, *input, self.actions(), self.now())?,
        };
        let rule = rules::Rule::compile(&record).map_err(TriggerError::Invalid)?;
        Ok((record, rule))
    }

    async fn facts(
        &self,
        tenant_id: TenantId,
        event: EventRef,
    ) -> Result<(Facts, Option<StoredEvent>), TriggerError> {
        let (wanted, event_id) = match event {
            EventRef::Given(payload) => {
                let facts = Facts::given(payload, tenant_id, self.now());
                return Ok((facts.map_err(|problem| TriggerError::field("event", problem))?, None));
            }
            EventRef::Stored { stream, event_id } => (stream, event_id),
        };
        for head in rules::streams_of(self.store(), tenant_id).await? {
            if wanted.is_some_and(|stream| stream != head.stream) {
                continue;
            }
            if let Some(event) = self.store().event(head.stream, event_id).await? {
                let facts = Facts::of(&event).map_err(|problem| TriggerError::field("event", problem))?;
                return Ok((facts, Some(event)));
            }
        }
        Err(TriggerError::Absent(Missing::Event))
    }
}

fn summary(facts: &Facts, stored: Option<&StoredEvent>) -> EventSummary {
    EventSummary {
        event_id: stored.map(|event| event.envelope.event_id),
        sequence_number: stored.map(|event| event.receipt.sequence_number),
        event_type: facts.event_type.clone(),
        chain_id: facts.chain_id,
        registry: facts.registry.clone(),
        agent_id: Some(facts.subject.clone()).filter(|subject| !subject.is_empty()),
        happened_at: facts.moment(),
        retraction: facts.retracts,
    }
}

/// What is asked of an event before any condition. Only a trigger that is there is older or younger than an event.
fn scope(record: &TriggerRecord, facts: &Facts, stored: Option<&StoredEvent>) -> Vec<ScopeCheck> {
    let check = |name, holds, told: String| ScopeCheck { name, holds, told };
    let any = |wanted: Option<String>| wanted.unwrap_or_else(|| "any".to_owned());
    let is_line = record.registry.as_deref() == Some(rules::LINE);
    let own = facts.tenant_id.is_some();
    let mut checks = vec![
        check(
            "enabled",
            record.enabled,
            format!("the trigger is {}", if record.enabled { "on" } else { "off" }),
        ),
        check(
            "retraction",
            !facts.retracts,
            match facts.retracts {
                true => "the chain took the event back".to_owned(),
                false => "the event stands".to_owned(),
            },
        ),
        check(
            "stream",
            is_line == own,
            match own {
                true => "the event is on a stream of the organization".to_owned(),
                false => "the event is on a chain's stream".to_owned(),
            },
        ),
        check(
            "chain_id",
            record.chain_id.is_none_or(|chain_id| facts.chain_id == Some(chain_id)),
            format!(
                "the event's chain is {}, and {} is asked for",
                facts.chain_id.map_or("none".to_owned(), |id| id.to_string()),
                any(record.chain_id.map(|id| id.to_string()))
            ),
        ),
        check(
            "registry",
            record.registry.as_deref().is_none_or(|registry| registry == facts.registry),
            format!(
                "the event's registry is {}, and {} is asked for",
                facts.registry,
                any(record.registry.clone())
            ),
        ),
    ];
    if let Some(event) = stored {
        let sequenced_at = event.receipt.sequenced_at;
        let told =
            format!("the event came at {sequenced_at}, and the trigger was made at {}", record.created_at);
        checks.push(check("created_at", sequenced_at >= record.created_at, told));
    }
    checks
}
