//! A node: built in order, run, and taken down in the reverse order.
//!
//! It starts and stops; what a subsystem does, and whether it fails, is the subsystem's business.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bowline_anchor::AnchorChapters;
use bowline_api::Drain;
use bowline_line::PayloadCheck;
use bowline_line::explain::{ChapterSource, LineChapters};
use bowline_runtime::{Clock, MetricsHandle, Shutdown, SystemClock, TaskError, Tasks, TelemetryError};
use bowline_schemas::Registry;
use bowline_store::{LineStore, StoreError};
use bowline_ves::{Rejected, SequencerSigner, VerifiedEvent};

use crate::config::{Config, ConfigError};
use crate::data::{DataError, DataFolder};
use crate::disk::DiskWatch;
use crate::process::ProcessMetrics;
use crate::store::{StoreOpenError, open_store};

/// Between two folds of the histograms' samples.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);

/// What the line's tasks get after the last connection has ended.
const TASKS_GRACE: Duration = Duration::from_secs(4);

/// The node could not start, or ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data folder.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The store, when it was opened.
    #[error(transparent)]
    Open(#[from] StoreOpenError),
    /// The store, later.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Metrics.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// The gateway.
    #[error(transparent)]
    Api(#[from] bowline_api::Error),
    /// A task that must not end ended.
    #[error(transparent)]
    Task(#[from] TaskError),
}

/// A node that is ready to run.
#[derive(Debug)]
pub struct Node {
    data: DataFolder,
    store: Arc<dyn LineStore>,
    disk: DiskWatch,
    line: bowline_line::Service,
    anchors: bowline_anchor::Service,
    handle: bowline_line::Handle,
    gateway: bowline_api::Service,
    drain: Drain,
    metrics: MetricsHandle,
    process: ProcessMetrics,
    drain_time: Duration,
}

impl Node {
    /// Checks the settings, takes the data folder, opens the store, puts the subsystems together and binds
    /// the address. Nothing serves yet.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn build(mut config: Config) -> Result<Self, Error> {
        let problems = config.problems();
        if !problems.is_empty() {
            return Err(ConfigError::Problems(problems).into());
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = bowline_runtime::install_metrics()?;
        let data = DataFolder::open(&config.data)?;
        let process = ProcessMetrics::start(config.data.clone());
        crate::metrics::declare();
        DiskWatch::make_room_to_start(&data);
        let (store, _) = open_store(&config.store, data.database(), config.store.migrate_on_startup).await?;
        let disk = DiskWatch::new(config.disk, &data, store.gate().cloned());
        disk.activate();
        let signer = signer(&config, &data, store.as_ref(), clock.as_ref()).await?;
        if config.api.auth.bootstrap_admin_api_key.is_none() {
            config.api.auth.bootstrap_admin_api_key = Some(data.admin_key()?);
        }
        let schemas = Registry::new(config.schemas, Arc::clone(&store), Arc::clone(&clock));
        let (line, handle) = bowline_line::Service::build(
            &config.line,
            bowline_line::Dependencies {
                store: Arc::clone(&store),
                signer,
                clock,
                payloads: Some(Arc::new(SchemaCheck(schemas.clone()))),
            },
        );
        let (anchors, anchoring) = bowline_anchor::Service::build(
            &config.anchor,
            bowline_anchor::Dependencies {
                store: Arc::clone(&store),
                clock: Arc::clone(&handle.clock),
                steps: None,
            },
        )
        .map_err(|problem| ConfigError::Problems(vec![problem]))?;
        let drain = Drain::default();
        let gateway = bowline_api::Service::build(
            config.api,
            bowline_api::Dependencies {
                line: handle.clone(),
                schemas,
                anchors: anchoring.clone(),
                limits: config.line.limits,
                metrics: metrics.clone(),
                drain: drain.clone(),
                chapters: chapters(&handle, anchoring),
            },
        )
        .await?;
        let drain_time = Duration::from_secs(config.drain_secs_max);
        Ok(Self { data, store, disk, line, anchors, handle, gateway, drain, metrics, process, drain_time })
    }

    /// Where the gateway listens.
    pub fn address(&self) -> SocketAddr {
        self.gateway.address()
    }

    /// The line, for whoever runs in the same process.
    pub fn line(&self) -> &bowline_line::Handle {
        &self.handle
    }

    /// Serves until `stop` resolves or a task fails, then drains: first the gateway answers what was begun,
    /// then the line writes what was handed over, then the store closes.
    ///
    /// # Errors
    /// A task that failed, or connections that did not end in time.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let tasks = Tasks::new(Shutdown::new());
        self.line.spawn(&tasks);
        self.anchors.spawn(&tasks);
        tasks.spawn("disk", self.disk.run(tasks.shutdown().clone()));
        tasks.spawn("metrics", upkeep(self.metrics, self.process, tasks.shutdown().clone()));
        let closing = Shutdown::new();
        let gateway = self.gateway.run(closing.clone(), self.drain_time);
        tokio::pin!(gateway);
        let failed = tasks.shutdown().clone();
        let ended = tokio::select! {
            ended = &mut gateway => Some(ended),
            () = stop => None,
            () = failed.begun() => None,
        };
        tracing::info!(component = "node", "Draining");
        self.drain.begin();
        closing.begin();
        let served = match ended {
            Some(ended) => ended,
            None => gateway.await,
        };
        tasks.shutdown().begin();
        let joined = tasks.join(TASKS_GRACE).await;
        self.store.close().await;
        drop(self.data);
        joined?;
        served?;
        tracing::info!(component = "node", "Stopped");
        Ok(())
    }
}

/// The registry of schemas as the line's check of payloads.
#[derive(Debug)]
struct SchemaCheck(Registry);

#[async_trait]
impl PayloadCheck for SchemaCheck {
    async fn check(
        &self,
        events: Vec<VerifiedEvent>,
    ) -> Result<Vec<Result<VerifiedEvent, Box<Rejected>>>, StoreError> {
        self.0.judge(events).await
    }
}

async fn signer(
    config: &Config,
    data: &DataFolder,
    store: &dyn LineStore,
    clock: &dyn Clock,
) -> Result<Arc<SequencerSigner>, Error> {
    let (sequencer_id, key) = data.sequencer(&config.sequencer)?;
    let record = store.register_sequencer_key(sequencer_id, key.public().to_bytes(), clock.now()).await?;
    Ok(Arc::new(SequencerSigner { sequencer_id, key_version: record.key_version, key }))
}

/// Who tells of an event's life, in the order in which it happens.
fn chapters(line: &bowline_line::Handle, anchors: bowline_anchor::Handle) -> Vec<Arc<dyn ChapterSource>> {
    vec![
        Arc::new(LineChapters::new(Arc::clone(&line.store), line.commitments.clone())),
        Arc::new(AnchorChapters::new(anchors)),
    ]
}

async fn upkeep(
    metrics: MetricsHandle,
    process: ProcessMetrics,
    shutdown: Shutdown,
) -> Result<(), TaskError> {
    while !shutdown.has_begun() {
        tokio::select! {
            () = tokio::time::sleep(METRICS_UPKEEP) => {
                metrics.upkeep();
                process.look();
            }
            () = shutdown.begun() => {}
        }
    }
    Ok(())
}
