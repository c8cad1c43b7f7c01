//! `bowline explain EVENT_ID`: the life of one event as a timeline.
//!
//! The server checks what it tells from the stored bytes; whoever does not trust it takes `export` and `verify`.

use bowline_client::{Call, answers};
use bowline_types::{EventId, StoreId, TenantId};
use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::terminal::args::StreamArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

/// `bowline explain`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The event's id
    event_id: EventId,
    #[command(flatten)]
    stream: StreamArgs,
    /// Every figure of every chapter
    #[arg(long)]
    figures: bool,
}

#[derive(Debug, Deserialize)]
struct Explanation {
    event_id: EventId,
    state: String,
    tenant_id: TenantId,
    store_id: StoreId,
    sequence_number: Option<u64>,
    chapters: Vec<Chapter>,
}

#[derive(Debug, Deserialize)]
struct Chapter {
    name: String,
    status: String,
    at: Option<String>,
    told: String,
    #[serde(default)]
    details: Map<String, Value>,
}

pub(crate) async fn run(context: &Context, options: Options) -> Outcome {
    // Not the remembered stream: the event is looked for wherever the key may read.
    let call = Call::get(&["api", "v1", "ves", "events", &options.event_id.to_string(), "explain"])
        .query("tenant_id", options.stream.tenant)
        .query("store_id", options.stream.store);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    let explanation: Explanation = answers::parse(&text)?;
    // A chapter that does not hold is a no, also for whoever reads only the exit code.
    let holds = explanation.chapters.iter().all(|chapter| chapter.status != "wrong");
    let exit = if holds { Exit::Done } else { Exit::No };
    if context.is_json() {
        output::line(&text)?;
        return Ok(exit);
    }
    let number = explanation.sequence_number.map(|number| format!(", number {number}")).unwrap_or_default();
    output::line(&format!(
        "event {} is {}{number} of stream {}/{}",
        explanation.event_id,
        output::shown(&explanation.state, 40),
        explanation.tenant_id,
        explanation.store_id
    ))?;
    let row = |chapter: &Chapter| {
        let at = chapter.at.clone().unwrap_or_else(|| "-".to_owned());
        [at, chapter.name.clone(), chapter.status.clone(), chapter.told.clone()]
    };
    output::table(["when", "chapter", "", "what"], explanation.chapters.iter().map(row))?;
    if options.figures {
        let figures = explanation.chapters.iter().flat_map(|chapter| {
            chapter.details.iter().map(|(name, value)| {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                [chapter.name.clone(), name.clone(), value]
            })
        });
        output::table(["chapter", "figure", "value"], figures)?;
    } else {
        output::talk("every figure: --figures, or --output json");
    }
    Ok(exit)
}
