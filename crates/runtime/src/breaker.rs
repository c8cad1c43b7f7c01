//! A circuit breaker: stops asking something that is away, and finds out by single probes when it is back.
//!
//! [`Breaker`] is the decision and nothing else: it is told the time, and it holds no lock. [`CircuitBreaker`]
//! shares one between tasks, with the injected clock and its metrics. A probe that is never answered, or whose
//! caller is gone, can't hold the breaker half open for ever, and neither can a clock that goes back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bowline_types::Timestamp;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::Clock;

const STATE: &str = "bowline_circuit_breaker_state";
const TRANSITIONS: &str = "bowline_circuit_breaker_transitions_total";
const REFUSED: &str = "bowline_circuit_breaker_refused_total";

/// When a breaker opens, for how long, and what closes it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it; at least 1 counts.
    pub failures_max: u32,
    /// Milliseconds within which they must happen: an older first one does not count any more.
    pub failures_ms: u64,
    /// Milliseconds that it stays open the first time; doubled each time that a probe fails.
    pub open_ms: u64,
    /// Milliseconds that it stays open at most, before the jitter.
    pub open_ms_max: u64,
    /// By how many percent a pause may be shorter or longer, so that many nodes don't probe together; 50 at most.
    pub jitter_percent: u64,
    /// Probes in a row that must succeed to close it; at least 1 counts.
    pub successes_min: u32,
    /// Milliseconds after which a probe without an answer counts as failed.
    pub probe_ms_max: u64,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures_max: 5,
            failures_ms: u64::MAX,
            open_ms: 1_000,
            open_ms_max: 60_000,
            jitter_percent: 10,
            successes_min: 1,
            probe_ms_max: 30_000,
        }
    }
}

/// Where a breaker is, with the number that its gauge shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed = 0,
    /// One probe at a time passes.
    HalfOpen = 1,
    /// Nothing passes.
    Open = 2,
}

impl BreakerState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Closed, Self::HalfOpen, Self::Open];

    /// The word in metrics, answers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }

    /// The state of that gauge value.
    pub fn of_gauge(value: f64) -> Option<Self> {
        Self::ALL.into_iter().find(|state| f64::from(*state as u8) == value)
    }
}

/// What a call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It passes; its outcome is to be recorded.
    Call,
    /// It passes as a probe; its outcome decides. The number tells it from earlier probes.
    Probe(u64),
    /// It is refused; milliseconds until a call may be the next probe.
    Refused(u64),
}

#[derive(Debug, Clone)]
enum Phase {
    Closed { failures: VecDeque<Timestamp> },
    Open { since: Timestamp, for_ms: u64 },
    HalfOpen { successes: u32, probing_since: Option<Timestamp> },
}

/// The decision alone: whoever holds it tells it the time.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    phase: Phase,
    /// How many times in a row it opened.
    opened: u32,
    probes: u64,
    random: u64,
}

impl Breaker {
    /// A closed breaker; `seed` makes its jitter differ from other breakers'.
    pub fn new(policy: BreakerPolicy, seed: u64) -> Self {
        Self {
            policy,
            phase: Phase::Closed { failures: VecDeque::new() },
            opened: 0,
            probes: 0,
            random: seed | 1,
        }
    }

    /// Where it is.
    pub fn state(&self) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { .. } => BreakerState::Open,
            Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether a call may pass now.
    pub fn admit(&mut self, now: Timestamp) -> Admission {
        match &mut self.phase {
            Phase::Closed { .. } => Admission::Call,
            Phase::Open { since, for_ms } => {
                let left = left_ms(since, *for_ms, now);
                if left > 0 {
                    return Admission::Refused(left);
                }
                self.phase = Phase::HalfOpen { successes: 0, probing_since: Some(now) };
                self.next_probe()
            }
            Phase::HalfOpen { probing_since: probing @ None, .. } => {
                *probing = Some(now);
                self.next_probe()
            }
            Phase::HalfOpen { probing_since: Some(since), .. } => {
                let left = left_ms(since, self.policy.probe_ms_max, now);
                if left > 0 {
                    return Admission::Refused(left);
                }
                Admission::Refused(self.open(now))
            }
        }
    }

    /// Takes note of how an admitted call ended. The answer of a call that passed before the breaker opened, or
    /// of a probe that is not the present one, decides nothing.
    pub fn record(&mut self, admission: Admission, succeeded: bool, now: Timestamp) {
        match (&mut self.phase, admission) {
            (Phase::Closed { failures }, Admission::Call) => {
                if succeeded {
                    failures.clear();
                    return;
                }
                failures.push_back(now);
                let is_old = |at: &Timestamp| {
                    let past_ms = now.micros().saturating_sub(at.micros()).unsigned_abs() / 1_000;
                    past_ms > self.policy.failures_ms
                };
                while failures.front().is_some_and(is_old) {
                    failures.pop_front();
                }
                if failures.len() >= self.policy.failures_max.max(1) as usize {
                    self.open(now);
                }
            }
            (Phase::HalfOpen { successes, probing_since }, Admission::Probe(number))
                if number == self.probes && probing_since.is_some() =>
            {
                if !succeeded {
                    self.open(now);
                    return;
                }
                *successes += 1;
                *probing_since = None;
                if *successes >= self.policy.successes_min.max(1) {
                    self.phase = Phase::Closed { failures: VecDeque::new() };
                    self.opened = 0;
                }
            }
            _ => {}
        }
    }

