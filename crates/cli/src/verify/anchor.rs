//! `bowline verify anchor FILE`: a whole export, and then every commitment of it against the contract on a chain.
//!
//! The node that made the export is not asked. Offline it is shown that the file is what it says, and the chain shows
//! that its commitments stood there at a time that the node's operator could not choose afterwards.

use bowline_anchor::verify::{Compared, Comparison, Source, Standing, VerifyError, compare};
use bowline_anchor::{Config, Kind, RegistryError};
use bowline_evm::Rpc;
use bowline_types::EvmAddress;
use bowline_ves::ExportReport;
use clap::Args;
use serde_json::{Value, json};

use super::export;
use crate::chains::endpoint;
use crate::terminal::context::{Context, until_interrupted};
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// `bowline verify anchor`.
#[derive(Debug, Args)]
#[command(after_help = "\
The answer is no (exit code 1) if the file is not valid, or the contract lacks a commitment of it.
One that is there with fewer blocks on top than --confirmations is a warning.
Compare contract and chain id with what the operator publishes, over another channel.")]
pub(crate) struct Options {
    #[command(flatten)]
    export: export::Options,
    /// The chain's JSON-RPC endpoint; several with commas between them
    #[arg(long, env = "L2_RPC_URL", value_name = "URL", hide_env_values = true)]
    rpc_url: Option<String>,
    /// The contract
    #[arg(long, env = "SET_REGISTRY_ADDRESS", value_name = "ADDRESS")]
    contract: Option<EvmAddress>,
    /// Ask no chain with another id
    #[arg(long, env = "L2_CHAIN_ID", value_name = "ID")]
    chain_id: Option<u64>,
    /// Blocks on top of a commitment's block that make it final
    #[arg(long, value_name = "COUNT", default_value_t = Config::default().finality_confirmations)]
    confirmations: u64,
}

pub(super) async fn run(context: &Context, options: Options) -> Outcome {
    let contract = options.contract.ok_or_else(|| {
        Failure::usage("no contract is named")
            .next("give its address with --contract, or set SET_REGISTRY_ADDRESS")
    })?;
    let rpc = endpoint::connect(options.rpc_url.as_deref())?;
    let (report, header) = tokio::task::block_in_place(|| export::check(context, &options.export))?;
    let source = Source { chain_id: options.chain_id, contract, confirmations: options.confirmations };
    let comparison = until_interrupted(against(&rpc, source, &report)).await?;
    match context.is_json() {
        true => output::line(&to_json(&comparison, export::report_json(&report, &header)).to_string())?,
        false => print(&comparison, &report)?,
    }
    if !report.sequencer_keys_pinned && !context.is_json() {
        output::talk(export::UNPINNED);
    }
    judge(&comparison)
}

/// Compares an export that was verified with the chain.
pub(crate) async fn against(rpc: &Rpc, source: Source, report: &ExportReport) -> Result<Comparison, Failure> {
    compare(rpc, source, report).await.map_err(|error| failed(error, report))
}

fn failed(error: VerifyError, report: &ExportReport) -> Failure {
    let text = error.to_string();
    match error {
        VerifyError::NoCommitments => {
            let (tenant, store) = (report.stream.tenant_id, report.stream.store_id);
            Failure::usage(text).next(format!(
                "commit with `bowline commitments create --tenant {tenant} --store {store}`, wait until it is anchored, and \
                 export again; an export holds only commitments whose events it holds, so --from and --to may leave them out"
            ))
        }
        VerifyError::WrongChain { found, .. } => Failure::usage(text)
            .next(format!("give an endpoint of the chain with --rpc-url, or --chain-id {found} if you mean that one")),
        VerifyError::Moved(_) => Failure::new(Exit::Unreachable, text).next("try again"),
        VerifyError::Registry(RegistryError::Rpc(error)) => endpoint::failed(&error),
        VerifyError::Registry(_) => Failure::usage(text)
            .next("check --contract (SET_REGISTRY_ADDRESS), and that --rpc-url is of the chain that the contract is on"),
    }
}

fn judge(comparison: &Comparison) -> Outcome {
    let missing = comparison.rows.iter().filter(|row| row.standing == Standing::Missing);
    let count = comparison.count(Standing::Missing);
    if let Some(first) = missing.clone().next() {
        let what = |row: &Compared| {
            let (start, end) = (row.commitment.sequence_start, row.commitment.sequence_end);
            format!("{} {} over {start}..={end}", kind_of(row), row.commitment.batch_id)
        };
        let problem = first.problem.as_deref().unwrap_or("the contract does not have it");
        let others = if count > 1 { format!(", and {} more are missing", count - 1) } else { String::new() };
        return Err(Failure::no(format!("{} is not on the chain: {problem}{others}", what(first))).next(
            "ask the operator: `bowline anchors status` tells whether it still waits; if it is said to be anchored, or the \
             chain has another history, do not trust the export",
        ));
    }
    if let Some(problem) = comparison.head.as_ref().and_then(|head| head.problem.as_ref()) {
        return Err(Failure::no(format!("the contract contradicts itself: {problem}"))
            .next("ask another endpoint; if it says the same, do not trust the contract"));
    }
    if !comparison.code_is_known {
        output::talk(
            "warning: the contract's code is not that of this release's BowlineAnchor: what it says is only as good as \
             whoever wrote it",
        );
    }
    let replaced = comparison.rows.iter().filter(|row| row.corrected_by.is_some()).count();
    if replaced > 0 {
        output::talk(&format!(
            "warning: {replaced} commitments are replaced by corrections: the chain proves their events only from the \
             corrections on, and `bowline verify export` tells what was wrong before"
        ));
    }
    let unconfirmed = comparison.count(Standing::Unconfirmed);
    if unconfirmed > 0 {
        output::talk(&format!(
            "warning: {unconfirmed} of {} are on the chain and not known to have {} blocks on top, so a reorganization could \
             take them away",
            comparison.rows.len(),
            comparison.confirmations_needed
        ));
    }
    Ok(Exit::Done)
}

