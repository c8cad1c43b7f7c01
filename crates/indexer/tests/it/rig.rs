//! A store, a chain with registries, and an indexing process between them that can be stopped like a process that is
//! killed: by dropping it wherever it is.

use std::collections::HashSet;
use std::sync::Arc;

use bowline_indexer::{ChainConfig, ChainStatus, Config, Dependencies, Handle, Registries, Service};
use bowline_runtime::{Shutdown, SystemClock};
use bowline_store::{AgentKeyFilter, LineStore, ReadQuery, SqliteConfig, SqliteStore, StoredEvent};
use bowline_types::{Secret, chain_agent, chain_stream};
use bowline_ves::{AgentPublicKey, SecretKey, SequencerSigner, verify};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::registries::Deployed;
use bowline_neighbours::{Anvil, number, soon};

pub(crate) const CHAIN: u64 = 31_337;

/// The parts of a test.
pub(crate) struct Rig {
    pub(crate) anvil: Anvil,
    pub(crate) deployed: Deployed,
    pub(crate) store: Arc<dyn LineStore>,
    pub(crate) config: Config,
    _folder: TempDir,
}

/// A running indexer.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn status(&self) -> ChainStatus {
        self.handle.status().remove(0)
    }

    /// What kill -9 does to it.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        drop((&mut self.task).await);
    }

    /// Waits until a status is as it should be.
    pub(crate) async fn until(&self, is: impl Fn(&ChainStatus) -> bool) -> ChainStatus {
        soon(|| async {
            let status = self.status();
            is(&status).then_some(status)
        })
        .await
    }

    /// Waits until that block is on the line.
    pub(crate) async fn until_block(&self, block: u64) {
        self.until(|status| status.block >= Some(block)).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rig {
    pub(crate) async fn new() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = SqliteStore::open(SqliteConfig::at(folder.path().join("line.db"))).await.unwrap();
        Self::with(Arc::new(store), folder).await
    }

    pub(crate) async fn with(store: Arc<dyn LineStore>, folder: TempDir) -> Rig {
        let anvil = Anvil::start(&[]);
        let deployed = Deployed::on(&anvil).await;
        let config = config(anvil.url(), &deployed);
        Rig { anvil, deployed, store, config, _folder: folder }
    }

    pub(crate) fn start(&self) -> Running {
        start(&self.config, &self.store, 1)
    }

    /// The same over other endpoints.
    pub(crate) fn over(&self, urls: &str) -> Config {
        let mut config = self.config.clone();
        config.chains[0].rpc_urls = Secret::new(urls);
        config
    }

    /// So many blocks of registrations.
    pub(crate) async fn register(&self, ids: std::ops::Range<u64>) {
        for id in ids {
            self.deployed.register(&self.anvil, id).await;
        }
    }

    /// Waits until the line has what the chain has, and asserts that it has each log once and in order.
    pub(crate) async fn settled(&self, running: &Running) -> Vec<StoredEvent> {
        let last = self.anvil.height().await;
        running.until_block(last).await;
        soon(|| async { (self.standing().await == self.truth().await).then_some(()) }).await;
        self.events().await
    }

    pub(crate) async fn events(&self) -> Vec<StoredEvent> {
        whole(&self.store, CHAIN).await
    }

    /// What stands on the line: block, index, block hash and transaction of each log that is not taken back.
    pub(crate) async fn standing(&self) -> Vec<(u64, u64, String, String)> {
        standing(&self.events().await)
    }

    /// What the chain itself has.
    pub(crate) async fn truth(&self) -> Vec<(u64, u64, String, String)> {
        let Deployed { identity, reputation, validation, .. } = self.deployed;
        let filter =
            json!({"address": [identity, reputation, validation], "fromBlock": "0x0", "toBlock": "latest"});
        let logs = self.anvil.call("eth_getLogs", json!([filter])).await;
        let text = |log: &Value, key: &str| log[key].as_str().unwrap().to_owned();
        let log = |log: &Value| {
            let place = (number(&log["blockNumber"]), number(&log["logIndex"]));
            (place.0, place.1, text(log, "blockHash"), text(log, "transactionHash"))
        };
        logs.as_array().unwrap().iter().map(log).collect()
    }
}

