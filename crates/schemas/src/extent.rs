//! How much a schema is once all its references are followed: the bound on what it can cost, before it is compiled.
//!
//! Every nested value counts as a schema, so the extent may be too large but never too small. References lead to a
//! JSON pointer of the same document and never back to where they stand: without recursion, each rule is applied at
//! most once to each value of a payload.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

/// Levels of objects and arrays, references followed.
const DEPTH_MAX: u32 = 64;

/// Values, references followed.
const VALUES_MAX: u64 = 20_000;

/// Patterns of one schema.
const PATTERNS_MAX: usize = 64;

/// Bytes of one pattern.
const PATTERN_BYTES_MAX: usize = 512;

/// The drafts whose references work as described above.
const DRAFTS: [&str; 4] = [
    "json-schema.org/draft/2020-12/schema",
    "json-schema.org/draft/2019-09/schema",
    "json-schema.org/draft-07/schema",
    "json-schema.org/draft-06/schema",
];

/// Values and levels, references followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) values: u64,
    pub(crate) depth: u32,
    /// Whether `uniqueItems` is used, which compares the items of an array with each other.
    pub(crate) compares_items: bool,
}

/// The schema's extent, or why it can't be taken.
pub(crate) fn measure(schema: &Value) -> Result<Extent, String> {
    if let Some(draft) = schema.get("$schema") {
        let name = draft.as_str().unwrap_or_default().trim_end_matches('#');
        let name = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://"));
        if !name.is_some_and(|name| DRAFTS.contains(&name)) {
            return Err("$schema: only the drafts 2020-12, 2019-09, 07 and 06 are taken".to_owned());
        }
    }
    let mut walk = Walk { root: schema, known: HashMap::new(), open: HashSet::new(), patterns: 0 };
    walk.value(schema)
}

struct Walk<'a> {
    root: &'a Value,
    /// By address: a value that is referred to from several places is measured once.
    known: HashMap<*const Value, Extent>,
    open: HashSet<*const Value>,
    patterns: usize,
}

impl<'a> Walk<'a> {
    fn value(&mut self, value: &'a Value) -> Result<Extent, String> {
        let address = std::ptr::from_ref(value);
        if let Some(extent) = self.known.get(&address) {
            return Ok(*extent);
        }
        if self.open.len() >= DEPTH_MAX as usize {
            return Err(format!("it is nested more than {DEPTH_MAX} levels deep, references followed"));
        }
        if !self.open.insert(address) {
            return Err("it refers back to itself; a schema must not be recursive".to_owned());
        }
        let mut extent = Extent { values: 1, depth: 1, compares_items: false };
        match value {
            Value::Array(items) => {
                for item in items {
                    extent = self.include(extent, item)?;
                }
            }
            Value::Object(map) => extent = self.object(extent, map)?,
            _ => {}
        }
        self.open.remove(&address);
        self.known.insert(address, extent);
        Ok(extent)
    }

    fn object(&mut self, mut extent: Extent, map: &'a Map<String, Value>) -> Result<Extent, String> {
        for (key, value) in map {
            if let Value::String(text) = value {
                self.keyword(key, text)?;
            }
            if key == "patternProperties"
                && let Value::Object(patterns) = value
            {
                patterns.keys().try_for_each(|pattern| self.pattern(pattern))?;
            }
            extent = self.include(extent, value)?;
        }
        if let Some(Value::String(reference)) = map.get("$ref") {
            let target = self.target(reference)?;
            extent = self.include(extent, target)?;
        }
        extent.compares_items |= map.contains_key("uniqueItems");
        if map.contains_key("unevaluatedProperties") || map.contains_key("unevaluatedItems") {
            // Their neighbours are looked at a second time.
            extent.values = bounded(extent.values.saturating_mul(2))?;
        }
        Ok(extent)
    }

    fn keyword(&mut self, key: &str, text: &str) -> Result<(), String> {
        match key {
            "$dynamicRef" | "$recursiveRef" => Err(format!("{key} is not taken; use $ref within the schema")),
            "$id" if self.open.len() > 1 => {
                Err("$id is taken at the top only; it would change where references lead".to_owned())
            }
            "format" if text == "regex" => {
                Err("format `regex` is not taken: payloads would bring patterns to compile".to_owned())
            }
            "pattern" => self.pattern(text),
            _ => Ok(()),
        }
    }