fn kind_of(row: &Compared) -> &'static str {
    if row.commitment.corrects.is_some() { "correction" } else { "commitment" }
}

fn print(comparison: &Comparison, report: &ExportReport) -> Result<(), Failure> {
    let dash = || "-".to_owned();
    let rows = comparison.rows.iter().map(|row| {
        [
            format!("{}..={}", row.commitment.sequence_start, row.commitment.sequence_end),
            kind_of(row).to_owned(),
            row.standing.as_str().to_owned(),
            row.place.and_then(|place| place.block_number).map_or_else(dash, |block| block.to_string()),
            row.place.and_then(|place| place.block_time).map_or_else(dash, |time| time.to_string()),
            row.confirmations.map_or_else(dash, |count| count.to_string()),
            row.commitment.batch_id.to_string(),
        ]
    });
    output::table(["events", "what", "on the chain", "block", "time", "confirmations", "id"], rows)?;
    output::line("")?;
    let standings = [Standing::Final, Standing::Unconfirmed, Standing::Replaced, Standing::Missing];
    let counts = standings.map(|standing| (standing, comparison.count(standing)));
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(standing, count)| format!("{count} {}", standing.as_str()))
        .collect();
    output::fields([
        ("stream", report.stream.to_string()),
        ("the file", format!("valid: {} events, checked offline", report.event_count)),
        ("commitments", counts.join(", ")),
        (
            "on the chain",
            format!(
                "{} of {} events, by their commitments",
                comparison.anchored_events(),
                report.event_count
            ),
        ),
        ("contract", format!("{} on chain {}", comparison.target.contract, comparison.target.chain_id)),
        ("kind", about(comparison.kind).to_owned()),
        ("code", code_told(comparison).to_owned()),
        (
            "asked about",
            format!(
                "block {} of {} ({})",
                comparison.block_number, comparison.block_time, comparison.block_hash
            ),
        ),
        ("stream's end there", head_told(comparison)),
    ])
}

fn about(kind: Kind) -> &'static str {
    match kind {
        Kind::Bowline => "BowlineAnchor: one history a stream, which every commitment continues",
        Kind::Original => "the original's: Merkle roots under ids, without order or block",
    }
}

fn code_told(comparison: &Comparison) -> &'static str {
    match comparison.code_is_known {
        true => "that of this release",
        false => "not that of this release's BowlineAnchor",
    }
}

fn head_told(comparison: &Comparison) -> String {
    let Some(head) = &comparison.head else { return "the contract keeps none".to_owned() };
    if head.head.length == 0 {
        return "it has none: nothing of the stream is there".to_owned();
    }
    let end = format!("event {}, state root {}", head.head.end, head.head.state_root);
    match head.beyond {
        Some(0) => format!("{end}: that of the file"),
        Some(count) => format!("{end}: {count} commitments after those of the file"),
        None if head.is_ahead => format!("{end}: beyond the file's commitments"),
        None => end,
    }
}

pub(crate) fn to_json(comparison: &Comparison, export: Value) -> Value {
    let row = |row: &Compared| {
        json!({
            "batch_id": row.commitment.batch_id, "sequence_start": row.commitment.sequence_start,
            "sequence_end": row.commitment.sequence_end, "corrects": row.commitment.corrects,
            "corrected_by": row.corrected_by, "merkle_root": row.commitment.merkle_root,
            "new_state_root": row.commitment.new_state_root, "standing": row.standing.as_str(),
            "block_number": row.place.and_then(|place| place.block_number),
            "block_time": row.place.and_then(|place| place.block_time), "confirmations": row.confirmations,
            "problem": row.problem,
        })
    };
    json!({
        "anchored": comparison.holds(),
        "chain_id": comparison.target.chain_id,
        "contract": comparison.target.contract,
        "contract_kind": comparison.kind,
        "contract_code_is_known": comparison.code_is_known,
        "block_number": comparison.block_number,
        "block_hash": comparison.block_hash,
        "block_time": comparison.block_time,
        "confirmations_needed": comparison.confirmations_needed,
        "final": comparison.count(Standing::Final),
        "unconfirmed": comparison.count(Standing::Unconfirmed),
        "replaced": comparison.count(Standing::Replaced),
        "missing": comparison.count(Standing::Missing),
        "anchored_event_count": comparison.anchored_events(),
        "commitments": comparison.rows.iter().map(row).collect::<Vec<_>>(),
        "head": comparison.head.as_ref().map(|head| json!({
            "state_root": head.head.state_root, "sequence_end": head.head.end, "length": head.head.length,
            "block_number": head.head.block_number, "commitments_beyond": head.beyond, "is_ahead": head.is_ahead,
            "problem": head.problem,
        })),
        "export": export,
    })
}
