//! `bowline append`: signs the lines of a file or of standard input and appends them as events.
//!
//! Lines become events in their order, in batches, one request at a time; memory is bounded whatever the
//! input. A request without an answer is sent again, which is safe because an event id is taken once. What was
//! accepted is always reported, also if the input turns out bad half-way.

pub(crate) mod lines;
mod reader;
mod sender;

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bowline_client::{ApiError, Call, Client, Retries};
use bowline_types::StreamId;
use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::terminal::args::StreamArgs;
use crate::terminal::context::{Context, interrupt};
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::local::{Agent, Remembered, parse_agent_name};
use crate::terminal::{output, progress};

use lines::Defaults;
use reader::{BUFFERED_KIB_MAX, Reader, Source};
use sender::{Sender, Tally};

/// Events of one request that the server's default settings take.
const BATCH_EVENTS_MAX: u64 = 1_000;

/// `bowline append`.
#[derive(Debug, Args)]
#[command(after_help = "\
A line is one JSON value. An object that has event_type, entity_type, entity_id and payload gives those, and
optionally event_id, created_at, command_id and base_version; its other fields are ignored. Any other value is the
payload, with the types of the flags. Lines that carry event_id and created_at can be appended again safely: what is
on the line already counts as replayed.

Examples:
  echo '{\"a\":1}' | bowline append
  bowline append orders.ndjson --event-type order.created --entity-type order --entity-id-field id")]
pub(crate) struct Options {
    /// One JSON value a line; standard input if left out or `-`
    file: Option<PathBuf>,
    #[command(flatten)]
    stream: StreamArgs,
    /// Sign as this agent; its key is in DATA/agents/NAME.json and made on first use
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = parse_agent_name)]
    agent: String,
    /// Sign with the key of this file instead
    #[arg(long, value_name = "FILE", conflicts_with = "agent")]
    key_file: Option<PathBuf>,
    /// Events in one request at most
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=BATCH_EVENTS_MAX))]
    batch: u64,
    /// The event type of lines that are payloads
    #[arg(long, value_name = "TYPE", default_value = "line.appended")]
    event_type: String,
    /// The entity type of lines that are payloads
    #[arg(long, value_name = "TYPE", default_value = "line")]
    entity_type: String,
    /// Take the entity id of lines that are payloads from this field; the line number if left out
    #[arg(long, value_name = "FIELD")]
    entity_id_field: Option<String>,
    /// Append the whole file so many times; from the second time on with fresh event and command ids
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    repeat: u64,
}

