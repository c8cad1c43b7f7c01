//! Matching in figures: how many events a second one core holds against many triggers, and against ten times as many.
//! The load generator makes the triggers and the events, counts the matches and measures.

use std::fmt::Write as _;

use anyhow::Result;
use serde::Deserialize;

use super::builds::Program;
use super::load::ask;

/// Triggers of the two runs.
pub(super) const TRIGGERS: [u64; 2] = [100_000, 1_000_000];

const EVENTS: u64 = 500_000;
const EVENTS_QUICK: u64 = 100_000;

/// What the generator's `match` found.
#[derive(Deserialize)]
pub(super) struct Matched {
    pub(super) triggers: u64,
    organizations: u64,
    events: u64,
    matches: u64,
    looked_at: u64,
    pub(super) events_per_sec: f64,
    pub(super) built_seconds: f64,
    index_mib: Option<u64>,
}

/// Measures each number of triggers in a process of its own.
pub(super) fn measure(generator: &Program, quick: bool) -> Result<Vec<Matched>> {
    TRIGGERS.into_iter().map(|triggers| measure_one(generator, triggers, quick)).collect()
}

/// Measures one number of triggers.
pub(super) fn measure_one(generator: &Program, triggers: u64, quick: bool) -> Result<Matched> {
    let events = if quick { EVENTS_QUICK } else { EVENTS };
    eprintln!("{events} events are held against {triggers} triggers");
    let mut command = generator.command();
    command.args(["match", "--output", "json", "--triggers", &triggers.to_string()]);
    command.args(["--events", &events.to_string()]);
    ask(&mut command, &format!("{} match", generator.name()))
}

/// The table of the runs; the last column compares with the first one.
pub(super) fn write(text: &mut String, runs: &[Matched]) -> Result<()> {
    let Some(first) = runs.first() else { return Ok(()) };
    writeln!(
        text,
        "\nMatching: {} `NewFeedback` events as a store returns them, read and held against enabled triggers of every type of \
         condition, no two alike, on one core, without store and memory; the matches of every event are counted.\n",
        first.events
    )?;
    text.push_str("| triggers | organizations | matches an event | looked at | events/s | to the first | put in within s | MiB |\n");
    text.push_str("|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for run in runs {
        let each = |count: u64| count as f64 / run.events as f64;
        writeln!(
            text,
            "| {} | {} | {:.0} | {:.1} | {:.0} | {:.2} | {:.1} | {} |",
            run.triggers,
            run.organizations,
            each(run.matches),
            each(run.looked_at),
            run.events_per_sec,
            run.events_per_sec / first.events_per_sec,
            run.built_seconds,
            run.index_mib.map_or("–".to_owned(), |mib| mib.to_string())
        )?;
    }
    Ok(())
}
