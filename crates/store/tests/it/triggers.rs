//! Triggers, what they remember, and steps of matching.
//!
//! Each test runs on both stores; what another part of the contract reads is looked at in the tables.

use std::sync::Arc;

use bowline_store::{
    ActionRecord, BreakerSettings, ChangeKind, ConditionRecord, LineStore, MatchCommit, NewJob,
    ProcessedEvent, PutTrigger, StateKey, StoreError, TriggerChange, TriggerFilter, TriggerRecord,
};
use bowline_types::{EventId, StreamId, TenantId};
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use crate::support::{Engine, Place, until};
use bowline_conformance::events::{at, grow, new_stream};

const FOLLOWER: &str = "triggers";

pub(crate) fn trigger(tenant_id: TenantId) -> TriggerRecord {
    let condition = |kind: &str| ConditionRecord {
        condition_id: Uuid::new_v4(),
        condition_type: kind.to_owned(),
        field: None,
        operator: Some("eq".to_owned()),
        value: Some("\"398\"".to_owned()),
        config: None,
    };
    let action = |priority: i32| ActionRecord {
        action_id: Uuid::new_v4(),
        action_type: "rest".to_owned(),
        priority,
        config: r#"{"url":"https://h/ö"}"#.to_owned(),
        sealed: (priority > 0).then(|| vec![0, 1, 255]),
    };
    TriggerRecord {
        trigger_id: Uuid::new_v4(),
        tenant_id,
        name: "low scores".to_owned(),
        description: None,
        chain_id: Some(84_532),
        registry: Some("reputation".to_owned()),
        enabled: true,
        is_stateful: true,
        breaker: BreakerSettings { failure_threshold: 3, recovery_secs: 61, half_open_calls_max: 2 },
        conditions: vec![condition("ema_threshold"), condition("agent_id_equals")],
        actions: vec![action(-1), action(7)],
        created_at: at(0),
        updated_at: at(0),
        revision: 0,
    }
}

