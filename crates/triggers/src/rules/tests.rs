//! Rules against events: the index against looking at every trigger, and each kind of condition.
//!
//! What is found is compared with what looking at each trigger finds, never with itself.

use bowline_store::{BreakerSettings, ConditionRecord, TriggerRecord};
use bowline_types::{TenantId, Timestamp};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::memory::State;
use super::{Facts, Index, Rule, VisitedSlots, compile_conditions};

fn record(registry: Option<&str>, chain_id: Option<u64>, conditions: Value) -> TriggerRecord {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let condition = |value: &Value| ConditionRecord {
        condition_id: Uuid::new_v4(),
        condition_type: text(value, "condition_type").unwrap(),
        field: text(value, "field"),
        operator: text(value, "operator"),
        value: value.get("value").map(Value::to_string),
        config: value.get("config").map(Value::to_string),
    };
    TriggerRecord {
        trigger_id: Uuid::new_v4(),
        tenant_id: TenantId::from_bytes([1; 16]),
        name: "t".to_owned(),
        description: None,
        chain_id,
        registry: registry.map(str::to_owned),
        enabled: true,
        is_stateful: false,
        breaker: BreakerSettings::default(),
        conditions: conditions.as_array().unwrap().iter().map(condition).collect(),
        actions: Vec::new(),
        created_at: Timestamp::from_micros(0),
        updated_at: Timestamp::from_micros(0),
        revision: 1,
    }
}

fn rule(conditions: Value) -> Rule {
    Rule::compile(&record(None, None, conditions)).unwrap()
}

fn facts(fields: Value) -> Facts {
    let mut all =
        json!({"chain_id": 1, "registry": "reputation", "event_type": "NewFeedback", "timestamp": 1_000});
    let more = fields.as_object().unwrap().clone();
    all.as_object_mut().unwrap().extend(more);
    Facts::given(all, TenantId::from_bytes([1; 16]), Timestamp::from_micros(0)).unwrap()
}