pub(crate) async fn run(context: &Context, options: Options) -> Outcome {
    context.refuse_curl()?;
    let source = source(&options)?;
    let key_path = options.key_file.clone().unwrap_or_else(|| Agent::path(context.data(), &options.agent));
    let (agent, made) = Agent::load_or_create(&key_path)?;
    if made {
        output::talk(&format!("made agent {} with a key in {}", agent.agent_id, key_path.display()));
    }
    let stream = stream(context, options.stream)?;
    output::talk(&format!("appending to tenant {} store {}", stream.tenant_id, stream.store_id));
    let client = context.client()?;
    register(&client, stream, &agent).await?;

    let bar = progress::bytes(context.quiet(), source.bytes());
    let defaults = Defaults {
        event_type: options.event_type,
        entity_type: options.entity_type,
        entity_id_field: options.entity_id_field,
    };
    let batch = options.batch as usize;
    let agent_id = agent.agent_id;
    let (items, received) = tokio::sync::mpsc::channel(2 * batch);
    let reader =
        Reader { stream, agent, defaults, items, buffered: Arc::new(Semaphore::new(BUFFERED_KIB_MAX)) };
    reader.start(source)?;
    let sender = Sender { client: &client, agent_id, batch, bar: &bar };
    let mut tally = Tally::new();
    let outcome = tokio::select! {
        outcome = sender.send_all(received, &mut tally) => outcome,
        () = interrupt() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    bar.finish_and_clear();
    finish(context, stream, &tally, outcome)
}

fn source(options: &Options) -> Result<Source, Failure> {
    let Some(path) = options.file.as_deref().filter(|path| *path != Path::new("-")) else {
        if options.repeat > 1 {
            return Err(Failure::usage("--repeat needs a file that can be read again")
                .next("give the file's name instead of standard input"));
        }
        if io::stdin().is_terminal() {
            output::talk("reading lines of JSON from the terminal; end with Ctrl-D");
        }
        return Ok(Source::Stdin);
    };
    let found = fs::metadata(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    if found.is_dir() {
        return Err(
            Failure::usage(format!("{} is a folder", path.display())).next("name a file of JSON lines")
        );
    }
    // A pipe or a device has no length to show progress by.
    let bytes = found.is_file().then_some(found.len());
    Ok(Source::File { path: path.to_owned(), bytes, repeat: options.repeat })
}

fn stream(context: &Context, args: StreamArgs) -> Result<StreamId, Failure> {
    match (args.tenant, args.store) {
        (Some(tenant), Some(store)) => Ok(StreamId::new(tenant, store)),
        _ => Ok(Remembered::load_or_create(context.data(), args)?.stream(args)),
    }
}

/// Makes sure that the server knows the key. A credential that may write and not register is fine if someone
/// else has registered it; if not, the events will be rejected with that reason.
async fn register(client: &Client, stream: StreamId, agent: &Agent) -> Result<(), Failure> {
    let call = Call::register_agent(stream.tenant_id, agent.agent_id, agent.key_id, &agent.key)?;
    let mut retries = Retries::default();
    loop {
        match client.text(&call).await {
            Ok(_) => return Ok(()),
            Err(error) if error.status() == Some(403) => {
                output::talk(
                    "note: this API key may not register agent keys; going on as if the key were registered",
                );
                return Ok(());
            }
            // Without any connection there is most likely no server: say so at once.
            Err(error @ ApiError::Unreachable { .. }) => return Err(error.into()),
            Err(error) => match retries.pause_after(&error) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error.into()),
            },
        }
    }
}

/// Reports what was appended, whatever the end was.
fn finish(context: &Context, stream: StreamId, tally: &Tally, outcome: Result<(), Failure>) -> Outcome {
    match context.is_json() {
        true => output::line(&summary_json(stream, tally).to_string())?,
        false => print_summary(tally)?,
    }
    if let Err(failure) = outcome {
        return Err(tally.with_unconfirmed(failure));
    }
    if tally.rejected == 0 {
        return Ok(Exit::Done);
    }
    output::talk("next: correct the rejected lines and append them again; the others are on the line");
    Ok(Exit::No)
}

fn summary_json(stream: StreamId, tally: &Tally) -> serde_json::Value {
    json!({
        "tenant_id": stream.tenant_id,
        "store_id": stream.store_id,
        "accepted": tally.accepted,
        "replayed": tally.replayed,
        "rejected": tally.rejected,
        "head_sequence": tally.head_sequence,
        "events_per_sec": (tally.events_per_sec() * 10.0).round() / 10.0,
        "rejections": tally.rejections,
    })
}

fn print_summary(tally: &Tally) -> Result<(), Failure> {
    if !tally.rejections.is_empty() {
        let rows = tally.rejections.iter();
        let rows = rows.map(|row| [row.line.to_string(), row.reason.clone(), row.message.clone()]);
        output::table(["line", "reason", "message"], rows)?;
        let unlisted = tally.rejected - tally.rejections.len() as u64;
        if unlisted > 0 {
            output::talk(&format!("and {unlisted} more rejected lines that are not listed"));
        }
        output::line("")?;
    }
    let head = tally.head_sequence.map_or_else(|| "-".to_owned(), |head| head.to_string());
    output::table(
        ["accepted", "replayed", "rejected", "head", "events/s"],
        [[
            tally.accepted.to_string(),
            tally.replayed.to_string(),
            tally.rejected.to_string(),
            head,
            format!("{:.0}", tally.events_per_sec()),
        ]],
    )
}

/// Keeps the bar's message current.
fn show(bar: &ProgressBar, tally: &Tally) {
    bar.set_message(format!("{} appended, {} rejected", tally.accepted + tally.replayed, tally.rejected));
}

/// Says on stderr that a request is tried again.
fn announce_pause(bar: &ProgressBar, cause: &str, pause: Duration) {
    bar.suspend(|| output::talk(&format!("{cause}; trying again in {:.1} s", pause.as_secs_f64())));
}