pub(crate) async fn put(store: &Arc<dyn LineStore>, trigger: &mut TriggerRecord) {
    match store.put_trigger(trigger.clone(), None, 1_000).await.unwrap() {
        PutTrigger::Written(revision) => trigger.revision = revision,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn step(stream: StreamId, from: u64, to: u64) -> MatchCommit {
    MatchCommit {
        follower: FOLLOWER,
        stream,
        from,
        to,
        state: Vec::new(),
        jobs: Vec::new(),
        retracted: Vec::new(),
        processed: Vec::new(),
        processor: "test".to_owned(),
    }
}

pub(crate) fn job(stream: StreamId, tenant_id: TenantId, job_id: u128, occurrence: u128) -> NewJob {
    NewJob {
        job_id: Uuid::from_u128(job_id),
        tenant_id,
        trigger_id: Uuid::from_u128(7),
        action_id: Uuid::from_u128(8),
        action_type: "rest".to_owned(),
        priority: 0,
        stream,
        sequence_number: 1,
        event_id: EventId::random(),
        occurrence: Uuid::from_u128(occurrence),
        event: "{}".to_owned(),
    }
}

/// The first column of a query's rows, which is text.
async fn column(place: &Place, sql: &str) -> Vec<String> {
    match place.engine() {
        Engine::Sqlite => {
            let connection = rusqlite::Connection::open(place.file().path).unwrap();
            let mut statement = connection.prepare(sql).unwrap();
            statement.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        }
        Engine::Postgres => {
            let rows = sqlx::query(AssertSqlSafe(sql.to_owned()))
                .fetch_all(&mut place.connect().await)
                .await
                .unwrap();
            rows.iter().map(|row| row.get(0)).collect()
        }
    }
}

async fn states(place: &Place) -> Vec<String> {
    column(place, "SELECT state FROM action_jobs ORDER BY job_id").await
}

pub(crate) async fn a_trigger_is_written_and_read_whole(place: Arc<Place>) {
    let store = place.open().await;
    let tenant = TenantId::random();
    let mut full = trigger(tenant);
    put(&store, &mut full).await;
    assert_eq!(store.trigger(full.trigger_id).await.unwrap().as_ref(), Some(&full));
    let mut bare = TriggerRecord {
        conditions: Vec::new(),
        actions: Vec::new(),
        chain_id: None,
        registry: None,
        description: Some("all".to_owned()),
        enabled: false,
        created_at: at(1),
        ..trigger(tenant)
    };
    put(&store, &mut bare).await;
    put(&store, &mut trigger(TenantId::random())).await;
    let mine = TriggerFilter { tenant_id: Some(tenant), limit: 10, ..TriggerFilter::default() };
    assert_eq!(store.triggers(mine).await.unwrap(), (vec![full.clone(), bare.clone()], 2));
    let second = TriggerFilter { offset: 1, limit: 1, ..mine };
    assert_eq!(store.triggers(second).await.unwrap(), (vec![bare.clone()], 2));
    let off = TriggerFilter { enabled: Some(false), ..mine };
    assert_eq!(store.triggers(off).await.unwrap(), (vec![bare], 1));
    let chain = TriggerFilter { chain_id: Some(84_532), ..mine };
    assert_eq!(store.triggers(chain).await.unwrap(), (vec![full], 1));
    let all = TriggerFilter { limit: 1, ..TriggerFilter::default() };
    assert_eq!(store.triggers(all).await.unwrap().1, 3);
}

pub(crate) async fn a_trigger_is_changed_by_who_knows_its_revision(place: Arc<Place>) {
    let [store, other] = place.open_two().await;
    let mut record = trigger(TenantId::random());
    put(&store, &mut record).await;
    let first = record.revision;
    let stolen = TriggerRecord { tenant_id: TenantId::random(), ..record.clone() };
    assert_eq!(store.put_trigger(stolen, Some(first), 9).await.unwrap(), PutTrigger::Absent);
    assert_eq!(store.put_trigger(record.clone(), None, 9).await.unwrap(), PutTrigger::Changed(first));
    let unknown = trigger(record.tenant_id);
    assert_eq!(store.put_trigger(unknown, Some(first), 9).await.unwrap(), PutTrigger::Absent);

    let change = |store: &Arc<dyn LineStore>, name: &str| {
        let (store, changed) = (Arc::clone(store), TriggerRecord { name: name.to_owned(), ..record.clone() });
        tokio::spawn(async move { store.put_trigger(changed, Some(first), 9).await.unwrap() })
    };
    let (one, two) = tokio::join!(change(&store, "one"), change(&other, "two"));
    let (one, two) = (one.unwrap(), two.unwrap());
    let written = |put: &PutTrigger| matches!(put, PutTrigger::Written(revision) if *revision > first);
    assert!(written(&one) != written(&two), "{one:?} {two:?}");
    let now = other.trigger(record.trigger_id).await.unwrap().unwrap();
    assert_eq!(now.name, if written(&one) { "one" } else { "two" });
    until(|| async { store.changes().epoch(ChangeKind::TRIGGERS) >= now.revision }).await;
    until(|| async { other.changes().epoch(ChangeKind::TRIGGERS) >= now.revision }).await;
}

pub(crate) async fn an_organization_has_so_many_triggers(place: Arc<Place>) {
    let store = place.open().await;
    let tenant = TenantId::random();
    let mut record = trigger(tenant);
    put(&store, &mut record).await;
    let more = store.put_trigger(trigger(tenant), None, 1).await.unwrap();
    assert_eq!(more, PutTrigger::TooMany { max: 1 });
    let changed = store.put_trigger(record.clone(), Some(record.revision), 1).await.unwrap();
    assert!(matches!(changed, PutTrigger::Written(_)));
    assert!(store.delete_trigger(tenant, record.trigger_id, at(1)).await.unwrap());
    let next = store.put_trigger(trigger(tenant), None, 1).await.unwrap();
    assert!(matches!(next, PutTrigger::Written(_)));
}

pub(crate) async fn a_reader_hears_of_every_change(place: Arc<Place>) {
    let store = place.open().await;
    let tenant = TenantId::random();
    let mut records: Vec<TriggerRecord> = (0..3).map(|_| trigger(tenant)).collect();
    for record in &mut records {
        put(&store, record).await;
    }
    let first = store.trigger_changes(0, 2).await.unwrap();
    let expected = |record: &TriggerRecord| TriggerChange::Put(Box::new(record.clone()));
    assert_eq!(first, [expected(&records[0]), expected(&records[1])]);
    let known = first[1].revision();
    assert!(store.delete_trigger(tenant, records[0].trigger_id, at(9)).await.unwrap());
    let rest = store.trigger_changes(known, 9).await.unwrap();
    assert_eq!(rest[0], expected(&records[2]));
    assert!(matches!(rest[1], TriggerChange::Deleted { trigger_id, revision }
        if trigger_id == records[0].trigger_id && revision > records[2].revision));
    assert_eq!(store.trigger_changes(rest[1].revision(), 9).await.unwrap(), []);
    // A deletion is forgotten with the next one, a week later.
    assert!(store.delete_trigger(tenant, records[1].trigger_id, at(9 + 8 * 86_400)).await.unwrap());
    assert_eq!(store.trigger_changes(0, 9).await.unwrap().len(), 2);
}

pub(crate) async fn a_deleted_trigger_leaves_nothing(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    grow(&store, stream, 2).await;
    let mut record = trigger(stream.tenant_id);
    put(&store, &mut record).await;
    let key = key(&record, stream, "398");
    let mut first = step(stream, 0, 1);
    first.state = vec![(key.clone(), Some("{}".to_owned()))];
    first.jobs = vec![NewJob { trigger_id: record.trigger_id, ..job(stream, stream.tenant_id, 1, 1) }];
    store.commit_matches(first, at(0)).await.unwrap();
    assert!(!store.delete_trigger(TenantId::random(), record.trigger_id, at(1)).await.unwrap());
    assert!(store.delete_trigger(record.tenant_id, record.trigger_id, at(1)).await.unwrap());
    assert!(!store.delete_trigger(record.tenant_id, record.trigger_id, at(1)).await.unwrap());
    assert_eq!(store.trigger(record.trigger_id).await.unwrap(), None);
    assert_eq!(states(&place).await, ["cancelled"]);
    // A step that was on its way remembers nothing of it.
    let mut late = step(stream, 1, 2);
    late.state = vec![(key, Some("{}".to_owned()))];
    store.commit_matches(late, at(2)).await.unwrap();
    assert_eq!(store.state_of_trigger(record.trigger_id, 9).await.unwrap(), []);
}

fn key(record: &TriggerRecord, stream: StreamId, subject: &str) -> StateKey {
    StateKey {
        trigger_id: record.trigger_id,
        condition_id: record.conditions[0].condition_id,
        stream,
        subject: subject.to_owned(),
    }
}

pub(crate) async fn a_step_is_written_once_whoever_writes_it(place: Arc<Place>) {
    let stores = place.open_two().await;
    let stream = new_stream();
    let receipts = grow(&stores[0], stream, 20).await;
    for round in 0..20_u64 {
        let commit = |user: usize| {
            let store = Arc::clone(&stores[user]);
            let mut step = step(stream, round, round + 1);
            step.jobs = vec![job(stream, stream.tenant_id, u128::from(round) * 2 + user as u128, 1)];
            step.processed = vec![ProcessedEvent {
                event_id: receipts[usize::try_from(round).unwrap()].event_id,
                sequence_number: round + 1,
                processed_at: at(5),
                duration_us: 17,
                triggers_matched: 1,
                actions_enqueued: 1,
                problem: None,
            }];
            tokio::spawn(async move { store.commit_matches(step, at(5)).await })
        };
        let (one, two) = tokio::join!(commit(0), commit(1));
        let (one, two) = (one.unwrap(), two.unwrap());
        let lost = if one.is_ok() { two } else { one };
        assert!(matches!(lost, Err(StoreError::CursorMoved { at, .. }) if at == round + 1), "{lost:?}");
    }
    assert_eq!(states(&place).await.len(), 20);
    assert_eq!(stores[1].cursor(FOLLOWER, stream).await.unwrap(), 20);
    let seen = stores[1].processed_event(stream, receipts[3].event_id).await.unwrap().unwrap();
    assert_eq!((seen.sequence_number, seen.duration_us, seen.processed_at), (4, 17, at(5)));
    assert_eq!(stores[0].forget_processed(at(5), 9).await.unwrap(), 0);
    assert_eq!(stores[0].forget_processed(at(6), 9).await.unwrap(), 9);
    assert_eq!(stores[0].forget_processed(at(6), 99).await.unwrap(), 11);
    assert_eq!(stores[0].processed_event(stream, receipts[3].event_id).await.unwrap(), None);
}

pub(crate) async fn a_step_that_fails_leaves_nothing(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    grow(&store, stream, 3).await;
    let mut record = trigger(stream.tenant_id);
    put(&store, &mut record).await;
    let whole = |from, to| {
        let mut step = step(stream, from, to);
        step.state = vec![(key(&record, stream, "1"), Some("1".to_owned()))];
        step.jobs = vec![job(stream, stream.tenant_id, 1, 1)];
        step
    };
    for from in [1, 2] {
        let error = store.commit_matches(whole(from, 3), at(0)).await.unwrap_err();
        assert!(matches!(error, StoreError::CursorMoved { at: 0, .. }), "{error}");
    }
    assert_eq!(states(&place).await, [""; 0]);
    assert_eq!(store.state_of_trigger(record.trigger_id, 9).await.unwrap(), []);
    // A part of a step that is too large: everything but the cursor.
    store.commit_matches(whole(0, 0), at(0)).await.unwrap();
    assert_eq!(store.cursor(FOLLOWER, stream).await.unwrap(), 0);
    let epoch = store.changes().epoch(ChangeKind::JOBS);
    store.commit_matches(whole(0, 3), at(0)).await.unwrap();
    assert_eq!(states(&place).await, ["waiting"]);
    assert_eq!(store.changes().epoch(ChangeKind::JOBS), epoch, "no job came");
}

pub(crate) async fn memory_is_kept_by_its_key(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    grow(&store, stream, 3).await;
    let mut record = trigger(stream.tenant_id);
    put(&store, &mut record).await;
    let keys = ["", "0", "9"].map(|subject| key(&record, stream, subject));
    let mut first = step(stream, 0, 1);
    first.state = keys.iter().map(|key| (key.clone(), Some(format!("[{}]", key.subject)))).collect();
    store.commit_matches(first, at(3)).await.unwrap();
    let unknown = key(&record, new_stream(), "0");
    let mut found = store.trigger_state(vec![keys[1].clone(), unknown, keys[2].clone()]).await.unwrap();
    found.sort();
    assert_eq!(found, [(keys[1].clone(), "[0]".to_owned()), (keys[2].clone(), "[9]".to_owned())]);
    let mut second = step(stream, 1, 2);
    second.state = vec![(keys[1].clone(), None), (keys[2].clone(), Some("x".to_owned()))];
    store.commit_matches(second, at(4)).await.unwrap();
    let all = store.state_of_trigger(record.trigger_id, 9).await.unwrap();
    let (empty, nine) = (keys[0].clone(), keys[2].clone());
    assert_eq!(all, [(empty, "[]".to_owned(), at(3)), (nine, "x".to_owned(), at(4))]);
    // A condition that goes takes its memory along.
    let smaller = TriggerRecord { conditions: record.conditions[1..].to_vec(), ..record.clone() };
    store.put_trigger(smaller, Some(record.revision), 9).await.unwrap();
    assert_eq!(store.state_of_trigger(record.trigger_id, 9).await.unwrap(), []);
}

pub(crate) async fn a_job_is_there_once_and_comes_back_after_a_retraction(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    grow(&store, stream, 9).await;
    let commit = |from: u64, jobs: &[(u128, u128)], retracted: &[u128]| {
        let mut step = step(stream, from, from + 1);
        step.jobs =
            jobs.iter().map(|(id, occurrence)| job(stream, stream.tenant_id, *id, *occurrence)).collect();
        step.retracted = retracted.iter().copied().map(Uuid::from_u128).collect();
        store.commit_matches(step, at(0))
    };
    commit(0, &[(1, 1), (2, 2), (3, 3)], &[]).await.unwrap();
    commit(1, &[(1, 1), (1, 1)], &[]).await.unwrap();
    assert_eq!(states(&place).await, ["waiting"; 3]);
    place.execute("UPDATE action_jobs SET state = 'succeeded' WHERE priority = 0 AND sequence_number = 1 AND tag = 3").await;
    commit(2, &[], &[1, 3, 99]).await.unwrap();
    assert_eq!(states(&place).await, ["cancelled", "waiting", "succeeded"]);
    commit(3, &[(1, 1), (3, 3)], &[]).await.unwrap();
    assert_eq!(states(&place).await, ["waiting", "waiting", "succeeded"]);
    // Taken back and mined again within one step.
    commit(4, &[(1, 1)], &[1]).await.unwrap();
    assert_eq!(states(&place).await, ["waiting", "waiting", "succeeded"]);
    // What an operator or a deletion cancelled stays so.
    place
        .execute("UPDATE action_jobs SET state = 'cancelled', last_error = 'else' WHERE state = 'waiting'")
        .await;
    commit(5, &[(1, 1), (2, 2)], &[]).await.unwrap();
    assert_eq!(states(&place).await, ["cancelled", "cancelled", "succeeded"]);
}

pub(crate) async fn tags_are_fair_among_tenants(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    grow(&store, stream, 3).await;
    let (many, few) = (TenantId::from_bytes([1; 16]), TenantId::from_bytes([2; 16]));
    let mut first = step(stream, 0, 1);
    first.jobs = (0..2_500).map(|number| job(stream, many, number, number)).collect();
    first.jobs.push(job(stream, few, 5_000, 1));
    store.commit_matches(first, at(0)).await.unwrap();
    let tag = |id: u128| {
        let id = Uuid::from_u128(id);
        let id = match place.engine() {
            Engine::Sqlite => format!("x'{}'", id.simple()),
            Engine::Postgres => format!("'{id}'"),
        };
        format!("SELECT CAST(tag AS TEXT) FROM action_jobs WHERE job_id = {id}")
    };
    assert_eq!(column(&place, &tag(2_499)).await, ["2500"]);
    assert_eq!(column(&place, &tag(5_000)).await, ["1"], "one job is not behind another tenant's thousands");
    // Whoever comes when so much was claimed is behind that, and not before everybody.
    let zero = match place.engine() {
        Engine::Sqlite => "zeroblob(16)".to_owned(),
        Engine::Postgres => format!("'{}'", Uuid::nil()),
    };
    place.execute(&format!("INSERT INTO job_tags (tenant_id, last_tag) VALUES ({zero}, 100)")).await;
    let mut second = step(stream, 1, 2);
    second.jobs = vec![job(stream, few, 5_001, 2), job(stream, many, 5_002, 2)];
    store.commit_matches(second, at(0)).await.unwrap();
    assert_eq!(column(&place, &tag(5_001)).await, ["101"]);
    assert_eq!(column(&place, &tag(5_002)).await, ["2501"]);
}
