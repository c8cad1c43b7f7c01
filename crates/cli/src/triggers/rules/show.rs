//! `bowline triggers show`: one trigger with all that it asks for and does.
//! Secrets never get here: the server has masked them.

use bowline_client::{Call, answers};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::list::Trigger;
use super::{One, PATH};
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// Characters of a condition's or an action's settings.
const SETTINGS_CHARS_MAX: usize = 60;

#[derive(Debug, Deserialize)]
struct Answer {
    data: Shown,
}

#[derive(Debug, Deserialize)]
struct Shown {
    #[serde(flatten)]
    trigger: Trigger,
    organization_id: String,
    description: Option<String>,
    is_stateful: bool,
    breaker: Map<String, Value>,
    created_at: String,
    updated_at: String,
    revision: u64,
}

pub(super) async fn run(context: &Context, one: One) -> Outcome {
    let id = one.id.to_string();
    let call = Call::get(&[&PATH[..], &[&id]].concat());
    let Some(text) = context.call(&one.organization.on(call)).await? else { return Ok(Exit::Done) };
    print(context, &text)?;
    Ok(Exit::Done)
}

/// Prints a trigger that the server answered.
pub(super) fn print(context: &Context, text: &str) -> Result<(), Failure> {
    if context.is_json() {
        return output::line(text);
    }
    let Answer { data: shown } = answers::parse(text)?;
    // The parts once more, with everything that they have.
    let parts: Value = answers::parse(text)?;
    let word = |name: &str| shown.breaker.get(name).map(Value::to_string).unwrap_or_default();
    let breaker = format!(
        "opens after {} failures, tried again after {} s",
        word("failure_threshold"),
        word("recovery_timeout_seconds")
    );
    let mut fields = vec![
        ("trigger", shown.trigger.id.clone()),
        ("name", shown.trigger.name.clone()),
        ("organization", shown.organization_id),
        ("matched", if shown.trigger.enabled { "yes" } else { "no" }.to_owned()),
        ("events", shown.trigger.scope()),
        ("remembers", if shown.is_stateful { "yes" } else { "no" }.to_owned()),
        ("breaker", breaker),
        ("created at", shown.created_at),
        ("updated at", format!("{} (revision {})", shown.updated_at, shown.revision)),
    ];
    fields.extend(shown.description.map(|text| ("description", text)));
    output::fields(fields)?;
    let list = |name: &str| parts["data"][name].as_array().cloned().unwrap_or_default();
    table(["condition", "type", "field", "operator", "value", "settings"], list("conditions"), condition)?;
    table(["action", "type", "priority", "settings"], list("actions"), action)
}

fn table<const N: usize>(
    header: [&str; N],
    parts: Vec<Value>,
    row: fn(&Value) -> [String; N],
) -> Result<(), Failure> {
    if parts.is_empty() {
        return Ok(());
    }
    output::line("")?;
    output::table(header, parts.iter().map(row))
}

fn condition(part: &Value) -> [String; 6] {
    ["id", "condition_type", "field", "operator", "value", "config"].map(|name| cell(&part[name]))
}

fn action(part: &Value) -> [String; 4] {
    ["id", "action_type", "priority", "config"].map(|name| cell(&part[name]))
}

/// A value in a cell: text without quotes, nothing as a dash.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => output::shown(text, SETTINGS_CHARS_MAX),
        other => output::shown(&other.to_string(), SETTINGS_CHARS_MAX),
    }
}
