//! Exports: a good file verifies, and every way of tampering with one is caught and named by its number.
//!
//! Most tampering is tried twice: as a careless hand does it, and as a forger who computes the content hash
//! anew. The finding must be the same.

use bowline_types::BatchId;
use bowline_ves::{
    AgentKeyRecord, Commitment, Envelope, ExportError, ExportHeader, ExportReport, ExportWriter, Hash,
    Receipt, SecretKey, SequencerKeyRecord, Tree, TrustedKeys, event_signing_hash, leaf_hash, verify_export,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use crate::samples;

/// The stream has events 1 to 12 and commitments over 1..=4, 5..=9.
pub(crate) fn event(n: u64) -> (Envelope, Receipt) {
    let envelope = samples::numbered(n);
    let at = bowline_types::Timestamp::from_micros(1_700_000_000_000_000 + n as i64);
    let receipt =
        samples::sequencer().seal(envelope.stream, envelope.event_id, &event_signing_hash(&envelope), n, at);
    (envelope, receipt)
}

pub(crate) fn commitment(start: u64, end: u64, prev: Hash) -> Commitment {
    let leaf = |n| {
        let envelope = samples::numbered(n);
        leaf_hash(envelope.stream, n, &event_signing_hash(&envelope), &envelope.agent_signature)
    };
    let tree = Tree::new((start..=end).map(leaf).collect());
    let batch_id = BatchId::from_bytes([start as u8; 16]);
    Commitment::seal(batch_id, samples::stream(), &tree, start, end, prev, samples::moment()).unwrap()
}

fn commitments() -> [Commitment; 2] {
    let first = commitment(1, 4, Hash::ZERO);
    let second = commitment(5, 9, first.new_state_root);
    [first, second]
}

pub(crate) fn header(start: u64, end: u64) -> ExportHeader {
    let sequencer = samples::sequencer();
    ExportHeader {
        stream: samples::stream(),
        sequence_start: start,
        sequence_end: end,
        exported_at: samples::moment(),
        sequencer_keys: vec![SequencerKeyRecord {
            key_version: sequencer.key_version,
            sequencer_id: sequencer.sequencer_id,
            public_key: sequencer.key.public(),
        }],
    }
}

pub(crate) fn agent_key() -> AgentKeyRecord {
    AgentKeyRecord {
        agent_id: samples::agent_id(),
        agent_key_id: 1,
        public_key: samples::agent_key().public(),
    }
}

fn export(start: u64, end: u64) -> Vec<u8> {
    let mut writer = ExportWriter::new(Vec::new(), &header(start, end)).unwrap();
    writer.agent_key(&agent_key()).unwrap();
    for n in start..=end {
        let (envelope, receipt) = event(n);
        writer.event(&envelope, &receipt).unwrap();
        for commitment in commitments().iter().filter(|c| c.sequence_end == n && c.sequence_start >= start) {
            writer.commitment(commitment).unwrap();
        }
    }
    let (file, hash) = writer.finish(end.max(12)).unwrap();
    assert_eq!(verify(&file).unwrap().content_hash, hash);
    file
}

pub(crate) fn verify(file: &[u8]) -> Result<ExportReport, ExportError> {
    verify_export(file, &TrustedKeys::default(), |_| {})
}

fn lines(file: &[u8]) -> Vec<String> {
    std::str::from_utf8(file).unwrap().lines().map(str::to_owned).collect()
}

/// Puts the lines together again with a content hash that fits them, as a careful forger would.
fn forged(mut lines: Vec<String>) -> Vec<u8> {
    let end = lines.pop().unwrap();
    let mut file = lines.join("\n") + "\n";
    let hash = Hash::new(Sha256::digest(&file).into());
    let from = end.find("0x").unwrap();
    file += &format!("{}{}\"}}}}\n", &end[..from], hash.prefixed());
    file.into_bytes()
}

/// The lines of the export of 1..=12 are: header, agent key, 1 to 4, commitment, 5 to 9, commitment, 10 to
/// 12, end; this is the index of an event's line.
fn index_of(n: usize) -> usize {
    n + 1 + usize::from(n > 4) + usize::from(n > 9)
}

/// Checks a forger's file and the same lines with the old end line: both must name the event.
fn assert_bad_event(lines: Vec<String>, number: u64, line: usize, what: &str) {
    let careless = (lines.join("\n") + "\n").into_bytes();
    for file in [careless, forged(lines)] {
        match verify(&file).unwrap_err() {
            ExportError::BadEvent { sequence_number, line: found, problem } => {
                assert_eq!((sequence_number, found), (number, line as u64), "{problem}");
                assert!(problem.contains(what), "{problem}");
            }
            other => panic!("{other}"),
        }
    }
}

fn assert_bad_commitment(lines: Vec<String>, start: u64, what: &str) {
    match verify(&forged(lines)).unwrap_err() {
        ExportError::BadCommitment { sequence_start, problem, .. } => {
            assert_eq!(sequence_start, start, "{problem}");
            assert!(problem.contains(what), "{problem}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn a_whole_export_verifies_and_says_what_it_holds() {
    let file = export(1, 12);
    let mut seen = Vec::new();
    let report = verify_export(file.as_slice(), &TrustedKeys::default(), |n| seen.push(n)).unwrap();
    assert_eq!(seen, (1..=12).collect::<Vec<u64>>());
    assert_eq!((report.stream, report.event_count), (samples::stream(), 12));
    assert_eq!((report.sequence_start, report.sequence_end, report.head_sequence), (1, 12, 12));
    assert_eq!((report.commitment_count, report.committed_event_count), (2, 9));
    assert_eq!(report.last_state_root, Some(commitments()[1].new_state_root));
    assert_eq!(
        (report.sequencer_keys_pinned, report.agent_keys_pinned, report.agent_keys_from_file),
        (false, 0, 1)
    );
    assert_eq!(forged(lines(&file)), file);
    assert_eq!(index_of(12) + 2, lines(&file).len());
}

#[test]
fn a_range_may_start_within_a_commitment_and_may_be_empty() {
    let report = verify(&export(3, 10)).unwrap();
    assert_eq!((report.event_count, report.commitment_count, report.committed_event_count), (8, 1, 5));
    let report = verify(&export(13, 12)).unwrap();
    assert_eq!((report.event_count, report.sequence_end, report.last_state_root), (0, 12, None));
}

#[test]
fn an_agent_key_that_got_its_table_still_refuses() {
    let mut lines = lines(&export(1, 80));
    let at = index_of(75);
    lines[at] = lines[at].replace("WIDGET-001", "WIDGET-002");
    assert_bad_event(lines, 75, at + 1, "signature verification failed");
}

#[test]
fn pinned_keys_override_the_file() {
    let file = export(1, 12);
    let id = (samples::agent_id(), 1);
    let mut pins = TrustedKeys {
        sequencer_keys: vec![SecretKey::from_seed([1; 32]).public(), samples::sequencer().key.public()],
        agent_keys: [(id, samples::agent_key().public())].into(),
    };
    let report = verify_export(file.as_slice(), &pins, |_| {}).unwrap();
    assert_eq!(
        (report.sequencer_keys_pinned, report.agent_keys_pinned, report.agent_keys_from_file),
        (true, 1, 0)
    );
    // A pinned agent key also stands in for one that the file lacks.
    let mut without_key = lines(&file);
    without_key.remove(1);
    assert!(verify_export(forged(without_key.clone()).as_slice(), &pins, |_| {}).is_ok());
    assert_bad_event(without_key, 1, 2, "no key 1 of agent");

    pins.agent_keys = [(id, SecretKey::from_seed([1; 32]).public())].into();
    assert!(matches!(
        verify_export(file.as_slice(), &pins, |_| {}),
        Err(ExportError::BadKey { line: 2, .. })
    ));
    let pins = TrustedKeys {
        sequencer_keys: vec![SecretKey::from_seed([1; 32]).public()],
        ..TrustedKeys::default()
    };
    assert!(matches!(
        verify_export(file.as_slice(), &pins, |_| {}),
        Err(ExportError::BadKey { line: 1, .. })
    ));
}

#[test]
fn dropped_repeated_and_swapped_events_are_named() {
    let good = lines(&export(1, 12));
    for n in 1..=12_usize {
        let at = index_of(n);
        let mut dropped = good.clone();
        dropped.remove(at);
        assert_bad_event(dropped, n as u64, at + 1, "is missing");

        let mut repeated = good.clone();
        repeated.insert(at + 1, good[at].clone());
        assert_bad_event(repeated, n as u64, at + 2, "stands where");
    }
    for n in [1, 2, 5, 7, 10, 11] {
        let mut swapped = good.clone();
        swapped.swap(index_of(n), index_of(n + 1));
        assert_bad_event(swapped, n as u64, index_of(n) + 1, "is missing");
    }
    // An event beyond the announced range.
    let mut beyond = good;
    let (envelope, receipt) = event(13);
    let line = format!(
        r#"{{"event":{},"receipt":{}}}"#,
        envelope.sequenced_json(13, receipt.sequenced_at),
        receipt.to_json()
    );
    beyond.insert(index_of(12) + 1, line);
    assert_bad_event(beyond, 13, index_of(12) + 2, "no event after 12");
}

#[test]
fn every_changed_part_of_an_event_is_named() {
    let good = lines(&export(1, 12));
    let number = 7;
    let at = index_of(number);
    let (envelope, receipt) = event(7);
    let other = event(8);
    let time = receipt.sequenced_at.to_string();
    let later = other.1.sequenced_at.to_string();
    let changes = [
        (r#"{"n": 7,"#.to_owned(), r#"{"n": 8,"#.to_owned(), "payload_plain_hash"),
        ("WIDGET-001".to_owned(), "WIDGET-002".to_owned(), "signature verification failed"),
        (
            "2025-01-01T00:00:00Z".to_owned(),
            "2025-01-01T00:00:01Z".to_owned(),
            "signature verification failed",
        ),
        (
            envelope.agent_signature.to_string(),
            other.0.agent_signature.to_string(),
            "signature verification failed",
        ),
        (receipt.signature.to_string(), other.1.signature.to_string(), "signature over the receipt"),
        (receipt.attestation.to_string(), other.1.attestation.to_string(), "attestation of the time"),
        (receipt.receipt_hash.to_string(), other.1.receipt_hash.to_string(), "attestation of the time"),
        (
            format!("\"sequenced_at\":\"{time}\""),
            format!("\"sequenced_at\":\"{later}\""),
            "differ in sequenced_at",
        ),
        // The time in both places; the hash of the attestation no longer fits.
        (time, later, "attestation of the time"),
        (
            "\"sequencerKeyVersion\":3".to_owned(),
            "\"sequencerKeyVersion\":4".to_owned(),
            "attestation of the time",
        ),
        ("\"sequenceNumber\":7".to_owned(), "\"sequenceNumber\":8".to_owned(), "receipt is of another event"),
        ("\"payload_kind\":0".to_owned(), "\"payload_kind\":1".to_owned(), "payload"),
        (samples::stream().store_id.to_string(), samples::agent_id().to_string(), "of stream"),
        ("{\"event\":".to_owned(), "{\"event\":{".to_owned(), "in `{\"event\""),
        ("\"receipt\":".to_owned(), "\"recipe\":".to_owned(), "in `{\"event\""),
    ];
    for (from, to, what) in changes {
        assert!(good[at].contains(&from), "{from}");
        let mut changed = good.clone();
        changed[at] = changed[at].replace(&from, &to);
        assert_bad_event(changed, number as u64, at + 1, what);
    }
    // A time that is re-attested by somebody else.
    let forger = bowline_ves::SequencerSigner { key: SecretKey::from_seed([1; 32]), ..samples::sequencer() };
    let sealed = forger.seal(
        envelope.stream,
        envelope.event_id,
        &event_signing_hash(&envelope),
        7,
        receipt.sequenced_at,
    );
    let mut changed = good;
    changed[at] = format!(
        r#"{{"event":{},"receipt":{}}}"#,
        envelope.sequenced_json(7, sealed.sequenced_at),
        sealed.to_json()
    );
    assert_bad_event(changed, 7, at + 1, "signature over the receipt");
}

#[test]
fn replaced_moved_and_dropped_commitments_are_named() {
    let good = lines(&export(1, 12));
    let [first, second] = commitments();
    let (first_at, second_at) = (index_of(4) + 1, index_of(9) + 1);
    let replaced = |at: usize, commitment: &Commitment| {
        let mut lines = good.clone();
        lines[at] = format!(r#"{{"commitment":{}}}"#, commitment.to_json());
        lines
    };
    // Consistent in itself, over other leaves.
    let leaves = (0..5).map(|n| Hash::new([n; 32])).collect();
    let foreign = Commitment::seal(
        second.batch_id,
        second.stream,
        &Tree::new(leaves),
        5,
        9,
        first.new_state_root,
        samples::moment(),
    );
    assert_bad_commitment(replaced(second_at, &foreign.unwrap()), 5, "Merkle root");
    assert_bad_commitment(
        replaced(second_at, &commitment(5, 9, Hash::new([1; 32]))),
        5,
        "previous state root",
    );
    assert_bad_commitment(
        replaced(first_at, &commitment(1, 4, Hash::new([1; 32]))),
        1,
        "previous state root",
    );
    assert_bad_commitment(
        replaced(second_at, &commitment(6, 9, first.new_state_root)),
        6,
        "starts at 6 after 4",
    );
    assert_bad_commitment(
        replaced(second_at, &commitment(5, 8, first.new_state_root)),
        5,
        "stands after event 9",
    );
    assert_bad_commitment(
        replaced(second_at, &Commitment { merkle_root: Hash::ZERO, ..second }),
        5,
        "state root",
    );
    assert_bad_commitment(replaced(second_at, &first), 1, "does not continue");
    let mut dropped = good.clone();
    dropped.remove(first_at);
    // Without the first one the second may start the chain of the file; the events are all there.
    assert_eq!(verify(&forged(dropped.clone())).unwrap().commitment_count, 1);
    assert!(matches!(verify((dropped.join("\n") + "\n").as_bytes()), Err(ExportError::ContentHash { .. })));
    let mut outside = lines(&export(3, 10));
    outside.insert(4, format!(r#"{{"commitment":{}}}"#, first.to_json()));
    assert_bad_commitment(outside, 1, "not in the file");
}

#[test]
fn a_file_that_is_cut_anywhere_is_truncated() {
    let file = export(1, 12);
    let header_end = file.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let near_line_end = |len: &usize| file[len - 1..].iter().take(3).any(|byte| *byte == b'\n');
    for len in (header_end..file.len()).filter(|len| near_line_end(len) || len % 41 == 0) {
        let whole_lines = file[..len].iter().filter(|byte| **byte == b'\n').count();
        let events = (1..=12).filter(|n| index_of(*n) < whole_lines).count() as u64;
        match verify(&file[..len]).unwrap_err() {
            ExportError::Truncated { line, last_sequence, sequence_end } => {
                assert_eq!((line, last_sequence, sequence_end), (whole_lines as u64, events, 12));
            }
            other => panic!("{len}: {other}"),
        }
    }
    assert!(matches!(verify(&file[..10]), Err(ExportError::BadHeader { .. })));
    assert!(matches!(verify(b""), Err(ExportError::BadHeader { .. })));
}

#[test]
fn headers_ends_and_lines_of_another_kind_are_refused() {
    let good = lines(&export(1, 12));
    let changed = |at: usize, from: &str, to: &str| {
        let mut lines = good.clone();
        assert!(lines[at].contains(from), "{from}");
        lines[at] = lines[at].replace(from, to);
        verify(&forged(lines)).unwrap_err()
    };
    let end = good.len() - 1;
    assert!(
        changed(0, "\"bowline_export\":1", "\"bowline_export\":2").to_string().contains("format version 2")
    );
    assert!(matches!(changed(0, "\"event_count\":12", "\"event_count\":11"), ExportError::BadHeader { .. }));
    assert!(matches!(
        changed(0, "\"sequence_start\":1", "\"sequence_start\":0"),
        ExportError::BadHeader { .. }
    ));
    assert!(matches!(changed(1, "agent_key\"", "agent_kee\""), ExportError::BadLine { line: 2, .. }));
    assert!(matches!(
        changed(1, "\"agent_key_id\":1", "\"agent_key_id\":-1"),
        ExportError::BadLine { line: 2, .. }
    ));
    assert!(matches!(changed(end, "\"event_count\":12", "\"event_count\":11"), ExportError::BadLine { .. }));
    assert!(matches!(
        changed(end, "\"head_sequence\":12", "\"head_sequence\":11"),
        ExportError::BadLine { .. }
    ));
    let mut twice = good.clone();
    twice[1] += "\n";
    twice[1] += &good[1]
        .replace(&samples::agent_key().public().to_string(), &samples::sequencer().key.public().to_string());
    assert!(matches!(verify(&forged(twice)).unwrap_err(), ExportError::BadKey { line: 3, .. }));
    let longer = [export(1, 12).as_slice(), b"{}"].concat();
    assert!(matches!(verify(&longer), Err(ExportError::BadLine { .. })));
    let not_text = [export(1, 12).as_slice(), b"\xff\n"].concat();
    assert!(matches!(verify(&not_text), Err(ExportError::BadLine { .. })));
}

#[test]
fn the_writer_refuses_what_could_not_be_verified() {
    assert!(ExportWriter::new(Vec::new(), &header(5, 3)).is_err());
    assert!(ExportWriter::new(Vec::new(), &header(0, 3)).is_err());
    let mut writer = ExportWriter::new(Vec::new(), &header(3, 9)).unwrap();
    writer.agent_key(&agent_key()).unwrap();
    let put = |writer: &mut ExportWriter<Vec<u8>>, n| {
        let (envelope, receipt) = event(n);
        writer.event(&envelope, &receipt)
    };
    assert!(put(&mut writer, 4).is_err());
    put(&mut writer, 3).unwrap();
    assert!(writer.event(&event(4).0, &event(5).1).is_err());
    put(&mut writer, 4).unwrap();
    let [first, second] = commitments();
    assert!(writer.commitment(&first).is_err());
    assert!(writer.commitment(&second).is_err());
    for n in 5..=9 {
        put(&mut writer, n).unwrap();
    }
    assert!(put(&mut writer, 10).is_err());
    writer.commitment(&second).unwrap();
    assert!(writer.commitment(&second).is_err());
    let (file, _) = writer.finish(20).unwrap();
    assert_eq!(verify(&file).unwrap().commitment_count, 1);
    assert!(ExportWriter::new(Vec::new(), &header(1, 2)).unwrap().finish(2).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_changed_byte_before_the_end_line_goes_unnoticed(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        static FILE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let mut file = FILE.get_or_init(|| export(1, 5)).clone();
        let at = at.index(file.len());
        let end = file[..file.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        file[at] ^= 1 << bit;
        prop_assert!(verify(&file).is_err() || at > end, "byte {} of {}", at, file.len());
    }
}
