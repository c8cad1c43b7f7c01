//! A store with commitments, a chain with a contract, and an anchoring process between them that can be stopped
//! like a process that is killed: by dropping it wherever it is.

use std::sync::Arc;
use std::time::Duration;

use bowline_anchor::tables::{AnchorFilter, AnchorRow, AnchorStore, SendState};
use bowline_anchor::{Config, Dependencies, Handle, Service, Steps};
use bowline_line::{CommitRange, Commitments};
use bowline_runtime::{Shutdown, SystemClock};
use bowline_store::{
    CommitmentOrigin, CommitmentRecord, EventStore as _, LineStore, SqliteConfig, SqliteStore, VerifiedBatch,
};
use bowline_types::{AgentId, EventId, Secret, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{Draft, SecretKey, SequencerSigner, VerifiedEvent, event_signing_hash, sign_envelope};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::support::{Chain, KEYS, soon};

/// The parts of a test.
pub(crate) struct Rig {
    pub(crate) chain: Chain,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) config: Config,
    _folder: TempDir,
}

/// A running anchoring process.
pub(crate) struct Running {
    pub(crate) handle: Handle,
    task: JoinHandle<()>,
}

impl Running {
    /// What kill -9 does to it.
    pub(crate) async fn kill(mut self) {
        self.task.abort();
        drop((&mut self.task).await);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rig {
    /// With our contract, final after one block on top, and without pauses that are longer than a test's patience.
    pub(crate) async fn new() -> Rig {
        Self::with(Chain::bowline().await).await
    }

    pub(crate) async fn with(chain: Chain) -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = SqliteStore::open(SqliteConfig::at(folder.path().join("line.db"))).await.unwrap();
        let config = Config {
            rpc_url: Some(Secret::new(chain.anvil.url())),
            contract: Some(chain.contract.to_string()),
            private_key: Some(Secret::new(KEYS[1])),
            chain_id: 31_337,
            interval_secs: 0,
            finality_confirmations: 1,
            finality_poll_secs: 0,
            reconcile_secs: 0,
            call_secs_max: 5,
            breaker_open_secs: 1,
            poll_ms: 20,
            ..Config::default()
        };
        Rig { chain, store: Arc::new(store), config, _folder: folder }
    }

    /// Commitments of a stream, of two events each, behind those that it has.
    pub(crate) async fn commit(&self, stream: StreamId, count: usize) -> Vec<CommitmentRecord> {
        let commitments = self.commitments();
        let mut made = Vec::new();
        for _ in 0..count {
            self.append(stream, 2).await;
            let range = CommitRange::default();
            made.push(commitments.commit(stream, range, CommitmentOrigin::Client).await.unwrap());
        }
        made
    }

    pub(crate) fn commitments(&self) -> Commitments {
        Commitments::new(self.line(), Arc::new(SystemClock), 1_000)
    }

    async fn append(&self, stream: StreamId, count: usize) {
        let events = (0..count).map(|_| event(stream)).collect();
        let key = SecretKey::from_seed([1; 32]);
        let signer = SequencerSigner { sequencer_id: Uuid::from_u128(33), key_version: 1, key };
        let batch = VerifiedBatch { events, keys_epoch: u64::MAX };
        self.store.append(batch, Arc::new(signer), Timestamp::from_micros(0)).await.unwrap();
    }

    pub(crate) fn line(&self) -> Arc<dyn LineStore> {
        Arc::clone(&self.store) as Arc<dyn LineStore>
    }

    pub(crate) fn start(&self) -> Running {
        self.start_with(&self.config, None)
    }

    pub(crate) fn start_with(&self, config: &Config, steps: Option<Arc<dyn Steps>>) -> Running {
        let dependencies = Dependencies { steps, ..self.dependencies() };
        let (service, handle) = Service::build(config, dependencies).unwrap();
        let task = tokio::spawn(async move {
            service.run(Shutdown::new()).await.unwrap();
        });
        Running { handle, task }
    }

    pub(crate) fn tables(&self) -> Arc<dyn AnchorStore> {
        bowline_anchor::tables::open(&self.store.engine())
    }

    pub(crate) fn dependencies(&self) -> Dependencies {
        Dependencies { store: self.line(), clock: Arc::new(SystemClock), steps: None }
    }

    pub(crate) async fn rows(&self, stream: StreamId) -> Vec<AnchorRow> {
        self.tables().anchor_rows(AnchorFilter { stream, after: 0, limit: 20_000 }).await.unwrap()
    }

    /// Waits until all commitments of a stream are final; blocks are made until they are.
    pub(crate) async fn all_anchored(&self, stream: StreamId) -> Vec<AnchorRow> {
        soon(|| async {
            self.chain.anvil.mine(1).await;
            let rows = self.rows(stream).await;
            rows.iter().all(|row| row.commitment.anchor.is_some()).then_some(rows)
        })
        .await
    }

    /// Waits until the stream's sends are in these states, in the order of its chain.
    pub(crate) async fn until_sends(&self, stream: StreamId, state: SendState) {
        soon(|| async {
            let rows = self.rows(stream).await;
            let there = rows.iter().all(|row| row.send.as_ref().is_some_and(|send| send.state == state));
            (there && !rows.is_empty()).then_some(())
        })
        .await;
    }

    /// Waits until the process says that this is in its way.
    pub(crate) async fn until_trouble(&self, running: &Running, code: &str) -> String {
        let found = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                let trouble = running.handle.status().await.unwrap().trouble;
                if let Some(trouble) = trouble.filter(|trouble| trouble.code == code) {
                    return format!("{} {}", trouble.message, trouble.fix);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        match found.await {
            Ok(text) => text,
            Err(_) => panic!("no {code}: {:?}", running.handle.status().await.unwrap().trouble),
        }
    }

    /// How many commitments of a stream the contract has.
    pub(crate) async fn on_chain(&self, stream: StreamId) -> u64 {
        let head = bowline_anchor::abi::BowlineAnchor::headCall {
            streamId: crate::support::word(bowline_ves::stream_hash(stream)),
        };
        self.chain.ask(&head).await.length
    }
}

pub(crate) fn new_stream() -> StreamId {
    StreamId::new(TenantId::random(), StoreId::random())
}

fn event(stream: StreamId) -> VerifiedEvent {
    let draft = Draft {
        stream,
        event_id: EventId::random(),
        source_agent_id: AgentId::from_bytes([2; 16]),
        agent_key_id: 1,
        entity_type: "order".to_owned(),
        entity_id: "o-1".to_owned(),
        event_type: "order.placed".to_owned(),
        created_at: "2025-06-01T12:00:00Z".to_owned(),
        payload: "{}".into(),
        command_id: None,
        base_version: None,
    };
    let envelope = sign_envelope(draft, &SecretKey::from_seed([7; 32])).unwrap();
    let created_at = envelope.created_at_timestamp().unwrap();
    VerifiedEvent { signing_hash: event_signing_hash(&envelope), envelope, created_at }
}
