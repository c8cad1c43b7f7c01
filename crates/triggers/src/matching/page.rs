//! Holds a page of events against the triggers: what passes, what is remembered, which jobs come of it.
//!
//! First all events are held against what has no memory; then what the rest needs is read; then the events are gone
//! through in their order. An event that fails or panics is tried again, and then set aside. In between others get
//! their turn, so that a step can be cut off at any event.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bowline_store::{EntityFilter, NewJob, ProcessedEvent, ReadQuery, StateKey, StoreError, StoredEvent};
use bowline_types::StreamId;
use metrics::{counter, histogram};
use uuid::Uuid;

use super::MatchingContext;
use super::jobs::EventText;
use super::log::EventEnd;
use super::state_cache::StateCache;
use crate::metrics::{ENQUEUED, EVALUATED, MATCHES, SECONDS};
use crate::rules::{Advance, Facts, Fallback, Reversal, Rule, State, VisitedSlots};

/// Feedbacks of an agent that are searched for the one that was revoked.
const SEARCHED_MAX: usize = 10_000;
/// The event that revokes a feedback, whose feedback has to be searched for.
const REVOKED: &str = "FeedbackRevoked";
/// Revocations of one step at most.
const REVOCATIONS_MAX: usize = 25;

/// Events that a search reads at a time.
const SEARCHED_AT_ONCE: usize = 500;

/// How long events are evaluated before others get their turn.
const TURN: Duration = Duration::from_millis(5);

/// The effects of a page.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) jobs: Vec<NewJob>,
    pub(super) retracted: Vec<Uuid>,
    pub(super) processed: Vec<ProcessedEvent>,
    pub(super) ends: Vec<EventEnd>,
}

/// An event after its stateless conditions were evaluated.
struct Evaluated {
    facts: Facts,
    passed: Vec<Arc<Rule>>,
    /// The feedback that it revokes, or whose revocation it takes back.
    revoked: Option<Box<Revoked>>,
    micros: u64,
}

struct Revoked {
    facts: Facts,
    passed: Vec<Arc<Rule>>,
    is_revoked: bool,
}

/// Why an event can't be matched.
struct EvaluationFailure {
    problem: String,
    end: EventEnd,
}

/// Takes events in their order until a transaction has enough to write; the next page takes the rest. `evaluated` grows by
/// the time of evaluating conditions, also if this is cut off.
pub(super) async fn hold(
    context: &MatchingContext,
    stream: StreamId,
    events: &[StoredEvent],
    state_cache: &mut StateCache,
    visited: &mut VisitedSlots,
    evaluated: &mut Duration,
) -> Result<Outcome, StoreError> {
    let mut looked = Vec::with_capacity(events.len());
    let mut turn = TimeSlice::new();
    let (mut passed_max, mut revocations_max) = (context.config.step_jobs_max, REVOCATIONS_MAX);
    for event in events {
        if passed_max == 0 || revocations_max == 0 {
            break;
        }
        revocations_max -= usize::from(event.envelope.event_type == REVOKED);
        let look = timed(evaluated, context.config.tries_max, || {
            let began = Instant::now();
            let facts = Facts::of(event)?;
            let (passed, looked_at) = context.rules.read().passed(&facts, visited);
            counter!(EVALUATED).increment(looked_at as u64);
            let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            Ok(Evaluated { facts, passed, revoked: None, micros })
        });
        passed_max = passed_max.saturating_sub(look.as_ref().map_or(0, |look| look.passed.len()));
        looked.push(look);
        turn.give().await;
    }
    find_revoked(context, stream, &mut looked, visited, evaluated).await?;
    let mut keys = Vec::new();
    for look in looked.iter().flatten() {
        collect_keys(stream, &look.facts, &look.passed, &mut keys);
        if let Some(revoked) = &look.revoked {
            collect_keys(stream, &revoked.facts, &revoked.passed, &mut keys);
        }
    }
    state_cache.load(context.store.as_ref(), keys).await?;
    let mut outcome = Outcome::default();
    for (event, look) in events.iter().zip(looked) {
        let done = look.and_then(|look| {
            let effects =
                timed(evaluated, context.config.tries_max, || Ok(effects(event, &look, state_cache)))?;
            Ok((look, effects))
        });
        outcome.add(context, event, done, state_cache);
        turn.give().await;
    }
    Ok(outcome)
}

/// Since when this task has not let others have their turn.
struct TimeSlice(Instant);

impl TimeSlice {
    fn new() -> Self {
        Self(Instant::now())
    }

