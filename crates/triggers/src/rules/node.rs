//! Compiled conditions: what is compared with what, in groups.
//!
//! A comparison is exact, and one that can't be made does not hold.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;
use uuid::Uuid;

use super::decimal::Decimal;
use super::facts::{Facts, number};

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Eq,
    Ne,
    Gt,
    Gte,
    Lt,
    Lte,
    In,
    Contains,
    Exists,
}

impl Operator {
    /// The operator of that word or sign.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "eq" | "=" | "==" | "equals" => Self::Eq,
            "ne" | "!=" | "<>" | "not_equals" => Self::Ne,
            "gt" | ">" => Self::Gt,
            "gte" | ">=" => Self::Gte,
            "lt" | "<" => Self::Lt,
            "lte" | "<=" => Self::Lte,
            "in" => Self::In,
            "contains" => Self::Contains,
            "exists" => Self::Exists,
            _ => return None,
        })
    }

    /// The word.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Gt => "gt",
            Self::Gte => "gte",
            Self::Lt => "lt",
            Self::Lte => "lte",
            Self::In => "in",
            Self::Contains => "contains",
            Self::Exists => "exists",
        }
    }

    /// Whether it is one of the six that compare numbers.
    pub(crate) const fn orders(self) -> bool {
        !matches!(self, Self::In | Self::Contains | Self::Exists)
    }

    /// Whether values that stand to each other like this satisfy it.
    pub(crate) const fn accepts(self, order: Ordering) -> bool {
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Gt => order.is_gt(),
            Self::Gte => order.is_ge(),
            Self::Lt => order.is_lt(),
            Self::Lte => order.is_le(),
            Self::In | Self::Contains | Self::Exists => false,
        }
    }
}

/// What a field is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expected {
    Number(Decimal),
    Text(Box<str>),
    Flag(bool),
    List(Box<[Expected]>),
    Nothing,
}

impl Expected {
    /// As a user writes it.
    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Number(number) => Value::String(number.to_string()),
            Self::Text(text) => Value::String(text.to_string()),
            Self::Flag(flag) => Value::Bool(*flag),
            Self::List(list) => Value::Array(list.iter().map(Self::to_json).collect()),
            Self::Nothing => Value::Null,
        }
    }

    fn touch(&self) -> usize {
        match self {
            Self::Text(text) => text.bytes().next().map_or(0, usize::from),
            Self::List(list) => list.first().map_or(0, Self::touch),
            Self::Number(Decimal::Large(parts)) => parts.1.len(),
            Self::Number(Decimal::Small(_)) | Self::Flag(_) | Self::Nothing => 0,
        }
    }

    /// How the event's value stands to it; none if they can't be compared.
    fn compare(&self, actual: &Value) -> Option<Ordering> {
        match (self, actual) {
            (Self::Number(expected), actual) => Some(number(actual)?.cmp(expected)),
            (Self::Text(expected), Value::String(actual)) => Some(actual.as_str().cmp(expected)),
            (Self::Flag(expected), Value::Bool(actual)) => Some(actual.cmp(expected)),
            _ => None,
        }
    }
}

/// One comparison of a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Test {
    pub(crate) field: Cow<'static, str>,
    pub(crate) operator: Operator,
    pub(crate) expected: Expected,
}

impl Test {
    /// Whether it holds. A field that is absent satisfies nothing, and neither does one that can't be compared.
    pub(crate) fn holds(&self, facts: &Facts) -> bool {
        let Some(actual) = facts.get(&self.field) else { return false };
        match (&self.expected, self.operator) {
            (_, Operator::Exists) => !matches!(actual, Value::String(text) if text.is_empty()),
            (Expected::List(list), Operator::In) => {
                list.iter().any(|expected| expected.compare(actual) == Some(Ordering::Equal))
            }
            (expected, Operator::Contains) => match (expected, actual) {
                (Expected::Text(part), Value::String(whole)) => whole.contains(&**part),
                (expected, Value::Array(whole)) => {
                    whole.iter().any(|actual| expected.compare(actual) == Some(Ordering::Equal))
                }
                _ => false,
            },
            (expected, operator) => expected.compare(actual).is_some_and(|order| operator.accepts(order)),
        }
    }
}

