//! `cargo xtask bench`: what the release binary does, in figures. `bench ingest`: how many signed events a second one node takes, on each store.
//!
//! It builds the release binary, runs a fresh node for each store, drives it with the binary's own
//! load generator in a process of its own, and compares each rate to R, the rate at which one core
//! does nothing but verify signatures. It publishes no number without the settings and the machine
//! that it was measured with. A quick run is for trying things out: it writes to a file only if told to.

mod anchor;
mod delivery;
mod load;
mod matching;
mod node;
mod report;
mod triggers;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};

use crate::postgres::{self, PrivatePostgres};
use crate::workspace::Workspace;
use load::{Generator, LoadReport, Shape, Timing};
use node::Node;
use report::{Facts, Report, Row};

#[derive(Subcommand)]
pub(crate) enum What {
    /// Measure events a second over HTTP, for SQLite and PostgreSQL, batches and connections
    ///
    /// Takes about five minutes. The tables go to stderr while it runs, the Markdown to stdout and
    /// into the output file, between its `bench ingest` marks.
    Ingest(Options),
    /// Measure how fast a backlog of commitments gets on a chain, and its gas, with anvil
    ///
    /// Takes about two minutes. The Markdown goes to stdout and into the output file, between its `bench anchor`
    /// marks.
    Anchor(Options),
    /// Measure how fast logs get from a chain on the line, beside Ponder, and what matching and delivery reach
    ///
    /// The Markdown goes to stdout and into the output file, between its `bench triggers` marks.
    Triggers(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// Measure for 2 s instead of 8 s each, and write no file unless --output is given
    #[arg(long)]
    quick: bool,

    /// Put the results into FILE instead of docs/benchmarks.md
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Measure this binary instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

const DEFAULT_OUTPUT: &str = "docs/benchmarks.md";
const ADMIN_API_KEY: &str = "bench_admin_key";
const FULL: Timing = Timing { seconds: 8, warmup_secs: 2 };
const QUICK: Timing = Timing { seconds: 2, warmup_secs: 1 };

/// Every shape of load that each store is measured with.
const SHAPES: [Shape; 8] = [
    Shape { batch: 1, connections: 1, streams: 1, rate: None },
    Shape { batch: 1, connections: 16, streams: 1, rate: None },
    Shape { batch: 1, connections: 64, streams: 1, rate: None },
    Shape { batch: 1, connections: 64, streams: 16, rate: None },
    Shape { batch: 100, connections: 1, streams: 1, rate: None },
    Shape { batch: 100, connections: 16, streams: 1, rate: None },
    Shape { batch: 100, connections: 16, streams: 16, rate: None },
    Shape { batch: 100, connections: 64, streams: 1, rate: None },
];

/// The shapes that are also measured at half of the rate that they reach.
const AT_HALF: [Shape; 2] = [
    Shape { batch: 1, connections: 64, streams: 1, rate: None },
    Shape { batch: 100, connections: 16, streams: 1, rate: None },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Store {
    Sqlite,
    Postgres,
}

impl Store {
    const ALL: [Store; 2] = [Store::Sqlite, Store::Postgres];

    fn name(self) -> &'static str {
        match self {
            Store::Sqlite => "sqlite",
            Store::Postgres => "postgres",
        }
    }
}

/// Measures everything and writes the report; `false` if a load run counted errors.
pub(crate) fn run(workspace: &Workspace, what: &What) -> Result<bool> {
    match what {
        What::Ingest(options) => ingest(workspace, options),
        What::Anchor(options) => anchor::run(workspace, options),
        What::Triggers(options) => triggers::run(workspace, options),
    }
}

fn ingest(workspace: &Workspace, options: &Options) -> Result<bool> {
    let binary = binary(workspace, options)?;
    let timing = if options.quick { QUICK } else { FULL };
    let generator = Generator { binary: &binary, api_key: ADMIN_API_KEY, timing };
    let scratch = tempfile::Builder::new()
        .prefix("bowline-bench-")
        .tempdir()
        .context("cannot make a temporary directory for the nodes")?;
    let postgres = PrivatePostgres::start()?;
    let mut report = Report::new(facts(options, timing, scratch.path(), &postgres)?);

    let verify_before = generator.verify_per_sec()?;
    eprintln!("R before: {verify_before:.0} verifications/s");
    for store in Store::ALL {
        let database_url = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(postgres.create_database("bench_ingest")?),
        };
        measure(store, &generator, scratch.path(), database_url, &mut report)?;
        eprintln!("{}", report.table());
    }
    let verify_after = generator.verify_per_sec()?;
    eprintln!("R after: {verify_after:.0} verifications/s");
    report.set_verify_rate(verify_before, verify_after)?;
    publish(workspace, options, &report)
}

/// Runs one node through every shape of load and stops it.
fn measure(
    store: Store,
    generator: &Generator<'_>,
    scratch: &Path,
    database_url: Option<String>,
    report: &mut Report,
) -> Result<()> {
    let node = Node::start(&node::Launch {
        binary: generator.binary,
        folder: &scratch.join(store.name()),
        api_key: ADMIN_API_KEY,
        database_url: database_url.as_deref(),
        config: None,
        environment: &[],
    })?;
    for shape in SHAPES {
        let full = one(store, generator, &node, shape)?;
        let half = Shape { rate: Some((full.events_per_sec / 2.0) as u32), ..shape };
        report.add(Row { store: store.name(), shape, load: full });
        if AT_HALF.contains(&shape) {
            let load = one(store, generator, &node, half)?;
            report.add(Row { store: store.name(), shape: half, load });
        }
    }
    let peak_kib = node.peak_memory_kib()?;
    node.stop()?;
    report.add_peak_memory(store.name(), peak_kib);
    let writer = generator.writer(&scratch.join(store.name()).join("writer"), database_url.as_deref())?;
    eprintln!("{} one transaction an event: {writer:.0} events/s", store.name());
    report.add_writer(store.name(), writer);
    Ok(())
}

fn one(store: Store, generator: &Generator<'_>, node: &Node, shape: Shape) -> Result<LoadReport> {
    let result = generator.ingest(&node.url(), shape);
    let load = result.with_context(|| {
        format!("{} with {shape}; the node's log says:\n{}", store.name(), node.log_tail())
    })?;
    eprintln!("{} {shape}: {:.0} events/s, {} errors", store.name(), load.events_per_sec, load.errors);
    Ok(load)
}

fn binary(workspace: &Workspace, options: &Options) -> Result<PathBuf> {
    if let Some(binary) = &options.binary {
        return binary.canonicalize().with_context(|| format!("{} is not there", binary.display()));
    }
    let status = workspace
        .cargo()
        .args(["build", "--release", "-p", "bowline-cli"])
        .status()
        .context("cannot run cargo build")?;
    if !status.success() {
        bail!("the release binary does not build; its errors are above");
    }
    let binary = workspace.metadata()?.target_directory.join("release/bowline").into_std_path_buf();
    if !binary.is_file() {
        bail!("{} was not built; does bowline-cli still have a binary of that name?", binary.display());
    }
    Ok(binary)
}

fn facts(options: &Options, timing: Timing, scratch: &Path, postgres: &PrivatePostgres) -> Result<Facts> {
    let settings = postgres::SETTINGS.map(|(name, value)| format!("{name}={value}")).join(", ");
    let quick = if options.quick { " --quick" } else { "" };
    let binary = binary_words(options);
    Ok(Facts {
        command: format!("cargo xtask bench ingest{quick}{binary}"),
        machine: report::machine(scratch)?,
        postgres: format!("{}: {settings}", postgres.version()?),
        timing,
    })
}

/// The option with a given binary; its folder is this machine's own business.
fn binary_words(options: &Options) -> String {
    let binary = options.binary.as_deref().and_then(Path::file_name);
    binary.map_or(String::new(), |name| format!(" --binary {}", name.to_string_lossy()))
}

fn publish(workspace: &Workspace, options: &Options, report: &Report) -> Result<bool> {
    let block = report.markdown();
    println!("{block}");
    let output = match &options.output {
        Some(output) => Some(output.clone()),
        None if options.quick => None,
        None => Some(workspace.root().join(DEFAULT_OUTPUT)),
    };
    if let Some(output) = output {
        report::write(&output, "ingest", &block)?;
        eprintln!("written to {}", output.display());
    }
    let errors = report.errors();
    if errors > 0 {
        eprintln!("error: {errors} requests failed under load; the rates above are not to be trusted");
    }
    Ok(errors == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_measured_once() {
        for (index, shape) in SHAPES.iter().enumerate() {
            assert!(!SHAPES[..index].contains(shape), "{shape} is there twice");
        }
        for batch in [1, 100] {
            for connections in [1, 16, 64] {
                assert!(SHAPES.contains(&Shape { batch, connections, streams: 1, rate: None }));
            }
        }
    }
}