fn problems(conditions: Value) -> Vec<String> {
    let record = record(Some("reputation"), None, conditions);
    let found = compile_conditions(record.registry.as_deref(), &record.conditions).map(drop).unwrap_err();
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn each_condition_holds_as_it_should() {
    let max = "115792089237316195423570985008687907853269984665640564039457584007913129639935";
    let upper = "0xABCDEF0123456789ABCDEF0123456789ABCDEF01";
    let lower = upper.to_lowercase();
    let cases = [
        (json!({"condition_type": "agent_id_equals", "value": "0"}), json!({"agent_id": "0"}), true),
        (json!({"condition_type": "agent_id_equals", "value": 0}), json!({"agent_id": "0"}), true),
        (json!({"condition_type": "agent_id_equals", "value": "0"}), json!({}), false),
        (json!({"condition_type": "agent_id_equals", "value": max}), json!({"agent_id": max}), true),
        (json!({"condition_type": "agent_id_equals", "value": max}), json!({"agent_id": &max[1..]}), false),
        (
            json!({"condition_type": "score_threshold", "operator": "<", "value": 60}),
            json!({"value": "59.999999999999999999"}),
            true,
        ),
        (
            json!({"condition_type": "score_threshold", "operator": "<", "value": 60}),
            json!({"value": "60.000"}),
            false,
        ),
        (
            json!({"condition_type": "score_threshold", "operator": ">=", "value": "-12.5"}),
            json!({"value": "-12.5", "score": -12.5}),
            true,
        ),
        (
            json!({"condition_type": "score_threshold", "operator": "==", "value": 80}),
            json!({"score": 80}),
            true,
        ),
        (json!({"condition_type": "score_threshold", "operator": "!=", "value": 80}), json!({}), false),
        (
            json!({"condition_type": "tag_equals", "field": "tag2", "value": "fast"}),
            json!({"tag1": "fast"}),
            false,
        ),
        (json!({"condition_type": "tag_equals", "value": "fast"}), json!({"tag1": "fast"}), true),
        (json!({"condition_type": "tag_equals", "value": "1"}), json!({"tag1": "1.0"}), false),
        (json!({"condition_type": "event_type_equals", "value": "NewFeedback"}), json!({}), true),
        (json!({"condition_type": "event_type_equals", "value": "newfeedback"}), json!({}), false),
        (
            json!({"condition_type": "response_threshold", "operator": "gte", "value": 50}),
            json!({"response": 50}),
            true,
        ),
        (
            json!({"condition_type": "validator_whitelist", "value": [upper]}),
            json!({"validator_address": lower}),
            true,
        ),
        (
            json!({"condition_type": "validator_whitelist", "value": [upper]}),
            json!({"validator_address": "0x00"}),
            false,
        ),
        (json!({"condition_type": "file_uri_exists"}), json!({"file_uri": "ipfs://x"}), true),
        (json!({"condition_type": "file_uri_exists"}), json!({"file_uri": ""}), false),
        (json!({"condition_type": "file_uri_exists", "value": false}), json!({}), true),
        (
            json!({"condition_type": "owner_equals", "value": upper}),
            json!({"event_type": "Transfer", "to": lower}),
            true,
        ),
        (
            json!({"condition_type": "field_match", "field": "endpoint", "operator": "contains", "value": "/a2a"}),
            json!({"endpoint": "https://h/a2a/1"}),
            true,
        ),
        (
            json!({"condition_type": "comparison", "field": "block_number", "operator": "in", "value": [1, "2"]}),
            json!({"block_number": 2}),
            true,
        ),
        (
            json!({"condition_type": "field_match", "field": "tag1", "operator": "ne", "value": "x"}),
            json!({"tag1": "y"}),
            true,
        ),
        (
            json!({"condition_type": "field_match", "field": "approved", "value": true}),
            json!({"approved": true}),
            true,
        ),
        (
            json!({"condition_type": "not", "config": {"conditions": [{"condition_type": "tag_equals", "value": "x"}]}}),
            json!({}),
            true,
        ),
        (
            json!({"condition_type": "or", "config": {"conditions": [{"condition_type": "tag_equals", "value": "x"}, {"condition_type": "agent_id_equals", "value": 7}]}}),
            json!({"agent_id": "7"}),
            true,
        ),
        (
            json!({"condition_type": "and", "config": {"conditions": [{"condition_type": "tag_equals", "value": "x"}, {"condition_type": "agent_id_equals", "value": 7}]}}),
            json!({"agent_id": "7"}),
            false,
        ),
    ];
    for (condition, fields, holds) in cases {
        assert_eq!(rule(json!([condition])).passes(&facts(fields.clone())), holds, "{condition} {fields}");
    }
    assert!(rule(json!([])).passes(&facts(json!({}))));
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let group =
        json!([{"condition_type": "or", "config": {"conditions": [{"condition_type": "agent_id_equals"}]}}]);
    let mut deep = json!({"condition_type": "tag_equals", "value": "x"});
    for _ in 0..9 {
        deep = json!({"condition_type": "and", "config": {"conditions": [deep]}});
    }
    let many: Vec<Value> = (0..65).map(|_| json!({"condition_type": "tag_equals", "value": "x"})).collect();
    for (conditions, expected) in [
        (
            json!([{"condition_type": "agent_equals", "value": 1}]),
            "conditions[0].condition_type: `agent_equals` is none",
        ),
        (group, "conditions[0].config.conditions[0].value: is missing"),
        (
            json!([{"condition_type": "score_threshold", "operator": "~", "value": 1}]),
            "conditions[0].operator",
        ),
        (
            json!([{"condition_type": "score_threshold", "operator": "<", "value": "many"}]),
            "conditions[0].value: is no number",
        ),
        (
            json!([{"condition_type": "ema_threshold", "operator": "<", "value": 1, "config": {"window_size": 0}}]),
            "conditions[0].config.window_size",
        ),
        (
            json!([{"condition_type": "ema_threshold", "operator": "<", "value": 1, "config": {"window_size": 3, "alpha": 1}}]),
            "conditions[0].config.alpha",
        ),
        (
            json!([{"condition_type": "rate_limit", "operator": ">", "value": 1, "config": {"time_window": "5 min"}}]),
            "conditions[0].config.time_window",
        ),
        (
            json!([{"condition_type": "rate_limit", "operator": ">", "value": 1.5, "config": {"time_window": "5m"}}]),
            "conditions[0].value",
        ),
        (json!([{"condition_type": "field_match", "field": "agentid", "value": 1}]), "is `agent_id` meant?"),
        (
            json!([{"condition_type": "field_match", "field": "tag1", "operator": "gt", "value": "a"}]),
            "conditions[0].operator",
        ),
        (json!([{"condition_type": "agent_id_equals", "value": 1e30}]), "write it as text"),
        (json!([{"condition_type": "owner_equals", "value": "alice"}]), "conditions[0].value: takes 0x"),
        (json!([deep]), "groups within each other"),
        (json!(many), "conditions: are 65"),
    ] {
        let found = problems(conditions);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{expected}: {found:?}");
    }
}

#[test]
fn memory_advances_whatever_the_order_and_each_condition_has_its_own() {
    let ema = json!({"condition_type": "ema_threshold", "operator": "<", "value": 50, "config": {"window_size": 3}});
    let rate = json!({"condition_type": "rate_limit", "operator": ">=", "value": 3, "config": {"time_window": "1h"}});
    for conditions in [json!([ema, rate]), json!([rate, ema])] {
        let rule = rule(conditions);
        let mut states: Vec<(_, State)> = Vec::new();
        let mut fired = Vec::new();
        // 40, 40, 40 fires; 100 lifts the average to 70; without a score only the rate moves.
        for (index, score) in [Some(40), Some(40), Some(40), Some(100), None, Some(0)].into_iter().enumerate()
        {
            let event = facts(json!({"agent_id": "1", "score": score, "timestamp": 1_000 + index}));
            let advance = rule.advance(&event, |name, fallback| {
                let found = states.iter().find(|(known, _)| known == name).map(|(_, state)| state.clone());
                found.unwrap_or_else(|| State::read(None, fallback))
            });
            for (name, state) in advance.states {
                states.retain(|(known, _)| *known != name);
                states.push((name, state));
            }
            fired.push(advance.fires);
        }
        assert_eq!(fired, [false, false, true, false, false, true]);
    }
}

#[test]
fn few_triggers_are_looked_at_however_many_there_are() {
    let mut index = Index::default();
    for agent in 0..5_000 {
        for threshold in [10, 20] {
            let conditions = json!([
                {"condition_type": "agent_id_equals", "value": agent},
                {"condition_type": "score_threshold", "operator": "<", "value": threshold},
            ]);
            index.insert(Rule::compile(&record(Some("reputation"), Some(1), conditions)).unwrap());
        }
    }
    for threshold in 0..5_000 {
        let conditions = json!([{"condition_type": "score_threshold", "operator": "gt", "value": threshold}]);
        index.insert(Rule::compile(&record(None, None, conditions)).unwrap());
    }
    let mut visited = VisitedSlots::default();
    let (passed, looked_at) = index.passed(&facts(json!({"agent_id": "17", "value": "8.5"})), &mut visited);
    assert_eq!((passed.len(), looked_at), (11, 11));
    let (passed, looked_at) =
        index.passed(&facts(json!({"agent_id": "17", "value": "15", "chain_id": 2})), &mut visited);
    assert_eq!((passed.len(), looked_at), (15, 16), "bounds that are just met are looked at");
}

/// Conditions over few fields and values, so that events often pass.
fn condition() -> impl Strategy<Value = Value> {
    let small = 0..4_i64;
    let leaf = prop_oneof![
        small.clone().prop_map(|id| json!({"condition_type": "agent_id_equals", "value": id.to_string()})),
        (small.clone(), prop::sample::select(vec!["<", "<=", ">", ">=", "==", "!="]))
            .prop_map(|(value, operator)| json!({"condition_type": "score_threshold", "operator": operator, "value": value})),
        (small.clone(), prop::sample::select(vec!["tag1", "tag2"]))
            .prop_map(|(tag, field)| json!({"condition_type": "tag_equals", "field": field, "value": format!("t{tag}")})),
        (small.clone(), small.clone()).prop_map(
            |(a, b)| json!({"condition_type": "field_match", "field": "agent_id", "operator": "in", "value": [a, b]})
        ),
        Just(json!({"condition_type": "event_type_equals", "value": "NewFeedback"})),
        Just(json!({"condition_type": "file_uri_exists"})),
        small.prop_map(|value| json!({"condition_type": "ema_threshold", "operator": "<", "value": value, "config": {"window_size": 3}})),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        (prop::collection::vec(inner, 1..4), prop::sample::select(vec!["and", "or", "not"])).prop_map(
            |(mut conditions, group)| {
                conditions.truncate(if group == "not" { 1 } else { 3 });
                json!({"condition_type": group, "config": {"conditions": conditions}})
            },
        )
    })
}

