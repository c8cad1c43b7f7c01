//! `bowline events`: one event, or a page of them.
//!
//! One page a call: whoever wants a whole range takes `export`, which can also be verified.

use bowline_client::answers::{Event, Page};
use bowline_client::{Call, answers};
use bowline_types::EventId;
use clap::{Args, Subcommand};

use crate::terminal::args::StreamArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output::{self, shown};

/// Characters of a payload that a table shows.
const PAYLOAD_CHARS_MAX: usize = 80;
/// The columns of a table of events.
const HEADER: [&str; 5] = ["seq", "sequenced at", "event type", "entity", "payload"];

/// `bowline events`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Show one event with its receipt
    Get(GetOptions),
    /// Show events of a stream, oldest first
    List(ListOptions),
}

/// `bowline events get`.
#[derive(Debug, Args)]
#[command(after_help = "Example: keep an event and its receipt for `bowline verify`:\n  \
                        bowline events get EVENT_ID --output json > event.json")]
pub(crate) struct GetOptions {
    /// The event's id
    event_id: EventId,
    #[command(flatten)]
    stream: StreamArgs,
}

/// `bowline events list`.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    stream: StreamArgs,
    /// First sequence number
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: u64,
    /// Last sequence number
    #[arg(long, value_name = "SEQ")]
    to: Option<u64>,
    /// Events at most; the server has a limit of its own
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: u64,
    /// Only of this entity type
    #[arg(long, value_name = "TYPE")]
    entity_type: Option<String>,
    /// Only of this entity
    #[arg(long, value_name = "ID")]
    entity_id: Option<String>,
    /// Only of this event type
    #[arg(long, value_name = "TYPE")]
    event_type: Option<String>,
    /// With receipts; shown with --output json
    #[arg(long)]
    receipts: bool,
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::Get(options) => get(context, options).await,
        What::List(options) => list(context, options).await,
    }
}

async fn get(context: &Context, options: GetOptions) -> Outcome {
    let id = options.event_id.to_string();
    let call = Call::get(&["api", "v1", "ves", "events", &id]).stream(context.stream(options.stream)?);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let event: Event = answers::parse(&text)?;
    output::fields([
        ("event", event.event_id.to_string()),
        ("sequence number", event.sequence_number.to_string()),
        ("sequenced at", event.sequenced_at.clone()),
        ("event type", event.event_type.clone()),
        ("entity", event.entity()),
        ("payload", payload_shown(&event)),
    ])?;
    output::talk("hashes, signature and receipt are in --output json");
    Ok(Exit::Done)
}

async fn list(context: &Context, options: ListOptions) -> Outcome {
    let call = Call::get(&["api", "v1", "ves", "events"])
        .stream(context.stream(options.stream)?)
        .query("from", Some(options.from))
        .query("to", options.to)
        .query("limit", Some(options.limit))
        .query("entity_type", options.entity_type)
        .query("entity_id", options.entity_id)
        .query("event_type", options.event_type)
        .query("receipts", options.receipts.then_some(true));
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let page: Page = answers::parse(&text)?;
    if page.events.is_empty() {
        output::talk(&format!("no such events; the head is {}", page.head_sequence));
    } else {
        output::table(HEADER, page.events.iter().map(row))?;
    }
    if let Some(next) = page.next {
        output::talk(&format!("there is more up to {}; go on with --from {next}", page.head_sequence));
    }
    Ok(Exit::Done)
}

/// A row of a table of events.
fn row(event: &Event) -> [String; 5] {
    [
        event.sequence_number.to_string(),
        event.sequenced_at.clone(),
        event.event_type.clone(),
        event.entity(),
        payload_shown(event),
    ]
}

/// The beginning of the payload, or what stands in its place.
pub(crate) fn payload_shown(event: &Event) -> String {
    match &event.payload {
        Some(payload) => shown(payload.get(), PAYLOAD_CHARS_MAX),
        None => "(encrypted)".to_owned(),
    }
}