    fn pattern(&mut self, pattern: &str) -> Result<(), String> {
        self.patterns += 1;
        if self.patterns > PATTERNS_MAX {
            return Err(format!("it has more than {PATTERNS_MAX} patterns"));
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!("a pattern has {} bytes and may have {PATTERN_BYTES_MAX}", pattern.len()));
        }
        Ok(())
    }

    fn target(&self, reference: &str) -> Result<&'a Value, String> {
        let shown: String = reference.chars().take(100).collect();
        let pointer = match reference.strip_prefix('#') {
            Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => pointer,
            _ => {
                return Err(format!("$ref `{shown}` leads out of the schema; only `#/…` is taken"));
            }
        };
        if pointer.contains('%') {
            return Err(format!("$ref `{shown}` is percent-encoded; write the pointer as it is"));
        }
        self.root.pointer(pointer).ok_or_else(|| format!("$ref `{shown}` leads nowhere"))
    }

    fn include(&mut self, extent: Extent, value: &'a Value) -> Result<Extent, String> {
        let inner = self.value(value)?;
        let depth = extent.depth.max(inner.depth + 1);
        if depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} levels deep, references followed"));
        }
        let values = bounded(extent.values.saturating_add(inner.values))?;
        Ok(Extent { values, depth, compares_items: extent.compares_items | inner.compares_items })
    }
}

fn bounded(values: u64) -> Result<u64, String> {
    if values > VALUES_MAX {
        return Err(format!("it has more than {VALUES_MAX} values, references followed"));
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn references_count_as_often_as_they_are_used() {
        let shared = json!({"properties": {"a": {"$ref": "#/$defs/x"}, "b": {"$ref": "#/$defs/x"}},
            "$defs": {"x": {"type": "string"}}});
        let once = json!({"properties": {"a": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"type": "string"}}});
        assert_eq!(measure(&shared).unwrap().values - measure(&once).unwrap().values, 4);
        assert_eq!(measure(&json!(true)).unwrap(), Extent { values: 1, depth: 1, compares_items: false });
    }

    #[test]
    fn what_could_cost_without_bound_is_refused() {
        let mut doubling = json!({"$defs": {"a0": {"type": "string"}}, "$ref": "#/$defs/a20"});
        for level in 1..=20 {
            let below = json!({"$ref": format!("#/$defs/a{}", level - 1)});
            doubling["$defs"][format!("a{level}")] = json!({"allOf": [below, below]});
        }
        let mut chain = json!({"$defs": {"a0": {"type": "string"}}, "$ref": "#/$defs/a90"});
        for level in 1..=90 {
            chain["$defs"][format!("a{level}")] = json!({"$ref": format!("#/$defs/a{}", level - 1)});
        }
        for (schema, problem) in [
            (doubling, "values"),
            (chain, "levels deep"),
            (json!({"properties": {"child": {"$ref": "#"}}}), "recursive"),
            (json!({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}), "recursive"),
            (json!({"$ref": "https://example.com/schema.json"}), "leads out"),
            (json!({"$ref": "file:///etc/passwd"}), "leads out"),
            (json!({"$ref": "other.json#/x"}), "leads out"),
            (json!({"$ref": "#anchor"}), "leads out"),
            (json!({"$ref": "#/%24defs/x"}), "percent"),
            (json!({"$ref": "#/$defs/none"}), "nowhere"),
            (json!({"$dynamicRef": "#node"}), "$dynamicRef"),
            (json!({"properties": {"a": {"$id": "https://example.com/a"}}}), "$id"),
            (json!({"$schema": "https://example.com/meta"}), "drafts"),
            (json!({"$schema": 7}), "drafts"),
            (json!({"format": "regex"}), "regex"),
            (json!({"pattern": "a".repeat(513)}), "513"),
            (json!({"allOf": vec![json!({"pattern": "a"}); 65]}), "patterns"),
        ] {
            let refused = measure(&schema).unwrap_err();
            assert!(refused.contains(problem), "{schema}: {refused}");
        }
    }
}
