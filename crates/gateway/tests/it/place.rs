//! A gateway on a free port, with every handle that it needs and none of the subsystems' tasks running.
//! What a subsystem does is its own suite's business; here its routes only have to be there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bowline_deliveries::Deliveries;
use bowline_gateway::{Config, Dependencies, Drain, Serves, Service};
use bowline_http::Error;
use bowline_runtime::{Clock, Shutdown, SystemClock};
use bowline_schemas::Registry;
use bowline_store::{LineStore, SqliteConfig, SqliteStore};
use bowline_triggers::TriggerOwners;
use bowline_types::{Limits, Secret};
use bowline_ves::{SecretKey, SequencerSigner};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The key with all rights.
pub(crate) const ADMIN_KEY: &str = "admin-key-of-tests";

/// More than any answer takes.
const SOON: Duration = Duration::from_secs(20);

/// A gateway that serves.
pub(crate) struct Place {
    pub(crate) address: SocketAddr,
    pub(crate) drain: Drain,
    shutdown: Shutdown,
    running: JoinHandle<Result<(), Error>>,
    _folder: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Place {
    pub(crate) async fn start(serves: Serves) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = SqliteStore::open(SqliteConfig::at(folder.path().join("line.db"))).await.unwrap();
        let drain = Drain::default();
        let mut config = Config { port: 0, ..Config::default() };
        config.auth.bootstrap_admin_api_key = Some(Secret::new(ADMIN_KEY));
        let dependencies = dependencies(Arc::new(store), drain.clone(), serves);
        let service = Service::build(config, dependencies).await.unwrap();
        let (address, shutdown) = (service.address(), Shutdown::new());
        let running = tokio::spawn(service.run(shutdown.clone(), SOON));
        Self { address, drain, shutdown, running, _folder: folder }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, key: Option<&str>) -> Answer {
        let client = reqwest::Client::builder().timeout(SOON).build().unwrap();
        let request = client.request(method.parse().unwrap(), format!("http://{}{path}", self.address));
        let request = key.into_iter().fold(request, |request, key| request.header("x-api-key", key));
        let response = request.body("{}").send().await.unwrap();
        Answer { status: response.status().as_u16(), text: response.text().await.unwrap() }
    }

    /// Asks with the key of the administrator.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, Some(ADMIN_KEY)).await
    }

    /// Stops it, and says how it ended.
    pub(crate) async fn stop(self) -> Result<(), Error> {
        self.shutdown.begin();
        tokio::time::timeout(SOON, self.running).await.unwrap().unwrap()
    }
}

fn dependencies(store: Arc<dyn LineStore>, drain: Drain, serves: Serves) -> Dependencies {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let key = SecretKey::from_seed([1; 32]);
    let signer = Arc::new(SequencerSigner { sequencer_id: Uuid::from_u128(33), key_version: 1, key });
    let (_, line) = bowline_line::Service::build(
        &bowline_line::Config::default(),
        bowline_line::Dependencies {
            store: Arc::clone(&store),
            signer: Arc::clone(&signer),
            clock: Arc::clone(&clock),
            payloads: None,
        },
    );
    let anchors =
        bowline_anchor::Dependencies { store: Arc::clone(&store), clock: Arc::clone(&clock), steps: None };
    let (_, anchors) = bowline_anchor::Service::build(&bowline_anchor::Config::default(), anchors).unwrap();
    let (_, indexer) = bowline_indexer::Service::build(
        &bowline_indexer::Config::default(),
        bowline_indexer::Dependencies {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            signer,
            key: Arc::new(SecretKey::from_seed([2; 32])),
        },
    )
    .unwrap();
    let deliveries = deliveries(&store, &clock);
    let (_, triggers) = bowline_triggers::Service::build(
        &bowline_triggers::Config::default(),
        bowline_triggers::Dependencies {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            actions: deliveries.actions(),
            instance: "test".to_owned(),
        },
    )
    .unwrap();
    Dependencies {
        schemas: Registry::new(bowline_schemas::Config::default(), Arc::clone(&store), clock),
        line,
        anchors,
        triggers,
        deliveries,
        indexer,
        limits: Limits::default(),
        metrics: bowline_runtime::install_metrics().unwrap(),
        drain,
        chapters: Vec::new(),
        roles: vec!["gateway"],
        serves,
        redis: None,
    }
}

fn deliveries(store: &Arc<dyn LineStore>, clock: &Arc<dyn Clock>) -> Deliveries {
    Deliveries::build(
        &bowline_deliveries::Config::default(),
        bowline_deliveries::Dependencies {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            queue: None,
            owners: vec![Arc::new(TriggerOwners::new(Arc::clone(store)))],
            secrets_key: [7; 32],
            instance: "test".to_owned(),
        },
    )
    .unwrap()
}
