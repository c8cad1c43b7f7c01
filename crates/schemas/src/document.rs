//! One schema, compiled: its text was measured, its patterns run in linear time, its references stay within it.
//!
//! A payload is held against it only if the product of both sizes is bounded; a larger one is at fault by itself.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use crate::extent::{Extent, measure};
use crate::registry::Fault;

/// Bytes that one compiled pattern may take, and its cache of states as much again.
const PATTERN_MEMORY_MAX: usize = 256 << 10;

/// Values of the schema times values of the payload: about a second on one core.
const WORK_MAX: u64 = 20_000_000;

/// Bytes of a payload's text that count as one more value: patterns and comparisons read them.
const BYTES_PER_VALUE: usize = 16;

/// Pairs of an array's nested items that count as one more value, where items are compared.
const PAIRS_PER_VALUE: u64 = 64;

/// Beyond so much work it is only told that a payload does not fit: the list of all faults would take too much memory.
const EXPLAINED_WORK_MAX: u64 = 200_000;

/// Characters of a problem's description.
const PROBLEM_CHARS_MAX: usize = 300;

/// A compiled schema.
#[derive(Debug)]
pub(crate) struct Document {
    validator: Validator,
    extent: Extent,
}

impl Document {
    /// Compiles a schema's text.
    ///
    /// # Errors
    /// Why it is not a schema that can be taken.
    pub(crate) fn compile(text: &str) -> Result<(Self, Value), String> {
        let schema: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
        if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
            return Err("a schema is a JSON object, or true or false".to_owned());
        }
        let extent = measure(&schema)?;
        let patterns =
            PatternOptions::regex().size_limit(PATTERN_MEMORY_MAX).dfa_size_limit(PATTERN_MEMORY_MAX);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .should_validate_formats(true)
            .build(&schema)
            .map_err(|error| {
                let at = error.instance_path().as_str();
                short(if at.is_empty() { error.to_string() } else { format!("{at}: {error}") })
            })?;
        Ok((Self { validator, extent }, schema))
    }

    /// What is wrong with a payload, `faults_max` things at most; empty if it fits.
    pub(crate) fn faults(&self, payload: &str, faults_max: usize) -> Vec<Fault> {
        let value: Value = match serde_json::from_str(payload) {
            Ok(value) => value,
            Err(error) => return vec![Fault { path: String::new(), problem: format!("not JSON: {error}") }],
        };
        let size = size(&value, self.extent.compares_items) + (payload.len() / BYTES_PER_VALUE) as u64;
        let work = size.saturating_mul(self.extent.values);
        if work > WORK_MAX {
            let problem = format!(
                "the payload is too large for its schema: {size} values times {} of the schema exceed {WORK_MAX}",
                self.extent.values
            );
            return vec![Fault { path: String::new(), problem }];
        }
        if self.validator.is_valid(&value) {
            return Vec::new();
        }
        if work > EXPLAINED_WORK_MAX {
            let problem = "it does not fit, and is too large to say where".to_owned();
            return vec![Fault { path: String::new(), problem }];
        }
        self.validator.iter_errors(&value).take(faults_max.max(1)).map(|error| fault(&error)).collect()
    }
}

fn fault(error: &ValidationError<'_>) -> Fault {
    let mut path = error.instance_path().as_str().to_owned();
    if let ValidationErrorKind::Required { property } = error.kind()
        && let Value::String(name) = property
    {
        path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
    }
    // Masked: what the payload holds stays with its owner.
    let problem = short(format!("{} (rule {})", error.masked(), error.schema_path().as_str()));
    Fault { path, problem }
}

fn short(text: String) -> String {
    match text.char_indices().nth(PROBLEM_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Values of a payload, and what it adds to compare the items of its arrays. Scalars are compared by their hashes; nested
/// items may be made so that their hashes collide.
fn size(value: &Value, compares_items: bool) -> u64 {
    match value {
        Value::Array(items) => {
            let nested = items.iter().filter(|item| item.is_array() || item.is_object()).count() as u64;
            let pairs = if compares_items { nested.saturating_mul(nested) / PAIRS_PER_VALUE } else { 0 };
            let inner: u64 = items.iter().map(|item| size(item, compares_items)).sum();
            1 + inner + pairs
        }
        Value::Object(map) => 1 + map.values().map(|value| size(value, compares_items)).sum::<u64>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(schema: Value, payload: &str) -> Vec<Fault> {
        Document::compile(&schema.to_string()).unwrap().0.faults(payload, 10)
    }

    #[test]
    fn faults_name_the_place_and_the_rule_and_no_value() {
        let schema = json!({"type": "object", "required": ["id", "a/b"], "additionalProperties": false,
            "properties": {"id": {"type": "string", "format": "uuid"}, "a/b": {"enum": [1, 2]},
                "lines": {"items": {"properties": {"qty": {"minimum": 1}}}}}});
        assert!(
            faults(schema.clone(), r#"{"id":"64527dd3-a654-4410-9327-e58a1492ce77","a/b":1}"#).is_empty()
        );
        let found = faults(schema, r#"{"id":"s3cret","lines":[{"qty":1},{"qty":0}]}"#);
        let paths: Vec<_> = found.iter().map(|fault| fault.path.as_str()).collect();
        for path in ["/id", "/a~1b", "/lines/1/qty"] {
            assert!(paths.contains(&path), "{found:?}");
        }
        assert!(
            found.iter().all(|fault| !fault.problem.contains("s3cret") && fault.problem.contains("rule /"))
        );
    }

    #[test]
    fn patterns_run_in_linear_time_or_not_at_all() {
        let hostile = json!({"type": "string", "pattern": "^(a+)+$"});
        let payload = format!("\"{}!\"", "a".repeat(100_000));
        assert_eq!(faults(hostile, &payload).len(), 1);
        for pattern in ["(?=a)b", r"(a)\1", r"\w{5000}", "("] {
            assert!(Document::compile(&json!({"pattern": pattern}).to_string()).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_payload_too_large_for_its_schema_is_at_fault() {
        let many: Vec<Value> = (0..1_000).map(|n| json!({"const": n})).collect();
        let schema = json!({"items": {"anyOf": many}});
        assert!(faults(schema.clone(), "[1,999]").is_empty());
        let wide = format!("[{}0]", "0,".repeat(50_000));
        assert!(faults(schema.clone(), &wide)[0].problem.contains("too large for its schema"));
        let long = format!("[{}-1]", "0,".repeat(500));
        assert!(faults(schema, &long)[0].problem.contains("too large to say where"));
        let pairs = format!("[{}[]]", "[],".repeat(30_000));
        assert!(faults(json!({"type": "array"}), &pairs).is_empty());
        assert!(faults(json!({"uniqueItems": true}), &pairs)[0].problem.contains("too large for its schema"));
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        for text in ["", "{", "17", "[]", "\"object\"", r#"{"type":"thing"}"#, r#"{"minimum":"1"}"#] {
            assert!(Document::compile(text).is_err(), "{text}");
        }
        let deep = format!("{}true{}", r#"{"not":"#.repeat(100), "}".repeat(100));
        assert!(Document::compile(&deep).unwrap_err().contains("levels deep"));
        let deeper = format!("{}true{}", r#"{"not":"#.repeat(10_000), "}".repeat(10_000));
        assert!(Document::compile(&deeper).unwrap_err().contains("recursion limit"));
    }
}
