//! `bowline commitments check` and `correct`: find commitments that are wrong, and replace them.
//!
//! The server recomputes a commitment from what it stores; that an export holds together is for `verify export`,
//! which asks nobody. Refuses to correct several at once: each one is a decision.

use std::collections::HashSet;

use bowline_client::answers::{Commitments, Streams};
use bowline_client::{Call, Client, answers};
use bowline_types::{BatchId, StreamId};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use crate::terminal::args::StreamArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::{output, progress};

/// Commitments listed at a time.
const PAGE: u64 = 1_000;

/// `bowline commitments check`.
#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    /// Only these commitments; all of the stream if left out
    batch_id: Vec<BatchId>,
    #[command(flatten)]
    stream: StreamArgs,
    /// Those of every stream that the key may see
    #[arg(long, conflicts_with_all = ["batch_id", "tenant", "store"])]
    all: bool,
}

/// `bowline commitments correct`.
#[derive(Debug, Args)]
#[command(
    after_help = "The wrong commitment stays, marked; the correction covers the same events at the end of the chain."
)]
pub(crate) struct CorrectOptions {
    /// The wrong commitment
    batch_id: BatchId,
    /// Why, for whoever reads the chain later
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Also if nothing is wrong with it
    #[arg(long)]
    force: bool,
}

/// What the server says of one commitment.
#[derive(Debug, Deserialize)]
struct Checked {
    batch_id: BatchId,
    sequence_start: u64,
    sequence_end: u64,
    valid: bool,
    problems: Vec<String>,
    corrected_by: Option<BatchId>,
}

pub(super) async fn check(context: &Context, options: CheckOptions) -> Outcome {
    context.refuse_curl()?;
    let client = context.client()?;
    let mut ids = options.batch_id;
    if options.all {
        let streams: Streams = client.json(&Call::get(&["api", "v1", "ves", "streams"])).await?;
        for head in &streams.streams {
            ids.extend(ids_of(&client, head.stream()).await?);
        }
    } else if ids.is_empty() {
        ids = ids_of(&client, context.stream(options.stream)?).await?;
    }
    let bar = progress::count(context.quiet(), Some(ids.len() as u64));
    let (mut wrong, mut corrected, count) = (Vec::new(), 0_u64, ids.len());
    for id in ids {
        let call = Call::get(&["api", "v1", "ves", "commitments", &id.to_string(), "check"]);
        let checked: Checked = client.json(&call).await?;
        match (checked.valid, checked.corrected_by) {
            (true, _) => {}
            (false, Some(_)) => corrected += 1,
            (false, None) => wrong.push(checked),
        }
        bar.set_message(format!("{} wrong", wrong.len()));
        bar.inc(1);
    }
    bar.finish_and_clear();
    report(context, &wrong, corrected, count)?;
    Ok(if wrong.is_empty() { Exit::Done } else { Exit::No })
}

fn report(context: &Context, wrong: &[Checked], corrected: u64, count: usize) -> Result<(), Failure> {
    if context.is_json() {
        let found: Vec<_> = wrong
            .iter()
            .map(|one| {
                json!({
                    "batch_id": one.batch_id, "sequence_start": one.sequence_start,
                    "sequence_end": one.sequence_end, "problems": one.problems,
                })
            })
            .collect();
        let answer = json!({ "checked": count, "wrong": found, "corrected": corrected });
        return output::line(&answer.to_string());
    }
    if wrong.is_empty() {
        let replaced =
            if corrected > 0 { format!("; {corrected} wrong ones are replaced") } else { String::new() };
        return output::line(&format!("{count} commitments checked: right{replaced}"));
    }
    let rows = wrong.iter().map(|one| {
        let range = format!("{}..={}", one.sequence_start, one.sequence_end);
        [one.batch_id.to_string(), range, one.problems.join("; ")]
    });
    output::table(["batch", "events", "what is wrong"], rows)?;
    output::talk("next: correct each one with `bowline commitments correct BATCH_ID --reason TEXT`");
    Ok(())
}

/// The ids of a stream's commitments and corrections.
async fn ids_of(client: &Client, stream: StreamId) -> Result<Vec<BatchId>, Failure> {
    #[derive(Deserialize)]
    struct Listed {
        batch_id: BatchId,
        sequence_start: u64,
    }
    let (mut ids, mut seen, mut from) = (Vec::new(), HashSet::new(), 0);
    loop {
        let call = Call::get(&["api", "v1", "ves", "commitments"])
            .stream(stream)
            .query("all", Some(true))
            .query("from", Some(from))
            .query("limit", Some(PAGE));
        let page: Commitments = client.json(&call).await?;
        let listed = page
            .commitments
            .iter()
            .map(|raw| answers::parse(raw.get()))
            .collect::<Result<Vec<Listed>, _>>()?;
        let before = ids.len();
        ids.extend(listed.iter().map(|one| one.batch_id).filter(|id| seen.insert(*id)));
        // A page may end between a commitment and its correction, so the next one begins where it ended.
        match listed.last() {
            Some(last) if listed.len() as u64 == PAGE => {
                from = last.sequence_start + u64::from(ids.len() == before);
            }
            _ => return Ok(ids),
        }
    }
}

pub(super) async fn correct(context: &Context, options: CorrectOptions) -> Outcome {
    let id = options.batch_id.to_string();
    let body = json!({ "reason": options.reason, "force": options.force });
    super::one(context, Call::post(&["api", "v1", "ves", "commitments", &id, "correct"], &body)?).await
}
