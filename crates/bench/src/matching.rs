//! `bowline-bench match`: how many events a second one core holds against many triggers, without store and memory.
//!
//! What is measured is reading an event's payload and finding the triggers that it passes. Every event must pass
//! exactly as many as were made for it; otherwise there is no figure but an error.

mod events;
mod triggers;

use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use bowline_store::StoredEvent;
use bowline_triggers::TriggerIndex;
use clap::Args;
use serde_json::json;

use crate::settings::Settings;
use crate::{memory, shown};
use events::event;
use triggers::{MATCHES, Mix};

/// Events that differ, at most; a longer run goes round.
const EVENTS_MAX: u64 = 50_000;

/// `bowline-bench match`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Enabled triggers, no two alike; each event passes ten of them
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(17..=10_000_000))]
    triggers: u64,
    /// Events
    #[arg(long, value_name = "COUNT", default_value_t = 200_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    events: u64,
}

/// What all events came to.
#[derive(Debug, Default)]
struct Found {
    passed: u64,
    looked_at: u64,
    seconds: f64,
}

pub(crate) fn run(settings: &Settings, options: Options) -> Result<()> {
    let mix = Mix::new(options.triggers);
    let before_kib = memory::present_kib();
    let began = Instant::now();
    let mut index = TriggerIndex::default();
    for record in mix.triggers() {
        let refuse = |problems: Vec<_>| anyhow!("a trigger is refused: {problems:?}");
        index.insert(&record).map_err(refuse)?;
    }
    let built_secs = began.elapsed().as_secs_f64();
    let index_mib =
        memory::present_kib().zip(before_kib).map(|(after, before)| after.saturating_sub(before) / 1_024);
    let events: Vec<StoredEvent> =
        (0..options.events.min(EVENTS_MAX)).map(|number| event(number, mix.agents())).collect();
    let found = hold(&mut index, &events, options.events)?;
    let expected = MATCHES * options.events;
    ensure!(found.passed == expected, "{} matches instead of {expected}", found.passed);
    let per_sec = options.events as f64 / found.seconds;
    let peak_mib = memory::peak_mib();
    if settings.is_json() {
        let line = json!({
            "triggers": mix.count(), "organizations": mix.organizations(), "events": options.events,
            "matches": found.passed, "looked_at": found.looked_at, "seconds": found.seconds,
            "events_per_sec": per_sec, "built_seconds": built_secs, "index_mib": index_mib,
            "peak_memory_mib": peak_mib,
        });
        shown::line(&line.to_string())?;
        return Ok(());
    }
    let (count, organizations) = (mix.count(), mix.organizations());
    shown::line(&format!(
        "triggers  {count} of {organizations} organizations, put in within {built_secs:.1} s"
    ))?;
    let each = |count: u64| count as f64 / options.events as f64;
    let (passed, looked_at) = (each(found.passed), each(found.looked_at));
    shown::line(&format!(
        "matched   {per_sec:.0} events/s ({passed:.0} matches each, {looked_at:.1} looked at)"
    ))?;
    let mib = |mib: Option<u64>| mib.map_or("unknown".to_owned(), |mib| format!("{mib} MiB"));
    shown::line(&format!("memory    {} for the triggers, {} at most", mib(index_mib), mib(peak_mib)))?;
    Ok(())
}

/// Holds so many events against the triggers, going round.
fn hold(index: &mut TriggerIndex, events: &[StoredEvent], count: u64) -> Result<Found> {
    let mut found = Found::default();
    let began = Instant::now();
    for (_, event) in (0..count).zip(events.iter().cycle()) {
        let held = index.hold(event).map_err(|problem| anyhow!("an event is refused: {problem}"))?;
        let number = event.receipt.sequence_number;
        ensure!(
            held.passed as u64 == MATCHES,
            "event {number} has {} matches instead of {MATCHES}",
            held.passed
        );
        found.passed += held.passed as u64;
        found.looked_at += held.looked_at as u64;
    }
    found.seconds = began.elapsed().as_secs_f64();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_meets_its_ten_triggers_and_few_are_looked_at() {
        for count in [17, 1_000, 5_003] {
            let mix = Mix::new(count);
            let mut index = TriggerIndex::default();
            mix.triggers().for_each(|record| index.insert(&record).unwrap());
            assert_eq!(index.len() as u64, count);
            let events: Vec<StoredEvent> = (0..500).map(|number| event(number, mix.agents())).collect();
            let found = hold(&mut index, &events, 1_000).unwrap();
            assert_eq!(found.passed, 10_000);
            assert!(found.looked_at <= 12_000, "{} of {count}", found.looked_at);
        }
    }
}
