//! Conditions as they were written become nodes, or a list of what is wrong with them.
//!
//! Every list and every number has a bound, and nothing is taken that would be ignored later.

use std::borrow::Cow;

use bowline_store::ConditionRecord;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::facts::number;
use super::fields::{self, Kind};
use super::node::{AverageTest, Expected, MemoryName, Node, Operator, RateTest, Test};
use crate::FieldProblem;
use crate::input::ConditionInput;

/// Conditions of one trigger at most, groups and what is in them counted too.
const NODES_MAX: usize = 64;

/// Groups within each other at most.
const DEPTH_MAX: usize = 8;

/// Values of one list at most.
const LIST_MAX: usize = 1_000;

/// Characters of one value at most.
const VALUE_CHARS_MAX: usize = 4_096;

/// Values that an average is made of at most.
const WINDOW_SIZE_MAX: u64 = 10_000;

/// Events that a rate is compared with at most.
const RATE_MAX: u64 = 10_000;

/// Seconds that a rate looks back at most.
const WINDOW_SECS_MAX: i64 = 30 * 24 * 60 * 60;

const TYPES: &str = "`agent_id_equals`, `score_threshold`, `tag_equals`, `event_type_equals`, `ema_threshold`, \
     `rate_limit`, `response_threshold`, `validator_whitelist`, `file_uri_exists`, `owner_equals`, `field_match`, \
     `comparison`, `and`, `or` or `not`";

/// All conditions of a trigger for that registry, as one node.
///
/// # Errors
/// What is wrong, by the path of the field.
pub(crate) fn compile_conditions(
    registry: Option<&str>,
    conditions: &[ConditionRecord],
) -> Result<Node, Vec<FieldProblem>> {
    let mut compiler = Compiler { registry, nodes: 0, problems: Vec::new() };
    let mut nodes = Vec::with_capacity(conditions.len());
    for (index, record) in conditions.iter().enumerate() {
        let input = ConditionInput::of(record);
        let path = ConditionPath { full: format!("conditions[{index}]"), within: String::new(), depth: 1 };
        nodes.extend(compiler.condition(&input, record.condition_id, &path));
    }
    if compiler.nodes > NODES_MAX {
        let problem = format!("are {} with those in groups: {NODES_MAX} are allowed", compiler.nodes);
        compiler.problems.push(FieldProblem::new("conditions", problem));
    }
    if compiler.problems.is_empty() { Ok(Node::All(nodes.into())) } else { Err(compiler.problems) }
}

struct Compiler<'a> {
    registry: Option<&'a str>,
    nodes: usize,
    problems: Vec<FieldProblem>,
}

/// Where a condition stands.
struct ConditionPath {
    /// From the trigger: `conditions[1].config.conditions[0]`.
    full: String,
    /// Within its top condition: `0.2`.
    within: String,
    depth: usize,
}

