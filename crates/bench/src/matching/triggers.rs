//! The triggers of `bowline-bench match`: of every type of condition, of many organizations, no two alike.
//!
//! Each event is of one agent, and of ten kinds of triggers exactly one trigger each is met by an agent's event. The
//! other kinds are what other people have: of another chain or registry, of an own stream, or never satisfied.

use bowline_store::{ActionRecord, BreakerSettings, ConditionRecord, TriggerRecord};
use bowline_types::{TenantId, Timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use super::events::{CHAIN, address, endpoint, quality, skill};

/// Triggers that each event meets.
pub(super) const MATCHES: u64 = 10;

/// Kinds of triggers; the first [`MATCHES`] are met.
const KINDS: u64 = 17;

/// Triggers of one organization, about.
const OF_ORGANIZATION: u64 = 100;

/// A prime, so that steps of it come to every number once.
const STRIDE: u64 = 2_147_483_647;

/// The first trigger's and organization's id; the others count on.
const IDS: u128 = 0x626f_776c_696e_6500_8000_0000_0000_0000;

/// So many triggers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mix {
    count: u64,
}

/// Registry, chain and conditions.
type Written = (Option<&'static str>, Option<u64>, Vec<Value>);

impl Mix {
    /// At least one of each kind.
    pub(super) fn new(count: u64) -> Self {
        Self { count: count.max(KINDS) }
    }

    /// How many triggers there are.
    pub(super) fn count(self) -> u64 {
        self.count
    }

    /// How many agents have triggers of all kinds.
    pub(super) fn agents(self) -> u64 {
        self.count / KINDS
    }

    /// How many organizations the triggers are of.
    pub(super) fn organizations(self) -> u64 {
        self.count.div_ceil(OF_ORGANIZATION)
    }

    /// Each trigger once, those of one agent far from each other, as they are where people make them over time.
    pub(super) fn triggers(self) -> impl Iterator<Item = TriggerRecord> {
        (0..self.count).map(move |turn| self.trigger(turn * STRIDE % self.count))
    }

    fn trigger(self, number: u64) -> TriggerRecord {
        let (agent, kind) = (number / KINDS, number % KINDS);
        // What is left of a division is of people who wait for what never comes.
        let kind = if agent < self.agents() { kind } else { KINDS - 1 };
        let (registry, chain_id, conditions) = self.conditions(kind, agent, number);
        let id = |number: u64| Uuid::from_u128(IDS + u128::from(number));
        let record = |(place, condition): (u64, &Value)| condition_record(id(number * 8 + place), condition);
        TriggerRecord {
            trigger_id: id(number),
            tenant_id: TenantId::new(id(number % self.organizations())),
            name: format!("trigger {number}"),
            description: None,
            chain_id,
            registry: registry.map(str::to_owned),
            enabled: true,
            is_stateful: matches!(kind, 4 | 5),
            breaker: BreakerSettings::default(),
            conditions: (0..).zip(&conditions).map(record).collect(),
            actions: vec![ActionRecord {
                action_id: id(number),
                action_type: "rest".to_owned(),
                priority: 0,
                config: "{}".to_owned(),
                sealed: None,
            }],
            created_at: Timestamp::from_micros(0),
            updated_at: Timestamp::from_micros(0),
            revision: number + 1,
        }
    }

    fn conditions(self, kind: u64, agent: u64, number: u64) -> Written {
        let of_agent = json!({"condition_type": "agent_id_equals", "value": agent.to_string()});
        let feedback = json!({"condition_type": "event_type_equals", "value": "NewFeedback"});
        let score = |operator: &str, value: i64| json!({"condition_type": "score_threshold", "operator": operator, "value": value});
        let field = |field: &str, operator: &str, value: Value| json!({"condition_type": "field_match", "field": field, "operator": operator, "value": value});
        let tag = |field: &str, value: String| json!({"condition_type": "tag_equals", "field": field, "value": value});
        let group = |group: &str, conditions: Vec<Value>| json!({"condition_type": group, "config": {"conditions": conditions}});
        let reputation = Some("reputation");
        let threshold = i64::try_from(number % 1_000).unwrap_or(0);
        match kind {
            0 => (reputation, Some(CHAIN), vec![of_agent, score(">=", -threshold)]),
            1 => (reputation, Some(CHAIN), vec![of_agent, tag("tag1", quality(agent))]),
            2 => (reputation, None, vec![feedback, field("client_address", "eq", address(agent).into())]),
            3 => (reputation, Some(CHAIN), vec![tag("tag2", skill(agent))]),
            4 => {
                let ids = [agent, agent + self.count, agent + 2 * self.count].map(|id| id.to_string());
                let average = json!({"condition_type": "ema_threshold", "operator": "<", "value": 60, "config": {"window_size": 10}});
                (reputation, Some(CHAIN), vec![average, field("agent_id", "in", json!(ids))])
            }
            5 => {
                let rate = json!({"condition_type": "rate_limit", "operator": ">=", "value": 100, "config": {"time_window": "1h"}});
                (reputation, Some(CHAIN), vec![group("and", vec![feedback, of_agent]), rate])
            }
            6 => {
                let either = vec![tag("tag2", skill(agent)), tag("tag2", format!("retired-{agent}"))];
                (None, Some(CHAIN), vec![group("or", either)])
            }
            7 => {
                let file = json!({"condition_type": "file_uri_exists"});
                (reputation, None, vec![field("endpoint", "eq", endpoint(agent).into()), file])
            }
            8 => (None, None, vec![of_agent, field("endpoint", "contains", "/mcp".into())]),
            9 => {
                (reputation, Some(CHAIN), vec![of_agent, group("not", vec![tag("tag1", "spam".to_owned())])])
            }
            10 => {
                let response = json!({"condition_type": "response_threshold", "operator": "<", "value": 50});
                (Some("validation"), Some(CHAIN), vec![of_agent, response])
            }
            11 => {
                let list = [agent, agent + 1, agent + 2].map(address);
                let validators = json!({"condition_type": "validator_whitelist", "value": list});
                (Some("validation"), None, vec![validators])
            }
            12 => {
                let owner = json!({"condition_type": "owner_equals", "value": address(agent)});
                (Some("identity"), Some(CHAIN), vec![owner])
            }
            13 => (reputation, Some(CHAIN + 1), vec![of_agent, feedback]),
            14 => (reputation, Some(CHAIN), vec![of_agent, score("<", -1_000 - threshold)]),
            15 => {
                let total = json!({"condition_type": "comparison", "field": "total", "operator": ">", "value": number});
                (Some("line"), None, vec![total])
            }
            _ => {
                let never = -1_000 - i64::try_from(number).unwrap_or(0);
                (reputation, None, vec![feedback, score("<", never)])
            }
        }
    }
}

fn condition_record(condition_id: Uuid, condition: &Value) -> ConditionRecord {
    let text = |key: &str| condition[key].as_str().map(str::to_owned);
    ConditionRecord {
        condition_id,
        condition_type: text("condition_type").unwrap_or_default(),
        field: text("field"),
        operator: text("operator"),
        value: condition.get("value").map(Value::to_string),
        config: condition.get("config").map(Value::to_string),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_triggers_are_alike() {
        let mix = Mix::new(2_000);
        let said = |record: &TriggerRecord| {
            let conditions: Vec<_> = record
                .conditions
                .iter()
                .map(|c| (&c.condition_type, &c.field, &c.operator, &c.value, &c.config))
                .collect();
            format!("{:?} {:?} {conditions:?}", record.registry, record.chain_id)
        };
        let all: HashSet<String> = mix.triggers().map(|record| said(&record)).collect();
        assert_eq!(all.len(), 2_000);
        let ids: HashSet<Uuid> = mix.triggers().map(|record| record.trigger_id).collect();
        assert_eq!(ids.len(), 2_000);
        let organizations: HashSet<TenantId> = mix.triggers().map(|record| record.tenant_id).collect();
        assert_eq!(organizations.len() as u64, mix.organizations());
    }
}
