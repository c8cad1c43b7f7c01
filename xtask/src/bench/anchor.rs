//! `cargo xtask bench anchor`: commitments a second that get on a chain, and their gas, with a real EVM node on this
//! machine. The binary measures; this starts it with the node's program and writes down what it found.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{DEFAULT_OUTPUT, Options, binary, binary_words, report};
use crate::anvil;
use crate::workspace::Workspace;

/// Commitments of the large runs, and of the one with single transactions.
const FULL: [&str; 4] = ["--commitments", "10000", "--single", "500"];
const QUICK: [&str; 4] = ["--commitments", "500", "--single", "50"];

#[derive(Deserialize)]
struct Found {
    runs: Vec<Run>,
    peak_memory_mib: Option<u64>,
}

#[derive(Deserialize)]
struct Run {
    commitments: u64,
    streams: u64,
    in_transaction_max: u64,
    seconds: f64,
    anchors_per_sec: f64,
    transactions: u64,
    gas_each: u64,
}

/// Measures and writes the report.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let target = workspace.metadata()?.target_directory.into_std_path_buf();
    let anvil = anvil::find_or_install(&target)?;
    let size = if options.quick { QUICK } else { FULL };
    let mut command = Command::new(binary(workspace, options)?);
    command.args(["bench", "anchor", "--output", "json"]).args(size).env("BOWLINE_ANVIL", anvil);
    let output = command.stderr(std::process::Stdio::inherit()).output().context("cannot run the binary")?;
    if !output.status.success() {
        bail!("`bowline bench anchor` ended with {}", output.status);
    }
    let found: Found = serde_json::from_slice(&output.stdout).context("the report of the binary")?;
    let block = markdown(options, &found)?;
    println!("{block}");
    let file = match &options.output {
        Some(output) => Some(output.clone()),
        None if options.quick => None,
        None => Some(workspace.root().join(DEFAULT_OUTPUT)),
    };
    if let Some(file) = file {
        report::write(&file, "anchor", &block)?;
        eprintln!("written to {}", file.display());
    }
    Ok(true)
}

fn markdown(options: &Options, found: &Found) -> Result<String> {
    let single = found.runs.iter().find(|run| run.in_transaction_max == 1);
    let single = single.context("there is no run with single transactions to compare with")?.anchors_per_sec;
    let mut text = String::from("<!-- bench anchor begin -->\n\n");
    let quick = if options.quick { " --quick" } else { "" };
    let machine = report::machine(&std::env::temp_dir())?;
    writeln!(text, "- Command: `cargo xtask bench anchor{quick}{}`", binary_words(options))?;
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
        let options = Options { quick: true, output: None, binary: None };
        let text = markdown(&options, &found).unwrap();
        assert!(text.contains("| 100 | 1 | 100 | 1 | 2.00 | 800 | 20.0 | 33000 |"), "{text}");
        assert!(markdown(&options, &Found { runs: Vec::new(), ..found }).is_err());
    }
}
