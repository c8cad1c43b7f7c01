//! What goes wrong inside of a step: panics, events that take too long, a shutdown in between.
//!
//! A task that matches runs on an embedded store; what both stores must do alike is in `tests/it`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bowline_deliveries::{ActionRules, ActionScope, SealedConfig};
use bowline_runtime::SystemClock;
use bowline_store::{
    ActionRecord, BreakerSettings, ConditionRecord, JobFilter, SqliteConfig, SqliteStore, TriggerRecord,
};
use bowline_types::TenantId;
use serde_json::{Value, json};
use tokio::task::{Id, JoinHandle};

use super::*;
use crate::FieldProblem;

#[path = "../../tests/it/events.rs"]
#[allow(dead_code, reason = "the integration tests use all of it")]
mod events;

use self::events::{append, chain, feedback};

/// What must come, comes within.
const SECS_MAX: u64 = 30;

/// A clock that makes a lane panic that asks it.
#[derive(Debug, Default)]
struct Trapped {
    is_armed: AtomicBool,
    /// The task that starts lanes, which is spared.
    spared: Mutex<Option<Id>>,
}

impl Clock for Trapped {
    fn now(&self) -> Timestamp {
        let task = tokio::task::try_id();
        let is_lane = task.is_some() && task != *self.spared.lock().unwrap();
        assert!(!(is_lane && self.is_armed.swap(false, Ordering::SeqCst)), "by design");
        SystemClock.now()
    }
}

#[derive(Debug)]
struct NoActions;

impl ActionRules for NoActions {
    fn check(&self, _: ActionScope<'_>, _: &str, _: &Value, _: Option<&ActionRecord>) -> Vec<FieldProblem> {
        Vec::new()
    }

    fn seal(
        &self,
        _: ActionScope<'_>,
        _: Uuid,
        _: &Value,
        _: Option<&ActionRecord>,
    ) -> Result<SealedConfig, String> {
        Err("nothing is sealed here".to_owned())
    }

    fn masked(&self, _: &ActionRecord) -> Value {
        Value::Null
    }
}

/// A store, and who matches on it.
struct Rig {
    _folder: tempfile::TempDir,
    store: Arc<dyn LineStore>,
    clock: Arc<Trapped>,
    config: MatchingConfig,
}

/// A task that matches.
struct Running {
    context: Arc<MatchingContext>,
    shutdown: Shutdown,
    task: JoinHandle<Result<(), StoreError>>,
}

impl Rig {
    async fn new(config: MatchingConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = SqliteStore::open(SqliteConfig::at(folder.path().join("line.db"))).await.unwrap();
        Self { _folder: folder, store: Arc::new(store), clock: Arc::default(), config }
    }

    fn run(&self) -> Running {
        let dependencies = Dependencies {
            store: Arc::clone(&self.store),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            actions: Arc::new(NoActions),
            instance: "test".to_owned(),
        };
        let matcher = Matcher::new(&self.config, &dependencies);
        let (context, shutdown) = (Arc::clone(&matcher.context), Shutdown::new());
        let task = tokio::spawn(matcher.run(shutdown.clone()));
        *self.clock.spared.lock().unwrap() = Some(task.id());
        Running { context, shutdown, task }
    }

    /// A trigger with one action.
    async fn trigger(&self, conditions: &[Value]) {
        let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
        let condition = |value: &Value| ConditionRecord {
            condition_id: Uuid::new_v4(),
            condition_type: text(value, "condition_type").unwrap(),
            field: None,
            operator: text(value, "operator"),
            value: Some(value["value"].to_string()),
            config: value.get("config").map(Value::to_string),
        };
        let action = ActionRecord {
            action_id: Uuid::new_v4(),
            action_type: "rest".to_owned(),
            priority: 0,
            config: "{}".to_owned(),
            sealed: None,
        };
        let record = TriggerRecord {
            trigger_id: Uuid::new_v4(),
            tenant_id: TenantId::random(),
            name: "t".to_owned(),
            description: None,
            chain_id: None,
            registry: None,
            enabled: true,
            is_stateful: conditions.iter().any(|condition| condition.get("config").is_some()),
            breaker: BreakerSettings::default(),
            conditions: conditions.iter().map(condition).collect(),
            actions: vec![action],
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
            revision: 0,
        };
        self.store.put_trigger(record, None, 10).await.unwrap();
    }

    async fn until_matched(&self, number: u64) {
        let reached = async || self.store.cursor(FOLLOWER, chain()).await.unwrap() >= number;
        until(reached).await;
    }

    async fn jobs(&self) -> Vec<u64> {
        let jobs = self.store.jobs(JobFilter { limit: 1_000, ..JobFilter::default() }).await.unwrap();
        let mut numbers: Vec<u64> = jobs.iter().map(|record| record.job.sequence_number).collect();
        numbers.sort_unstable();
        numbers
    }

    async fn problem(&self, event: &bowline_store::StoredEvent) -> Option<String> {
        let row = self.store.processed_event(chain(), event.envelope.event_id).await.unwrap();
        row.unwrap().problem
    }
}

