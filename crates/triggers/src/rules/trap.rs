//! What a test puts into an event so that holding it against a rule goes wrong: there is no other way to bring a panic
//! about, or an event that takes long.

use std::time::Duration;

use serde_json::Value;

use super::Facts;

/// Panics on an event with `"trap": "panic"`; takes its time on one with `"trap": MILLISECONDS`.
pub(super) fn spring(facts: &Facts) {
    match facts.fields.get("trap") {
        Some(Value::String(word)) if word == "panic" => panic!("by design"),
        Some(Value::Number(millis)) => {
            std::thread::sleep(Duration::from_millis(millis.as_u64().unwrap_or_default()));
        }
        _ => {}
    }
}
