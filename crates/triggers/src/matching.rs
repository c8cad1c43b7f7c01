//! Follows chains, and organizations' own streams, and writes jobs for what triggers match.
//!
//! The process that holds a stream's lease matches it; a commit moves the cursor and writes jobs,
//! memory and marks in one transaction, so a process that dies or sleeps loses and doubles nothing. What can't be
//! matched is set aside and never holds up what is behind it; a queue that is full holds everything up. A stream whose
//! lane breaks off gets another one.

mod commit;
mod jobs;
mod lane;
mod lanes;
mod log;
mod page;
mod page_sizer;
mod pressure;
mod ruleset;
mod state_cache;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bowline_runtime::{Clock, Shutdown};
use bowline_store::{LineStore, Listening, StoreError};
use bowline_types::{StreamId, Timestamp, public_tenant};
use metrics::gauge;
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

use self::lane::Lane;
use self::lanes::{Ended, Lanes, REST};
use self::log::Log;
use self::pressure::Pressure;
use self::ruleset::Ruleset;
use crate::config::MatchingConfig;
use crate::metrics::LISTENING;
use crate::service::Dependencies;

/// The follower whose cursors say how far streams are matched.
pub(crate) const FOLLOWER: &str = "triggers";

/// Time between two looks at the queue, at new streams and at the log.
const TICK: Duration = Duration::from_secs(1);

/// Between two lines that say that polling goes on.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Between two lines with the counts of events.
const COUNTS: Duration = Duration::from_secs(30);

/// Between two looks for marks that are old.
const FORGETTING: Duration = Duration::from_secs(600);

/// Marks that are forgotten at a time.
const FORGOTTEN_AT_ONCE: u64 = 10_000;

/// What all lanes share.
#[derive(Debug)]
pub(crate) struct MatchingContext {
    pub(crate) config: MatchingConfig,
    pub(crate) store: Arc<dyn LineStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) instance: String,
    pub(crate) holder: Uuid,
    pub(crate) rules: Ruleset,
    pub(crate) pressure: Pressure,
    pub(crate) log: Log,
    /// Events that this process has still to match, of all streams.
    pub(crate) lag: AtomicU64,
}

/// The task that matches.
#[derive(Debug)]
pub(crate) struct Matcher {
    context: Arc<MatchingContext>,
}

impl Matcher {
    pub(crate) fn new(config: &MatchingConfig, dependencies: &Dependencies) -> Self {
        let Dependencies { store, clock, instance, .. } = dependencies.clone();
        let context = MatchingContext {
            config: config.clone(),
            store,
            clock,
            instance,
            holder: Uuid::new_v4(),
            rules: Ruleset::default(),
            pressure: Pressure::new(config),
            log: Log::new(config.log_each_event),
            lag: AtomicU64::new(0),
        };
        Self { context: Arc::new(context) }
    }

    /// Matches until the shutdown begins.
    ///
    /// # Errors
    /// None at present: every failure is retried.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), StoreError> {
        let context = self.context;
        let mut lanes = Lanes::default();
        let mut listening = context.store.tail().listening();
        say_listening(&context, *listening.borrow_and_update());
        let mut housekeeping = Housekeeping::begin(&context);
        while !shutdown.has_begun() {
            // A round may be cut off between any two steps.
            tokio::select! {
                biased;
                () = shutdown.begun() => break,
                () = housekeeping.next(&context, &mut lanes, &shutdown) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                Ok(()) = listening.changed() => say_listening(&context, *listening.borrow_and_update()),
                () = shutdown.begun() => {}
                Ended { stream, cause } = lanes.ended() => {
                    if !shutdown.has_begun() {
                        context.log.lane_ended(stream, &cause, REST.as_secs());
                    }
                }
            }
        }
        lanes.join().await;
        context.log.tick();
        context.log.counts();
        Ok(())
    }
}

/// The periodic work beside the lanes, and when each part is due.
struct Housekeeping {
    grown: watch::Receiver<u64>,
    look: Instant,
    heartbeat: Instant,
    counts: Instant,
    forgetting: Instant,
}

impl Housekeeping {
    fn begin(context: &MatchingContext) -> Self {
        let began = Instant::now();
        let grown = context.store.tail().watch_any();
        Self { grown, look: began, heartbeat: began, counts: began + COUNTS, forgetting: began }
    }

    /// Does what is due.
    async fn next(&mut self, context: &Arc<MatchingContext>, lanes: &mut Lanes, shutdown: &Shutdown) {
        context.pressure.look(context.store.as_ref(), context.clock.now()).await;
        let has_rested = lanes.release();
        if has_rested || Instant::now() >= self.look || self.grown.has_changed().unwrap_or(false) {
            self.grown.borrow_and_update();
            self.look = Instant::now() + Duration::from_millis(context.config.poll_ms);
            match wanted(context, lanes).await {
                Ok(streams) => {
                    for stream in streams {
                        lanes.start(stream, Lane::new(Arc::clone(context), stream).run(shutdown.clone()));
                    }
                }
                Err(error) => context.log.trouble("Streams can't be listed", &error),
            }
        }
        context.log.tick();
        let now = Instant::now();
        if now >= self.heartbeat {
            self.heartbeat = now + HEARTBEAT;
            context.log.heartbeat(context.config.poll_ms);
        }
        if now >= self.counts {
            self.counts = now + COUNTS;
            context.log.counts();
        }
        if now >= self.forgetting {
            self.forgetting = now + FORGETTING;
            forget(context).await;
        }
    }
}

/// Streams that triggers may be about and that no lane follows yet.
async fn wanted(context: &MatchingContext, lanes: &Lanes) -> Result<Vec<StreamId>, StoreError> {
    context.rules.refresh(context.store.as_ref()).await?;
    let mut streams = Vec::new();
    for head in context.store.streams().await? {
        let stream = head.stream;
        let is_chain = stream.tenant_id == public_tenant();
        let is_wanted = is_chain || context.rules.read().follows_line_of(stream.tenant_id);
        if is_wanted && !lanes.is_followed(stream) {
            streams.push(stream);
        }
    }
    Ok(streams)
}

/// Wake-ups of other processes come over PostgreSQL; a store of one process has only its own.
fn say_listening(context: &MatchingContext, listening: Listening) {
    if matches!(context.store.engine(), bowline_store::Engine::Sqlite(_)) {
        tracing::info!(component = "triggers", "Listening for wake-ups of this process");
        gauge!(LISTENING).set(1.0);
        return;
    }
    gauge!(LISTENING).set(f64::from(u8::from(listening.is_on)));
    if listening.is_on {
        tracing::info!(
            component = "triggers",
            connects = listening.connects,
            "Listening for PostgreSQL NOTIFY"
        );
    } else if listening.connects > 0 {
        tracing::warn!(component = "triggers", "No wake-ups come, polling finds events until they do");
    }
}

async fn forget(context: &MatchingContext) {
    let days = i64::try_from(context.config.processed_keep_days).unwrap_or(i64::MAX);
    let age = days.saturating_mul(24 * 60 * 60 * 1_000_000);
    let before = Timestamp::from_micros(context.clock.now().micros().saturating_sub(age));
    loop {
        match context.store.forget_processed(before, FORGOTTEN_AT_ONCE).await {
            Ok(forgotten) if forgotten >= FORGOTTEN_AT_ONCE => {}
            Ok(_) => return,
            Err(error) => return context.log.trouble("Old marks stay", &error),
        }
    }
}
