//! `bowline triggers dry-run`, `backtest`, `test` and `state`: trying a trigger out, and what it remembers.
//! Nothing of it changes a trigger; only `test` sends anything, and says so.

use std::path::PathBuf;

use bowline_client::{Call, answers};
use bowline_types::EventId;
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::show::cell;
use super::{One, OrganizationArgs, PATH, call_for_one, read_json};
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// A trigger that is there, or one in a file.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// The trigger's id
    id: Option<Uuid>,
    /// A trigger that is not there yet, as a JSON file; - for standard input
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// An event that is there, or one in a file.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WhichEvent {
    /// The event's id
    #[arg(long, value_name = "UUID")]
    event: Option<EventId>,
    /// A made-up event: its payload as a JSON file
    #[arg(long, value_name = "FILE")]
    event_file: Option<PathBuf>,
}

/// `bowline triggers dry-run`.
#[derive(Debug, Args)]
pub(crate) struct DryRunOptions {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    event: WhichEvent,
    #[command(flatten)]
    organization: OrganizationArgs,
}

/// `bowline triggers backtest`.
#[derive(Debug, Args)]
pub(crate) struct BacktestOptions {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    organization: OrganizationArgs,
    /// Only events that happened then or later, as 2025-01-30T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only events that happened before then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Events to look at, at most
    #[arg(long, value_name = "COUNT")]
    events: Option<u64>,
    /// Times of firing to list
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    list: u64,
    /// Go on where an earlier back-test ended
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

/// `bowline triggers test`.
#[derive(Debug, Args)]
pub(crate) struct TestOptions {
    #[command(flatten)]
    one: One,
    /// Only that action
    #[arg(long, value_name = "UUID")]
    action: Option<Uuid>,
    /// A made-up event: its payload as a JSON file
    #[arg(long, value_name = "FILE")]
    event_file: Option<PathBuf>,
}

impl Which {
    /// The call of a trial, whose body gets the trigger if it is not there yet.
    async fn call(
        &self,
        context: &Context,
        organization: OrganizationArgs,
        trial: &str,
        mut body: Map<String, Value>,
    ) -> Result<Option<String>, Failure> {
        match (&self.id, &self.file) {
            (Some(id), _) => {
                let id = id.to_string();
                let call = Call::post(&One::path(&id, &[trial]), &body)?;
                context.call(&organization.on(call)).await
            }
            (None, Some(file)) => {
                let trigger = read_json(file)?;
                let (masked, has_secrets) = masked(&trigger);
                body.insert("trigger".to_owned(), trigger);
                let mut call = Call::post(&[&PATH[..], &[trial]].concat(), &body)?;
                if has_secrets {
                    body.insert("trigger".to_owned(), masked);
                    call = call.shown_as(&body)?;
                }
                call_for_one(context, organization, call).await
            }
            (None, None) => Err(Failure::usage("name a trigger by its id, or give one with --file")),
        }
    }
}

/// A trigger with masks in the place of its actions' secrets, and whether there are any.
fn masked(trigger: &Value) -> (Value, bool) {
    let (mut masked, mut has_secrets) = (trigger.clone(), false);
    let actions = masked.get_mut("actions").and_then(Value::as_array_mut).into_iter().flatten();
    for config in actions.filter_map(|action| action.get_mut("config")?.as_object_mut()) {
        has_secrets |= bowline_deliveries::mask_secrets(config);
    }
    (masked, has_secrets)
}

pub(super) async fn dry_run(context: &Context, options: DryRunOptions) -> Outcome {
    let mut body = Map::new();
    match (options.event.event, &options.event.event_file) {
        (Some(event), _) => body.insert("event_id".to_owned(), json!(event)),
        (None, Some(file)) => body.insert("event".to_owned(), read_json(file)?),
        (None, None) => None,
    };
    let Some(text) = options.which.call(context, options.organization, "dry-run", body).await? else {
        return Ok(Exit::Done);
    };
    let answer: Value = answers::parse(&text)?;
    let told = &answer["data"];
    let exit = if told["would_fire"] == true { Exit::Done } else { Exit::No };
    if context.is_json() {
        output::line(&text)?;
        return Ok(exit);
    }
    let event = &told["event"];
    output::fields([
        ("would fire", if exit == Exit::Done { "yes" } else { "no" }.to_owned()),
        ("jobs", cell(&told["jobs"])),
        ("event", format!("{} of {}", cell(&event["event_type"]), cell(&event["happened_at"]))),
        ("agent", cell(&event["agent_id"])),
    ])?;
    let mut rows = Vec::new();
    for check in told["scope"].as_array().into_iter().flatten() {
        rows.push(check_row(0, check, "name"));
    }
    for condition in told["conditions"].as_array().into_iter().flatten() {
        condition_rows(0, condition, &mut rows);
    }
    output::line("")?;
    output::table(["", "asked", "why"], rows)?;
    Ok(exit)
}

fn condition_rows(depth: usize, condition: &Value, rows: &mut Vec<[String; 3]>) {
    rows.push(check_row(depth, condition, "condition_type"));
    for inner in condition["conditions"].as_array().into_iter().flatten() {
        condition_rows(depth + 1, inner, rows);
    }
}

fn check_row(depth: usize, check: &Value, name: &str) -> [String; 3] {
    let mark = if check["holds"] == true { "yes" } else { "NO" };
    [mark.to_owned(), format!("{}{}", "  ".repeat(depth), cell(&check[name])), cell_long(&check["told"])]
}

fn cell_long(value: &Value) -> String {
    value.as_str().map(|text| output::shown(text, 200)).unwrap_or_default()
}

pub(super) async fn backtest(context: &Context, options: BacktestOptions) -> Outcome {
    let wishes = [
        ("since", options.since.map(Value::from)),
        ("until", options.until.map(Value::from)),
        ("events_max", options.events.map(Value::from)),
        ("fired_max", Some(Value::from(options.list))),
        ("cursor", options.cursor.map(Value::from)),
    ];
    let body = wishes.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
    let Some(text) = options.which.call(context, options.organization, "backtest", body).await? else {
        return Ok(Exit::Done);
    };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let answer: Value = answers::parse(&text)?;
    let found = &answer["data"];
    let mut fields = vec![
        ("would have fired", format!("{} times", cell(&found["count"]))),
        ("events looked at", cell(&found["events_looked_at"])),
    ];
    if found["retracted"].as_u64().unwrap_or(0) > 0 {
        fields.push(("on events taken back", cell(&found["retracted"])));
    }
    if found["first"].is_string() {
        fields.push(("first", cell(&found["first"])));
        fields.push(("last", cell(&found["last"])));
        fields.push((
            "when",
            format!("{}  a bar is {} s", cell(&found["sparkline"]), cell(&found["bucket_secs"])),
        ));
    }
    output::fields(fields)?;
    let fired: Vec<&Value> = found["fired"].as_array().into_iter().flatten().collect();
    if !fired.is_empty() {
        output::line("")?;
        let rows = fired
            .iter()
            .map(|one| ["happened_at", "event_type", "agent_id", "event_id"].map(|name| cell(&one[name])));
        output::table(["when", "type", "agent", "event"], rows)?;
    }
    if found["memory_lost"] == true {
        output::talk(
            "what conditions remember was too much for the cursor: the next part begins with nothing",
        );
    }
    if let Some(cursor) = found["cursor"].as_str() {
        output::talk(&format!("there are more events; go on with --cursor {cursor}"));
    }
    Ok(Exit::Done)
}

pub(super) async fn test(context: &Context, options: TestOptions) -> Outcome {
    context.refuse_curl()?;
    let client = context.client()?;
    let id = options.one.id.to_string();
    let body = match &options.event_file {
        Some(file) => json!({ "event": read_json(file)? }),
        None => json!({}),
    };
    let actions = match options.action {
        Some(action) => vec![action.to_string()],
        None => {
            #[derive(Deserialize)]
            struct Answer {
                data: Trigger,
            }
            #[derive(Deserialize)]
            struct Trigger {
                actions: Vec<Action>,
            }
            #[derive(Deserialize)]
            struct Action {
                id: String,
            }
            let call = options.one.organization.on(Call::get(&One::path(&id, &[])));
            let Answer { data } = client.json(&call).await?;
            data.actions.into_iter().map(|action| action.id).collect()
        }
    };
    if actions.is_empty() {
        return Err(Failure::no("the trigger has no action").next("add one with `bowline triggers update`"));
    }
    let mut tried = Vec::new();
    for action in &actions {
        let call = Call::post(&One::path(&id, &["actions", action, "test"]), &body)?;
        let answer: Value = client.json(&options.one.organization.on(call)).await?;
        tried.push((action.clone(), answer["data"].clone()));
    }
    let exit = match tried.iter().all(|(_, attempt)| attempt["status"] == "success") {
        true => Exit::Done,
        false => Exit::No,
    };
    if context.is_json() {
        let attempts =
            tried.into_iter().map(|(action, attempt)| json!({ "action_id": action, "attempt": attempt }));
        output::line(&json!({ "data": attempts.collect::<Vec<_>>() }).to_string())?;
        return Ok(exit);
    }
    let row = |(action, attempt): &(String, Value)| {
        let why = ["error", "response"].iter().find_map(|name| attempt[*name].as_str()).unwrap_or_default();
        [
            action.clone(),
            cell(&attempt["status"]),
            cell(&attempt["http_status"]),
            format!("{} ms", cell(&attempt["duration_ms"])),
            cell(&attempt["destination"]),
            output::shown(why, 80),
        ]
    };
    output::table(["action", "", "http", "took", "to", "said"], tried.iter().map(row))?;
    Ok(exit)
}

pub(super) async fn state(context: &Context, one: One) -> Outcome {
    let id = one.id.to_string();
    let call = Call::get(&One::path(&id, &["state"]));
    let Some(text) = context.call(&one.organization.on(call)).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let answer: Value = answers::parse(&text)?;
    let remembered: Vec<&Value> = answer["data"].as_array().into_iter().flatten().collect();
    if remembered.is_empty() {
        output::talk("the trigger remembers nothing");
        return Ok(Exit::Done);
    }
    let rows = remembered
        .iter()
        .map(|one| ["condition_id", "subject", "state", "updated_at"].map(|name| cell(&one[name])));
    output::table(["condition", "agent", "remembers", "since"], rows)?;
    Ok(Exit::Done)
}
