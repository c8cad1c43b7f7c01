//! Whether a schema keeps its promise to those who know the version before it: a structural rule that would rather
//! refuse than be wrong.
//!
//! [`widens`] asks if one schema accepts everything that another accepts, keyword by keyword. `type`, `enum`, `const`,
//! `required`, `properties`, `additionalProperties`, `items` and the bounds on numbers, lengths and counts are
//! compared; what only describes is ignored; any other keyword must be the same in both. One thing is taken for
//! granted: a property that one version does not name does not occur in its payloads, so that naming an optional
//! property is a compatible change.

use bowline_store::SchemaCompatibility;
use serde_json::{Map, Value};

/// Keywords that accept and refuse nothing.
const DESCRIPTIONS: [&str; 10] = [
    "$comment",
    "$id",
    "$schema",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// Keywords that [`keyword`] compares or that are compared together with another.
const LOWER_BOUNDS: [&str; 5] = ["minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"];
const UPPER_BOUNDS: [&str; 5] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"];

/// Keywords whose meaning depends on their neighbours: where the first of a row stands in either schema, all of the
/// row must be the same in both.
const ENTANGLED: [&[&str]; 4] = [
    &["patternProperties", "properties", "additionalProperties"],
    &["prefixItems", "items"],
    &["minContains", "contains"],
    &["maxContains", "contains"],
];

/// Why `new` may not follow `old`; none if it may.
pub(crate) fn objection(compatibility: SchemaCompatibility, old: &Value, new: &Value) -> Option<String> {
    let backward = || widens(new, old, "").err().map(|why| format!("not backward compatible: {why}"));
    let forward = || {
        let why = widens(old, new, "").err()?;
        Some(format!("not forward compatible, seen from the version before it: {why}"))
    };
    if compatibility != SchemaCompatibility::None && old.get("$schema") != new.get("$schema") {
        return Some("$schema names another draft, under which the same words mean other things".to_owned());
    }
    match compatibility {
        SchemaCompatibility::Backward => backward(),
        SchemaCompatibility::Forward => forward(),
        SchemaCompatibility::Full => backward().or_else(forward),
        SchemaCompatibility::None => None,
    }
}

/// Whether everything that `narrow` accepts is accepted by `wide`, or where that is not certain.
fn widens(wide: &Value, narrow: &Value, at: &str) -> Result<(), String> {
    let empty = Map::new();
    let (wide, narrow) = match (wide, narrow) {
        (_, Value::Bool(false)) | (Value::Bool(true), _) => return Ok(()),
        (Value::Bool(false), _) => return Err(format!("{} accepts nothing any more", place(at))),
        (Value::Object(wide), Value::Object(narrow)) => (wide, narrow),
        (Value::Object(wide), _) => (wide, &empty),
        _ => return Err(format!("{} is not a schema", place(at))),
    };
    if wide == narrow {
        return Ok(());
    }
    for keyword in ["unevaluatedProperties", "unevaluatedItems"] {
        if wide.contains_key(keyword) || narrow.contains_key(keyword) {
            return Err(format!("{} uses `{keyword}`, beside which nothing can be compared", place(at)));
        }
    }
    for row in ENTANGLED {
        let used = wide.contains_key(row[0]) || narrow.contains_key(row[0]);
        if used && row.iter().any(|keyword| wide.get(*keyword) != narrow.get(*keyword)) {
            return Err(format!("{} uses `{}`: keep {} as they are", place(at), row[0], row.join(" and ")));
        }
    }
    // References mean what their targets say, which stand in `$defs`.
    wide.keys()
        .filter(|key| !DESCRIPTIONS.contains(&key.as_str()))
        .try_for_each(|key| keyword(key, wide, narrow, at))
}

fn keyword(
    key: &str,
    wide: &Map<String, Value>,
    narrow: &Map<String, Value>,
    at: &str,
) -> Result<(), String> {
    let (new, old) = (&wide[key], narrow.get(key));
    match key {
        "type" => types(new, old, at),
        "enum" | "const" => values(key, wide, narrow, at),
        "required" => required(new, old, at),
        "properties" => properties(new, narrow, at),
        "additionalProperties" => additional(new, wide, narrow, at),
        "items" if new.is_object() || new.is_boolean() => {
            widens(new, old.unwrap_or(&Value::Bool(true)), &format!("{at}/items"))
        }
        _ if LOWER_BOUNDS.contains(&key) => bound(key, new, old, at, |new, old| new <= old),
        _ if UPPER_BOUNDS.contains(&key) => bound(key, new, old, at, |new, old| new >= old),
        _ if old == Some(new) => Ok(()),
        _ => Err(format!("{} adds or changes `{key}`, which can't be compared: keep it as it is", place(at))),
    }
}

fn types(new: &Value, old: Option<&Value>, at: &str) -> Result<(), String> {
    let Some(old) = old else {
        return Err(format!("{} adds `type`, where any was accepted", place(at)));
    };
    let new = words(new);
    let missing = words(old)
        .into_iter()
        .find(|word| !(new.contains(word) || *word == "integer" && new.contains(&"number")));
    missing.map_or(Ok(()), |word| Err(format!("{} no longer accepts the type `{word}`", place(at))))
}

/// A value or a list of them, as texts.
fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
        word => word.as_str().into_iter().collect(),
    }
}

