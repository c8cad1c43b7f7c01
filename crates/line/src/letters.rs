//! Dead letters: events that were not taken for a reason that somebody can mend, kept until they are.
//!
//! What is to be kept is dropped into a bounded box in memory and written by a task of its own, so an answer is
//! never slower for it and never fails with it; what the box can't hold is counted and forgotten. Nothing is tried
//! again by itself: the client was told that its event was rejected, and may have gone another way. Only events
//! that came in through [`Intake`](crate::Intake) get here, whose callers have asked who may write the stream.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bowline_runtime::{Clock, Shutdown};
use bowline_store::{
    LetterAges, LetterLimits, LetterReason, LetterStatus, LettersKept, LineStore, NewDeadLetter, StoreError,
};
use bowline_types::Timestamp;
use bowline_ves::{Envelope, Rejection};
use metrics::{counter, gauge};
use tokio::sync::Notify;

use crate::config::DeadLetterConfig;
use crate::keys::{NOT_REGISTERED, NOT_VALID_YET};
use crate::metrics::{DLQ_DEPTH, DLQ_DROPPED, DLQ_KEPT, DLQ_REMOVED, LETTERS, LETTERS_WAITING};

/// Letters that one transaction writes.
const WRITTEN_AT_ONCE_MAX: usize = 256;

/// Between two looks over all letters.
const SWEEP_PERIOD: Duration = Duration::from_secs(5);

/// Between two tries to write while the store is away.
const WRITE_RETRY: Duration = Duration::from_secs(1);

/// Seconds after which a try is taken for broken off: a request does not live so long.
const RETRY_SECS_MAX: i64 = 300;

/// Seconds that a resolved letter can still be seen.
const RESOLVED_SECS_MAX: i64 = 24 * 60 * 60;

/// Why a rejected event is kept; none if nobody can mend it.
pub(crate) fn letter_reason(rejection: &Rejection) -> Option<LetterReason> {
    match rejection {
        Rejection::SchemaValidation { .. } => Some(LetterReason::SchemaValidation),
        Rejection::VersionConflict { .. } => Some(LetterReason::VersionConflict),
        Rejection::AgentKeyInvalid(problem)
            if problem.ends_with(NOT_REGISTERED) || problem.contains(NOT_VALID_YET) =>
        {
            Some(LetterReason::AgentKeyNotRegistered)
        }
        Rejection::MalformedEvent { .. }
        | Rejection::UnsupportedVersion { .. }
        | Rejection::UnsupportedScheme { .. }
        | Rejection::InexactNumber { .. }
        | Rejection::PayloadTooLarge { .. }
        | Rejection::AgentMismatch
        | Rejection::InvalidPayloadHash
        | Rejection::InvalidCipherHash
        | Rejection::AgentKeyInvalid(_)
        | Rejection::InvalidSignature
        | Rejection::DuplicateEventId
        | Rejection::DuplicateCommandId => None,
    }
}

/// An event that is to become a letter.
#[derive(Debug)]
struct Refused {
    envelope: Envelope,
    reason: LetterReason,
    problem: String,
}

impl Refused {
    fn bytes(&self) -> usize {
        // The fixed fields take about 1 KiB.
        self.envelope.payload.text().len() + 1024
    }
}

#[derive(Debug, Default)]
struct Waiting {
    letters: Vec<Refused>,
    bytes: usize,
}

/// The box that rejected events are dropped into; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct LetterBox {
    waiting: Arc<Mutex<Waiting>>,
    dropped_in: Arc<Notify>,
    letters_max: usize,
    bytes_max: usize,
}

impl LetterBox {
    /// Drops a rejected event in, if it is one to keep. Never waits.
    pub(crate) fn put(&self, envelope: Envelope, rejection: &Rejection) {
        let Some(reason) = letter_reason(rejection) else { return };
        let refused = Refused { envelope, reason, problem: rejection.message() };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = waiting.bytes + refused.bytes();
        if waiting.letters.len() >= self.letters_max || bytes > self.bytes_max {
            counter!(DLQ_DROPPED, "cause" => "box_full").increment(1);
            return;
        }
        waiting.bytes = bytes;
        waiting.letters.push(refused);
        gauge!(LETTERS_WAITING).set(waiting.letters.len() as f64);
        drop(waiting);
        self.dropped_in.notify_one();
    }

    fn take(&self) -> Vec<Refused> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        gauge!(LETTERS_WAITING).set(0.0);
        std::mem::take(&mut *waiting).letters
    }
}

/// The task that writes what is in the box and looks after what is kept.
#[derive(Debug)]
pub(crate) struct LetterOffice {
    letter_box: LetterBox,
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    config: DeadLetterConfig,
}

pub(crate) fn build(
    config: &DeadLetterConfig,
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
) -> (LetterBox, LetterOffice) {
    let letter_box = LetterBox {
        waiting: Arc::default(),
        dropped_in: Arc::default(),
        letters_max: config.waiting_max,
        bytes_max: config.waiting_bytes_max,
    };
    let office = LetterOffice { letter_box: letter_box.clone(), store, clock, config: config.clone() };
    (letter_box, office)
}

