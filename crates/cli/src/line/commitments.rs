//! `bowline commitments`: Merkle roots over ranges of a stream, and proofs that an event is under one.
//!
//! What the server answers is shown after a check that it is consistent in itself; whether a root is that of
//! the events is for `verify export`, and whether a proof holds for `verify proof`.

mod corrections;

use std::fs;
use std::path::PathBuf;

use bowline_client::answers::{Commitments, Proof};
use bowline_client::{ApiError, Call, answers};
use bowline_types::{BatchId, EvmHash};
use bowline_ves::Commitment;
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use crate::terminal::args::StreamArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// `bowline commitments`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Show a stream's commitments that no chain anchors yet, or all of them
    List(ListOptions),
    /// Show one commitment
    Show(ShowOptions),
    /// Commit the events that no commitment covers yet
    Create(CreateOptions),
    /// Recompute commitments from the stored events, and name those that are wrong
    Check(corrections::CheckOptions),
    /// Put a correction in the place of a wrong commitment
    Correct(corrections::CorrectOptions),
    /// Get the proof that an event is under a commitment's root
    Proof(ProofOptions),
}

/// `bowline commitments list`.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    stream: StreamArgs,
    /// Anchored ones too
    #[arg(long)]
    all: bool,
    /// Only commitments that begin at this sequence number or later
    #[arg(long, value_name = "SEQ")]
    from: Option<u64>,
    /// Commitments at most
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
}

/// `bowline commitments show`.
#[derive(Debug, Args)]
pub(crate) struct ShowOptions {
    /// The commitment's id
    batch_id: BatchId,
}

/// `bowline commitments create`.
#[derive(Debug, Args)]
pub(crate) struct CreateOptions {
    #[command(flatten)]
    stream: StreamArgs,
    /// First sequence number; must be the one after the last commitment
    #[arg(long, value_name = "SEQ")]
    start: Option<u64>,
    /// Last sequence number; the head if left out
    #[arg(long, value_name = "SEQ")]
    end: Option<u64>,
}

/// `bowline commitments proof`.
#[derive(Debug, Args)]
#[command(after_help = "Example: prove that event 17 is on the line, and check it offline:\n  \
                        bowline commitments proof 17 --out proof.json && bowline verify proof proof.json")]
pub(crate) struct ProofOptions {
    /// The event's sequence number
    sequence_number: u64,
    #[command(flatten)]
    stream: StreamArgs,
    /// Under this commitment, if several cover the event
    #[arg(long, value_name = "UUID")]
    batch: Option<BatchId>,
    /// Write the proof's JSON to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::List(options) => list(context, options).await,
        What::Show(options) => {
            let id = options.batch_id.to_string();
            one(context, Call::get(&["api", "v1", "ves", "commitments", &id])).await
        }
        What::Create(options) => create(context, options).await,
        What::Check(options) => corrections::check(context, options).await,
        What::Correct(options) => corrections::correct(context, options).await,
        What::Proof(options) => proof(context, options).await,
    }
}

async fn list(context: &Context, options: ListOptions) -> Outcome {
    let call = Call::get(&["api", "v1", "ves", "commitments"])
        .stream(context.stream(options.stream)?)
        .query("all", options.all.then_some(true))
        .query("from", options.from)
        .query("limit", options.limit);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let found = answers::parse::<Commitments>(&text)?.commitments;
    if found.is_empty() {
        let hint = if options.all { "" } else { " that no chain anchors yet; see --all" };
        output::talk(&format!("there are no commitments{hint}"));
        return Ok(Exit::Done);
    }
    let found = found.iter().map(|raw| parsed(raw.get())).collect::<Result<Vec<_>, _>>()?;
    let rows = found.iter().map(|(commitment, standing)| {
        [
            commitment.batch_id.to_string(),
            standing.word(commitment).to_owned(),
            range(commitment),
            commitment.leaf_count.to_string(),
            commitment.committed_at.to_string(),
            standing.anchor_cell(),
            commitment.merkle_root.to_string(),
        ]
    });
    let header = ["batch", "status", "events", "count", "committed at", "anchor", "merkle root"];
    output::table(header, rows)?;
    Ok(Exit::Done)
}

async fn create(context: &Context, options: CreateOptions) -> Outcome {
    let stream = context.stream(options.stream)?;
    let mut body = json!({"tenant_id": stream.tenant_id, "store_id": stream.store_id});
    for (name, value) in [("sequence_start", options.start), ("sequence_end", options.end)] {
        if let Some(value) = value {
            body[name] = value.into();
        }
    }
    one(context, Call::post(&["api", "v1", "ves", "commitments"], &body)?).await
}

