//! One trigger, compiled: which events it is about, when it holds, and what its conditions remember then.
//!
//! What conditions remember grows with every event that satisfies all conditions without memory, wherever in the
//! list they stand, and whether or not the trigger fires.

use std::borrow::Cow;

use bowline_store::{PRIORITY_MAX, PRIORITY_MIN, StateKey, StoreError, StreamHead, TriggerRecord};
use bowline_types::{StreamId, TenantId, Timestamp};
use uuid::Uuid;

use super::LINE;
use super::facts::{Facts, number};
use super::memory::{Fallback, State};
use super::node::{MemoryName, Node};
use super::parse::compile_conditions;
use crate::FieldProblem;

/// The namespace of contributions' names.
const CONTRIBUTION: Uuid = Uuid::from_u128(0x626f_776c_696e_6500_8000_636f_6e74_7269);

/// A compiled trigger.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) trigger_id: Uuid,
    pub(crate) tenant_id: TenantId,
    pub(crate) chain_id: Option<u64>,
    pub(crate) registry: Option<Cow<'static, str>>,
    pub(crate) created_at: Timestamp,
    pub(crate) conditions: Box<[Node]>,
    pub(crate) is_stateful: bool,
    pub(crate) actions: Box<[RuleAction]>,
}

/// What is done when it fires.
#[derive(Debug)]
pub(crate) struct RuleAction {
    pub(crate) action_id: Uuid,
    pub(crate) action_type: Box<str>,
    pub(crate) priority: i32,
}

/// What an event does to a trigger.
#[derive(Debug, Default)]
pub(crate) struct Advance {
    /// Whether it fires.
    pub(crate) fires: bool,
    /// What conditions remember now.
    pub(crate) states: Vec<(MemoryName, State)>,
    /// The moving average, if there is one.
    pub(crate) average: Option<f64>,
    /// The count of events, if there is one.
    pub(crate) count: Option<u64>,
}

/// How what an event added is reversed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reversal {
    /// The chain took it back.
    Remove,
    /// Its feedback was revoked, or that was taken back.
    Revoke(bool),
}

impl Rule {
    /// Compiles a record.
    ///
    /// # Errors
    /// What is wrong with its conditions.
    pub(crate) fn compile(record: &TriggerRecord) -> Result<Self, Vec<FieldProblem>> {
        let root = compile_conditions(record.registry.as_deref(), &record.conditions)?;
        let is_stateful = root.is_stateful();
        let conditions = match root {
            Node::All(nodes) => nodes,
            node => Box::new([node]),
        };
        let actions = record.actions.iter().map(|action| RuleAction {
            action_id: action.action_id,
            action_type: action.action_type.as_str().into(),
            priority: action.priority.clamp(PRIORITY_MIN, PRIORITY_MAX),
        });
        Ok(Self {
            trigger_id: record.trigger_id,
            tenant_id: record.tenant_id,
            chain_id: record.chain_id,
            registry: record.registry.as_deref().map(registry),
            created_at: record.created_at,
            conditions,
            is_stateful,
            actions: actions.collect(),
        })
    }

    /// Whether it is about events of that organization or chain, chain and registry.
    pub(crate) fn is_about(&self, facts: &Facts) -> bool {
        match facts.tenant_id {
            Some(tenant_id) => tenant_id == self.tenant_id && self.registry.as_deref() == Some(LINE),
            None => {
                self.chain_id.is_none_or(|chain_id| facts.chain_id == Some(chain_id))
                    && self.registry.as_deref().is_none_or(|registry| registry == facts.registry)
            }
        }
    }

    /// Whether an event satisfies everything but what remembers.
    pub(crate) fn passes(&self, facts: &Facts) -> bool {
        #[cfg(test)]
        super::trap::spring(facts);
        self.is_about(facts) && self.conditions.iter().all(|node| node.lets_pass(facts))
    }

    /// What it remembers of that event's subject.
    pub(crate) fn memories(&self) -> Vec<(&MemoryName, Fallback)> {
        let mut nodes = Vec::new();
        self.conditions.iter().for_each(|node| node.stateful(&mut nodes));
        nodes
            .into_iter()
            .filter_map(|node| match node {
                Node::Average(test) => Some((&test.memory, Fallback::Average)),
                Node::Rate(test) => Some((&test.memory, Fallback::Window)),
                Node::All(_) | Node::Any(_) | Node::Not(_) | Node::Test(_) => None,
            })
            .collect()
    }

    /// The key under which a memory of that event's subject is kept.
    pub(crate) fn key(&self, name: &MemoryName, stream: StreamId, facts: &Facts) -> StateKey {
        StateKey {
            trigger_id: self.trigger_id,
            condition_id: name.condition_id,
            stream,
            subject: name.subject(&facts.subject),
        }
    }

