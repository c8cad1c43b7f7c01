//! A node's parts, put together in order. Every part is built in every process; which of them run is the roles'
//! business, so a process can always tell of all of them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bowline_anchor::AnchorChapters;
use bowline_deliveries::DeliveryChapters;
use bowline_gateway::{Drain, Serves};
use bowline_line::explain::{ChapterSource, LineChapters};
use bowline_line::{AutoCommit, PayloadCheck};
use bowline_runtime::{Clock, SystemClock};
use bowline_schemas::Registry;
use bowline_store::{LineStore, StoreError};
use bowline_triggers::TriggerChapters;
use bowline_ves::{Rejected, SequencerSigner, VerifiedEvent};

use super::chains::Chains;
use super::reactions::Reactions;
use super::{Error, Node, Parts};
use crate::config::{Config, ConfigError, Role};
use crate::data::{DataError, DataFolder};
use crate::disk::DiskWatch;
use crate::process::ProcessMetrics;
use crate::store::open_store;

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
        let roles = config.roles;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let metrics = bowline_runtime::install_metrics()?;
        let data = data_folder(&config)?;
        let process = ProcessMetrics::start(config.data.clone());
        crate::metrics::declare();
        DiskWatch::make_room_to_start(&data);
        config.store.application_name = Some(config.application_name());
        let (store, _) = open_store(&config.store, data.database(), config.store.migrate_on_startup).await?;
        let disk = DiskWatch::new(config.disk, &data, store.gate().cloned());
        disk.activate();
        let signer = signer(&config, &data, store.as_ref(), clock.as_ref()).await?;
        if config.api.auth.bootstrap_admin_api_key.is_none() {
            config.api.auth.bootstrap_admin_api_key = Some(data.admin_key()?);
        }
        let schemas = Registry::new(config.schemas.clone(), Arc::clone(&store), Arc::clone(&clock));
        if !roles.has(Role::Gateway) {
            // Gateways make them; another process would only race with those.
            config.line.commitments.auto = AutoCommit::Off;
        }
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
        let chains = Chains::build(&config, &data, &handle).await?;
        let reactions = Reactions::build(&config, &data, &handle).await?;
        let drain = Drain::default();
        let gateway = bowline_gateway::Service::build(
            config.api,
            bowline_gateway::Dependencies {
                line: handle.clone(),
                schemas,
                anchors: anchoring.clone(),
                triggers: reactions.triggers.clone(),
                deliveries: reactions.deliveries.clone(),
                indexer: chains.handle.clone(),
                limits: config.line.limits,
                metrics: metrics.clone(),
                drain: drain.clone(),
                chapters: chapters(&handle, anchoring),
                roles: roles.words(),
                serves: if roles.has(Role::Gateway) { Serves::Everything } else { Serves::VitalSigns },
                redis: reactions.redis.clone(),
            },
        )
        .await?;
        let drain_time = Duration::from_secs(config.drain_secs_max);
        let parts = Parts { line, anchors, chains, reactions, disk, gateway };
        Ok(Self { roles, data, store, parts, handle, drain, metrics, process, drain_time })
    }
}

/// The data folder; one that another node has says what several processes need.
fn data_folder(config: &Config) -> Result<DataFolder, DataError> {
    DataFolder::open(&config.data).map_err(|error| match error {
        DataError::InUse(path) if config.store.url.is_none() && !config.roles.is_all() => {
            DataError::NotShared(path)
        }
        error => error,
    })
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
        Arc::new(TriggerChapters::new(Arc::clone(&line.store))),
        Arc::new(DeliveryChapters::new(Arc::clone(&line.store))),
    ]
}