fn values(key: &str, wide: &Map<String, Value>, narrow: &Map<String, Value>, at: &str) -> Result<(), String> {
    let listed = |map: &Map<String, Value>| match (map.get("const"), map.get("enum")) {
        (Some(value), _) => Some(vec![value.clone()]),
        (None, Some(Value::Array(values))) => Some(values.clone()),
        _ => None,
    };
    let Some(old) = listed(narrow) else {
        return Err(format!("{} adds `{key}`, where any value was accepted", place(at)));
    };
    let new = match key {
        "const" => vec![wide[key].clone()],
        _ => wide[key].as_array().cloned().unwrap_or_default(),
    };
    match old.iter().find(|value| !new.contains(value)) {
        Some(value) => Err(format!("{} no longer accepts the value {value}", place(at))),
        None => Ok(()),
    }
}

fn required(new: &Value, old: Option<&Value>, at: &str) -> Result<(), String> {
    let old = old.map(words).unwrap_or_default();
    match words(new).into_iter().find(|name| !old.contains(name)) {
        Some(name) => Err(format!("{} requires `{name}`, which was optional", place(at))),
        None => Ok(()),
    }
}

fn properties(new: &Value, narrow: &Map<String, Value>, at: &str) -> Result<(), String> {
    let old = narrow.get("properties").and_then(Value::as_object);
    for (name, schema) in new.as_object().into_iter().flatten() {
        let at = format!("{at}/properties/{name}");
        if let Some(old) = old.and_then(|old| old.get(name)) {
            widens(schema, old, &at)?;
        } else if let Some(old @ Value::Object(_)) = narrow.get("additionalProperties") {
            widens(schema, old, &at)?;
        }
    }
    Ok(())
}

fn additional(
    new: &Value,
    wide: &Map<String, Value>,
    narrow: &Map<String, Value>,
    at: &str,
) -> Result<(), String> {
    let named = |map: &Map<String, Value>, name: &str| {
        map.get("properties").and_then(Value::as_object).is_some_and(|names| names.contains_key(name))
    };
    // Properties that only the narrow one names fall under the wide one's rule for the others.
    for (name, schema) in narrow.get("properties").and_then(Value::as_object).into_iter().flatten() {
        if !named(wide, name) {
            match new {
                Value::Bool(false) => return Err(format!("{} no longer accepts `{name}`", place(at))),
                _ => widens(new, schema, &format!("{at}/additionalProperties"))?,
            }
        }
    }
    match (new, narrow.get("additionalProperties")) {
        (Value::Bool(false), None | Some(Value::Bool(true))) => {
            Err(format!("{} no longer accepts properties that it does not name", place(at)))
        }
        (_, old) => widens(new, old.unwrap_or(&Value::Bool(true)), &format!("{at}/additionalProperties")),
    }
}