    /// What an event does that passes.
    pub(crate) fn advance(&self, facts: &Facts, recall: impl Fn(&MemoryName, Fallback) -> State) -> Advance {
        let mut advance = Advance::default();
        let mut verdicts: Vec<(&MemoryName, bool)> = Vec::new();
        let key = contribution(facts);
        let mut nodes = Vec::new();
        self.conditions.iter().for_each(|node| node.stateful(&mut nodes));
        for node in &nodes {
            match node {
                Node::Average(test) => {
                    let value = facts.get(&test.field).and_then(number);
                    let mut state = recall(&test.memory, Fallback::Average);
                    // An event without the number says nothing of the average.
                    let (Some(value), State::Average(average)) = (value, &mut state) else {
                        verdicts.push((&test.memory, false));
                        continue;
                    };
                    average.add(&key, value.to_f64(), test.alpha());
                    verdicts.push((&test.memory, test.accepts(average.ema)));
                    advance.average = advance.average.or(Some(average.ema));
                    advance.states.push((test.memory.clone(), state));
                }
                Node::Rate(test) => {
                    let mut state = recall(&test.memory, Fallback::Window);
                    let State::Window(window) = &mut state else { continue };
                    let count = window.add(&key, facts.happened_at, test.window_secs, test.threshold);
                    verdicts.push((&test.memory, test.operator.accepts(count.cmp(&test.threshold))));
                    advance.count = advance.count.or(Some(count));
                    advance.states.push((test.memory.clone(), state));
                }
                Node::All(_) | Node::Any(_) | Node::Not(_) | Node::Test(_) => {}
            }
        }
        let remembered = |name: &MemoryName| verdicts.iter().any(|(known, holds)| *known == name && *holds);
        advance.fires = self
            .conditions
            .iter()
            .filter(|node| node.is_stateful())
            .all(|node| node.holds(facts, &remembered));
        if advance.fires {
            for node in nodes {
                let Node::Rate(test) = node else { continue };
                let state = advance.states.iter_mut().find(|(name, _)| *name == test.memory);
                if let (true, Some((_, State::Window(window)))) = (test.reset_on_trigger, state) {
                    window.clear();
                }
            }
        }
        advance
    }

    /// What is remembered once what an event added is reversed.
    pub(crate) fn reverse(
        &self,
        facts: &Facts,
        reversal: Reversal,
        recall: impl Fn(&MemoryName, Fallback) -> State,
    ) -> Vec<(MemoryName, State)> {
        let key = contribution(facts);
        let mut nodes = Vec::new();
        self.conditions.iter().for_each(|node| node.stateful(&mut nodes));
        let mut states = Vec::new();
        for node in nodes {
            let (memory, fallback, alpha) = match node {
                Node::Average(test) => (&test.memory, Fallback::Average, test.alpha()),
                Node::Rate(test) => (&test.memory, Fallback::Window, 0.0),
                Node::All(_) | Node::Any(_) | Node::Not(_) | Node::Test(_) => continue,
            };
            let before = recall(memory, fallback);
            let mut state = before.clone();
            match (&mut state, reversal) {
                (State::Average(average), Reversal::Remove) => average.remove(&key, alpha),
                (State::Average(average), Reversal::Revoke(revoked)) => average.revoke(&key, revoked, alpha),
                (State::Window(window), Reversal::Remove) => window.remove(&key),
                (State::Window(window), Reversal::Revoke(revoked)) => window.revoke(&key, revoked),
            }
            if state != before {
                states.push((memory.clone(), state));
            }
        }
        states
    }
}

/// A registry's name; nearly all triggers share few of them.
fn registry(name: &str) -> Cow<'static, str> {
    const SHARED: [&str; 4] = [LINE, "identity", "reputation", "validation"];
    let shared = SHARED.into_iter().find(|known| *known == name);
    shared.map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed)
}

/// The name of what an event adds: a feedback is named by agent, client and index, so that its revocation knows it.
fn contribution(facts: &Facts) -> String {
    let text = |name: &str| facts.get(name).and_then(serde_json::Value::as_str);
    let name = match (text("client_address"), text("feedback_index")) {
        (Some(client), Some(index)) if facts.event_type == "NewFeedback" => {
            Uuid::new_v5(&CONTRIBUTION, format!("{} {client} {index}", facts.subject).as_bytes())
        }
        _ => facts.occurrence,
    };
    name.simple().to_string().chars().take(16).collect()
}

/// Streams that triggers may be about: the chains', and the organization's own.
pub(crate) async fn streams_of(
    store: &dyn bowline_store::LineStore,
    tenant_id: TenantId,
) -> Result<Vec<StreamHead>, StoreError> {
    let public = bowline_types::public_tenant();
    let mut streams = store.streams().await?;
    streams.retain(|head| head.stream.tenant_id == public || head.stream.tenant_id == tenant_id);
    Ok(streams)
}
