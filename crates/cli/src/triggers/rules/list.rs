//! `bowline triggers list`: triggers, one a line.
//! What it shows fits a terminal; `show` and `--output json` tell everything.

use bowline_client::{Call, answers};
use clap::Args;
use serde::Deserialize;

use super::{OrganizationArgs, PATH};
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

/// Characters of a name in the table.
const NAME_CHARS_MAX: usize = 32;

/// `bowline triggers list`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    organization: OrganizationArgs,
    /// Only those that are matched, or with `false` those that are not
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    enabled: Option<bool>,
    /// Only of that chain
    #[arg(long, value_name = "ID")]
    chain: Option<u64>,
    /// Triggers at most, 1 to 100
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// How many to leave out first
    #[arg(long, value_name = "COUNT")]
    offset: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Page {
    data: Vec<Trigger>,
    pagination: Pagination,
}

#[derive(Debug, Deserialize)]
struct Pagination {
    total: u64,
    offset: u64,
    has_more: bool,
}

/// A trigger as far as a table needs it.
#[derive(Debug, Deserialize)]
pub(super) struct Trigger {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) enabled: bool,
    pub(super) chain_id: Option<u64>,
    pub(super) registry: Option<String>,
    pub(super) conditions: Vec<serde_json::Value>,
    pub(super) actions: Vec<Action>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Action {
    action_type: String,
}

impl Trigger {
    /// Which events it looks at.
    pub(super) fn scope(&self) -> String {
        let chain = self.chain_id.map_or_else(|| "every chain".to_owned(), |id| format!("chain {id}"));
        match self.registry.as_deref() {
            Some("line") => "own streams".to_owned(),
            Some(registry) => format!("{chain}, {registry}"),
            None => chain,
        }
    }

    fn actions(&self) -> String {
        let words: Vec<&str> = self.actions.iter().map(|action| action.action_type.as_str()).collect();
        if words.is_empty() { "-".to_owned() } else { words.join(",") }
    }
}

pub(super) async fn run(context: &Context, options: Options) -> Outcome {
    let call = Call::get(&PATH)
        .query("enabled", options.enabled)
        .query("chain_id", options.chain)
        .query("limit", options.limit)
        .query("offset", options.offset);
    let Some(text) = context.call(&options.organization.on(call)).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let page: Page = answers::parse(&text)?;
    if page.data.is_empty() {
        output::talk("there are no such triggers; `bowline triggers create -f FILE` makes one");
        return Ok(Exit::Done);
    }
    let shown = page.data.len() as u64;
    let rows = page.data.iter().map(|trigger| {
        [
            trigger.id.clone(),
            output::shown(&trigger.name, NAME_CHARS_MAX),
            if trigger.enabled { "on" } else { "off" }.to_owned(),
            trigger.scope(),
            trigger.conditions.len().to_string(),
            trigger.actions(),
        ]
    });
    output::table(["id", "name", "", "events", "conditions", "actions"], rows)?;
    let Pagination { total, offset, has_more } = page.pagination;
    if has_more {
        output::talk(&format!("{shown} of {total} triggers; go on with --offset {}", offset + shown));
    }
    Ok(Exit::Done)
}
