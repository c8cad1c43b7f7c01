//! The circuit breaker: examples of its road, and what holds for every sequence of calls and clocks.
//!
//! The clock is the test's, so nothing here waits.

use std::sync::Arc;

use bowline_runtime::{Admission, Breaker, BreakerPolicy, BreakerState, CircuitBreaker, ManualClock};
use bowline_types::Timestamp;
use proptest::prelude::*;

const POLICY: BreakerPolicy = BreakerPolicy {
    failures_max: 3,
    failures_ms: u64::MAX,
    open_ms: 100,
    open_ms_max: 1_000,
    jitter_percent: 10,
    successes_min: 2,
    probe_ms_max: 500,
};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_micros(ms * 1_000)
}

/// A breaker that opened at 0.
fn opened() -> Breaker {
    let mut breaker = Breaker::new(POLICY, 7);
    (0..3).for_each(|_| breaker.record(Admission::Call, false, at(0)));
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker
}

fn probe(breaker: &mut Breaker, ms: i64) -> Admission {
    let admission = breaker.admit(at(ms));
    assert!(matches!(admission, Admission::Probe(_)), "{admission:?}");
    admission
}

#[test]
fn failures_in_a_row_open_it_and_probes_in_a_row_close_it() {
    let mut breaker = Breaker::new(POLICY, 7);
    for succeeded in [false, false, true, false, false] {
        breaker.record(Admission::Call, succeeded, at(0));
    }
    assert_eq!(breaker.state(), BreakerState::Closed);
    let mut breaker = opened();
    assert!(matches!(breaker.admit(at(50)), Admission::Refused(ms) if (40..=60).contains(&ms)));
    let first = probe(&mut breaker, 110);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert!(matches!(breaker.admit(at(111)), Admission::Refused(_)), "one probe at a time");
    breaker.record(first, true, at(112));
    let second = probe(&mut breaker, 112);
    // The first one's answer comes twice, and an old call's comes late.
    breaker.record(first, false, at(113));
    breaker.record(Admission::Call, false, at(113));
    breaker.record(second, true, at(114));
    assert_eq!((breaker.state(), breaker.admit(at(115))), (BreakerState::Closed, Admission::Call));
}

#[test]
fn failures_that_lie_further_apart_than_the_window_do_not_open_it() {
    let policy = BreakerPolicy { failures_ms: 1_000, ..POLICY };
    let mut breaker = Breaker::new(policy, 7);
    for ms in [0, 600, 1_200, 1_800, 2_900] {
        breaker.record(Admission::Call, false, at(ms));
        assert_eq!(breaker.state(), BreakerState::Closed, "at {ms}");
    }
    breaker.record(Admission::Call, false, at(2_950));
    breaker.record(Admission::Call, false, at(3_000));
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn pauses_grow_up_to_their_limit_and_begin_anew_after_it_closed() {
    let mut breaker = opened();
    let (mut now, mut pauses) = (0, Vec::new());
    for _ in 0..6 {
        let Admission::Refused(wait) = breaker.admit(at(now)) else { panic!("{breaker:?}") };
        pauses.push(wait);
        now += i64::try_from(wait).unwrap();
        let failed = probe(&mut breaker, now);
        breaker.record(failed, false, at(now));
    }
    let around = |pause: u64, middle: u64| pause.abs_diff(middle) <= middle / 10;
    assert!(pauses.iter().zip([100, 200, 400, 800, 1_000, 1_000]).all(|(p, m)| around(*p, m)), "{pauses:?}");
    for _ in 0..2 {
        now += 2_000;
        let good = probe(&mut breaker, now);
        breaker.record(good, true, at(now));
    }
    (0..3).for_each(|_| breaker.record(Admission::Call, false, at(now)));
    assert!(matches!(breaker.admit(at(now)), Admission::Refused(ms) if around(ms, 100)));
}

#[test]
fn a_probe_that_is_given_up_or_never_answered_makes_room_for_another() {
    let mut breaker = opened();
    let given_up = probe(&mut breaker, 110);
    breaker.abandon(given_up);
    probe(&mut breaker, 110);
    assert!(matches!(breaker.admit(at(609)), Admission::Refused(1)));
    assert!(matches!(breaker.admit(at(610)), Admission::Refused(_)));
    assert_eq!(breaker.state(), BreakerState::Open, "no answer is a failure");
    probe(&mut breaker, 830);
}

#[test]
fn tasks_share_one_and_a_dropped_pass_is_given_up() {
    let clock = Arc::new(ManualClock::at(at(0)));
    let policy = BreakerPolicy { failures_max: 1, jitter_percent: 0, successes_min: 1, ..POLICY };
    let breaker = CircuitBreaker::new("test", policy, clock.clone());
    let other = breaker.clone();
    drop(breaker.try_pass().unwrap());
    assert!(breaker.passes());
    breaker.try_pass().unwrap().fail();
    assert_eq!((other.passes(), other.try_pass().unwrap_err()), (false, 100));
    clock.set(at(100));
    let first = other.try_pass().unwrap();
    assert!(breaker.try_pass().is_err());
    drop(first);
    breaker.try_pass().unwrap().succeed();
    assert_eq!(other.state(), BreakerState::Closed);
}

#[derive(Debug, Clone)]
enum Step {
    Admit,
    Record(usize, bool),
    Abandon(usize),
    Clock(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Admit),
        3 => (0_usize..8, any::<bool>()).prop_map(|(n, ok)| Step::Record(n, ok)),
        1 => (0_usize..8).prop_map(Step::Abandon),
        2 => (-2_000_i64..2_000).prop_map(Step::Clock),
    ]
}

proptest! {
    /// Whatever happens, also to the clock: at most one probe is out, and a breaker that is let alone for its
    /// longest pause and its longest probe admits somebody; if that one and the next succeed, it closes.
    #[test]
    fn it_never_wedges(steps in prop::collection::vec(step(), 0..80), seed in any::<u64>()) {
        let mut breaker = Breaker::new(POLICY, seed);
        let (mut now, mut admitted): (i64, Vec<Admission>) = (0, Vec::new());
        for step in steps {
            match step {
                Step::Admit => match breaker.admit(at(now)) {
                    Admission::Refused(wait) => prop_assert!((1..=1_100).contains(&wait), "{wait}"),
                    admission => {
                        if let Admission::Probe(_) = admission {
                            prop_assert!(matches!(breaker.admit(at(now)), Admission::Refused(_)));
                        }
                        admitted.push(admission);
                    }
                },
                Step::Record(n, ok) => if let Some(admission) = admitted.get(n) {
                    breaker.record(*admission, ok, at(now));
                },
                Step::Abandon(n) => if let Some(admission) = admitted.get(n) {
                    breaker.abandon(*admission);
                },
                Step::Clock(by) => now += by,
            }
        }
        // Whoever waits as long as they are told, a few times, gets through; answers that are good close it.
        for _ in 0..8 {
            match breaker.admit(at(now)) {
                Admission::Refused(wait) => now += i64::try_from(wait).unwrap(),
                admission => breaker.record(admission, true, at(now)),
            }
        }
        prop_assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
