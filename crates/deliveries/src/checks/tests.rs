//! Each check finds its own trouble, and no other one takes it for its own.
//!
//! Each case is a healthy system with one thing changed, at the runbook's thresholds.

use bowline_runtime::Status;
use bowline_store::{ActionFacts, DestinationFacts, MatchingFacts, OpenBreaker};

use super::*;

const NOW: i64 = 1_700_000_000_000_000;

fn ago(secs: i64) -> Timestamp {
    Timestamp::from_micros(NOW - secs * 1_000_000)
}

fn destination(attempts: u64, failed: u64) -> DestinationFacts {
    let error = (failed > 0).then(|| "HTTP 503".to_owned());
    DestinationFacts { destination: "hooks.example:443".to_owned(), attempts, failed, error }
}

fn wrong_key() -> DestinationFacts {
    let error = Some("SECRETS_UNREADABLE: the secrets can't be opened".to_owned());
    DestinationFacts { destination: String::new(), attempts: 1, failed: 1, error }
}

fn breaker(kind: &'static str, name: &str) -> OpenBreaker {
    let last_failure_at = Some(ago(30));
    OpenBreaker { kind, name: name.to_owned(), state: "open".to_owned(), failure_count: 10, last_failure_at }
}

fn none<T>() -> Seen<T> {
    Err("not looked at".to_owned())
}

fn healthy() -> DeliveryFacts {
    let store = StoreFacts {
        engine: "postgres",
        schema: none(),
        streams: none(),
        chains: none(),
        dead_letters: none(),
        tables: none(),
        indexes: none(),
        connections: none(),
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
            attempts: vec![destination(90, 10), destination(10, 0)],
        }),
        open_breakers: Ok(Vec::new()),
    };
    DeliveryFacts { store: Ok(store), redis: Some(Ok(RedisFacts { memory_bytes: 500_000_000 })), now: ago(0) }
}

fn with(change: impl FnOnce(&mut StoreFacts)) -> DeliveryFacts {
    let mut facts = healthy();
    change(facts.store.as_mut().unwrap());
    facts
}

fn sick(facts: &DeliveryFacts) -> Vec<(&'static str, Status)> {
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
    let actions = |change: fn(&mut ActionFacts)| with(|s| change(s.actions.as_mut().unwrap()));
    let breakers = |open: Vec<OpenBreaker>| with(|s| s.open_breakers = Ok(open));
    let redis = |redis: Seen<RedisFacts>| DeliveryFacts { redis: Some(redis), ..healthy() };
    let cases = [
        (actions(|a| a.waiting = 10_001), "queue_depth", Status::Warn),
        (actions(|a| a.attempts = vec![destination(9, 1)]), "deliveries", Status::Ok),
        (actions(|a| a.attempts = vec![destination(9, 9)]), "deliveries", Status::Ok),
        (actions(|a| a.attempts = vec![destination(100, 11)]), "deliveries", Status::Warn),
        (actions(|a| a.attempts = vec![destination(100, 51)]), "deliveries", Status::Fail),
        (actions(|a| a.attempts = vec![destination(100, 1), wrong_key()]), "deliveries", Status::Fail),
        (actions(|a| a.dead = 1), "job_letters", Status::Warn),
        (breakers(vec![breaker("destination", "a:1")]), "breakers", Status::Warn),
        (breakers(vec![breaker("trigger", "t1"), breaker("destination", "a:1")]), "breakers", Status::Warn),
        (breakers(vec![breaker("trigger", "t1"), breaker("trigger", "t2")]), "breakers", Status::Fail),
        (redis(Ok(RedisFacts { memory_bytes: 500_000_001 })), "redis", Status::Warn),
        (redis(Err("connection refused".to_owned())), "redis", Status::Fail),
    ];
    for (facts, check, status) in cases {
        let expected = if status == Status::Ok { Vec::new() } else { vec![(check, status)] };
        assert_eq!(sick(&facts), expected);
    }
}

#[test]
fn a_full_queue_is_a_failure() {
    let full = with(|s| s.actions.as_mut().unwrap().waiting = 50_000);
    assert_eq!(sick(&full), [("queue_depth", Status::Fail)]);
}

#[test]
fn jobs_that_nobody_delivers_are_found_and_a_quiet_day_is_none() {
    let quiet = |due: Option<i64>| {
        with(|s| {
            let actions = s.actions.as_mut().unwrap();
            actions.attempts = Vec::new();
            actions.oldest_due_at = due.map(ago);
        })
    };
    assert_eq!(sick(&quiet(Some(300))), [("deliveries", Status::Fail)]);
    assert_eq!(sick(&quiet(Some(299))), []);
    assert_eq!(sick(&quiet(None)), []);
}

#[test]
fn what_could_not_be_looked_at_is_skipped_with_the_reason() {
    let facts = DeliveryFacts { store: Err("no connection".to_owned()), redis: None, now: ago(0) };
    for check in CHECKS {
        let finding = check.run(&facts).finding;
        assert_eq!(finding.status, Status::Skipped, "{}", check.name);
        assert!(finding.cause.contains("no connection") || finding.cause.contains("REDIS_URL"));
    }
}
