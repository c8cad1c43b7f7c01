//! Says of each condition whether it holds, and why.
//!
//! It decides nothing: what is said to hold is what the rule itself finds.

use bowline_store::ConditionRecord;
use serde_json::{Value, json};
use uuid::Uuid;

use super::facts::{Facts, number};
use super::memory::{Fallback, State};
use super::node::{AverageTest, MemoryName, Node, Operator, RateTest, Test};
use super::trigger::{Advance, Rule};
use crate::handle::{Compared, ConditionExplanation};
use crate::input::ConditionInput;

/// Explains each condition of a rule. What conditions remember is advanced only if all others hold; otherwise it is
/// held against what it was.
pub(crate) fn explain(
    rule: &Rule,
    records: &[ConditionRecord],
    facts: &Facts,
    state_of: impl Fn(&MemoryName, Fallback) -> State,
) -> (Vec<ConditionExplanation>, Advance) {
    let passes = rule.passes(facts);
    let advance = if passes && !facts.retracts { rule.advance(facts, &state_of) } else { Advance::default() };
    let explainer = Explainer { facts, advance: &advance, state_of: &state_of };
    let explained = records.iter().zip(&rule.conditions).map(|(record, node)| {
        let input = ConditionInput::of(record);
        ConditionExplanation {
            id: Some(record.condition_id).filter(|id| *id != Uuid::nil()),
            ..explainer.node(&input, node)
        }
    });
    let explained = explained.collect();
    (explained, advance)
}

struct Explainer<'a, R> {
    facts: &'a Facts,
    advance: &'a Advance,
    state_of: &'a R,
}

impl<R: Fn(&MemoryName, Fallback) -> State> Explainer<'_, R> {
    fn node(&self, input: &ConditionInput, node: &Node) -> ConditionExplanation {
        let condition_type = input.condition_type.clone();
        match node {
            Node::Test(test) => self.test(condition_type, test),
            Node::Not(inner) if !matches!(condition_type.as_str(), "not") => {
                let inner = self.node(input, inner);
                let told = if inner.holds { "the event has it" } else { "the event has nothing there" };
                ConditionExplanation { holds: !inner.holds, told: told.to_owned(), ..inner }
            }
            Node::All(nodes) | Node::Any(nodes) => {
                self.group(input, nodes.iter().collect(), matches!(node, Node::All(_)))
            }
            Node::Not(inner) => {
                let group = self.group(input, vec![&**inner], true);
                let told = "it holds if the condition in it does not".to_owned();
                ConditionExplanation { holds: !group.holds, told, ..group }
            }
            Node::Average(test) => self.average(condition_type, test),
            Node::Rate(test) => self.rate(condition_type, test),
        }
    }

    fn group(&self, input: &ConditionInput, nodes: Vec<&Node>, all: bool) -> ConditionExplanation {
        let list =
            input.config.as_ref().and_then(|config| config.get("conditions")).and_then(Value::as_array);
        let inputs =
            list.into_iter().flatten().filter_map(|value| serde_json::from_value(value.clone()).ok());
        let conditions: Vec<ConditionExplanation> =
            inputs.zip(nodes).map(|(input, node): (ConditionInput, _)| self.node(&input, node)).collect();
        let held = conditions.iter().filter(|condition| condition.holds).count();
        let holds = if all { held == conditions.len() } else { held > 0 };
        let told = format!("{held} of {} hold", conditions.len());
        let plain = plain(input.condition_type.clone(), holds, told);
        ConditionExplanation { conditions, ..plain }
    }

    fn test(&self, condition_type: String, test: &Test) -> ConditionExplanation {
        let holds = test.holds(self.facts);
        let actual = self.facts.get(&test.field).cloned();
        let told = match (&actual, test.operator) {
            (None, _) => format!("the event has no {}", test.field),
            (Some(_), Operator::Exists) => format!("the event has a {}", test.field),
            (Some(actual), operator) => {
                let is = if holds { "is so" } else { "is not so" };
                format!("{} {} {}: {is}", shown(actual), operator.as_str(), shown(&test.expected.to_json()))
            }
        };
        let compared = Compared {
            field: test.field.to_string(),
            operator: test.operator.as_str(),
            actual: actual.unwrap_or(Value::Null),
            expected: test.expected.to_json(),
        };
        ConditionExplanation { compared: Some(compared), ..plain(condition_type, holds, told) }
    }

    fn average(&self, condition_type: String, test: &AverageTest) -> ConditionExplanation {
        let before = (self.state_of)(&test.memory, Fallback::Average);
        let after = self.after(&test.memory);
        let has_number = self.facts.get(&test.field).and_then(number).is_some();
        let now = match after.as_ref().unwrap_or(&before) {
            State::Average(average) if average.count > 0 => Some(average.ema),
            _ => None,
        };
        let holds = has_number && now.is_some_and(|now| test.accepts(now));
        let told = match now {
            _ if !has_number => format!("the event has no {}, so it says nothing of the average", test.field),
            Some(now) => format!(
                "the average is {now}, and {} {} is asked for",
                test.operator.as_str(),
                test.threshold
            ),
            None => "there is no value yet".to_owned(),
        };
        let compared = Compared {
            field: "ema_score".to_owned(),
            operator: test.operator.as_str(),
            actual: json!(now),
            expected: test.threshold.to_string().into(),
        };
        self.remembering(plain(condition_type, holds, told), compared, &before, after.as_ref())
    }

    fn rate(&self, condition_type: String, test: &RateTest) -> ConditionExplanation {
        let before = (self.state_of)(&test.memory, Fallback::Window);
        let after = self.after(&test.memory);
        // After a reset the window no longer says how many there were.
        let count = match (&after, &before) {
            (Some(_), _) if self.advance.count.is_some() && test.reset_on_trigger => self.advance.count,
            (Some(State::Window(window)), _) | (None, State::Window(window)) => Some(window.count()),
            _ => None,
        };
        let count = count.unwrap_or(0);
        let holds = test.operator.accepts(count.cmp(&test.threshold));
        let told = format!(
            "{count} in {} s, and {} {} is asked for",
            test.window_secs,
            test.operator.as_str(),
            test.threshold
        );
        let compared = Compared {
            field: "count".to_owned(),
            operator: test.operator.as_str(),
            actual: count.into(),
            expected: test.threshold.into(),
        };
        self.remembering(plain(condition_type, holds, told), compared, &before, after.as_ref())
    }

    fn after(&self, name: &MemoryName) -> Option<State> {
        self.advance.states.iter().find(|(known, _)| known == name).map(|(_, state)| state.clone())
    }

    fn remembering(
        &self,
        explanation: ConditionExplanation,
        compared: Compared,
        before: &State,
        after: Option<&State>,
    ) -> ConditionExplanation {
        ConditionExplanation {
            compared: Some(compared),
            state_before: Some(json!(before)),
            state_after: Some(json!(after.unwrap_or(before))),
            ..explanation
        }
    }
}

fn plain(condition_type: String, holds: bool, told: String) -> ConditionExplanation {
    ConditionExplanation {
        id: None,
        condition_type,
        holds,
        told,
        compared: None,
        state_before: None,
        state_after: None,
        conditions: Vec::new(),
    }
}

/// A value in a sentence; a long one is cut.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() > 80 { format!("{}…", text.chars().take(80).collect::<String>()) } else { text }
}
