//! `bowline anchors list`: a stream's chain with its anchors, as a table and a curve.
//!
//! One page at a time, in the order of the chain; the curve is of that page. Refuses to judge whether it is quick enough.

use bowline_client::{Call, answers};
use bowline_types::{BatchId, EvmHash};
use clap::Args;
use serde::Deserialize;

use super::PATH;
use super::amounts::{short, sparkline};
use crate::terminal::args::StreamArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// Bars of the curve at most.
const BARS_MAX: usize = 60;

/// `bowline anchors list`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    stream: StreamArgs,
    /// Only what stands behind this position of the chain
    #[arg(long, value_name = "POSITION")]
    after: Option<u64>,
    /// Commitments at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Page {
    anchors: Vec<Row>,
    next: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Row {
    position: u64,
    batch_id: BatchId,
    corrects: Option<BatchId>,
    sequence_start: u64,
    sequence_end: u64,
    state: String,
    tx_hash: Option<EvmHash>,
    block_number: Option<u64>,
    gas_share: Option<u64>,
    seconds_to_anchor: Option<f64>,
}

pub(super) async fn run(context: &Context, options: Options) -> Outcome {
    let stream = context.stream(options.stream)?;
    let call = Call::get(&PATH).stream(stream).query("after", options.after).query("limit", options.limit);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let page: Page = answers::parse(&text)?;
    if page.anchors.is_empty() {
        output::talk("there are no commitments; `bowline commitments create` makes one");
        return Ok(Exit::Done);
    }
    let header = ["pos", "batch", "events", "state", "block", "gas", "seconds", "transaction"];
    output::table(header, page.anchors.iter().map(cells))?;
    curve(&page.anchors)?;
    if let Some(next) = page.next {
        output::talk(&format!("there may be more; go on with --after {next}"));
    }
    Ok(Exit::Done)
}

fn cells(row: &Row) -> [String; 8] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mark = if row.corrects.is_some() { " (correction)" } else { "" };
    [
        row.position.to_string(),
        row.batch_id.to_string(),
        format!("{}..={}{mark}", row.sequence_start, row.sequence_end),
        row.state.clone(),
        or_dash(row.block_number.map(|number| number.to_string())),
        or_dash(row.gas_share.map(|gas| gas.to_string())),
        or_dash(row.seconds_to_anchor.map(|seconds| format!("{seconds:.1}"))),
        or_dash(row.tx_hash.as_ref().map(short)),
    ]
}

/// How long the anchored ones took, in the order of the chain.
fn curve(rows: &[Row]) -> Result<(), Failure> {
    let took: Vec<f64> = rows.iter().filter_map(|row| row.seconds_to_anchor).collect();
    if took.is_empty() {
        return Ok(());
    }
    let mut sorted = took.clone();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (sorted.first().copied(), sorted.last().copied());
    let median = sorted.get(sorted.len() / 2).copied();
    let of = |value: Option<f64>| value.unwrap_or_default();
    let line = sparkline(&took, BARS_MAX);
    output::line(&format!(
        "seconds to anchor  {line}  {:.1} to {:.1}, median {:.1}",
        of(least),
        of(most),
        of(median)
    ))
}