    async fn give(&mut self) {
        if self.0.elapsed() >= TURN {
            tokio::task::yield_now().await;
            self.0 = Instant::now();
        }
    }
}

/// What one event does, before it is done.
#[derive(Default)]
struct Effects {
    jobs: Vec<NewJob>,
    states: Vec<(StateKey, State)>,
    retracted: Option<Uuid>,
    triggers_matched: u32,
    micros: u64,
}

fn effects(event: &StoredEvent, look: &Evaluated, state_cache: &StateCache) -> Effects {
    let began = Instant::now();
    let (facts, stream) = (&look.facts, event.envelope.stream);
    let mut effects = Effects::default();
    // An event may reverse and advance the same memory: the second sees what the first has done.
    let mut ahead: HashMap<StateKey, State> = HashMap::new();
    if let Some(revoked) = &look.revoked {
        let reversal = Reversal::Revoke(revoked.is_revoked);
        reverse(stream, &revoked.facts, &revoked.passed, reversal, state_cache, &mut ahead);
    }
    if facts.retracts {
        reverse(stream, facts, &look.passed, Reversal::Remove, state_cache, &mut ahead);
        effects.retracted = Some(facts.occurrence);
    } else {
        let mut described = EventText::new(event, facts);
        for rule in &look.passed {
            // A trigger knows nothing of what came before it.
            if event.receipt.sequenced_at < rule.created_at {
                continue;
            }
            let advance = if rule.is_stateful {
                let remembered = |name: &_, fallback| {
                    let key = rule.key(name, stream, facts);
                    ahead.get(&key).cloned().unwrap_or_else(|| state_cache.get(&key, fallback))
                };
                let mut advance = rule.advance(facts, remembered);
                for (name, state) in std::mem::take(&mut advance.states) {
                    ahead.insert(rule.key(&name, stream, facts), state);
                }
                advance
            } else {
                Advance { fires: true, ..Advance::default() }
            };
            if advance.fires {
                effects.triggers_matched += 1;
                effects.jobs.extend(described.jobs(rule, &advance));
            }
        }
    }
    effects.states = ahead.into_iter().collect();
    effects.micros = look.micros + u64::try_from(began.elapsed().as_micros()).unwrap_or(0);
    effects
}

fn reverse(
    stream: StreamId,
    facts: &Facts,
    passed: &[Arc<Rule>],
    reversal: Reversal,
    state_cache: &StateCache,
    ahead: &mut HashMap<StateKey, State>,
) {
    for rule in passed.iter().filter(|rule| rule.is_stateful) {
        let remembered = |name: &_, fallback| {
            let key = rule.key(name, stream, facts);
            ahead.get(&key).cloned().unwrap_or_else(|| state_cache.get(&key, fallback))
        };
        for (name, state) in rule.reverse(facts, reversal, remembered) {
            ahead.insert(rule.key(&name, stream, facts), state);
        }
    }
}

fn collect_keys(stream: StreamId, facts: &Facts, passed: &[Arc<Rule>], keys: &mut Vec<(StateKey, Fallback)>) {
    for rule in passed.iter().filter(|rule| rule.is_stateful) {
        keys.extend(
            rule.memories().into_iter().map(|(name, fallback)| (rule.key(name, stream, facts), fallback)),
        );
    }
}

/// [`attempt`], and how long it took.
fn timed<T>(
    evaluated: &mut Duration,
    tries_max: u32,
    run: impl FnMut() -> Result<T, String>,
) -> Result<T, EvaluationFailure> {
    let began = Instant::now();
    let done = attempt(tries_max, run);
    *evaluated += began.elapsed();
    done
}

/// Runs a piece of evaluation that must not fail and must not panic, `tries_max` times at most.
fn attempt<T>(tries_max: u32, run: impl FnMut() -> Result<T, String>) -> Result<T, EvaluationFailure> {
    let mut run = run;
    let mut trouble = EvaluationFailure { problem: "no try is allowed".to_owned(), end: EventEnd::Failed };
    for _ in 0..tries_max {
        trouble = match catch_unwind(AssertUnwindSafe(&mut run)) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(problem)) => EvaluationFailure { problem, end: EventEnd::Failed },
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                EvaluationFailure { problem: format!("panicked: {text}"), end: EventEnd::Panicked }
            }
        };
    }
    Err(trouble)
}

