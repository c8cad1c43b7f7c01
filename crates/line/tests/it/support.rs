//! A running line and the ways to wait for it: every wait is for a state and has a deadline.
//!
//! The poll is a minute unless a test sets it, so that what comes in time came by a wake-up.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bowline_line::{AppendError, Appender, CommitRange, Config, Dependencies, Handle, Service};
use bowline_runtime::{ManualClock, Shutdown, Tasks};
use bowline_store::{
    AppendReport, CommitmentFilter, CommitmentOrigin, CommitmentRecord, LineStore, SqliteConfig, SqliteStore,
    VerifiedBatch,
};
use bowline_types::{StreamId, Timestamp};
use bowline_ves::VerifiedEvent;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::events::{at, new_events, signer};
use crate::tampered::TamperedStore;

/// Seconds that a state which must come may take.
const STATE_SECS_MAX: u64 = 10;

/// Longer than any test.
pub(crate) const NEVER: Duration = Duration::from_secs(60);

/// A line on a store of its own.
pub(crate) struct Line {
    pub(crate) handle: Handle,
    pub(crate) store: Arc<TamperedStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) tasks: Tasks,
    _folder: TempDir,
}

impl Line {
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// A line with some settings changed.
    pub(crate) async fn with(set: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = SqliteStore::open(SqliteConfig::at(folder.path().join("line.db"))).await.unwrap();
        let store = Arc::new(TamperedStore::new(store));
        let clock = Arc::new(ManualClock::at(at(0)));
        let mut config = Config { poll_ms: u64::try_from(NEVER.as_millis()).unwrap(), ..Config::default() };
        set(&mut config);
        let (service, handle) = Service::build(
            &config,
            Dependencies {
                store: Arc::clone(&store) as Arc<dyn LineStore>,
                signer: signer(),
                clock: Arc::clone(&clock) as _,
                payloads: None,
            },
        );
        let tasks = Tasks::new(Shutdown::new());
        service.spawn(&tasks);
        Self { handle, store, clock, tasks, _folder: folder }
    }

    pub(crate) async fn append(&self, events: Vec<VerifiedEvent>) -> AppendReport {
        soon(self.handle.appender.append(fresh(events))).await.unwrap()
    }

    /// Appends so many new events, in pages that a group can hold.
    pub(crate) async fn grow(&self, stream: StreamId, mut count: usize) {
        while count > 0 {
            let page = count.min(1_000);
            self.append(new_events(stream, page)).await;
            count -= page;
        }
    }

    /// Commits as a client does; unwraps.
    pub(crate) async fn commit(
        &self,
        stream: StreamId,
        start: impl Into<Option<u64>>,
        end: impl Into<Option<u64>>,
    ) -> CommitmentRecord {
        let range = CommitRange { sequence_start: start.into(), sequence_end: end.into() };
        soon(self.handle.commitments.commit(stream, range, CommitmentOrigin::Client)).await.unwrap()
    }

    /// All commitments of a stream.
    pub(crate) async fn chain(&self, stream: StreamId) -> Vec<CommitmentRecord> {
        let filter = CommitmentFilter { stream, from: 0, unanchored_only: false, limit: 10_000 };
        self.handle.commitments.list(filter).await.unwrap()
    }

    /// The moment on the line's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.handle.clock.now()
    }

    /// Stops the line and waits until its tasks have ended.
    pub(crate) async fn stop(&self) {
        self.tasks.shutdown().begin();
        self.tasks.clone().join(Duration::from_secs(STATE_SECS_MAX)).await.unwrap();
    }
}

/// Events that were verified a moment ago, whatever has become of agent keys.
pub(crate) fn fresh(events: Vec<VerifiedEvent>) -> VerifiedBatch {
    VerifiedBatch { events, keys_epoch: u64::MAX }
}

/// Hands a batch over and goes on at once: when this returns, the batch is in the queue.
pub(crate) async fn hand_over(
    appender: &Appender,
    events: Vec<VerifiedEvent>,
) -> JoinHandle<Result<AppendReport, AppendError>> {
    hand_over_batch(appender, fresh(events)).await
}

/// The same for events that were verified when they were.
pub(crate) async fn hand_over_batch(
    appender: &Appender,
    batch: VerifiedBatch,
) -> JoinHandle<Result<AppendReport, AppendError>> {
    let appender = appender.clone();
    let mut append = Box::pin(async move { appender.append(batch).await });
    match poll_once(append.as_mut()).await {
        Some(answer) => tokio::spawn(std::future::ready(answer)),
        None => tokio::spawn(append),
    }
}

/// What the future has ready now.
pub(crate) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// What must be there soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    let deadline = Duration::from_secs(STATE_SECS_MAX);
    tokio::time::timeout(deadline, what).await.expect("what must come soon did not come")
}

/// Asks again and again until the answer is the wanted one; a failure shows the last.
pub(crate) async fn until<T: PartialEq + Debug, F: Future<Output = T>>(
    wanted: T,
    mut ask: impl FnMut() -> F,
) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(STATE_SECS_MAX);
    loop {
        let found = ask().await;
        if found == wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "still {found:?}, wanted {wanted:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Records the metrics of the calling thread while the guard lives; for tests on one thread only.
pub(crate) fn record_metrics() -> (PrometheusHandle, impl Drop) {
    let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
    let handle = recorder.handle();
    (handle, metrics::set_default_local_recorder(recorder))
}

/// The value that a metric is rendered with, given its name and labels.
pub(crate) fn metric(metrics: &PrometheusHandle, name: &str) -> Option<f64> {
    let rendered = metrics.render();
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    rendered.lines().find_map(value)
}
