//! `cargo xtask bench`: what the release binary does, in figures. `bench ingest`: how many signed events a second one node takes, on each store.
//!
//! It builds the release binary, runs a fresh node for each store, drives it with the load generator `bowline-bench` in a
//! process of its own, and compares each rate to R, the rate at which one core does nothing but verify
//! signatures. It publishes no number without the settings and the machine that it was measured with. A quick
//! run is for trying things out, a comparison for judging a change: they write to a file only if told to.

mod anchor;
mod builds;
mod compare;
mod delivery;
mod load;
mod matching;
mod node;
mod report;
mod triggers;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::postgres::{self, PrivatePostgres};
use crate::workspace::Workspace;
use builds::Build;
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

#[derive(Args, Default)]
pub(crate) struct Options {
    /// Measure less (for `ingest` 2 s instead of 8 s each), and write no file unless --output is given
    #[arg(long)]
    quick: bool,

    /// Put the results into FILE instead of docs/benchmarks.md
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Measure this binary instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,

    /// Measure COMMIT beside this build, turn by turn, and print both with their ratios
    ///
    /// COMMIT is built in a worktree below the target folder, which later runs use again. Every row is measured
    /// for the base, for this, for the base and so on: 3 pairs, or 2 with --quick. One generator, this build's,
    /// drives the nodes of both. Nothing is written without --output.
    #[arg(long, value_name = "COMMIT")]
    compare: Option<String>,

    /// Compare with this binary of a node instead of building one
    #[arg(long, value_name = "FILE")]
    base_binary: Option<PathBuf>,
}

impl Options {
    fn is_comparison(&self) -> bool {
        self.compare.is_some() || self.base_binary.is_some()
    }
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
        What::Ingest(options) if options.is_comparison() => compare::ingest(workspace, options),
        What::Anchor(options) if options.is_comparison() => compare::anchor(workspace, options),
        What::Triggers(options) if options.is_comparison() => compare::triggers(workspace, options),
        What::Ingest(options) => ingest(workspace, options),
        What::Anchor(options) => anchor::run(workspace, options),
        What::Triggers(options) => triggers::run(workspace, options),
    }
}

fn ingest(workspace: &Workspace, options: &Options) -> Result<bool> {
    let build = build(workspace, options)?;
    let timing = timing(options);
    let generator = Generator { program: &build.generator, api_key: ADMIN_API_KEY, timing };
    let scratch = scratch()?;
    let postgres = PrivatePostgres::start()?;
    let mut report = Report::new(Facts {
        command: format!("cargo xtask bench ingest{}", options_words(options)),
        generator: build.generator.name(),
        machine: report::machine(scratch.path())?,
        postgres: settings_of(&postgres)?,
        timing,
    });

    let verify_before = generator.verify_per_sec()?;
    eprintln!("R before: {verify_before:.0} verifications/s");
    for store in Store::ALL {
        let database_url = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(postgres.create_database("bench_ingest")?),
        };
        measure(store, &build, &generator, scratch.path(), database_url, &mut report)?;
        eprintln!("{}", report.table());
    }
    let verify_after = generator.verify_per_sec()?;
    eprintln!("R after: {verify_after:.0} verifications/s");
    report.set_verify_rate(verify_before, verify_after)?;
    publish(workspace, options, "ingest", &report.markdown())?;
    Ok(without_errors(report.errors()))
}

/// Runs one node through every shape of load and stops it.
fn measure(
    store: Store,
    build: &Build,
    generator: &Generator<'_>,
    scratch: &Path,
    database_url: Option<String>,
    report: &mut Report,
) -> Result<()> {
    let node = start(&build.node, &scratch.join(store.name()), database_url.as_deref())?;
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

/// A fresh node with default settings.
fn start(binary: &Path, folder: &Path, database_url: Option<&str>) -> Result<Node> {
    Node::start(&node::Launch {
        binary,
        folder,
        api_key: ADMIN_API_KEY,
        database_url,
        config: None,
        environment: &[],
    })
}

fn timing(options: &Options) -> Timing {
    if options.quick { QUICK } else { FULL }
}

fn scratch() -> Result<tempfile::TempDir> {
    let made = tempfile::Builder::new().prefix("bowline-bench-").tempdir();
    made.context("cannot make a temporary directory for the nodes")
}

fn build(workspace: &Workspace, options: &Options) -> Result<Build> {
    match &options.binary {
        Some(binary) => Build::of_file(binary),
        None => Build::of_tree(workspace),
    }
}

fn settings_of(postgres: &PrivatePostgres) -> Result<String> {
    let settings = postgres::SETTINGS.map(|(name, value)| format!("{name}={value}")).join(", ");
    Ok(format!("{}: {settings}", postgres.version()?))
}

/// The options as they were given; the folder of a binary is this machine's own business.
fn options_words(options: &Options) -> String {
    let file_name = |path: &Option<PathBuf>| {
        path.as_deref().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned())
    };
    let mut words = String::new();
    if options.quick {
        words.push_str(" --quick");
    }
    for (option, value) in [
        ("--binary", file_name(&options.binary)),
        ("--compare", options.compare.clone()),
        ("--base-binary", file_name(&options.base_binary)),
    ] {
        words.extend(value.map(|value| format!(" {option} {value}")));
    }
    words
}

/// Prints the block and puts it into the file that the options name, or into the default one after a full run of one build.
fn publish(workspace: &Workspace, options: &Options, name: &str, block: &str) -> Result<()> {
    println!("{block}");
    let output = match &options.output {
        Some(output) => Some(output.clone()),
        None if options.quick || options.is_comparison() => None,
        None => Some(workspace.root().join(DEFAULT_OUTPUT)),
    };
    if let Some(output) = output {
        report::write(&output, name, block)?;
        eprintln!("written to {}", output.display());
    }
    Ok(())
}

/// `true` if all requests were answered with success.
fn without_errors(errors: u64) -> bool {
    if errors > 0 {
        eprintln!("error: {errors} requests failed under load; the rates above are not to be trusted");
    }
    errors == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_options_name_no_folder() {
        let options = Options {
            quick: true,
            binary: Some("target/release/bowline".into()),
            compare: Some("v0.1.0".to_owned()),
            ..Options::default()
        };
        assert_eq!(options_words(&options), " --quick --binary bowline --compare v0.1.0");
        assert!(options.is_comparison());
        assert_eq!(options_words(&Options::default()), "");
    }

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