impl Compiler<'_> {
    fn problem<T>(&mut self, path: &ConditionPath, field: &str, problem: impl Into<String>) -> Option<T> {
        self.problems.push(FieldProblem::new(field, problem).under(&path.full));
        None
    }

    fn condition(&mut self, input: &ConditionInput, id: Uuid, path: &ConditionPath) -> Option<Node> {
        self.nodes += 1;
        match input.condition_type.as_str() {
            "agent_id_equals" => self.fixed(input, path, "agent_id"),
            "event_type_equals" => self.fixed(input, path, "event_type"),
            "owner_equals" => self.fixed(input, path, "owner"),
            "tag_equals" => {
                let field = input.field.as_deref().unwrap_or("tag1");
                if !["tag1", "tag2", "tag"].contains(&field) {
                    return self.problem(path, "field", "takes `tag1`, `tag2` or `tag`");
                }
                self.fixed(&ConditionInput { field: None, ..input.clone() }, path, field)
            }
            "score_threshold" => self.threshold(input, path, "value"),
            "response_threshold" => self.threshold(input, path, "response"),
            "validator_whitelist" => {
                self.only(input, path, &[])?;
                self.spoken(input, path, &[Operator::In])?;
                self.test(input, path, "validator_address", Operator::In)
            }
            "file_uri_exists" => self.file_uri(input, path),
            "field_match" | "comparison" => self.comparison(input, path),
            "ema_threshold" => self.average(input, id, path),
            "rate_limit" => self.rate(input, id, path),
            "and" | "or" | "not" => self.group(input, id, path),
            other => self.problem(path, "condition_type", format!("`{other}` is none: take {TYPES}")),
        }
    }

    /// One field that must have one value.
    fn fixed(&mut self, input: &ConditionInput, path: &ConditionPath, field: &str) -> Option<Node> {
        self.only(input, path, &[])?;
        self.named(input, path, field)?;
        self.spoken(input, path, &[Operator::Eq])?;
        self.test(input, path, field, Operator::Eq)
    }

    fn threshold(&mut self, input: &ConditionInput, path: &ConditionPath, field: &str) -> Option<Node> {
        self.only(input, path, &[])?;
        if field != "value" || input.field.as_deref() != Some("score") {
            self.named(input, path, field)?;
        }
        let operator = self.ordering(input, path)?;
        self.test(input, path, field, operator)
    }

    fn file_uri(&mut self, input: &ConditionInput, path: &ConditionPath) -> Option<Node> {
        self.only(input, path, &[])?;
        self.named(input, path, "file_uri")?;
        self.spoken(input, path, &[Operator::Exists])?;
        self.exists(input, path, "file_uri")
    }

    fn exists(&mut self, input: &ConditionInput, path: &ConditionPath, field: &str) -> Option<Node> {
        let wanted = match &input.value {
            None | Some(Value::Null | Value::Bool(true)) => true,
            Some(Value::Bool(false)) => false,
            Some(Value::String(text)) if text == "true" || text == "false" => text == "true",
            Some(_) => return self.problem(path, "value", "takes true or false"),
        };
        let field = field_name(field);
        let test = Node::Test(Test { field, operator: Operator::Exists, expected: Expected::Nothing });
        Some(if wanted { test } else { Node::Not(Box::new(test)) })
    }

    fn comparison(&mut self, input: &ConditionInput, path: &ConditionPath) -> Option<Node> {
        self.only(input, path, &[])?;
        let Some(field) = input.field.as_deref() else {
            return self.problem(path, "field", "is missing: name a field of the event");
        };
        let operator = match input.operator.as_deref() {
            None => Operator::Eq,
            Some(word) => match Operator::parse(word) {
                Some(operator) => operator,
                None => {
                    let allowed = "eq, ne, gt, gte, lt, lte, in, contains or exists";
                    return self.problem(path, "operator", format!("`{word}` is none: take {allowed}"));
                }
            },
        };
        if let Err(problem) = fields::kind(field, self.registry) {
            return self.problem(path, "field", problem);
        }
        if operator == Operator::Exists {
            return self.exists(input, path, field);
        }
        self.test(input, path, field, operator)
    }

    fn test(
        &mut self,
        input: &ConditionInput,
        path: &ConditionPath,
        field: &str,
        operator: Operator,
    ) -> Option<Node> {
        let kind = match fields::kind(field, self.registry) {
            Ok(kind) => kind,
            Err(problem) => return self.problem(path, "field", problem),
        };
        let Some(value) = input.value.as_ref().filter(|value| !value.is_null()) else {
            return self.problem(path, "value", "is missing");
        };
        let ordering = matches!(operator, Operator::Gt | Operator::Gte | Operator::Lt | Operator::Lte);
        let kind = match kind {
            Kind::Any if ordering => Kind::Number,
            Kind::Number if operator == Operator::Contains => Kind::Text,
            Kind::Text | Kind::Hex if ordering => {
                return self.problem(
                    path,
                    "operator",
                    format!("`{field}` has no order: take eq, ne, in, contains"),
                );
            }
            kind => kind,
        };
        let expected = match (operator, value) {
            (Operator::In, Value::Array(list)) if !list.is_empty() && list.len() <= LIST_MAX => {
                let list: Result<Vec<Expected>, String> =
                    list.iter().map(|value| expected(kind, value)).collect();
                list.map(|list| Expected::List(list.into()))
            }
            (Operator::In, _) => Err(format!("takes a list of 1 to {LIST_MAX} values")),
            (_, value) => expected(kind, value),
        };
        match expected {
            Ok(expected) => Some(Node::Test(Test { field: field_name(field), operator, expected })),
            Err(problem) => self.problem(path, "value", problem),
        }
    }

    fn average(&mut self, input: &ConditionInput, id: Uuid, path: &ConditionPath) -> Option<Node> {
        self.only(input, path, &["window_size"])?;
        let field = input.field.as_deref().unwrap_or("value");
        match fields::kind(field, self.registry) {
            Ok(Kind::Number | Kind::Any) => {}
            Ok(_) => return self.problem(path, "field", "is no number"),
            Err(problem) => return self.problem(path, "field", problem),
        }
        let operator = self.ordering(input, path)?;
        let threshold = match input.value.as_ref().map(|value| expected(Kind::Number, value)) {
            Some(Ok(Expected::Number(threshold))) => threshold,
            Some(Err(problem)) => return self.problem(path, "value", problem),
            _ => return self.problem(path, "value", "is missing: a number"),
        };
        let size = input.config.as_ref().and_then(|config| config.get("window_size")).and_then(Value::as_u64);
        let Some(window_size) = size.filter(|size| (1..=WINDOW_SIZE_MAX).contains(size)) else {
            let problem = format!("takes a whole number from 1 to {WINDOW_SIZE_MAX}");
            return self.problem(path, "config.window_size", problem);
        };
        let window_size = u32::try_from(window_size).unwrap_or(u32::MAX);
        let (memory, field) = (memory_name(id, path), field_name(field));
        Some(Node::Average(Box::new(AverageTest { memory, field, window_size, operator, threshold })))
    }

    fn rate(&mut self, input: &ConditionInput, id: Uuid, path: &ConditionPath) -> Option<Node> {
        self.only(input, path, &["time_window", "reset_on_trigger"])?;
        if input.field.is_some() {
            return self.problem(path, "field", "is not used here: events are counted");
        }
        let operator = self.ordering(input, path)?;
        let threshold =
            input.value.as_ref().and_then(number).and_then(|number| number.to_string().parse().ok());
        let Some(threshold) = threshold.filter(|count: &u64| *count <= RATE_MAX) else {
            return self.problem(path, "value", format!("takes a whole number from 0 to {RATE_MAX}"));
        };
        let empty = Map::new();
        let config = input.config.as_ref().unwrap_or(&empty);
        let window = config.get("time_window").and_then(Value::as_str).and_then(span);
        let Some(window_secs) = window else {
            let problem = "takes a span like `10s`, `5m`, `1h` or `7d`, up to 30 days";
            return self.problem(path, "config.time_window", problem);
        };
        let reset_on_trigger = match config.get("reset_on_trigger") {
            None | Some(Value::Bool(false)) => false,
            Some(Value::Bool(true)) => true,
            Some(_) => return self.problem(path, "config.reset_on_trigger", "takes true or false"),
        };
        let memory = memory_name(id, path);
        Some(Node::Rate(Box::new(RateTest { memory, window_secs, operator, threshold, reset_on_trigger })))
    }

    fn group(&mut self, input: &ConditionInput, id: Uuid, path: &ConditionPath) -> Option<Node> {
        self.only(input, path, &["conditions"])?;
        if input.field.is_some() || input.operator.is_some() || input.value.is_some() {
            return self.problem(path, "config", "a group has nothing but `config.conditions`");
        }
        if path.depth >= DEPTH_MAX {
            return self.problem(
                path,
                "config.conditions",
                format!("more than {DEPTH_MAX} groups within each other"),
            );
        }
        let list =
            input.config.as_ref().and_then(|config| config.get("conditions")).and_then(Value::as_array);
        let Some(list) = list.filter(|list| !list.is_empty()) else {
            return self.problem(path, "config.conditions", "takes a list of conditions");
        };
        if input.condition_type == "not" && list.len() != 1 {
            return self.problem(path, "config.conditions", "of `not` is one condition: put an `or` in it");
        }
        if self.nodes + list.len() > NODES_MAX {
            self.nodes += list.len();
            return None;
        }
        let mut nodes = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let dot = if path.within.is_empty() { "" } else { "." };
            let path = ConditionPath {
                full: format!("{}.config.conditions[{index}]", path.full),
                within: format!("{}{dot}{index}", path.within),
                depth: path.depth + 1,
            };
            match serde_json::from_value::<ConditionInput>(value.clone()) {
                Ok(inner) if inner.id.is_none() => nodes.extend(self.condition(&inner, id, &path)),
                Ok(_) => nodes.extend(self.problem(&path, "id", "a condition within a group has none")),
                Err(error) => self.problems.push(FieldProblem::new(path.full, error.to_string())),
            }
        }
        Some(match input.condition_type.as_str() {
            "and" => Node::All(nodes.into()),
            "or" => Node::Any(nodes.into()),
            _ => Node::Not(Box::new(nodes.pop()?)),
        })
    }

    /// Settings that a condition of this type may have.
    fn only(&mut self, input: &ConditionInput, path: &ConditionPath, known: &[&str]) -> Option<()> {
        let config = input.config.iter().flatten();
        let strange = config.map(|(key, _)| key).find(|key| !known.contains(&key.as_str()));
        match strange {
            Some(key) => self.problem(
                path,
                &format!("config.{key}"),
                format!("is no setting of {}", input.condition_type),
            ),
            None => Some(()),
        }
    }

    /// The field, if one is named, is that one.
    fn named(&mut self, input: &ConditionInput, path: &ConditionPath, field: &str) -> Option<()> {
        match input.field.as_deref() {
            Some(named) if named != field => self.problem(path, "field", format!("is `{field}`, or absent")),
            _ => Some(()),
        }
    }

    /// The operator, if one is named, is one of these.
    fn spoken(&mut self, input: &ConditionInput, path: &ConditionPath, allowed: &[Operator]) -> Option<()> {
        let Some(word) = input.operator.as_deref() else { return Some(()) };
        if Operator::parse(word).is_some_and(|operator| allowed.contains(&operator)) {
            return Some(());
        }
        let allowed: Vec<&str> = allowed.iter().map(|operator| operator.as_str()).collect();
        self.problem(path, "operator", format!("`{word}` can't be: take {}, or none", allowed.join(" or ")))
    }

    fn ordering(&mut self, input: &ConditionInput, path: &ConditionPath) -> Option<Operator> {
        let operator =
            input.operator.as_deref().and_then(Operator::parse).filter(|operator| operator.orders());
        if operator.is_none() {
            return self.problem(path, "operator", "takes lt, gt, eq, lte, gte or ne (or < > = <= >= !=)");
        }
        operator
    }
}