/// Settings without pauses that are longer than a test's patience.
pub(crate) fn config(urls: &str, deployed: &Deployed) -> Config {
    let registries = Registries {
        identity: Some(deployed.identity.to_string()),
        reputation: Some(deployed.reputation.to_string()),
        validation: Some(deployed.validation.to_string()),
    };
    let chain = ChainConfig {
        chain_id: CHAIN,
        name: Some("Test Chain".to_owned()),
        rpc_urls: Secret::new(urls),
        registries,
        requests_per_sec: 0,
        poll_ms: 20,
        ..ChainConfig::default()
    };
    Config { chains: vec![chain], lease_secs: 1, call_secs_max: 5, breaker_open_secs: 1, ..Config::default() }
}

/// Starts an indexer with the key of that seed.
pub(crate) fn start(config: &Config, store: &Arc<dyn LineStore>, seed: u8) -> Running {
    let signer = SequencerSigner {
        sequencer_id: Uuid::from_u128(33),
        key_version: 1,
        key: SecretKey::from_seed([9; 32]),
    };
    let dependencies = Dependencies {
        store: Arc::clone(store),
        clock: Arc::new(SystemClock),
        signer: Arc::new(signer),
        key: Arc::new(SecretKey::from_seed([seed; 32])),
    };
    let (service, handle) = Service::build(config, dependencies).unwrap();
    let task = tokio::spawn(async move {
        service.run(Shutdown::new()).await.unwrap();
    });
    Running { handle, task }
}

pub(crate) fn payload(event: &StoredEvent) -> Value {
    serde_json::from_str(event.envelope.payload.text()).unwrap()
}

pub(crate) fn standing(events: &[StoredEvent]) -> Vec<(u64, u64, String, String)> {
    let taken_back: HashSet<String> =
        events.iter().filter_map(|event| payload(event)["retracts"].as_str().map(str::to_owned)).collect();
    let stands = |event: &&StoredEvent| {
        event.envelope.event_type != "Retracted" && !taken_back.contains(&event.envelope.event_id.to_string())
    };
    let text = |payload: &Value, key: &str| payload[key].as_str().unwrap().to_owned();
    let log = |event: &StoredEvent| {
        let payload = payload(event);
        let place = (payload["block_number"].as_u64().unwrap(), payload["log_index"].as_u64().unwrap());
        (place.0, place.1, text(&payload, "block_hash"), text(&payload, "transaction_hash"))
    };
    events.iter().filter(stands).map(log).collect()
}

/// A chain's stream; asserts that its numbers are dense and that its agent's keys verify each event.
pub(crate) async fn whole(store: &Arc<dyn LineStore>, chain: u64) -> Vec<StoredEvent> {
    let stream = chain_stream(chain);
    let keys =
        store.agent_keys(AgentKeyFilter::of(stream.tenant_id, Some(chain_agent(chain)), 100)).await.unwrap();
    let (mut query, mut events) = (ReadQuery::from(stream, 1, 1_000), Vec::new());
    loop {
        let page = store.read(query.clone()).await.unwrap();
        events.extend(page.events);
        let Some(next) = page.next else { break };
        query.from = next;
    }
    for (event, expected) in events.iter().zip(1..) {
        assert_eq!(event.receipt.sequence_number, expected);
        let key = keys.iter().find(|key| key.key_id == event.envelope.agent_key_id).unwrap();
        let key = AgentPublicKey::from_bytes(&key.public_key).unwrap();
        verify(event.envelope.clone(), Ok(&key)).unwrap();
    }
    events
}
