//! Each check finds its own trouble, and no other one takes it for its own.
//!
//! Each case is a healthy system with one thing changed, at the runbook's thresholds.

use bowline_runtime::Status;
use bowline_store::{ActionFacts, ConnectionFacts, MatchingFacts};

use super::*;

const NOW: i64 = 1_700_000_000_000_000;

fn ago(secs: i64) -> Timestamp {
    Timestamp::from_micros(NOW - secs * 1_000_000)
}

fn none<T>() -> Seen<T> {
    Err("not looked at".to_owned())
}

fn healthy() -> TriggerFacts {
    let store = StoreFacts {
        engine: "postgres",
        schema: none(),
        streams: none(),
        chains: none(),
        dead_letters: none(),
        tables: none(),
        indexes: none(),
        connections: Ok(ConnectionFacts { used: 30, active: 49, max: 100, long_idle: 0 }),
        activity: none(),
        counter_locks: none(),
        busiest_tenants: none(),
        sources: none(),
        matching: Ok(MatchingFacts {
            triggers: 2,
            behind_events: 999,
            last_at: Some(ago(299)),
            matched: 40,
            set_aside: 0,
        }),
        actions: Ok(ActionFacts {
            waiting: 10_000,
            running: 5,
            dead: 0,
            oldest_due_at: Some(ago(20)),
            attempts: Vec::new(),
        }),
        open_breakers: Ok(Vec::new()),
    };
    TriggerFacts { store: Ok(store), now: ago(0) }
}

fn with(change: impl FnOnce(&mut StoreFacts)) -> TriggerFacts {
    let mut facts = healthy();
    change(facts.store.as_mut().unwrap());
    facts
}

fn sick(facts: &TriggerFacts) -> Vec<(&'static str, Status)> {
    let checked = CHECKS.iter().map(|check| check.run(facts));
    let sick = checked.filter(|checked| matches!(checked.finding.status, Status::Warn | Status::Fail));
    sick.map(|checked| {
        assert!(checked.finding.fix.is_some_and(|fix| !fix.is_empty()), "{} mends nothing", checked.check);
        (checked.check, checked.finding.status)
    })
    .collect()
}

#[test]
fn a_healthy_system_is_called_well_by_every_check() {
    for check in CHECKS {
        let checked = check.run(&healthy());
        assert_eq!(checked.finding.status, Status::Ok, "{checked:?}");
        assert!(!checked.finding.cause.is_empty());
    }
}

#[test]
fn each_trouble_is_found_by_its_check_alone() {
    let matching = |change: fn(&mut MatchingFacts)| with(|s| change(s.matching.as_mut().unwrap()));
    let active = |active| with(|s| s.connections.as_mut().unwrap().active = active);
    let cases = [
        (matching(|m| m.behind_events = 1_000), "matching", Status::Warn),
        (matching(|m| m.last_at = Some(ago(300))), "matching", Status::Fail),
        (matching(|m| m.last_at = None), "matching", Status::Fail),
        (matching(|m| m.set_aside = 1), "set_aside", Status::Warn),
        (active(50), "db_active", Status::Warn),
        (active(100), "db_active", Status::Fail),
    ];
    for (facts, check, status) in cases {
        assert_eq!(sick(&facts), [(check, status)]);
    }
}

#[test]
fn a_full_queue_is_told_as_such_and_not_as_a_hanging_matcher() {
    let full = with(|s| {
        s.actions.as_mut().unwrap().waiting = 50_000;
        s.matching.as_mut().unwrap().last_at = Some(ago(4_000));
    });
    assert_eq!(sick(&full), [("matching", Status::Warn)]);
}

#[test]
fn what_could_not_be_looked_at_is_skipped_with_the_reason() {
    let facts = TriggerFacts { store: Err("no connection".to_owned()), now: ago(0) };
    for check in CHECKS {
        let finding = check.run(&facts).finding;
        assert_eq!(finding.status, Status::Skipped, "{}", check.name);
        assert!(finding.cause.contains("no connection"), "{}", check.name);
    }
    let idle = with(|s| {
        let matching =
            MatchingFacts { triggers: 0, behind_events: 7, last_at: None, matched: 0, set_aside: 0 };
        s.matching = Ok(matching);
    });
    assert_eq!(sick(&idle), []);
}