fn event() -> impl Strategy<Value = Facts> {
    let small = 0..4_i64;
    let optional = |name: &'static str, text: fn(i64) -> Value| {
        prop::option::of(0..4_i64).prop_map(move |value| value.map(|value| (name.to_owned(), text(value))))
    };
    let fields = vec![
        optional("agent_id", |value| value.to_string().into()).boxed(),
        optional("value", |value| format!("{value}.0").into()).boxed(),
        optional("tag1", |value| format!("t{value}").into()).boxed(),
        optional("tag2", |value| format!("t{value}").into()).boxed(),
        optional("file_uri", |_| "ipfs://x".into()).boxed(),
    ];
    (fields, small, any::<bool>(), any::<bool>()).prop_map(|(fields, chain, reputation, feedback)| {
        let mut all: Map<String, Value> = fields.into_iter().flatten().collect();
        all.insert("chain_id".to_owned(), (chain % 2).into());
        all.insert("registry".to_owned(), if reputation { "reputation" } else { "identity" }.into());
        all.insert("event_type".to_owned(), if feedback { "NewFeedback" } else { "Transfer" }.into());
        facts(Value::Object(all))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_index_finds_what_looking_at_each_finds(
        triggers in prop::collection::vec(
            (prop::collection::vec(condition(), 0..4), prop::option::of(0..2_u64), prop::option::of(any::<bool>())), 1..40),
        removed in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        events in prop::collection::vec(event(), 1..20),
    ) {
        let mut index = Index::default();
        let mut ids = Vec::new();
        for (conditions, chain_id, reputation) in triggers {
            let registry = reputation.map(|yes| if yes { "reputation" } else { "identity" });
            let record = record(registry, chain_id, Value::Array(conditions));
            ids.push(record.trigger_id);
            index.insert(Rule::compile(&record).unwrap());
            // Put in again, as a change does it.
            index.insert(Rule::compile(&record).unwrap());
        }
        for place in removed {
            index.remove(*place.get(&ids));
        }
        let mut visited = VisitedSlots::default();
        for event in events {
            let (passed, _) = index.passed(&event, &mut visited);
            let mut found: Vec<Uuid> = passed.iter().map(|rule| rule.trigger_id).collect();
            let mut expected: Vec<Uuid> =
                index.rules().filter(|rule| rule.passes(&event)).map(|rule| rule.trigger_id).collect();
            found.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(found, expected);
        }
        for id in ids {
            index.remove(id);
        }
        prop_assert!(index.is_bare());
    }
}
