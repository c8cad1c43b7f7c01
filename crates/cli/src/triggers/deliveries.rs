//! `bowline deliveries`: what triggers set off, every attempt at it, and having it done again.
//!
//! A delivery's id stays the same however often it is repeated, so that receivers can tell.

use bowline_client::{Call, answers};
use bowline_types::EventId;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;
use crate::terminal::progress;
use crate::triggers::OrganizationArgs;

const PATH: [&str; 3] = ["api", "v1", "deliveries"];

/// Characters of an error in a table; `show` has all of it.
const PROBLEM_CHARS_MAX: usize = 60;

/// `bowline deliveries`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Show deliveries, the newest first
    List(ListOptions),
    /// Show one delivery with every attempt
    Show(ShowOptions),
    /// Deliver once more, under the same id, what was given up
    Redeliver(ManyOptions),
    /// Delete ended deliveries with their logs
    Purge(PurgeOptions),
}

/// Which deliveries.
#[derive(Debug, Args)]
pub(crate) struct Filter {
    #[command(flatten)]
    organization: OrganizationArgs,
    /// Only in that state: waiting, running, succeeded, dead or cancelled
    #[arg(long, value_name = "WORD")]
    state: Option<String>,
    /// Only of that trigger
    #[arg(long, value_name = "UUID")]
    trigger: Option<Uuid>,
    /// Only for that event
    #[arg(long, value_name = "UUID")]
    event: Option<EventId>,
}

/// `bowline deliveries list`.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    filter: Filter,
    /// Deliveries at most, 1 to 100
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    /// Go on where the list before ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// `bowline deliveries show`.
#[derive(Debug, Args)]
pub(crate) struct ShowOptions {
    /// The delivery's id
    id: Uuid,
    #[command(flatten)]
    organization: OrganizationArgs,
}

/// `bowline deliveries redeliver`.
#[derive(Debug, Args)]
pub(crate) struct ManyOptions {
    /// The deliveries' ids
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    id: Vec<Uuid>,
    /// All that match the options below; dead ones if no state is given
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    filter: Filter,
}

/// `bowline deliveries purge`.
#[derive(Debug, Args)]
pub(crate) struct PurgeOptions {
    #[command(flatten)]
    filter: Filter,
    /// Yes, forget them; dead ones if no state is given
    #[arg(long, required = true)]
    yes: bool,
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::List(options) => list(context, options).await,
        What::Show(options) => show(context, options).await,
        What::Redeliver(options) => redeliver(context, options).await,
        What::Purge(options) => purge(context, options).await,
    }
}

impl Filter {
    fn on(&self, call: Call) -> Call {
        let call = call.query("state", self.state.as_ref());
        let call = call.query("trigger_id", self.trigger).query("event_id", self.event);
        self.organization.on(call)
    }
}

async fn list(context: &Context, options: ListOptions) -> Outcome {
    let call = Call::get(&PATH).query("limit", options.limit).query("cursor", options.cursor);
    let Some(text) = context.call(&options.filter.on(call)).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let page: Value = answers::parse(&text)?;
    let jobs: Vec<&Value> = page["data"].as_array().into_iter().flatten().collect();
    if jobs.is_empty() {
        output::talk("there are no such deliveries");
        return Ok(Exit::Done);
    }
    let rows = jobs.iter().map(|job| {
        let problem = job["last_error"].as_str().unwrap_or_default();
        [
            text_of(&job["id"]),
            text_of(&job["state"]),
            text_of(&job["action_type"]),
            text_of(&job["attempts"]),
            text_of(&job["created_at"]),
            output::shown(problem, PROBLEM_CHARS_MAX),
        ]
    });
    output::table(["id", "state", "to", "tries", "made at", "error"], rows)?;
    if let Some(cursor) = page["pagination"]["next_cursor"].as_str() {
        output::talk(&format!("there are more; go on with --cursor {cursor}"));
    }
    Ok(Exit::Done)
}