impl Running {
    /// Stops it as a signal does; returns how long that took.
    async fn stop(self) -> Duration {
        let began = Instant::now();
        self.shutdown.begin();
        let ended = tokio::time::timeout(Duration::from_secs(SECS_MAX), self.task).await;
        ended.expect("it ends").expect("it does not panic").expect("it has no error");
        began.elapsed()
    }

    fn counts(&self) -> String {
        self.context.log.summary()
    }
}

async fn until(mut ask: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !ask().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(SECS_MAX), asked)
        .await
        .expect("what must come soon did not come");
}

fn quick() -> MatchingConfig {
    MatchingConfig { poll_ms: 100, lease_secs: 1, ..MatchingConfig::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_panics_is_started_again() {
    let rig = Rig::new(quick()).await;
    rig.trigger(&[]).await;
    append(&rig.store, vec![feedback(1, json!({}))]).await;
    let running = rig.run();
    rig.until_matched(1).await;
    rig.clock.is_armed.store(true, Ordering::SeqCst);
    append(&rig.store, (2..=5).map(|index| feedback(index, json!({}))).collect()).await;
    rig.until_matched(5).await;
    assert!(!rig.clock.is_armed.load(Ordering::SeqCst));
    assert_eq!(rig.jobs().await, [1, 2, 3, 4, 5]);
    until(async || running.counts().ends_with("active=0")).await;
    let counts = running.counts();
    assert!(counts.contains("spawned=6 succeeded=5 failed=0 panicked=1 timeout=0"), "{counts}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_panics_is_set_aside_wherever_it_is_looked_at() {
    let rig = Rig::new(quick()).await;
    // The feedback was matched before there was a trigger to hold it against; its revocation looks at it again.
    let trapped = feedback(1, json!({"trap": "panic"}));
    append(&rig.store, vec![trapped]).await;
    let running = rig.run();
    rig.until_matched(1).await;
    let average = json!({
        "condition_type": "ema_threshold", "operator": "<", "value": 1000, "config": {"window_size": 3},
    });
    rig.trigger(&[json!({"condition_type": "event_type_equals", "value": "NewFeedback"}), average]).await;
    let revocation = feedback(2, json!({"event_type": "FeedbackRevoked", "feedback_index": "1"}));
    let events = vec![revocation, feedback(3, json!({"trap": "panic"})), feedback(4, json!({}))];
    let stored = append(&rig.store, events).await;
    rig.until_matched(4).await;
    for event in &stored[..2] {
        assert_eq!(rig.problem(event).await.as_deref(), Some("panicked: by design"));
    }
    assert_eq!((rig.problem(&stored[2]).await, rig.jobs().await), (None, vec![4]));
    let counts = running.counts();
    assert!(counts.contains("panicked=2"), "{counts}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_shutdown_cuts_off_what_is_not_being_written() {
    let rig = Rig::new(quick()).await;
    rig.trigger(&[]).await;
    append(&rig.store, (1..=20).map(|index| feedback(index, json!({"trap": 200}))).collect()).await;
    let running = rig.run();
    until(async || running.counts().contains("spawned=20 ")).await;
    let context = Arc::clone(&running.context);
    let took = running.stop().await;
    assert!(took < Duration::from_secs(2), "{took:?} of a step of 4 s");
    assert_eq!(rig.store.cursor(FOLLOWER, chain()).await.unwrap(), 0);
    assert!(context.log.summary().contains("spawned=0 "), "{}", context.log.summary());
    // Nothing of it is left: the next one does all of it, once.
    let running = rig.run();
    rig.until_matched(20).await;
    assert_eq!(rig.jobs().await, (1..=20).collect::<Vec<u64>>());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_takes_too_long_is_matched_in_parts() {
    let rig = Rig::new(MatchingConfig { step_secs_max: 1, ..quick() }).await;
    rig.trigger(&[]).await;
    append(&rig.store, (1..=8).map(|index| feedback(index, json!({"trap": 300}))).collect()).await;
    let running = rig.run();
    rig.until_matched(8).await;
    assert_eq!(rig.jobs().await, (1..=8).collect::<Vec<u64>>());
    // Eight at once are too many.
    let counts = running.counts();
    assert!(counts.contains("succeeded=8 failed=0 panicked=0") && !counts.contains("timeout=0"), "{counts}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_takes_too_long_alone_is_set_aside() {
    let rig = Rig::new(MatchingConfig { step_secs_max: 1, tries_max: 2, ..quick() }).await;
    rig.trigger(&[]).await;
    let traps = [json!({}), json!({"trap": 1_300}), json!({})];
    let events = traps.into_iter().zip(1..).map(|(trap, index)| feedback(index, trap));
    let stored = append(&rig.store, events.collect()).await;
    let running = rig.run();
    rig.until_matched(3).await;
    let problem = rig.problem(&stored[1]).await.unwrap();
    assert_eq!(problem, "took more than 1 s alone, 2 times in a row");
    assert_eq!((rig.problem(&stored[0]).await, rig.problem(&stored[2]).await), (None, None));
    assert_eq!(rig.jobs().await, [1, 3]);
    running.stop().await;
}
