//! The values that an event must have for a trigger to hold: the paths by which the index finds the trigger.
//!
//! Each path is a set of equalities and of bounds that all must hold; if an event meets none of the paths, the trigger does
//! not hold. Conditions that no path can express are left out, which finds the trigger too often and never too seldom.

use super::decimal::Decimal;
use super::node::{Expected, Node, Operator};

/// Paths of one trigger at most.
const PATHS_MAX: usize = 16;

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

/// One path.
#[derive(Debug, Clone, Default)]
pub(super) struct IndexPath<'n> {
    pub(super) equals: Vec<Equal<'n>>,
    pub(super) bounds: Vec<Bound<'n>>,
}

/// All paths to conditions that must all hold.
pub(super) fn index_paths(nodes: &[Node]) -> Vec<IndexPath<'_>> {
    let mut all = vec![IndexPath::default()];
    for node in nodes {
        let more = paths_of(node);
        if all.len() * more.len() > PATHS_MAX {
            continue;
        }
        let joined = all.iter().flat_map(|path| {
            more.iter().map(|other| {
                let mut path = path.clone();
                path.equals.extend(other.equals.iter().cloned());
                path.bounds.extend(other.bounds.iter().copied());
                path
            })
        });
        all = joined.collect();
    }
    all
}

fn paths_of(node: &Node) -> Vec<IndexPath<'_>> {
    match node {
        Node::All(nodes) => index_paths(nodes),
        // What remembers must hear of every event that the rest lets pass.
        node if node.is_stateful() => vec![IndexPath::default()],
        Node::Any(nodes) => any(nodes),
        Node::Test(test) => {
            let mut path = IndexPath::default();
            match (&test.expected, test.operator) {
                (Expected::List(values), Operator::In) => path.equals.extend(equal(&test.field, values)),
                (value, Operator::Eq) => path.equals.extend(equal(&test.field, std::slice::from_ref(value))),
                (Expected::Number(number), Operator::Gt | Operator::Gte) => {
                    path.bounds.push(Bound { field: &test.field, at_least: true, number });
                }
                (Expected::Number(number), Operator::Lt | Operator::Lte) => {
                    path.bounds.push(Bound { field: &test.field, at_least: false, number });
                }
                _ => {}
            }
            vec![path]
        }
        Node::Not(_) | Node::Average(_) | Node::Rate(_) => vec![IndexPath::default()],
    }
}

fn equal<'n>(field: &'n str, values: &'n [Expected]) -> Option<Equal<'n>> {
    let form = Form::of(values.first()?)?;
    let alike = values.iter().all(|value| Form::of(value) == Some(form));
    alike.then(|| Equal { field, form, values: values.iter().collect() })
}

fn any(nodes: &[Node]) -> Vec<IndexPath<'_>> {
    let paths: Vec<IndexPath<'_>> = nodes.iter().flat_map(paths_of).collect();
    // Several values of one field are one path.
    if let Some(first) = paths.first().and_then(|path| path.equals.first()) {
        let alike = paths.iter().all(|path| {
            path.bounds.is_empty()
                && path.equals.len() == 1
                && path.equals.iter().all(|other| other.field == first.field && other.form == first.form)
        });
        if alike {
            let values =
                paths.iter().flat_map(|path| &path.equals).flat_map(|equal| equal.values.iter().copied());
            let equal = Equal { field: first.field, form: first.form, values: values.collect() };
            return vec![IndexPath { equals: vec![equal], bounds: Vec::new() }];
        }
    }
    if paths.len() > PATHS_MAX { vec![IndexPath::default()] } else { paths }
}