async fn show(context: &Context, options: ShowOptions) -> Outcome {
    let id = options.id.to_string();
    let call = options.organization.on(Call::get(&[&PATH[..], &[&id]].concat()));
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let answer: Value = answers::parse(&text)?;
    let job = &answer["data"];
    let mut fields = vec![
        ("delivery", text_of(&job["id"])),
        ("trigger", text_of(&job["trigger_id"])),
        ("action", format!("{} ({})", text_of(&job["action_id"]), text_of(&job["action_type"]))),
        ("event", text_of(&job["event_id"])),
        ("state", text_of(&job["state"])),
        ("made at", text_of(&job["created_at"])),
        ("tries", text_of(&job["attempts"])),
    ];
    let later = [("due at", "due_at"), ("ended at", "ended_at"), ("error", "last_error")];
    let is_open = job["ended_at"].is_null();
    fields.extend(
        later
            .into_iter()
            .filter(|(_, name)| job[*name].is_string() && (*name != "due_at" || is_open))
            .map(|(word, name)| (word, text_of(&job[name]))),
    );
    output::fields(fields)?;
    let log: Vec<&Value> = job["log"].as_array().into_iter().flatten().collect();
    if !log.is_empty() {
        output::line("")?;
        let rows = log.iter().map(|attempt| {
            let said = ["error_message", "response_data"].iter().find_map(|name| attempt[*name].as_str());
            [
                text_of(&attempt["attempt"]),
                text_of(&attempt["executed_at"]),
                text_of(&attempt["status"]),
                text_of(&attempt["http_status"]),
                format!("{} ms", text_of(&attempt["duration_ms"])),
                text_of(&attempt["destination"]),
                output::shown(said.unwrap_or_default(), PROBLEM_CHARS_MAX),
            ]
        });
        output::table(["try", "at", "", "http", "took", "to", "said"], rows)?;
    }
    if job["state"] == "dead" {
        output::talk(&format!("next: mend what the error names, then `bowline deliveries redeliver {id}`"));
    }
    Ok(Exit::Done)
}

async fn redeliver(context: &Context, options: ManyOptions) -> Outcome {
    context.refuse_curl()?;
    let client = context.client()?;
    let mut again = Vec::new();
    if options.all {
        let bar = progress::count(context.quiet(), None);
        loop {
            let body = json!({
                "state": options.filter.state, "trigger_id": options.filter.trigger, "event_id": options.filter.event,
            });
            let call = Call::post(&[&PATH[..], &["redeliver"]].concat(), &body)?;
            let answer: Value = client.json(&options.filter.organization.on(call)).await?;
            let ids = answer["data"]["redelivered"].as_array().cloned().unwrap_or_default();
            bar.inc(ids.len() as u64);
            let is_last = ids.is_empty() || answer["data"]["has_more"] != true;
            again.extend(ids);
            if is_last {
                break;
            }
        }
        bar.finish_and_clear();
    } else {
        for id in &options.id {
            let id = id.to_string();
            let call = Call::post(&[&PATH[..], &[&id, "redeliver"]].concat(), &json!({}))?;
            client.text(&options.filter.organization.on(call)).await?;
            again.push(json!(id));
        }
    }
    let count = again.len();
    match context.is_json() {
        true => output::line(&json!({ "redelivered": again, "count": count }).to_string())?,
        false => output::line(&format!("{count} deliveries wait once more"))?,
    }
    if count > 0 && !context.is_json() {
        output::talk("next: `bowline queue drain` waits until they have ended");
    }
    Ok(Exit::Done)
}

async fn purge(context: &Context, options: PurgeOptions) -> Outcome {
    context.refuse_curl()?;
    let client = context.client()?;
    let mut count = 0;
    loop {
        let answer: Value = client.json(&options.filter.on(Call::delete(&PATH))).await?;
        let gone = answer["data"]["count"].as_u64().unwrap_or(0);
        count += gone;
        if gone == 0 || answer["data"]["has_more"] != true {
            break;
        }
    }
    match context.is_json() {
        true => output::line(&json!({ "purged": count }).to_string())?,
        false => output::line(&format!("{count} deliveries are forgotten"))?,
    }
    Ok(Exit::Done)
}

/// A value in a cell: text without quotes, nothing as a dash.
fn text_of(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