fn bound(
    key: &str,
    new: &Value,
    old: Option<&Value>,
    at: &str,
    holds: impl Fn(f64, f64) -> bool,
) -> Result<(), String> {
    match (new.as_f64(), old.and_then(Value::as_f64)) {
        (Some(new), Some(old)) if holds(new, old) => Ok(()),
        (_, None) => Err(format!("{} adds `{key}`", place(at))),
        _ => Err(format!("{} makes `{key}` stricter", place(at))),
    }
}

fn place(at: &str) -> String {
    if at.is_empty() { "the schema".to_owned() } else { format!("the schema at {at}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn order() -> Value {
        json!({"type": "object", "required": ["id"], "properties": {
            "id": {"type": "string", "minLength": 1},
            "state": {"enum": ["open", "paid"]},
            "total": {"type": "integer", "minimum": 0},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"sku": {"type": "string"}}}}}})
    }

    fn changed(path: &str, value: Value) -> Value {
        let mut schema = order();
        let (parent, key) = path.rsplit_once('/').unwrap();
        schema.pointer_mut(parent).unwrap()[key] = value;
        schema
    }

    #[test]
    fn each_change_is_compatible_in_the_directions_that_it_is() {
        use SchemaCompatibility::{Backward, Forward, Full, None};
        // The change, whether it is backward compatible, and whether forward.
        let cases = [
            (order(), true, true),
            (changed("/title", json!("An order")), true, true),
            (changed("/properties/note", json!({"type": "string"})), true, true),
            (changed("/required", json!(["id", "state"])), false, true),
            (changed("/required", json!([])), true, false),
            (changed("/properties/total/type", json!("number")), true, false),
            (changed("/properties/total/type", json!(["integer", "null"])), true, false),
            (changed("/properties/total/type", json!("string")), false, false),
            (changed("/properties/total/minimum", json!(-1)), true, false),
            (changed("/properties/total/minimum", json!(1)), false, true),
            (changed("/properties/total/maximum", json!(9)), false, true),
            (changed("/properties/state/enum", json!(["open", "paid", "void"])), true, false),
            (changed("/properties/state/enum", json!(["open"])), false, true),
            (changed("/properties/state", json!({"const": "open"})), false, true),
            (changed("/properties/id/pattern", json!("^A")), false, true),
            (changed("/additionalProperties", json!(false)), false, true),
            (changed("/additionalProperties", json!({"type": "string"})), false, true),
            (changed("/properties/lines/items/required", json!(["sku"])), false, true),
            (changed("/properties/lines/items", json!(true)), true, false),
            (changed("/allOf", json!([{"required": ["state"]}])), false, true),
            (changed("/patternProperties", json!({"^x": {"type": "string"}})), false, false),
            (changed("/unevaluatedProperties", json!(false)), false, false),
            (changed("/properties/lines/prefixItems", json!([true])), false, false),
            (json!(true), true, false),
            (json!(false), false, true),
        ];
        for (new, backward, forward) in cases {
            let fits = |compatibility| objection(compatibility, &order(), &new).is_none();
            assert_eq!((fits(Backward), fits(Forward)), (backward, forward), "{new}");
            assert_eq!((fits(Full), fits(None)), (backward && forward, true), "{new}");
        }
    }

    #[test]
    fn closed_objects_may_grow_but_not_drop_a_property() {
        let closed = |names: &[&str]| {
            let properties: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), json!({}))).collect();
            json!({"properties": properties, "additionalProperties": false})
        };
        let backward = |old: &Value, new: &Value| objection(SchemaCompatibility::Backward, old, new);
        assert_eq!(backward(&closed(&["a"]), &closed(&["a", "b"])), None);
        let refused = backward(&closed(&["a", "b"]), &closed(&["a"])).unwrap();
        assert_eq!(refused, "not backward compatible: the schema no longer accepts `b`");
        let typed = json!({"additionalProperties": {"type": "integer"}});
        let named =
            json!({"properties": {"n": {"type": "string"}}, "additionalProperties": {"type": "integer"}});
        assert!(backward(&typed, &named).unwrap().contains("/properties/n"));
    }
}