impl LetterOffice {
    /// Works until the shutdown begins, and then writes what is still in the box.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), crate::Error> {
        let mut next_sweep = tokio::time::Instant::now();
        let mut unwritten = Vec::new();
        while !shutdown.has_begun() {
            unwritten = self.write(unwritten).await;
            if tokio::time::Instant::now() >= next_sweep {
                self.sweep().await;
                next_sweep = tokio::time::Instant::now() + SWEEP_PERIOD;
            }
            let retry = tokio::time::Instant::now() + WRITE_RETRY;
            let wake = if unwritten.is_empty() { next_sweep } else { next_sweep.min(retry) };
            tokio::select! {
                () = self.letter_box.dropped_in.notified(), if unwritten.is_empty() => {}
                () = tokio::time::sleep_until(wake) => {}
                () = shutdown.begun() => {}
            }
        }
        let mut lost = self.write(unwritten).await.len();
        // What was left from before goes first; then the box, unless the store is away.
        lost += if lost == 0 { self.write(Vec::new()).await.len() } else { self.letter_box.take().len() };
        if lost > 0 {
            counter!(DLQ_DROPPED, "cause" => "store_away").increment(lost as u64);
        }
        Ok(())
    }

    /// Writes what is left from before, and then what is in the box; returns what the store did not take.
    async fn write(&self, unwritten: Vec<NewDeadLetter>) -> Vec<NewDeadLetter> {
        let mut letters = unwritten;
        if letters.is_empty() {
            letters = self
                .letter_box
                .take()
                .into_iter()
                .map(|r| NewDeadLetter::of(&r.envelope, r.reason, &r.problem))
                .collect();
        }
        while !letters.is_empty() {
            let rest = letters.split_off(letters.len().min(WRITTEN_AT_ONCE_MAX));
            let kept = self.store.keep_letters(letters.clone(), limits(&self.config), self.clock.now()).await;
            match kept {
                Ok(kept) => {
                    count_kept(&letters, kept);
                    letters = rest;
                }
                Err(error) if error.retryable() => {
                    tracing::warn!(component = "line", %error, letters = letters.len(), "Dead letters not written, retrying");
                    letters.extend(rest);
                    return letters;
                }
                Err(error) => {
                    tracing::error!(component = "line", %error, letters = letters.len(), "Dead letters lost");
                    counter!(DLQ_DROPPED, "cause" => "store_refused").increment(letters.len() as u64);
                    letters = rest;
                }
            }
        }
        letters
    }

    async fn sweep(&self) {
        if let Err(error) = self.try_sweep().await {
            tracing::debug!(component = "line", %error, "Dead letters not looked over");
        }
    }

    async fn try_sweep(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        let ago = |seconds: i64| {
            Timestamp::from_micros(now.micros().saturating_sub(seconds.saturating_mul(1_000_000)))
        };
        let days = i64::try_from(self.config.days_max).unwrap_or(i64::MAX);
        let ages = LetterAges {
            now,
            kept_since: ago(days.saturating_mul(24 * 60 * 60)),
            resolved_since: ago(RESOLVED_SECS_MAX),
            retried_since: ago(RETRY_SECS_MAX),
        };
        let swept = self.store.sweep_letters(ages).await?;
        counter!(DLQ_REMOVED, "by" => "resend").increment(swept.resolved);
        counter!(DLQ_REMOVED, "by" => "age").increment(swept.expired);
        measure(self.store.as_ref()).await
    }
}

/// The limits that the settings stand for.
pub(crate) fn limits(config: &DeadLetterConfig) -> LetterLimits {
    LetterLimits {
        stream_max: config.stream_max,
        total_max: config.total_max,
        bytes_max: config.bytes_max,
        retries_max: config.retries_max,
    }
}

/// Counts letters that were handed to the store.
pub(crate) fn count_kept(letters: &[NewDeadLetter], kept: LettersKept) {
    for letter in letters {
        counter!(DLQ_KEPT, "reason" => letter.reason.as_str()).increment(1);
    }
    if kept.refused > 0 {
        counter!(DLQ_DROPPED, "cause" => "no_room").increment(kept.refused);
        tracing::warn!(
            component = "line",
            refused = kept.refused,
            "No room for more dead letters: mend and retry, or delete some"
        );
    }
}

/// Sets the gauges to what is kept.
pub(crate) async fn measure(store: &dyn LineStore) -> Result<(), StoreError> {
    let tally = store.tally_letters().await?;
    let mut depth = 0;
    for status in LetterStatus::ALL {
        let count: u64 = tally.iter().filter(|(of, ..)| of == status).map(|(.., count)| count).sum();
        gauge!(LETTERS, "status" => status.as_str()).set(count as f64);
        depth += if *status == LetterStatus::Resolved { 0 } else { count };
    }
    gauge!(DLQ_DEPTH).set(depth as f64);
    Ok(())
}
