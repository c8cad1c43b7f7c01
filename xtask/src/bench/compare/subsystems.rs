//! `bench anchor` and `bench triggers` for two builds.
//!
//! Anchoring, indexing and matching run within a generator, so each build's own measures them; deliveries are made by
//! processes of a node's binary, and this build's generator drives both. Ponder is no build and is left out.

use anyhow::Result;

use super::table::{Figure, Table};
use super::{Pair, make_builds, tell, turn_by_turn};
use crate::anvil;
use crate::bench::anchor::Run;
use crate::bench::{Options, anchor as anchoring, delivery, matching, scratch, triggers as indexing};
use crate::workspace::Workspace;

const ANCHORS: [Figure; 2] =
    [Figure { name: "anchors/s", decimals: 0 }, Figure { name: "gas each", decimals: 0 }];
const MATCHES: [Figure; 2] =
    [Figure { name: "events/s", decimals: 0 }, Figure { name: "put in within s", decimals: 1 }];
const LOGS: [Figure; 2] = [
    Figure { name: "endpoint alone, logs/s", decimals: 0 },
    Figure { name: "on the line, logs/s", decimals: 0 },
];
const DELIVERIES: [Figure; 3] = [
    Figure { name: "deliveries/s", decimals: 0 },
    Figure { name: "idle p50 ms", decimals: 1 },
    Figure { name: "idle p99 ms", decimals: 1 },
];

/// Commitments on a chain, all runs of a build in one process, the builds in turns.
pub(in crate::bench) fn anchor(workspace: &Workspace, options: &Options) -> Result<bool> {
    let builds = make_builds(workspace, options)?;
    let target = workspace.metadata()?.target_directory.into_std_path_buf();
    let anvil = anvil::find_or_install(&target)?;
    let pairs = turn_by_turn(&builds, options.quick, |side| {
        anchoring::measure(&builds.of(side).generator, &anvil, options.quick)
    })?;
    let mut table = Table::new(&["commitments", "streams", "in a transaction"], &ANCHORS);
    let runs_count =
        pairs.iter().flat_map(|pair| [pair.base.runs.len(), pair.this.runs.len()]).min().unwrap_or(0);
    for index in 0..runs_count {
        let runs: Vec<Pair<&Run>> = pairs
            .iter()
            .map(|pair| Pair { base: &pair.base.runs[index], this: &pair.this.runs[index] })
            .collect();
        let Some(Pair { this: run, .. }) = runs.first() else { continue };
        let keys = [run.commitments, run.streams, run.in_transaction_max].map(|number| number.to_string());
        table.add(keys.to_vec(), &runs, |run| vec![run.anchors_per_sec, run.gas_each as f64]);
    }
    let facts =
        ["Chain: anvil on the same machine, a new one for each run; each build's own generator".to_owned()];
    tell(workspace, options, "anchor", &builds, &facts, &[table])?;
    Ok(true)
}

/// Matching, indexing and deliveries.
pub(in crate::bench) fn triggers(workspace: &Workspace, options: &Options) -> Result<bool> {
    let builds = make_builds(workspace, options)?;
    let target = workspace.metadata()?.target_directory.into_std_path_buf();
    let anvil = anvil::find_or_install(&target)?;
    let mut matches = Table::new(&["triggers"], &MATCHES);
    for triggers in matching::TRIGGERS {
        let pairs = turn_by_turn(&builds, options.quick, |side| {
            matching::measure_one(&builds.of(side).generator, triggers, options.quick)
        })?;
        matches
            .add(vec![triggers.to_string()], &pairs, |found| vec![found.events_per_sec, found.built_seconds]);
        eprintln!("{}", matches.newest());
    }
    let mut logs = Table::new(&["logs"], &LOGS);
    for count in indexing::logs(options.quick) {
        let pairs = turn_by_turn(&builds, options.quick, |side| {
            indexing::index(&builds.of(side).generator, &anvil, count)
        })?;
        let figures = |found: &indexing::Indexed| vec![found.rpc_logs_per_sec, found.indexed_logs_per_sec];
        logs.add(vec![count.to_string()], &pairs, figures);
        eprintln!("{}", logs.newest());
    }
    let amount = indexing::deliveries(options.quick);
    let pairs = turn_by_turn(&builds, options.quick, |side| {
        let scratch = scratch()?;
        delivery::measure(&builds.of(side).node, &builds.this.generator, scratch.path(), amount)
    })?;
    let mut deliveries = Table::new(&["events"], &DELIVERIES);
    let figures = |found: &delivery::Delivered| vec![found.deliveries_per_sec, found.p50_ms, found.p99_ms];
    deliveries.add(vec![amount.events.to_string()], &pairs, figures);
    eprintln!("{}", deliveries.newest());
    let facts = [
        "Matching and indexing: each build's own generator, a new anvil for each measurement".to_owned(),
        format!(
            "Deliveries: one gateway and two workers of each build, `{}` of this build",
            builds.this.generator.name()
        ),
    ];
    tell(workspace, options, "triggers", &builds, &facts, &[matches, logs, deliveries])?;
    Ok(true)
}