/// Finds the feedbacks that events of the page revoke: only they say which triggers they had passed.
async fn find_revoked(
    context: &MatchingContext,
    stream: StreamId,
    looked: &mut [Result<Evaluated, EvaluationFailure>],
    visited: &mut VisitedSlots,
    evaluated: &mut Duration,
) -> Result<(), StoreError> {
    if !context.rules.read().remembers() {
        return Ok(());
    }
    for entry in looked.iter_mut() {
        let Ok(look) = entry else { continue };
        if look.facts.event_type != REVOKED || look.facts.tenant_id.is_some() {
            continue;
        }
        let Some(facts) = feedback(context, stream, &look.facts).await? else { continue };
        let passed =
            timed(evaluated, context.config.tries_max, || Ok(context.rules.read().passed(&facts, visited).0));
        match passed {
            Ok(mut passed) => {
                passed.retain(|rule| rule.is_stateful);
                if !passed.is_empty() {
                    let is_revoked = !look.facts.retracts;
                    look.revoked = Some(Box::new(Revoked { facts, passed, is_revoked }));
                }
            }
            Err(trouble) => *entry = Err(trouble),
        }
    }
    Ok(())
}

/// The feedback that a revocation names.
async fn feedback(
    context: &MatchingContext,
    stream: StreamId,
    revocation: &Facts,
) -> Result<Option<Facts>, StoreError> {
    let mut query = ReadQuery::from(stream, 1, SEARCHED_AT_ONCE);
    query.entity =
        Some(EntityFilter { entity_type: "agent".to_owned(), entity_id: Some(revocation.subject.clone()) });
    query.event_type = Some("NewFeedback".to_owned());
    let mut found = None;
    for _ in 0..SEARCHED_MAX / SEARCHED_AT_ONCE {
        let page = context.store.read(query.clone()).await?;
        let same = |facts: &Facts| {
            ["client_address", "feedback_index", "address"]
                .iter()
                .all(|name| facts.fields.get(*name) == revocation.fields.get(*name))
        };
        // The last one counts: a feedback may have been mined anew.
        found = page.events.iter().filter_map(|event| Facts::of(event).ok()).rfind(same).or(found);
        match page.next {
            Some(next) => query.from = next,
            None => return Ok(found),
        }
    }
    let agent_id = &revocation.subject;
    tracing::warn!(
        component = "triggers",
        agent_id,
        "Revocation not searched further, averages keep the feedback"
    );
    Ok(found)
}

impl Outcome {
    fn add(
        &mut self,
        context: &MatchingContext,
        event: &StoredEvent,
        done: Result<(Evaluated, Effects), EvaluationFailure>,
        state_cache: &mut StateCache,
    ) {
        let (event_id, sequence_number) = (event.envelope.event_id, event.receipt.sequence_number);
        let mut row = ProcessedEvent {
            event_id,
            sequence_number,
            processed_at: context.clock.now(),
            duration_us: 0,
            triggers_matched: 0,
            actions_enqueued: 0,
            problem: None,
        };
        match done {
            Ok((_, effects)) => {
                if let Some(occurrence) = effects.retracted {
                    // What the page itself brought is gone before it came.
                    self.jobs.retain(|job| job.occurrence != occurrence);
                    self.retracted.push(occurrence);
                }
                row.duration_us = effects.micros;
                row.triggers_matched = effects.triggers_matched;
                row.actions_enqueued = u32::try_from(effects.jobs.len()).unwrap_or(u32::MAX);
                self.jobs.extend(effects.jobs);
                for (key, state) in effects.states {
                    state_cache.set(key, state);
                }
                self.ends.push(EventEnd::Succeeded);
            }
            Err(trouble) => {
                row.problem = Some(trouble.problem.replace('\0', "\u{fffd}"));
                self.ends.push(trouble.end);
            }
        }
        self.processed.push(row);
    }

    /// Counts and logs the page's events.
    pub(super) fn record(&self, context: &MatchingContext) {
        for (row, end) in self.processed.iter().zip(&self.ends) {
            context.log.ended(1, *end);
            histogram!(SECONDS).record(row.duration_us as f64 / 1e6);
            match &row.problem {
                Some(problem) => context.log.set_aside(&row.event_id, row.sequence_number, problem),
                None => context.log.event(&row.event_id, row.triggers_matched, row.actions_enqueued),
            }
        }
        let matched: u64 = self.processed.iter().map(|row| u64::from(row.triggers_matched)).sum();
        MATCHES.into_iter().for_each(|name| counter!(name).increment(matched));
        counter!(ENQUEUED).increment(self.jobs.len() as u64);
    }
}
