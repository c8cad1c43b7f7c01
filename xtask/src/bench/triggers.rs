//! `cargo xtask bench triggers`: from a chain's logs to deliveries, in figures. The load generator measures; this starts it
//! with the chain, Redis and the peer, Ponder, which indexes the same contract on the same chain in the same run.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::builds::Program;
use super::delivery::{self, Amount, Delivered};
use super::load::ask;
use super::matching::{self, Matched};
use super::{Options, build, options_words, publish, report};
use crate::workspace::Workspace;
use crate::{anvil, npm};

/// Logs that both index, and logs that only this one does.
const FULL: [u64; 2] = [100_000, 1_000_000];
const QUICK: [u64; 2] = [10_000, 50_000];

const DELIVERIES: Amount = Amount { events: 50_000, single: 500 };
const DELIVERIES_QUICK: Amount = Amount { events: 5_000, single: 50 };

const PEER: &str = "0.16.10";
const PEER_PACKAGES: [&str; 4] = ["ponder@0.16.10", "viem@2.57.20", "hono@4.13.19", "typescript@5.9.3"];
const PEER_FILES: [(&str, &str); 4] = [
    ("ponder.config.ts", include_str!("ponder/config.ts")),
    ("ponder.schema.ts", include_str!("ponder/schema.ts")),
    ("src/index.ts", include_str!("ponder/index.ts")),
    ("src/api/index.ts", include_str!("ponder/api.ts")),
];
const PEER_TIME_MAX: Duration = Duration::from_secs(1_200);

#[derive(Deserialize)]
pub(super) struct Indexed {
    pub(super) logs: u64,
    in_block: u64,
    contract: String,
    pub(super) rpc_logs_per_sec: f64,
    pub(super) indexed_logs_per_sec: f64,
    ratio: f64,
    peak_memory_mib: Option<u64>,
}

/// Logs of the two runs.
pub(super) fn logs(quick: bool) -> [u64; 2] {
    if quick { QUICK } else { FULL }
}

pub(super) fn deliveries(quick: bool) -> Amount {
    if quick { DELIVERIES_QUICK } else { DELIVERIES }
}

/// A program that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Measures and writes the report.
pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let target = workspace.metadata()?.target_directory.into_std_path_buf();
    let anvil = anvil::find_or_install(&target)?;
    let modules = npm::find_or_install(&target, &format!("ponder-{PEER}"), &PEER_PACKAGES)?;
    let build = build(workspace, options)?;
    let matched = matching::measure(&build.generator, options.quick)?;
    let [both, alone] = logs(options.quick);
    let (chain, url) = start_anvil(&anvil)?;
    let with_peer = index_on(&build.generator, &url, both)?;
    eprintln!("Ponder indexes {both} logs");
    let peer_secs = peer(&modules, &url, &with_peer.contract)?;
    drop(chain);
    let large = index(&build.generator, &anvil, alone)?;
    let scratch = tempfile::Builder::new().prefix("bowline-bench-").tempdir()?;
    let amount = deliveries(options.quick);
    let delivered = delivery::measure(&build.node, &build.generator, scratch.path(), amount)?;
    let block = markdown(options, &[with_peer, large], peer_secs, &matched, &delivered)?;
    publish(workspace, options, "triggers", &block)?;
    Ok(true)
}

/// Indexes so many logs of a new chain.
pub(super) fn index(generator: &Program, anvil: &Path, logs: u64) -> Result<Indexed> {
    let (_chain, url) = start_anvil(anvil)?;
    index_on(generator, &url, logs)
}

