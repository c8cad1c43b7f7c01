//! `cargo xtask bench anchor`: commitments a second that get on a chain, and their gas, with a real EVM node on this
//! machine. The load generator measures; this starts it with the node's program and writes down what it found.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::builds::Program;
use super::load::ask;
use super::{Options, build, options_words, publish, report};
use crate::anvil;
use crate::workspace::Workspace;

/// Commitments of the large runs, and of the one with single transactions.
const FULL: [&str; 4] = ["--commitments", "10000", "--single", "500"];
const QUICK: [&str; 4] = ["--commitments", "500", "--single", "50"];

#[derive(Deserialize)]
pub(super) struct Found {
    pub(super) runs: Vec<Run>,
    pub(super) peak_memory_mib: Option<u64>,
}

#[derive(Deserialize)]
pub(super) struct Run {
    pub(super) commitments: u64,
    pub(super) streams: u64,
    pub(super) in_transaction_max: u64,
    seconds: f64,
    pub(super) anchors_per_sec: f64,
    transactions: u64,
    pub(super) gas_each: u64,
}

/// Measures and writes the report.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let target = workspace.metadata()?.target_directory.into_std_path_buf();
    let anvil = anvil::find_or_install(&target)?;
    let build = build(workspace, options)?;
    let found = measure(&build.generator, &anvil, options.quick)?;
    let block = markdown(options, &found)?;
    publish(workspace, options, "anchor", &block)?;
    Ok(true)
}

/// All runs in one process, each on a chain of its own.
pub(super) fn measure(generator: &Program, anvil: &Path, quick: bool) -> Result<Found> {
    let size = if quick { QUICK } else { FULL };
    let mut command = generator.command();
    command.args(["anchor", "--output", "json"]).args(size).env("BOWLINE_ANVIL", anvil);
    ask(&mut command, &format!("{} anchor", generator.name()))
}

fn markdown(options: &Options, found: &Found) -> Result<String> {
    let single = found.runs.iter().find(|run| run.in_transaction_max == 1);
    let single = single.context("there is no run with single transactions to compare with")?.anchors_per_sec;
    let mut text = String::from("<!-- bench anchor begin -->\n\n");
    let machine = report::machine(&std::env::temp_dir())?;
    writeln!(text, "- Command: `cargo xtask bench anchor{}`", options_words(options))?;
    writeln!(text, "- Machine: {machine}")?;
    writeln!(
        text,
        "- Chain: anvil on the same machine, which makes a block for each transaction; a new one, a new contract and a new SQLite store for each run"
    )?;
    writeln!(
        text,
        "- Time: from the start of the anchoring process until the last commitment is marked as final, one block on top"
    )?;
    if let Some(memory) = found.peak_memory_mib {
        writeln!(text, "- Peak memory of the process with all runs: {memory} MiB")?;
    }
    text.push_str("\n| commitments | streams | in a transaction | transactions | seconds | anchors/s | to single | gas each |\n");
    text.push_str("|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for run in &found.runs {
        writeln!(
            text,
            "| {} | {} | {} | {} | {:.2} | {:.0} | {:.1} | {} |",
            run.commitments,
            run.streams,
            run.in_transaction_max,
            run.transactions,
            run.seconds,
            run.anchors_per_sec,
            run.anchors_per_sec / single,
            run.gas_each
        )?;
    }
    text.push_str("\n<!-- bench anchor end -->");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_held_against_single_transactions() {
        let run = |in_transaction_max, anchors_per_sec| Run {
            commitments: 100,
            streams: 1,
            in_transaction_max,
            seconds: 2.0,
            anchors_per_sec,
            transactions: 1,
            gas_each: 33_000,
        };
        let found = Found { runs: vec![run(100, 800.0), run(1, 40.0)], peak_memory_mib: Some(50) };
        let options = Options { quick: true, ..Options::default() };
        let text = markdown(&options, &found).unwrap();
        assert!(text.contains("| 100 | 1 | 100 | 1 | 2.00 | 800 | 20.0 | 33000 |"), "{text}");
        assert!(markdown(&options, &Found { runs: Vec::new(), ..found }).is_err());
    }
}
