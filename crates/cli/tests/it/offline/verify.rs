//! `bowline verify` on whole, damaged and foreign files: the exit code and the line that names the damage.
//!
//! Every damage is one change to a file that was valid a moment before.

use std::fs;

use super::evidence::{EVENTS, Evidence};

#[test]
fn a_whole_export_is_valid_and_says_whose_keys_were_trusted() {
    let evidence = Evidence::make();
    let ran = evidence.run(&["verify", "export", "export.ndjson"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("the export is valid"), "{}", ran.stdout);
    assert!(ran.stdout.contains(&format!("0x{}", evidence.sequencer_key)), "{}", ran.stdout);
    assert!(ran.stderr.contains("trusted from the file"), "{}", ran.stderr);

    let key = evidence.sequencer_key.to_string();
    let agent = format!("{}:1:{}", evidence.agent_id, evidence.agent_key);
    let ran = evidence.run(&[
        "verify",
        "export",
        "export.ndjson",
        "--sequencer-key",
        &key,
        "--agent-key",
        &agent,
        "--output",
        "json",
    ]);
    let report = ran.json();
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    assert_eq!(report["event_count"], EVENTS);
    assert_eq!(report["committed_event_count"], EVENTS);
    assert_eq!(report["sequencer_keys_pinned"], true);
    assert_eq!((&report["agent_keys_pinned"], &report["agent_keys_from_file"]), (&1.into(), &0.into()));
}

#[test]
fn a_changed_payload_is_named_by_event_and_line() {
    let evidence = Evidence::make();
    evidence.tamper("export.ndjson", "bad.ndjson", "{\"amount\":3.50}", "{\"amount\":3.51}");
    let ran = evidence.run(&["verify", "export", "bad.ndjson"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    // Line 1 is the header, line 2 the agent's key.
    assert!(ran.stderr.contains("event 3 (line 5): payload_plain_hash"), "{}", ran.stderr);
    let answer = evidence.run(&["verify", "export", "bad.ndjson", "--output", "json"]).json();
    assert_eq!((&answer["valid"], &answer["sequence_number"]), (&false.into(), &3.into()));
}

#[test]
fn a_foreign_key_a_cut_file_and_no_file_have_their_own_endings() {
    let evidence = Evidence::make();
    let foreign = evidence.agent_key.to_string();
    let ran = evidence.run(&["verify", "export", "export.ndjson", "--sequencer-key", &foreign]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("not one of the pinned keys"), "{}", ran.stderr);

    let text = fs::read_to_string(evidence.path("export.ndjson")).unwrap();
    evidence.write("cut.ndjson", &text[..text.len() / 2]);
    let ran = evidence.run(&["verify", "export", "cut.ndjson"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("cut off") && ran.stderr.contains("next: "), "{}", ran.stderr);

    assert_eq!(evidence.run(&["verify", "export", "missing.ndjson"]).code, Some(2));
}

#[test]
fn a_proof_holds_for_its_event_and_the_given_root() {
    let evidence = Evidence::make();
    let root = evidence.merkle_root.prefixed();
    let ran = evidence.run(&["verify", "proof", "proof.json", "--event", "event.json", "--root", &root]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stderr);

    let other = root.replace(&root[2..6], if &root[2..6] == "0000" { "1111" } else { "0000" });
    assert_eq!(evidence.run(&["verify", "proof", "proof.json", "--root", &other]).code, Some(1));

    evidence.tamper("proof.json", "shifted.json", "\"leaf_index\":2", "\"leaf_index\":6");
    assert_eq!(evidence.run(&["verify", "proof", "shifted.json"]).code, Some(1));

    evidence.tamper("event.json", "other.json", "\"entity_id\":\"o-3\"", "\"entity_id\":\"o-4\"");
    let ran = evidence.run(&["verify", "proof", "proof.json", "--event", "other.json"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("the leaf is not this event's"), "{}", ran.stderr);
}

#[test]
fn a_receipt_needs_the_key_that_signed_it() {
    let evidence = Evidence::make();
    let (right, wrong) = (evidence.sequencer_key.to_string(), evidence.agent_key.to_string());
    let run =
        |arguments: &[&str]| evidence.run(&[&["verify", "receipt", "receipt.json"], arguments].concat());
    assert_eq!(run(&["--sequencer-key", &right, "--event", "event.json"]).code, Some(0));
    assert_eq!(run(&["--sequencer-key", &wrong, "--sequencer-key", &right]).code, Some(0));
    assert_eq!(run(&["--sequencer-key", &wrong]).code, Some(1));
    assert_eq!(run(&[]).code, Some(2));

    evidence.tamper(
        "event.json",
        "other.json",
        "\"event_type\":\"order.created\"",
        "\"event_type\":\"order.paid\"",
    );
    assert_eq!(run(&["--sequencer-key", &right, "--event", "other.json"]).code, Some(1));
}
