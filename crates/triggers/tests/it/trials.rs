//! Dry runs and back-tests: what would happen, without anything happening.

use std::sync::Arc;

use bowline_triggers::{BacktestQuery, EventRef, Missing, Rule, TriggerError};
use bowline_types::{EventId, TenantId};
use serde_json::json;

use crate::events::{append, chain, feedback, payload, retraction};
use crate::handle::input;
use crate::support::{Process, TestStore};

pub(crate) async fn a_dry_run_says_why(place: Arc<TestStore>) {
    let process = Process::idle(&place).await;
    let (handle, tenant) = (&process.handle, TenantId::random());
    let rule = input(json!([
        {"condition_type": "score_threshold", "operator": "<", "value": 60},
        {"condition_type": "rate_limit", "operator": ">=", "value": 1, "config": {"time_window": "1h"}},
    ]));
    let given = Rule::Given(Box::new(rule.clone()));
    let low = EventRef::Given(payload(1, json!({"value": "59.5"})));
    let said = handle.dry_run(tenant, given.clone(), low).await.unwrap();
    assert!(said.would_fire && said.jobs == 1);
    let compared = said.conditions[0].compared.as_ref().unwrap();
    assert_eq!((&compared.actual, &compared.expected), (&json!("59.5"), &json!("60")));
    assert_ne!(said.conditions[1].state_before, said.conditions[1].state_after);
    let high = EventRef::Given(payload(1, json!({"value": "60"})));
    let said = handle.dry_run(tenant, given.clone(), high).await.unwrap();
    assert!(!said.would_fire && !said.conditions[0].holds && said.jobs == 0);
    let elsewhere = EventRef::Given(payload(1, json!({"value": "1", "registry": "identity"})));
    let said = handle.dry_run(tenant, given.clone(), elsewhere).await.unwrap();
    assert!(said.scope.iter().any(|check| check.name == "registry" && !check.holds) && !said.would_fire);

    let stored = append(&process.store, vec![feedback(1, json!({"value": "1"}))]).await;
    let event = EventRef::Stored { stream: None, event_id: stored[0].envelope.event_id };
    assert!(handle.dry_run(tenant, given, event.clone()).await.unwrap().would_fire);
    let made = handle.create(tenant, rule).await.unwrap();
    let said = handle.dry_run(tenant, Rule::Stored(made.id), event).await.unwrap();
    let failed: Vec<&str> = said.scope.iter().filter(|check| !check.holds).map(|check| check.name).collect();
    assert_eq!(failed, ["created_at"], "the trigger came later");
    let unknown = EventRef::Stored { stream: Some(chain()), event_id: EventId::random() };
    let refused = handle.dry_run(tenant, Rule::Stored(made.id), unknown).await;
    assert!(matches!(refused, Err(TriggerError::Absent(Missing::Event))));
    assert!(process.jobs(None).await.is_empty());
}

pub(crate) async fn a_back_test_finds_every_time(place: Arc<TestStore>) {
    let process = Process::idle(&place).await;
    let (handle, tenant) = (&process.handle, TenantId::random());
    let mut events: Vec<_> = (0..700_u128)
        .map(|index| feedback(index, json!({"value": if index % 10 == 0 { "10" } else { "90" }})))
        .collect();
    events.push(retraction(&events[40]));
    append(&process.store, events).await;
    let low = json!([{"condition_type": "score_threshold", "operator": "<", "value": 60}]);
    let rule = Rule::Given(Box::new(input(low)));
    let found = handle.backtest(tenant, rule.clone(), BacktestQuery::default()).await.unwrap();
    assert_eq!((found.events_looked_at, found.count, found.retracted), (701, 69, 1));
    assert_eq!((found.fired.len(), found.cursor), (69, None));
    assert_eq!(found.first.unwrap().to_string(), "2025-06-15T15:06:40+00:00");
    assert_eq!(found.buckets.iter().map(|bucket| bucket.count).sum::<u64>(), 69);
    assert_eq!(found.sparkline.chars().count(), found.buckets.len());
    let (since, until) = (found.fired[1].happened_at, found.fired[3].happened_at);
    let range = BacktestQuery { since: Some(since), until: Some(until), ..BacktestQuery::default() };
    assert_eq!(handle.backtest(tenant, rule, range).await.unwrap().count, 2);

    // Memory goes on from part to part: every third event of the window fires, wherever the parts end.
    let rate = json!([{"condition_type": "rate_limit", "operator": ">=", "value": 3,
        "config": {"time_window": "1d", "reset_on_trigger": true}}]);
    let rule = Rule::Given(Box::new(input(rate)));
    let whole = handle.backtest(tenant, rule.clone(), BacktestQuery::default()).await.unwrap();
    let mut parts = 0;
    let mut query = BacktestQuery { events_max: Some(100), ..BacktestQuery::default() };
    loop {
        let part = handle.backtest(tenant, rule.clone(), query.clone()).await.unwrap();
        assert!(part.events_looked_at <= 100 && !part.memory_lost);
        parts += part.count;
        match part.cursor {
            Some(cursor) => query.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!((whole.count, parts), (233, 233));
    query.cursor = Some("bm9uZQ".to_owned());
    assert!(matches!(handle.backtest(tenant, rule, query).await, Err(TriggerError::Invalid(_))));
}
