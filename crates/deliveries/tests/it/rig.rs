//! A store with owners and jobs, and workers beside it.
//! Jobs are written as matching writes them, so that these tests need no events.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bowline_deliveries::{
    ActionScope, Config, Deliveries, Dependencies, JobOwners, RedisQueue, TemplateNames,
};
use bowline_runtime::{Clock, ManualClock, Shutdown, SystemClock, Tasks};
use bowline_store::{
    ActionRecord, AttemptRecord, BreakerSettings, JobFilter, JobRecord, JobState, LineStore, MatchCommit,
    NewJob, TriggerRecord, VerifiedBatch,
};
use bowline_types::{AgentId, EventId, StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::{Draft, SecretKey, SequencerSigner, sign_envelope, verify};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::owners::TestOwners;
use crate::test_store::{Engine, TestStore};

/// What a test waits for at most.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Settings under which this machine may be reached.
pub(crate) fn config() -> Config {
    Config { allow: vec!["127.0.0.1/32".to_owned()], poll_ms: 20, drain_secs: 5, ..Config::default() }
}

/// Deliveries of a process of its own, with the system's clock.
pub(crate) fn deliveries(store: Arc<dyn LineStore>, config: Config) -> Deliveries {
    deliveries_at(store, config, Arc::new(SystemClock), None, "worker-1")
}

pub(crate) fn deliveries_at(
    store: Arc<dyn LineStore>,
    config: Config,
    clock: Arc<dyn Clock>,
    queue: Option<RedisQueue>,
    instance: &str,
) -> Deliveries {
    let owners: Vec<Arc<dyn JobOwners>> = vec![Arc::new(TestOwners(Arc::clone(&store)))];
    let instance = instance.to_owned();
    let dependencies = Dependencies { store, clock, queue, owners, secrets_key: [7; 32], instance };
    Deliveries::build(&config, dependencies).unwrap()
}

/// Waits for something to be so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What must come, comes soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("what must come soon did not come")
}

/// Asks again and again until the answer is yes.
pub(crate) async fn until_true<F: Future<Output = bool>>(ask: impl FnMut() -> F) {
    until("the answer is yes", ask).await;
}

/// Runs a test on both stores.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                Box::pin(super::$name(crate::test_store::Engine::Sqlite)).await;
            })*
        }

        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                Box::pin(super::$name(crate::test_store::Engine::Postgres)).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// Writes a stream's first event: jobs are of events of a stream.
pub(crate) async fn begin(store: &Arc<dyn LineStore>, stream: StreamId, now: Timestamp) {
    let key = SecretKey::from_seed([7; 32]);
    let draft = Draft {
        stream,
        event_id: EventId::random(),
        source_agent_id: AgentId::from_bytes([2; 16]),
        agent_key_id: 1,
        entity_type: "agent".to_owned(),
        entity_id: "398".to_owned(),
        event_type: "NewFeedback".to_owned(),
        created_at: "2025-06-01T12:00:00Z".to_owned(),
        payload: r#"{"score":87}"#.into(),
        command_id: None,
        base_version: None,
    };
    let event = verify(sign_envelope(draft, &key).unwrap(), Ok(&key.public())).unwrap();
    let signer = SequencerSigner { sequencer_id: Uuid::from_u128(33), key_version: 1, key };
    let batch = VerifiedBatch { events: vec![event], keys_epoch: u64::MAX };
    store.append(batch, Arc::new(signer), now).await.unwrap();
}

/// A store whose clock stands until a test moves it.
pub(crate) struct Rig {
    pub(crate) place: TestStore,
    pub(crate) store: Arc<dyn LineStore>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) tenant_id: TenantId,
    stream: StreamId,
    next: std::sync::atomic::AtomicU64,
}

impl Rig {
    pub(crate) async fn new(engine: Engine) -> Self {
        let place = TestStore::new(engine).await;
        let store = place.open().await;
        let clock = Arc::new(ManualClock::at(SystemClock.now()));
        let stream = StreamId::new(TenantId::random(), StoreId::random());
        begin(&store, stream, clock.now()).await;
        Self { place, store, clock, tenant_id: TenantId::random(), stream, next: 0.into() }
    }

    pub(crate) fn deliveries(&self, config: Config, instance: &str) -> Deliveries {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        deliveries_at(Arc::clone(&self.store), config, clock, None, instance)
    }

    /// Deliveries of a process that dies with its runtime, database connections and all. An SQLite store is this
    /// process's own, and stays.
    pub(crate) async fn doomed(&self, process: &tokio::runtime::Runtime, config: Config) -> Deliveries {
        let store = match &self.place {
            TestStore::Folder(_) => Arc::clone(&self.store),
            TestStore::Database(name) => {
                let place = TestStore::Database(name.clone());
                process.spawn(async move { place.open().await }).await.unwrap()
            }
        };
        deliveries_at(store, config, Arc::clone(&self.clock) as Arc<dyn Clock>, None, "doomed")
    }

    /// Moves the clock on.
    pub(crate) fn pass(&self, time: Duration) {
        let micros = i64::try_from(time.as_micros()).unwrap();
        self.clock.set(Timestamp::from_micros(self.clock.now().micros() + micros));
    }

