//! The log of matching: a line an event, counts every half minute, a heartbeat every minute.
//!
//! The phrases are those that operators look for. Many events a second are summed up, and none is left out of the
//! counts: every event that was begun has succeeded, failed, panicked, run out of time, or is active. A lane that ends
//! early counts like an event that panicked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bowline_store::StoreError;
use bowline_types::StreamId;
use metrics::counter;

use crate::metrics::{EVENTS, SET_ASIDE};

/// Lines about single events in a second at most.
const LINES_A_SECOND_MAX: u64 = 100;

/// The log, and its counts.
#[derive(Debug)]
pub(crate) struct Log {
    each: bool,
    counts: Arc<Counts>,
    polled: AtomicU64,
    lines: AtomicU64,
    unsaid: AtomicU64,
    unsaid_matches: AtomicU64,
}

/// Counts since the process began.
#[derive(Debug, Default)]
struct Counts {
    spawned: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    timeout: AtomicU64,
}

/// Events that were begun; dropping it takes those back whose end was not counted.
#[derive(Debug)]
pub(crate) struct BegunEvents {
    counts: Arc<Counts>,
    events: usize,
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventEnd {
    Succeeded,
    Failed,
    Panicked,
    Timeout,
}

impl Log {
    pub(crate) fn new(each: bool) -> Self {
        let zero = || AtomicU64::new(0);
        let counts = Arc::default();
        Self { each, counts, polled: zero(), lines: zero(), unsaid: zero(), unsaid_matches: zero() }
    }

    /// That many events are begun.
    pub(crate) fn begin(&self, events: usize) -> BegunEvents {
        self.counts.spawned.fetch_add(events as u64, Ordering::Relaxed);
        BegunEvents { counts: Arc::clone(&self.counts), events }
    }

    pub(crate) fn ended(&self, events: usize, end: EventEnd) {
        self.counts.ended(events, end);
    }

    /// A stream's lane ended before the shutdown.
    pub(crate) fn lane_ended(&self, stream: StreamId, cause: &str, rest_secs: u64) {
        self.begin(1).end(EventEnd::Panicked);
        tracing::error!(
            component = "triggers", %stream, cause, rest_secs,
            "Matching of a stream broke off, it is started again"
        );
    }

    /// Events that a poll found without a wake-up.
    pub(crate) fn polled(&self, events: u64) {
        self.polled.fetch_add(events, Ordering::Relaxed);
    }

    /// An event is done.
    pub(crate) fn event(
        &self,
        event_id: &impl std::fmt::Display,
        triggers_matched: u32,
        actions_enqueued: u32,
    ) {
        EVENTS.into_iter().for_each(|name| counter!(name).increment(1));
        if !self.each || self.lines.fetch_add(1, Ordering::Relaxed) >= LINES_A_SECOND_MAX {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            self.unsaid_matches.fetch_add(u64::from(triggers_matched), Ordering::Relaxed);
            return;
        }
        tracing::info!(
            component = "triggers", %event_id, triggers_matched, actions_enqueued, "Event processed successfully"
        );
    }

    /// An event was set aside.
    pub(crate) fn set_aside(&self, event_id: &impl std::fmt::Display, sequence_number: u64, problem: &str) {
        counter!(SET_ASIDE).increment(1);
        tracing::error!(
            component = "triggers", %event_id, sequence_number, problem,
            "Event can't be matched and is set aside, the ones behind it go on"
        );
    }

    pub(crate) fn trouble(&self, what: &str, error: &StoreError) {
        if error.is_known_absence() {
            return;
        }
        tracing::warn!(component = "triggers", %error, "{what}, tried again");
    }

    /// Once a second: the events that got no line of their own, in sum.
    pub(crate) fn tick(&self) {
        self.lines.store(0, Ordering::Relaxed);
        let events = self.unsaid.swap(0, Ordering::Relaxed);
        let triggers_matched = self.unsaid_matches.swap(0, Ordering::Relaxed);
        if events > 0 && self.each {
            tracing::info!(
                component = "triggers",
                events,
                triggers_matched,
                "Event processed successfully, and so many more"
            );
        }
    }

    /// At the start and every minute: polling goes on beside the wake-ups.
    pub(crate) fn heartbeat(&self, poll_ms: u64) {
        let found = self.polled.swap(0, Ordering::Relaxed);
        tracing::info!(
            component = "triggers",
            found,
            poll_ms,
            "Polling fallback: looks every {poll_ms} ms, {found} events found by it since the last such line"
        );
    }

    pub(crate) fn counts(&self) {
        tracing::info!(component = "triggers", "Listener metrics: {}", self.summary());
    }

    /// What became of the events that were begun.
    pub(super) fn summary(&self) -> String {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        let (succeeded, failed) = (read(&counts.succeeded), read(&counts.failed));
        let (panicked, timeout) = (read(&counts.panicked), read(&counts.timeout));
        // Read last: it is never less than what has ended.
        let spawned = read(&counts.spawned);
        let active = spawned.saturating_sub(succeeded + failed + panicked + timeout);
        format!(
            "spawned={spawned} succeeded={succeeded} failed={failed} panicked={panicked} timeout={timeout} \
             active={active}"
        )
    }
}

impl Counts {
    fn ended(&self, events: usize, end: EventEnd) {
        let counted = match end {
            EventEnd::Succeeded => &self.succeeded,
            EventEnd::Failed => &self.failed,
            EventEnd::Panicked => &self.panicked,
            EventEnd::Timeout => &self.timeout,
        };
        counted.fetch_add(events as u64, Ordering::Relaxed);
    }
}

impl BegunEvents {
    /// All of them ended like this.
    pub(crate) fn end(mut self, end: EventEnd) {
        self.counts.ended(std::mem::take(&mut self.events), end);
    }

    /// The ends of that many events are counted one by one with [`Log::ended`].
    pub(crate) fn ended_one_by_one(mut self, events: usize) {
        self.events = self.events.saturating_sub(events);
    }
}

impl Drop for BegunEvents {
    fn drop(&mut self) {
        self.counts.spawned.fetch_sub(self.events as u64, Ordering::Relaxed);
    }
}