/// Makes a call that answers with one commitment, and shows it.
async fn one(context: &Context, call: Call) -> Outcome {
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    let (commitment, standing) = parsed(&text)?;
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let id = |id: Option<BatchId>| id.map(|id| id.to_string());
    let marks = [
        ("corrects", id(commitment.corrects)),
        ("corrected by", id(standing.corrected_by)),
        ("reason", standing.correction_reason.clone()),
        ("anchored", Some(standing.anchor_line())),
    ];
    let marks = marks.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let fields = [
        ("batch", commitment.batch_id.to_string()),
        ("status", standing.word(&commitment).to_owned()),
        ("stream", commitment.stream.to_string()),
        ("events", range(&commitment)),
        ("count", commitment.leaf_count.to_string()),
        ("merkle root", commitment.merkle_root.to_string()),
        ("previous state root", commitment.prev_state_root.to_string()),
        ("state root", commitment.new_state_root.to_string()),
        ("committed at", commitment.committed_at.to_string()),
    ];
    output::fields(fields.into_iter().chain(marks))?;
    Ok(Exit::Done)
}

async fn proof(context: &Context, options: ProofOptions) -> Outcome {
    let number = options.sequence_number.to_string();
    let call = Call::get(&["api", "v1", "ves", "proofs", &number])
        .stream(context.stream(options.stream)?)
        .query("batch_id", options.batch);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    let proof: Proof = answers::parse(&text)?;
    if let Some(path) = options.out {
        fs::write(&path, format!("{text}\n"))
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))?;
        output::talk(&format!("wrote {0}; check it with `bowline verify proof {0}`", path.display()));
        return Ok(Exit::Done);
    }
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    output::fields([
        ("sequence number", proof.sequence_number.to_string()),
        ("batch", proof.batch_id),
        ("merkle root", proof.merkle_root),
        ("leaf", proof.leaf_hash),
        ("leaf index", proof.leaf_index.to_string()),
        ("path", format!("{} nodes", proof.proof_path.len())),
    ])?;
    Ok(Exit::Done)
}

/// What the server says of a commitment beside what is proven.
#[derive(Debug, Default, Deserialize)]
struct Standing {
    #[serde(default)]
    corrected_by: Option<BatchId>,
    #[serde(default)]
    correction_reason: Option<String>,
    #[serde(default)]
    is_anchored: bool,
    #[serde(default)]
    chain_id: Option<u64>,
    #[serde(default)]
    chain_tx_hash: Option<EvmHash>,
    #[serde(default)]
    chain_block_number: Option<u64>,
    #[serde(default)]
    anchored_at: Option<String>,
}

impl Standing {
    fn word(&self, commitment: &Commitment) -> &'static str {
        match (self.corrected_by, commitment.corrects) {
            (Some(_), _) => "corrected",
            (None, Some(_)) => "correction",
            (None, None) => "valid",
        }
    }

    /// Where it is on an outside chain, for a table.
    fn anchor_cell(&self) -> String {
        match (self.is_anchored, self.chain_block_number) {
            (false, _) => "-".to_owned(),
            (true, Some(number)) => format!("block {number}"),
            (true, None) => "yes".to_owned(),
        }
    }

    /// The same with all that is known of it.
    fn anchor_line(&self) -> String {
        if !self.is_anchored {
            return "no; see `bowline anchors show`".to_owned();
        }
        let parts = [
            self.chain_id.map(|id| format!("chain {id}")),
            self.chain_block_number.map(|number| format!("block {number}")),
            self.chain_tx_hash.map(|hash| hash.to_string()),
            self.anchored_at.as_ref().map(|at| format!("final at {at}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

/// A commitment whose fields fit together, or that another one replaces.
fn parsed(text: &str) -> Result<(Commitment, Standing), Failure> {
    let commitment =
        Commitment::from_json(text).map_err(|error| ApiError::Unexpected { problem: error.to_string() })?;
    let standing: Standing = answers::parse(text)?;
    let inconsistent = commitment.check().err().filter(|_| standing.corrected_by.is_none());
    match inconsistent {
        None => Ok((commitment, standing)),
        Some(error) => {
            Err(Failure::no(format!("commitment {} is inconsistent: {error}", commitment.batch_id))
                .next("do not rely on it; see `bowline commitments check --all`"))
        }
    }
}

fn range(commitment: &Commitment) -> String {
    format!("{}..={}", commitment.sequence_start, commitment.sequence_end)
}
