//! Triggers as their owners see them.
//!
//! Each test runs on both stores, through the handle alone.

use std::sync::Arc;

use bowline_triggers::{
    ActionInput, BreakerInput, ConditionInput, Missing, TriggerChanges, TriggerError, TriggerInput,
    TriggerList,
};
use bowline_types::TenantId;
use serde_json::json;
use uuid::Uuid;

use crate::support::{Process, TestStore};

/// A trigger with those conditions and one action.
pub(crate) fn input(conditions: serde_json::Value) -> TriggerInput {
    serde_json::from_value(json!({
        "name": "low", "registry": "reputation", "conditions": conditions,
        "actions": [{"action_type": "rest", "priority": 3, "config": {"url": "https://h"}}],
    }))
    .unwrap()
}

fn low() -> TriggerInput {
    input(json!([{"condition_type": "score_threshold", "operator": "<", "value": 60}]))
}

pub(crate) async fn a_trigger_is_made_changed_and_deleted(place: Arc<TestStore>) {
    let process = Process::idle(&place).await;
    let (handle, tenant) = (&process.handle, TenantId::random());
    let made = handle.create(tenant, low()).await.unwrap();
    assert_eq!(handle.get(tenant, made.id).await.unwrap(), made);
    let other = TenantId::random();
    assert!(matches!(handle.get(other, made.id).await, Err(TriggerError::Absent(Missing::Trigger))));
    assert!(matches!(handle.delete(other, made.id).await, Err(TriggerError::Absent(Missing::Trigger))));

    let changes: TriggerChanges =
        serde_json::from_str(r#"{"registry": null, "chain_id": 1, "enabled": false}"#).unwrap();
    let changed = handle.change(tenant, made.id, changes.clone(), Some(made.revision)).await.unwrap();
    assert_eq!((&changed.registry, changed.chain_id, changed.enabled), (&None, Some(1), false));
    assert_eq!((&changed.conditions, &changed.actions), (&made.conditions, &made.actions));
    let late = handle.change(tenant, made.id, changes, Some(made.revision)).await;
    assert!(matches!(late, Err(TriggerError::Changed { revision }) if revision == changed.revision));
    let (listed, total) =
        handle.list(tenant, TriggerList { limit: 5, ..TriggerList::default() }).await.unwrap();
    assert_eq!((listed, total), (vec![changed], 1));

    let settings = BreakerInput { recovery_timeout_seconds: Some(90), ..BreakerInput::default() };
    let breaker = handle.set_breaker(tenant, made.id, settings).await.unwrap();
    assert_eq!((breaker.settings.recovery_secs, breaker.settings.failure_threshold), (90, 10));
    handle.reset_breaker(tenant, made.id).await.unwrap();
    handle.delete(tenant, made.id).await.unwrap();
    assert!(matches!(handle.get(tenant, made.id).await, Err(TriggerError::Absent(_))));
    for _ in 0..100 {
        handle.create(tenant, low()).await.unwrap();
    }
    assert!(matches!(handle.create(tenant, low()).await, Err(TriggerError::TooMany { max: 100 })));
}

pub(crate) async fn what_cannot_be_taken_is_named(place: Arc<TestStore>) {
    let process = Process::idle(&place).await;
    let mut bad = low();
    bad.name = String::new();
    bad.conditions.push(ConditionInput::new("nonsense", json!(1)));
    bad.actions.push(ActionInput { action_type: "rest".to_owned(), ..bad.actions[0].clone() });
    bad.actions[1].config.clear();
    bad.actions[0].priority = 11;
    bad.actions[1].priority = -10;
    bad.breaker = Some(BreakerInput { recovery_timeout_seconds: Some(5), ..BreakerInput::default() });
    let Err(TriggerError::Invalid(problems)) = process.handle.create(TenantId::random(), bad).await else {
        panic!("it was taken");
    };
    let mut fields: Vec<&str> = problems.iter().map(|problem| problem.field.as_str()).collect();
    fields.sort_unstable();
    let expected = [
        "actions[0].priority",
        "actions[1].config.url",
        "breaker.recovery_timeout_seconds",
        "conditions[1].condition_type",
        "name",
    ];
    assert_eq!(fields, expected);
    assert!(
        problems.iter().any(|problem| problem.to_string() == "actions[0].priority: is 11: take -10 to 10")
    );
    let unknown = serde_json::from_value::<TriggerInput>(json!({"name": "x", "condition": []}));
    assert!(unknown.unwrap_err().to_string().contains("unknown field `condition`"));
}

pub(crate) async fn a_priority_from_before_there_was_a_range_counts_as_its_end(place: Arc<TestStore>) {
    let process = Process::idle(&place).await;
    let (handle, tenant) = (&process.handle, TenantId::random());
    let made = handle.create(tenant, low()).await.unwrap();
    let mut record = process.store.trigger(made.id).await.unwrap().unwrap();
    record.actions[0].priority = i32::MAX;
    process.store.put_trigger(record, Some(made.revision), 100).await.unwrap();
    assert_eq!(handle.get(tenant, made.id).await.unwrap().actions[0].priority, 10);
    let changes: TriggerChanges = serde_json::from_str(r#"{"name": "renamed"}"#).unwrap();
    let changed = handle.change(tenant, made.id, changes, None).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.actions[0].priority), ("renamed", 10));
    assert_eq!(process.store.trigger(made.id).await.unwrap().unwrap().actions[0].priority, 10);
}

pub(crate) async fn conditions_and_actions_keep_their_ids(place: Arc<TestStore>) {
    let process = Process::idle(&place).await;
    let (handle, tenant) = (&process.handle, TenantId::random());
    let made = handle.create(tenant, low()).await.unwrap();
    let tag = handle
        .add_condition(tenant, made.id, ConditionInput::new("tag_equals", json!("fast")))
        .await
        .unwrap();
    let slow = ConditionInput::new("tag_equals", json!("slow"));
    let slow = handle.update_condition(tenant, made.id, tag.id.unwrap(), slow).await.unwrap();
    assert_eq!((slow.id, &slow.value), (tag.id, &Some(json!("slow"))));
    let again = handle.update(tenant, made.id, low(), None).await.unwrap();
    assert_eq!(again.conditions, made.conditions, "the same condition is the same");
    let gone = handle.delete_condition(tenant, made.id, tag.id.unwrap()).await;
    assert!(matches!(gone, Err(TriggerError::Absent(Missing::Condition))));
    let action = handle.add_action(tenant, made.id, made.actions[0].clone()).await.unwrap();
    assert!(action.id.is_some() && action.id != made.actions[0].id);
    let urgent = ActionInput { priority: 9, ..action.clone() };
    let urgent = handle.update_action(tenant, made.id, action.id.unwrap(), urgent).await.unwrap();
    assert_eq!((urgent.id, urgent.priority), (action.id, 9));
    handle.delete_action(tenant, made.id, action.id.unwrap()).await.unwrap();
    let absent = handle.delete_action(tenant, made.id, Uuid::new_v4()).await;
    assert!(matches!(absent, Err(TriggerError::Absent(Missing::Action))));
    assert_eq!(handle.get(tenant, made.id).await.unwrap().actions.len(), 1);
}
