//! The fields that an indexer writes, and what kind each is: what a rule on one may ask for follows from it.
//!
//! An unknown field is refused where all fields are known, so that a misspelled rule never waits for ever.

use super::LINE;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    /// A number, as one or as its digits in a text.
    Number,
    /// Text that is compared as it stands.
    Text,
    /// Text in lower-case hex.
    Hex,
    /// Whatever the rule's own value is.
    Any,
}

const FIELDS: &[(&str, Kind)] = &[
    ("chain_id", Kind::Number),
    ("block_number", Kind::Number),
    ("block_hash", Kind::Hex),
    ("timestamp", Kind::Number),
    ("transaction_hash", Kind::Hex),
    ("log_index", Kind::Number),
    ("address", Kind::Hex),
    ("registry", Kind::Text),
    ("event_type", Kind::Text),
    ("agent_id", Kind::Number),
    ("owner", Kind::Hex),
    ("token_uri", Kind::Text),
    ("updated_by", Kind::Hex),
    ("metadata_key", Kind::Text),
    ("metadata_value", Kind::Hex),
    ("client_address", Kind::Hex),
    ("feedback_index", Kind::Number),
    ("value", Kind::Number),
    ("value_raw", Kind::Number),
    ("value_decimals", Kind::Number),
    ("score", Kind::Number),
    ("tag1", Kind::Text),
    ("tag2", Kind::Text),
    ("endpoint", Kind::Text),
    ("file_uri", Kind::Text),
    ("file_hash", Kind::Hex),
    ("responder", Kind::Hex),
    ("response_uri", Kind::Text),
    ("response_hash", Kind::Hex),
    ("validator_address", Kind::Hex),
    ("request_uri", Kind::Text),
    ("request_hash", Kind::Hex),
    ("response", Kind::Number),
    ("tag", Kind::Text),
    ("from", Kind::Hex),
    ("to", Kind::Hex),
    ("approved", Kind::Any),
    ("operator", Kind::Hex),
    ("topics", Kind::Any),
    ("data", Kind::Hex),
];

/// Characters of a field's name at most.
const NAME_CHARS_MAX: usize = 64;

/// The kind of a field in events of that registry.
///
/// # Errors
/// There is no such field; with the nearest one if one is near.
pub(crate) fn kind(name: &str, registry: Option<&str>) -> Result<Kind, String> {
    let known = FIELDS.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind);
    match registry {
        Some(LINE) => free(name).map(|()| Kind::Any),
        None | Some("identity" | "reputation" | "validation") => known.ok_or_else(|| unknown(name)),
        // Another contract's fields are those of its own events.
        Some(_) => known.map_or_else(|| free(name).map(|()| Kind::Any), Ok),
    }
}

fn free(name: &str) -> Result<(), String> {
    let fits = !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.contains('\0');
    if fits { Ok(()) } else { Err(format!("a field's name has 1 to {NAME_CHARS_MAX} characters")) }
}

fn unknown(name: &str) -> String {
    let near = FIELDS.iter().map(|(known, _)| (distance(name, known), *known)).min();
    match near {
        Some((distance, known)) if distance <= 2 => format!("no event has that field: is `{known}` meant?"),
        _ => "no event has that field".to_owned(),
    }
}

/// Letters to add, take away or change.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate().take(NAME_CHARS_MAX) {
        let mut diagonal = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        let mut left_cell = i + 1;
        for (cell, b) in row.iter_mut().skip(1).zip(right.bytes()) {
            let above = *cell;
            left_cell = (diagonal + usize::from(a != b)).min(above + 1).min(left_cell + 1);
            (*cell, diagonal) = (left_cell, above);
        }
    }
    row.last().copied().unwrap_or(0)
}

/// How few events have a certain value of that field, as far as that is known: higher is fewer.
pub(super) fn selectivity(name: &str) -> u8 {
    match name {
        "transaction_hash" | "block_hash" | "file_hash" | "request_hash" | "response_hash" => 9,
        "agent_id" | "entity_id" => 8,
        "owner" | "client_address" | "responder" | "validator_address" | "updated_by" | "from" | "to"
        | "operator" => 7,
        "event_type" | "registry" | "chain_id" | "address" | "approved" | "entity_type" => 1,
        "metadata_key" => 3,
        _ => 5,
    }
}
