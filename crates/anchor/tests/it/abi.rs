//! The interfaces in Rust are those of the compiled contracts.

use std::collections::BTreeSet;

use bowline_anchor::abi::{BowlineAnchor, OriginalAnchor};
use serde_json::Value;

use crate::support::{BOWLINE, ORIGINAL};

/// `name(types)` of everything of a kind in an artifact.
fn signatures(artifact: &str, kind: &str) -> BTreeSet<String> {
    let artifact: Value = serde_json::from_str(artifact).unwrap();
    let entries = artifact["abi"].as_array().unwrap().iter().filter(|entry| entry["type"] == kind);
    let signature = |entry: &Value| format!("{}{}", entry["name"].as_str().unwrap(), types(&entry["inputs"]));
    entries.map(signature).collect()
}

fn types(parameters: &Value) -> String {
    let types = parameters.as_array().unwrap().iter().map(|parameter| {
        let kind = parameter["type"].as_str().unwrap();
        match kind.strip_prefix("tuple") {
            Some(array) => types(&parameter["components"]) + array,
            None => kind.to_owned(),
        }
    });
    format!("({})", types.collect::<Vec<_>>().join(","))
}

fn set(signatures: &[&str]) -> BTreeSet<String> {
    signatures.iter().map(|signature| (*signature).to_owned()).collect()
}

#[test]
fn the_interface_in_rust_is_the_whole_contract() {
    use BowlineAnchor::{BowlineAnchorCalls, BowlineAnchorErrors, BowlineAnchorEvents};
    assert_eq!(signatures(BOWLINE, "function"), set(BowlineAnchorCalls::SIGNATURES));
    assert_eq!(signatures(BOWLINE, "event"), set(BowlineAnchorEvents::SIGNATURES));
    assert_eq!(signatures(BOWLINE, "error"), set(BowlineAnchorErrors::SIGNATURES));
}

#[test]
fn what_is_called_of_the_original_interface_is_in_its_contract() {
    use OriginalAnchor::{OriginalAnchorCalls, OriginalAnchorEvents};
    let missing = |has: BTreeSet<String>, needs: &[&str]| -> Vec<String> {
        set(needs).difference(&has).cloned().collect()
    };
    assert!(missing(signatures(ORIGINAL, "function"), OriginalAnchorCalls::SIGNATURES).is_empty());
    assert!(missing(signatures(ORIGINAL, "event"), OriginalAnchorEvents::SIGNATURES).is_empty());
    assert_eq!(missing(BTreeSet::new(), &["commit()"]), ["commit()"]);
}