    /// Takes note that an admitted call was given up before it had an outcome: another one may probe.
    pub fn abandon(&mut self, admission: Admission) {
        if let (Phase::HalfOpen { probing_since, .. }, Admission::Probe(number)) =
            (&mut self.phase, admission)
            && number == self.probes
        {
            *probing_since = None;
        }
    }

    fn next_probe(&mut self) -> Admission {
        self.probes += 1;
        Admission::Probe(self.probes)
    }

    /// Opens it, and says for how many milliseconds.
    fn open(&mut self, now: Timestamp) -> u64 {
        let doubled = self.policy.open_ms.max(1).saturating_mul(1 << self.opened.min(32));
        let pause = doubled.min(self.policy.open_ms_max.max(1));
        self.opened = self.opened.saturating_add(1);
        let for_ms = self.jittered(pause).max(1);
        self.phase = Phase::Open { since: now, for_ms };
        for_ms
    }

    fn jittered(&mut self, pause: u64) -> u64 {
        // Xorshift64 (Marsaglia 2003): nothing here must be unpredictable, only different.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let spread = pause / 100 * self.policy.jitter_percent.min(50);
        pause - spread + self.random % (2 * spread + 1)
    }
}

/// What is left of a span. A clock that went behind its beginning begins it anew, so that a span never lasts
/// longer than itself by any clock that goes on from there.
fn left_ms(since: &mut Timestamp, for_ms: u64, now: Timestamp) -> u64 {
    *since = now.min(*since);
    let past = now.micros().saturating_sub(since.micros()).unsigned_abs() / 1_000;
    for_ms.saturating_sub(past)
}

/// A breaker that tasks share; cheap to clone.
#[derive(Debug, Clone)]
pub struct CircuitBreaker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    breaker: Mutex<Breaker>,
}

/// A call that may be made; whoever drops it without an outcome has given up.
#[derive(Debug)]
pub struct Pass {
    breaker: CircuitBreaker,
    admission: Admission,
}

impl CircuitBreaker {
    /// A closed breaker of that name, with its metrics.
    pub fn new(name: impl Into<Arc<str>>, policy: BreakerPolicy, clock: Arc<dyn Clock>) -> Self {
        let name = name.into();
        Self::declare(&name);
        let seed = clock.now().micros().unsigned_abs() ^ (u64::from(std::process::id()) << 32);
        Self(Arc::new(Shared { name, clock, breaker: Mutex::new(Breaker::new(policy, seed)) }))
    }

    /// Describes and zeroes the metrics of the breaker of that name: closed, and never anything else yet.
    pub fn declare(name: &str) {
        let name = name.to_owned();
        describe_gauge!(STATE, Unit::Count, "Where a circuit breaker is: 0 closed, 1 half open, 2 open");
        describe_counter!(TRANSITIONS, Unit::Count, "Changes of a circuit breaker's state, by the new state");
        describe_counter!(REFUSED, Unit::Count, "Calls that a circuit breaker did not let pass");
        gauge!(STATE, "name" => name.clone()).set(0.0);
        for state in BreakerState::ALL {
            counter!(TRANSITIONS, "name" => name.clone(), "to" => state.as_str()).absolute(0);
        }
        counter!(REFUSED, "name" => name).absolute(0);
    }

    /// Where it is.
    pub fn state(&self) -> BreakerState {
        self.lock().state()
    }

    /// Whether calls pass; a call that does not is counted as refused.
    pub fn passes(&self) -> bool {
        let passes = self.state() == BreakerState::Closed;
        if !passes {
            counter!(REFUSED, "name" => Arc::clone(&self.0.name)).increment(1);
        }
        passes
    }

    /// Lets a call pass, maybe as a probe.
    ///
    /// # Errors
    /// The milliseconds after which it is worth trying again.
    pub fn try_pass(&self) -> Result<Pass, u64> {
        match self.change(|breaker, now| breaker.admit(now)) {
            Admission::Refused(wait_ms) => {
                counter!(REFUSED, "name" => Arc::clone(&self.0.name)).increment(1);
                Err(wait_ms)
            }
            admission => Ok(Pass { breaker: self.clone(), admission }),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Breaker, Timestamp) -> T) -> T {
        let now = self.0.clock.now();
        let mut breaker = self.lock();
        let before = breaker.state();
        let result = change(&mut breaker, now);
        let after = breaker.state();
        drop(breaker);
        if before != after {
            let name = &self.0.name;
            gauge!(STATE, "name" => Arc::clone(name)).set(f64::from(after as u8));
            counter!(TRANSITIONS, "name" => Arc::clone(name), "to" => after.as_str()).increment(1);
            match after {
                BreakerState::Open if before == BreakerState::Closed => {
                    tracing::warn!(component = "runtime", %name, "Circuit breaker opened");
                }
                BreakerState::Closed => {
                    tracing::info!(component = "runtime", %name, "Circuit breaker closed")
                }
                BreakerState::Open | BreakerState::HalfOpen => {}
            }
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, Breaker> {
        self.0.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pass {
    /// The call did what it should.
    pub fn succeed(self) {
        self.end(true);
    }

    /// It did not.
    pub fn fail(self) {
        self.end(false);
    }

    fn end(mut self, succeeded: bool) {
        // What is ended is not given up when it is dropped.
        let admission = std::mem::replace(&mut self.admission, Admission::Refused(0));
        self.breaker.change(|breaker, now| breaker.record(admission, succeeded, now));
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.breaker.lock().abandon(self.admission);
    }
}