fn expected(kind: Kind, value: &Value) -> Result<Expected, String> {
    // What JSON has as a number may have lost digits already.
    let rounded = value.as_f64().is_some_and(|number| number.abs() >= 9_007_199_254_740_992.0);
    if value.is_f64() && rounded {
        return Err("is too large to be exact as a JSON number: write it as text".to_owned());
    }
    if value.as_str().is_some_and(|text| text.chars().count() > VALUE_CHARS_MAX || text.contains('\0')) {
        return Err(format!("has more than {VALUE_CHARS_MAX} characters, or a NUL"));
    }
    match (kind, value) {
        (Kind::Number, value) => number(value).map(Expected::Number).ok_or_else(|| "is no number".to_owned()),
        (Kind::Hex, Value::String(text)) => {
            if text.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())) {
                Ok(Expected::Text(text.to_ascii_lowercase().into()))
            } else {
                Err("takes 0x and hexadecimal digits".to_owned())
            }
        }
        (Kind::Text | Kind::Any, Value::String(text)) => Ok(Expected::Text(text.as_str().into())),
        (Kind::Any, Value::Bool(flag)) => Ok(Expected::Flag(*flag)),
        (Kind::Any, Value::Number(_)) => {
            number(value).map(Expected::Number).ok_or_else(|| "is no number".to_owned())
        }
        (Kind::Text | Kind::Hex, _) => Err("takes text".to_owned()),
        (Kind::Any, _) => Err("takes text, a number, true or false".to_owned()),
    }
}

/// Seconds of `10s`, `5m`, `1h` or `7d`.
fn span(text: &str) -> Option<i64> {
    let unit = match text.bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 60 * 60,
        b'd' => 24 * 60 * 60,
        _ => return None,
    };
    let count: i64 = text.get(..text.len() - 1)?.parse().ok()?;
    count.checked_mul(unit).filter(|seconds| (1..=WINDOW_SECS_MAX).contains(seconds))
}

/// `score` is the number nearest to `value`, which is exact.
fn field_name(name: &str) -> Cow<'static, str> {
    const SHARED: [&str; 14] = [
        "agent_id",
        "value",
        "tag1",
        "tag2",
        "tag",
        "event_type",
        "owner",
        "client_address",
        "validator_address",
        "response",
        "registry",
        "chain_id",
        "from",
        "to",
    ];
    let name = if name == "score" { "value" } else { name };
    let shared = SHARED.into_iter().find(|known| *known == name);
    shared.map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed)
}

fn memory_name(condition_id: Uuid, path: &ConditionPath) -> MemoryName {
    MemoryName { condition_id, place: path.within.as_str().into() }
}
