//! What an event must have for a trigger to hold: the ways by which the index finds the trigger.
//!
//! Each way is a set of equalities and of bounds that all must hold; if none of the ways is open, the trigger does
//! not hold. What can't be said like this is left out, which finds the trigger too often and never too seldom.

use super::decimal::Decimal;
use super::node::{Expected, Node, Operator};

/// Ways of one trigger at most.
const WAYS_MAX: usize = 16;

/// What a value is looked up as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Form {
    Number,
    Text,
    Flag,
}

impl Form {
    fn of(expected: &Expected) -> Option<Self> {
        match expected {
            Expected::Number(_) => Some(Self::Number),
            Expected::Text(_) => Some(Self::Text),
            Expected::Flag(_) => Some(Self::Flag),
            Expected::List(_) | Expected::Nothing => None,
        }
    }
}

/// A field that must have one of these values.
#[derive(Debug, Clone)]
pub(super) struct Equal<'n> {
    pub(super) field: &'n str,
    pub(super) form: Form,
    pub(super) values: Vec<&'n Expected>,
}

/// A field that must be on one side of a number.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound<'n> {
    pub(super) field: &'n str,
    /// Whether it must be at least that, or else at most.
    pub(super) at_least: bool,
    pub(super) number: &'n Decimal,
}

/// One way.
#[derive(Debug, Clone, Default)]
pub(super) struct Way<'n> {
    pub(super) equals: Vec<Equal<'n>>,
    pub(super) bounds: Vec<Bound<'n>>,
}

/// All ways to conditions that must all hold.
pub(super) fn ways(nodes: &[Node]) -> Vec<Way<'_>> {
    let mut all = vec![Way::default()];
    for node in nodes {
        let more = ways_of(node);
        if all.len() * more.len() > WAYS_MAX {
            continue;
        }
        let joined = all.iter().flat_map(|way| {
            more.iter().map(|other| {
                let mut way = way.clone();
                way.equals.extend(other.equals.iter().cloned());
                way.bounds.extend(other.bounds.iter().copied());
                way
            })
        });
        all = joined.collect();
    }
    all
}

fn ways_of(node: &Node) -> Vec<Way<'_>> {
    match node {
        Node::All(nodes) => ways(nodes),
        Node::Any(nodes) => any(nodes),
        Node::Test(test) => {
            let mut way = Way::default();
            match (&test.expected, test.operator) {
                (Expected::List(values), Operator::In) => way.equals.extend(equal(&test.field, values)),
                (value, Operator::Eq) => way.equals.extend(equal(&test.field, std::slice::from_ref(value))),
                (Expected::Number(number), Operator::Gt | Operator::Gte) => {
                    way.bounds.push(Bound { field: &test.field, at_least: true, number });
                }
                (Expected::Number(number), Operator::Lt | Operator::Lte) => {
                    way.bounds.push(Bound { field: &test.field, at_least: false, number });
                }
                _ => {}
            }
            vec![way]
        }
        Node::Not(_) | Node::Average(_) | Node::Rate(_) => vec![Way::default()],
    }
}

fn equal<'n>(field: &'n str, values: &'n [Expected]) -> Option<Equal<'n>> {
    let form = Form::of(values.first()?)?;
    let alike = values.iter().all(|value| Form::of(value) == Some(form));
    alike.then(|| Equal { field, form, values: values.iter().collect() })
}

fn any(nodes: &[Node]) -> Vec<Way<'_>> {
    let ways: Vec<Way<'_>> = nodes.iter().flat_map(ways_of).collect();
    // Several values of one field are one way.
    if let Some(first) = ways.first().and_then(|way| way.equals.first()) {
        let alike = ways.iter().all(|way| {
            way.bounds.is_empty()
                && way.equals.len() == 1
                && way.equals.iter().all(|other| other.field == first.field && other.form == first.form)
        });
        if alike {
            let values =
                ways.iter().flat_map(|way| &way.equals).flat_map(|equal| equal.values.iter().copied());
            let equal = Equal { field: first.field, form: first.form, values: values.collect() };
            return vec![Way { equals: vec![equal], bounds: Vec::new() }];
        }
    }
    if ways.len() > WAYS_MAX { vec![Way::default()] } else { ways }
}