/// A moving average against a threshold.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AverageTest {
    pub(crate) memory: MemoryName,
    pub(crate) field: Cow<'static, str>,
    pub(crate) window_size: u32,
    pub(crate) operator: Operator,
    pub(crate) threshold: Decimal,
}

impl AverageTest {
    pub(crate) fn alpha(&self) -> f64 {
        2.0 / (f64::from(self.window_size) + 1.0)
    }

    /// Whether the average satisfies it. Averages are rounded, so equal means equal to nine places.
    pub(crate) fn accepts(&self, average: f64) -> bool {
        let threshold = self.threshold.to_f64();
        let order = if (average - threshold).abs() <= 1e-9 * threshold.abs().max(1.0) {
            Ordering::Equal
        } else {
            average.total_cmp(&threshold)
        };
        self.operator.accepts(order)
    }
}

/// How many events there were in a span of time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RateTest {
    pub(crate) memory: MemoryName,
    pub(crate) window_secs: i64,
    pub(crate) operator: Operator,
    pub(crate) threshold: u64,
    pub(crate) reset_on_trigger: bool,
}

/// Where a condition's memory is kept: under the top condition's id, with the place within it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct MemoryName {
    pub(crate) condition_id: Uuid,
    pub(crate) place: Box<str>,
}

impl MemoryName {
    /// The subject under which it is kept for that agent.
    pub(crate) fn subject(&self, agent: &str) -> String {
        if self.place.is_empty() { agent.to_owned() } else { format!("{agent}#{}", self.place) }
    }
}

/// A condition or a group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    All(Box<[Node]>),
    Any(Box<[Node]>),
    Not(Box<Node>),
    Test(Test),
    Average(Box<AverageTest>),
    Rate(Box<RateTest>),
}

impl Node {
    /// Reads what holding an event against it reads first; what that is means nothing.
    pub(crate) fn touch(&self) -> usize {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().fold(0, |sum, node| sum ^ node.touch()),
            Self::Not(node) => node.touch(),
            Self::Test(test) => test.expected.touch(),
            Self::Average(_) | Self::Rate(_) => 0,
        }
    }

    /// Whether something in it remembers.
    pub(crate) fn is_stateful(&self) -> bool {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().any(Self::is_stateful),
            Self::Not(node) => node.is_stateful(),
            Self::Test(_) => false,
            Self::Average(_) | Self::Rate(_) => true,
        }
    }

    /// Whether it holds, if what remembers says so.
    pub(crate) fn holds(&self, facts: &Facts, remembered: &impl Fn(&MemoryName) -> bool) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(facts, remembered)),
            Self::Any(nodes) => nodes.iter().any(|node| node.holds(facts, remembered)),
            Self::Not(node) => !node.holds(facts, remembered),
            Self::Test(test) => test.holds(facts),
            Self::Average(test) => remembered(&test.memory),
            Self::Rate(test) => remembered(&test.memory),
        }
    }

    /// Whether a node without memory holds.
    pub(crate) fn holds_now(&self, facts: &Facts) -> bool {
        self.holds(facts, &|_| false)
    }

    /// Whether everything in it holds that must hold and remembers nothing.
    pub(crate) fn lets_pass(&self, facts: &Facts) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.lets_pass(facts)),
            node => node.is_stateful() || node.holds_now(facts),
        }
    }

    /// Everything in it that remembers.
    pub(crate) fn stateful<'n>(&'n self, found: &mut Vec<&'n Node>) {
        match self {
            Self::All(nodes) | Self::Any(nodes) => nodes.iter().for_each(|node| node.stateful(found)),
            Self::Not(node) => node.stateful(found),
            Self::Test(_) => {}
            Self::Average(_) | Self::Rate(_) => found.push(self),
        }
    }
}
