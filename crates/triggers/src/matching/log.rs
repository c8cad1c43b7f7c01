//! What matching says: a line an event, counts every half minute, a heartbeat every minute.
//!
//! The phrases are those that operators look for. Many events a second are summed up, and none is left out of the
//! counts: every event that was begun has succeeded, failed, panicked, run out of time, or is active.

use std::sync::atomic::{AtomicU64, Ordering};

use bowline_store::StoreError;
use metrics::counter;

use crate::metrics::{EVENTS, SET_ASIDE};

/// Lines about single events in a second at most.
const LINES_A_SECOND_MAX: u64 = 100;

/// Counts since the process began.
#[derive(Debug)]
pub(crate) struct Log {
    each: bool,
    spawned: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    timeout: AtomicU64,
    polled: AtomicU64,
    lines: AtomicU64,
    unsaid: AtomicU64,
    unsaid_matches: AtomicU64,
}

/// How an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Succeeded,
    Failed,
    Panicked,
    Timeout,
}

impl Log {
    pub(crate) fn new(each: bool) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            each,
            spawned: zero(),
            succeeded: zero(),
            failed: zero(),
            panicked: zero(),
            timeout: zero(),
            polled: zero(),
            lines: zero(),
            unsaid: zero(),
            unsaid_matches: zero(),
        }
    }

    pub(crate) fn begun(&self, events: usize) {
        self.spawned.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// So many of those that were begun are left for later.
    pub(crate) fn put_back(&self, events: usize) {
        self.spawned.fetch_sub(events as u64, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, events: usize, end: End) {
        let counted = match end {
            End::Succeeded => &self.succeeded,
            End::Failed => &self.failed,
            End::Panicked => &self.panicked,
            End::Timeout => &self.timeout,
        };
        counted.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Events that a poll found and no wake-up told of.
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

    /// Once a second: what was not said one by one.
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

    pub(crate) fn heartbeat(&self, poll_ms: u64) {
        let found = self.polled.swap(0, Ordering::Relaxed);
        tracing::info!(
            component = "triggers",
            found,
            poll_ms,
            "Polling fallback: {found} events found by polling in the last minute"
        );
    }

    pub(crate) fn counts(&self) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (succeeded, failed) = (read(&self.succeeded), read(&self.failed));
        let (panicked, timeout) = (read(&self.panicked), read(&self.timeout));
        // Read last: it is never less than what has ended.
        let spawned = read(&self.spawned);
        let active = spawned.saturating_sub(succeeded + failed + panicked + timeout);
        tracing::info!(
            component = "triggers",
            "Listener metrics: spawned={spawned} succeeded={succeeded} failed={failed} panicked={panicked} \
             timeout={timeout} active={active}"
        );
    }
}