    /// Lets leases of jobs come so much closer to their ends, by whatever clock they go.
    pub(crate) async fn leases_age(&self, time: Duration) {
        match &self.place {
            TestStore::Folder(_) => self.pass(time),
            TestStore::Database(_) => {
                let micros = time.as_micros();
                let sql = format!(
                    "UPDATE action_jobs SET lease_until = lease_until - {micros} * interval '1 microsecond'"
                );
                self.place.execute(&sql).await;
            }
        }
    }

    /// A trigger with one action.
    pub(crate) async fn trigger(&self, kind: &str, config: Value) -> TriggerRecord {
        self.trigger_of(self.tenant_id, kind, config, BreakerSettings::default()).await
    }

    pub(crate) async fn trigger_of(
        &self,
        tenant_id: TenantId,
        kind: &str,
        settings: Value,
        breaker: BreakerSettings,
    ) -> TriggerRecord {
        let actions = self.deliveries(config(), "api").actions();
        let owner = ActionScope { tenant_id, names: TemplateNames::Any };
        assert_eq!(actions.check(owner, kind, &settings, None), Vec::new());
        let action_id = Uuid::new_v4();
        let sealed = actions.seal(owner, action_id, &settings, None).unwrap();
        let now = self.clock.now();
        let record = TriggerRecord {
            trigger_id: Uuid::new_v4(),
            tenant_id,
            name: "a trigger".to_owned(),
            description: None,
            chain_id: None,
            registry: None,
            enabled: true,
            is_stateful: false,
            breaker,
            conditions: Vec::new(),
            actions: vec![ActionRecord {
                action_id,
                action_type: kind.to_owned(),
                priority: 0,
                config: sealed.config,
                sealed: sealed.sealed,
            }],
            created_at: now,
            updated_at: now,
            revision: 0,
        };
        self.store.put_trigger(record.clone(), None, 1_000).await.unwrap();
        record
    }

    /// Jobs of a trigger's action, as matching writes them.
    pub(crate) async fn jobs(&self, trigger: &TriggerRecord, count: u64) -> Vec<Uuid> {
        let from = self.next.fetch_add(count, std::sync::atomic::Ordering::SeqCst);
        let action = &trigger.actions[0];
        let job = |number: u64| NewJob {
            job_id: Uuid::new_v4(),
            tenant_id: trigger.tenant_id,
            trigger_id: trigger.trigger_id,
            action_id: action.action_id,
            action_type: action.action_type.clone(),
            priority: action.priority,
            stream: self.stream,
            sequence_number: number,
            event_id: EventId::new(Uuid::new_v4()),
            occurrence: Uuid::new_v4(),
            event: json!({"agent_id": "398", "score": 87, "tag1": "a.b", "number": number}).to_string(),
        };
        let jobs: Vec<NewJob> = (from + 1..=from + count).map(job).collect();
        let ids = jobs.iter().map(|job| job.job_id).collect();
        let commit = MatchCommit {
            follower: "triggers",
            stream: self.stream,
            from,
            to: from + count,
            state: Vec::new(),
            jobs,
            retracted: Vec::new(),
            processed: Vec::new(),
            processor: "test".to_owned(),
        };
        self.store.commit_matches(commit, self.clock.now()).await.unwrap();
        ids
    }

    pub(crate) async fn job(&self, job_id: Uuid) -> JobRecord {
        let filter = JobFilter { job_id: Some(job_id), limit: 1, ..JobFilter::default() };
        self.store.jobs(filter).await.unwrap().remove(0)
    }

    pub(crate) async fn count(&self, state: JobState) -> usize {
        let filter = JobFilter { state: Some(state), limit: 10_000, ..JobFilter::default() };
        self.store.jobs(filter).await.unwrap().len()
    }

    pub(crate) async fn attempts(&self, job_id: Uuid) -> Vec<AttemptRecord> {
        self.store.attempts(job_id).await.unwrap()
    }

    /// Waits for a job to get there.
    pub(crate) async fn until_state(&self, job_id: Uuid, state: JobState) {
        until(state.as_str(), || async { self.job(job_id).await.state == state }).await;
    }

    pub(crate) async fn end(self) {
        self.store.close().await;
        self.place.remove().await;
    }
}

/// Workers that run.
pub(crate) struct Running(Tasks);

impl Running {
    pub(crate) fn start(deliveries: &Deliveries) -> Self {
        let tasks = Tasks::new(Shutdown::new());
        deliveries.spawn_workers(&tasks);
        Self(tasks)
    }

    /// Waits for a task to end by itself; returns its name and why.
    pub(crate) async fn failure(self) -> (&'static str, String) {
        tokio::time::timeout(DEADLINE, self.0.shutdown().begun()).await.expect("no task ended");
        let failure = self.0.join(DEADLINE).await.unwrap_err();
        (failure.task, failure.cause)
    }

    pub(crate) async fn stop(self) {
        self.0.shutdown().begin();
        self.0.join(DEADLINE).await.unwrap();
    }
}
