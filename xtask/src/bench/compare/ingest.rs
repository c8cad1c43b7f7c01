//! `bench ingest` for two builds: on each store a node of either, both up all the time, loaded in turns.
//!
//! The node that is not loaded has nothing to do meanwhile. The rates that are sent at half are the base's, the same for
//! both, so that their latencies can be compared.

use std::path::Path;

use anyhow::{Context, Result};

use super::table::{Figure, Table};
use super::{Pair, make_builds, tell, turn_by_turn};
use crate::bench::builds::Build;
use crate::bench::load::{Generator, LoadReport, Shape};
use crate::bench::node::Node;
use crate::bench::{
    ADMIN_API_KEY, AT_HALF, Options, SHAPES, Store, scratch, settings_of, start, timing, without_errors,
};
use crate::postgres::PrivatePostgres;
use crate::workspace::Workspace;

const KEYS: [&str; 5] = ["store", "batch", "connections", "streams", "sent/s"];
const FIGURES: [Figure; 4] = [
    Figure { name: "events/s", decimals: 0 },
    Figure { name: "p50 ms", decimals: 2 },
    Figure { name: "p99 ms", decimals: 2 },
    Figure { name: "errors", decimals: 0 },
];
const WRITER: [Figure; 1] = [Figure { name: "one caller without a server, events/s", decimals: 0 }];

/// Everything that a comparison measures.
struct Measured {
    load: Table,
    writer: Table,
    facts: Vec<String>,
    errors: u64,
}

/// Measures both builds and tells; `false` if a request failed.
pub(in crate::bench) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let builds = make_builds(workspace, options)?;
    let scratch = scratch()?;
    let postgres = PrivatePostgres::start()?;
    let generator = generator_of(&builds.this, options);
    let mut measured = Measured {
        load: Table::new(&KEYS, &FIGURES),
        writer: Table::new(&["store"], &WRITER),
        facts: vec![
            format!(
                "Nodes: one of each build for each store, default settings; the generator is `{}` of this build",
                generator.program.name()
            ),
            format!("PostgreSQL: {}", settings_of(&postgres)?),
            format!(
                "Each measurement: {} s after a warm-up of {} s",
                generator.timing.seconds, generator.timing.warmup_secs
            ),
        ],
        errors: 0,
    };
    let before = generator.verify_per_sec()?;
    for store in Store::ALL {
        let database = |side: &str| match store {
            Store::Sqlite => Ok(None),
            Store::Postgres => postgres.create_database(&format!("bench_{side}")).map(Some),
        };
        let databases = Pair { base: database("base")?, this: database("this")? };
        measure(store, &builds, options, scratch.path(), &databases, &mut measured)?;
    }
    let after = generator.verify_per_sec()?;
    measured
        .facts
        .push(format!("R: {before:.0} strict Ed25519 verifications/s on one core before, {after:.0} after"));
    tell(workspace, options, "ingest", &builds, &measured.facts, &[measured.load, measured.writer])?;
    Ok(without_errors(measured.errors))
}

fn generator_of<'a>(build: &'a Build, options: &Options) -> Generator<'a> {
    Generator { program: &build.generator, api_key: ADMIN_API_KEY, timing: timing(options) }
}

/// Both nodes on one store, through every shape of load.
fn measure(
    store: Store,
    builds: &Pair<Build>,
    options: &Options,
    scratch: &Path,
    databases: &Pair<Option<String>>,
    measured: &mut Measured,
) -> Result<()> {
    let folder = |side: &str| scratch.join(format!("{}-{side}", store.name()));
    let nodes = Pair {
        base: start(&builds.base.node, &folder("base"), databases.base.as_deref())?,
        this: start(&builds.this.node, &folder("this"), databases.this.as_deref())?,
    };
    for shape in SHAPES {
        let pairs = one(store, builds, options, &nodes, shape, measured)?;
        if AT_HALF.contains(&shape) {
            let rates: Vec<f64> = pairs.iter().map(|pair| pair.base.events_per_sec).collect();
            let mean = rates.iter().sum::<f64>() / rates.len() as f64;
            let half = Shape { rate: Some((mean / 2.0) as u32), ..shape };
            one(store, builds, options, &nodes, half, measured)?;
        }
    }
    let peak = Pair { base: nodes.base.peak_memory_kib()?, this: nodes.this.peak_memory_kib()? };
    let [base, this] = [peak.base, peak.this].map(|kib| kib as f64 / 1024.0);
    measured
        .facts
        .push(format!("Peak memory of the node on {}: base {base:.0} MiB, this {this:.0} MiB", store.name()));
    nodes.base.stop()?;
    nodes.this.stop()?;
    let mut round = 0;
    let pairs = turn_by_turn(builds, options.quick, |side| {
        round += 1;
        let folder = folder(&format!("writer-{round}"));
        generator_of(builds.of(side), options).writer(&folder, databases.of(side).as_deref())
    })?;
    measured.writer.add(vec![store.name().to_owned()], &pairs, |rate| vec![*rate]);
    eprintln!("{}", measured.writer.newest());
    Ok(())
}

/// One shape of load on both nodes in turns.
fn one(
    store: Store,
    builds: &Pair<Build>,
    options: &Options,
    nodes: &Pair<Node>,
    shape: Shape,
    measured: &mut Measured,
) -> Result<Vec<Pair<LoadReport>>> {
    let generator = generator_of(&builds.this, options);
    let pairs = turn_by_turn(builds, options.quick, |side| {
        let node = nodes.of(side);
        let load = generator.ingest(&node.url(), shape);
        load.with_context(|| {
            format!("{} with {shape}; the node's log says:\n{}", store.name(), node.log_tail())
        })
    })?;
    let sent = shape.rate.map_or_else(|| "all".to_owned(), |rate| rate.to_string());
    let numbers = [shape.batch, shape.connections, shape.streams].map(|number| number.to_string());
    let keys = [vec![store.name().to_owned()], numbers.to_vec(), vec![sent]].concat();
    let figures = |load: &LoadReport| vec![load.events_per_sec, load.p50_ms, load.p99_ms, load.errors as f64];
    measured.load.add(keys, &pairs, figures);
    measured.errors += pairs.iter().map(|pair| pair.base.errors + pair.this.errors).sum::<u64>();
    eprintln!("{}", measured.load.newest());
    Ok(pairs)
}