fn start_anvil(program: &Path) -> Result<(Running, String)> {
    let mut command = Command::new(program);
    command.args(["--host", "127.0.0.1", "--port", "0", "--gas-limit", "3000000000"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().context("cannot start anvil")?;
    let stdout = child.stdout.take().context("anvil has no output")?;
    let running = Running(child);
    let mut lines = BufReader::new(stdout).lines();
    for line in lines.by_ref() {
        if let Some(address) = line?.strip_prefix("Listening on ") {
            // Read on, so that it never blocks on what it writes.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((running, format!("http://{}", address.trim())));
        }
    }
    bail!("anvil ended without listening")
}

fn index_on(generator: &Program, url: &str, logs: u64) -> Result<Indexed> {
    let mut command = generator.command();
    command.args(["index", "--output", "json", "--rpc-url", url, "--logs", &logs.to_string()]);
    ask(&mut command, &format!("{} index", generator.name()))
}

/// Seconds from the moment at which the peer begins to index until it is done, by its own log.
fn peer(modules: &Path, url: &str, contract: &str) -> Result<f64> {
    let folder = tempfile::Builder::new().prefix("bowline-peer-").tempdir()?;
    fs::create_dir_all(folder.path().join("src/api"))?;
    for (name, text) in PEER_FILES {
        fs::write(folder.path().join(name), text)?;
    }
    fs::write(folder.path().join("package.json"), r#"{"private":true,"type":"module"}"#)?;
    std::os::unix::fs::symlink(modules, folder.path().join("node_modules"))?;
    let mut command = Command::new(npm::node()?);
    command.arg(modules.join("ponder/dist/esm/bin/ponder.js"));
    command.args([
        "--log-level",
        "info",
        "start",
        "--schema",
        "peer",
        "--port",
        "0",
        "--hostname",
        "127.0.0.1",
    ]);
    command.env("PEER_RPC", url).env("PEER_ADDRESS", contract).env("PONDER_TELEMETRY_DISABLED", "true");
    command.env("PEER_ABI", abi()?).env_remove("DATABASE_URL").current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().context("cannot start Ponder")?;
    let stdout = child.stdout.take().context("Ponder has no output")?;
    let _running = Running(child);
    let (mut began, mut said) = (None, String::new());
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if line.contains("Started backfill indexing") {
            began = Some(Instant::now());
        }
        if line.contains("Completed backfill indexing") {
            let began = began.context("Ponder was done before it began")?;
            return Ok(began.elapsed().as_secs_f64());
        }
        if began.is_some_and(|began: Instant| began.elapsed() > PEER_TIME_MAX) {
            bail!("Ponder took more than {} s", PEER_TIME_MAX.as_secs());
        }
        writeln!(said, "{line}")?;
    }
    bail!("Ponder ended early:\n{said}")
}

/// The event as the peer is told of it.
fn abi() -> Result<String> {
    let artifact = include_str!("../../../contracts/artifacts/test/ERC8004Reputation.json");
    let artifact: serde_json::Value = serde_json::from_str(artifact).context("the registry's artifact")?;
    let items = artifact["abi"].as_array().context("the registry has no ABI")?;
    let is_event = |item: &&serde_json::Value| {
        let inputs = item["inputs"].as_array().map_or(0, Vec::len);
        item["type"] == "event" && item["name"] == "NewFeedback" && inputs == 11
    };
    let event = items.iter().find(is_event).context("the registry has no current NewFeedback")?;
    Ok(serde_json::json!([event]).to_string())
}

fn markdown(
    options: &Options,
    runs: &[Indexed],
    peer_secs: f64,
    matched: &[Matched],
    delivered: &Delivered,
) -> Result<String> {
    let mut text = String::from("<!-- bench triggers begin -->\n\n");
    let machine = report::machine(&std::env::temp_dir())?;
    writeln!(text, "- Command: `cargo xtask bench triggers{}`", options_words(options))?;
    writeln!(text, "- Machine: {machine}")?;
    writeln!(
        text,
        "- Chain: anvil on the same machine, filled with `NewFeedback` of the current version; the endpoint alone: the \
         same logs asked for in ranges of 50 blocks and parsed; on the line: decoded, signed, sequenced and durable in a \
         new SQLite store, with the checkpoint; the peer: Ponder {PEER} with its own embedded database, one row an event, \
         from its start of indexing to its end"
    )?;
    text.push_str("\n| logs | in a block | endpoint alone, logs/s | on the line, logs/s | ratio | Ponder, logs/s | to Ponder | peak MiB |\n");
    text.push_str("|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (place, run) in runs.iter().enumerate() {
        let rate = run.logs as f64 / peer_secs;
        let (peer, to_peer) = match place {
            0 => (format!("{rate:.0}"), format!("{:.1}", run.indexed_logs_per_sec / rate)),
            _ => ("–".to_owned(), "–".to_owned()),
        };
        writeln!(
            text,
            "| {} | {} | {:.0} | {:.0} | {:.2} | {peer} | {to_peer} | {} |",
            run.logs,
            run.in_block,
            run.rpc_logs_per_sec,
            run.indexed_logs_per_sec,
            run.ratio,
            run.peak_memory_mib.unwrap_or_default()
        )?;
    }
    matching::write(&mut text, matched)?;
    let found = delivered;
    writeln!(
        text,
        "\nDeliveries: {} events appended over HTTP in {:.1} s to a process that matches them, PostgreSQL, jobs through Redis, two \
         worker processes, a receiver on the same machine that answers at once; then {} events one at a time, from the \
         request that appends one to its webhook's arrival.\n",
        found.events, found.appended_seconds, found.single
    )?;
    text.push_str("| deliveries/s | came again | idle p50 ms | idle p99 ms | idle max ms |\n|---:|---:|---:|---:|---:|\n");
    writeln!(
        text,
        "| {:.0} | {} | {:.1} | {:.1} | {:.1} |",
        found.deliveries_per_sec, found.repeats, found.p50_ms, found.p99_ms, found.max_ms
    )?;
    text.push_str("\n<!-- bench triggers end -->");
    Ok(text)
}
