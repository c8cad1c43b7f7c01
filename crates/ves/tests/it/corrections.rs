//! Corrections in exports: a wrong commitment is excused by a later one of the same file that covers its events
//! with the right root, and by nothing else.

use bowline_types::BatchId;
use bowline_ves::{Commitment, ExportError, ExportReport, ExportWriter, Hash};

use crate::export::{agent_key, commitment, event, header, verify};

fn id(n: u8) -> BatchId {
    BatchId::from_bytes([n; 16])
}

/// The chain of a stream whose first commitment was damaged: 1..=4 (wrong), 5..=9, the correction, 10..=12.
fn chain() -> [Commitment; 4] {
    let first = commitment(1, 4, Hash::ZERO);
    let second = commitment(5, 9, first.new_state_root);
    let wrong = Commitment { merkle_root: Hash::new([7; 32]), ..first };
    let correction =
        Commitment { batch_id: id(90), ..commitment(1, 4, second.new_state_root) }.correcting(id(1));
    let last = commitment(10, 12, correction.new_state_root);
    [wrong, second, correction, last]
}

/// The export of a range with these commitments, each as early as it may stand.
fn export(start: u64, end: u64, chain: &[Commitment]) -> Vec<u8> {
    let mut writer = ExportWriter::new(Vec::new(), &header(start, end)).unwrap();
    writer.agent_key(&agent_key()).unwrap();
    let mut chain = chain.iter().peekable();
    for n in start..=end {
        let (envelope, receipt) = event(n);
        writer.event(&envelope, &receipt).unwrap();
        while let Some(next) = chain.next_if(|next| next.sequence_end == n || next.corrects.is_some()) {
            writer.commitment(next).unwrap();
        }
    }
    assert!(chain.next().is_none());
    writer.finish(12).unwrap().0
}

fn valid(start: u64, end: u64, chain: &[Commitment]) -> ExportReport {
    verify(&export(start, end, chain)).unwrap()
}

fn refused(start: u64, end: u64, chain: &[Commitment]) -> (u64, String) {
    match verify(&export(start, end, chain)).unwrap_err() {
        ExportError::BadCommitment { sequence_start, problem, .. } => (sequence_start, problem),
        other => panic!("{other}"),
    }
}

#[test]
fn a_correction_excuses_what_it_names_and_says_so() {
    let chain = chain();
    let report = valid(1, 12, &chain);
    assert_eq!((report.commitment_count, report.correction_count, report.committed_event_count), (3, 1, 12));
    assert_eq!(report.last_state_root, Some(chain[3].new_state_root));
    let [corrected] = report.corrected.as_slice() else { panic!("{report:?}") };
    assert_eq!((corrected.batch_id, corrected.corrected_by), (id(1), id(90)));
    assert_eq!((corrected.sequence_start, corrected.sequence_end), (1, 4));
    assert!(corrected.problem.as_ref().unwrap().contains("state root"), "{corrected:?}");

    // Whatever was damaged: a state root, the link, the whole commitment over other events.
    let damaged = |change: fn(&mut Commitment)| {
        let mut chain = chain.clone();
        change(&mut chain[0]);
        valid(1, 12, &chain).corrected.len()
    };
    assert_eq!(damaged(|wrong| wrong.new_state_root = Hash::new([8; 32])), 1);
    assert_eq!(damaged(|wrong| wrong.prev_state_root = Hash::new([8; 32])), 1);
    assert_eq!(damaged(|wrong| wrong.leaf_count = 3), 1);
    // A right one may be corrected too, if somebody insists.
    let right = commitment(1, 4, Hash::ZERO);
    let report = valid(1, 12, &[right, chain[1].clone(), chain[2].clone(), chain[3].clone()]);
    assert_eq!(report.corrected[0].problem, None);
    // Also where a correction stands behind the damaged one already, at the very end of the chain.
    let [wrong, second, correction, last] = chain.clone();
    let early = Commitment { batch_id: id(91), ..commitment(5, 9, last.new_state_root) }.correcting(id(5));
    let damaged = Commitment { new_state_root: Hash::ZERO, ..last };
    let late = Commitment { batch_id: id(92), ..commitment(10, 12, early.new_state_root) }.correcting(id(10));
    let report = valid(1, 12, &[wrong, second, correction, damaged, early, late]);
    assert_eq!((report.correction_count, report.corrected.len()), (3, 3));
    // A correction that was damaged itself is corrected by the next one.
    let [wrong, second, correction, last] = chain.clone();
    let damaged = Commitment { merkle_root: Hash::ZERO, ..correction };
    let again = Commitment { batch_id: id(91), ..commitment(1, 4, last.new_state_root) }.correcting(id(90));
    let report = valid(1, 12, &[wrong, second, damaged, last, again]);
    assert_eq!((report.correction_count, report.corrected.len()), (2, 2));
}

#[test]
fn without_a_correction_that_fits_a_wrong_commitment_stays_wrong() {
    let [wrong, second, correction, last] = chain();
    let after = |prev: &Commitment| commitment(10, 12, prev.new_state_root);
    let (start, problem) = refused(1, 12, &[wrong.clone(), second.clone(), after(&second)]);
    assert_eq!(start, 1);
    assert!(problem.contains("state root"), "{problem}");
    let all = |correction: Commitment, last: Commitment| [wrong.clone(), second.clone(), correction, last];
    let reseal = |correction: Commitment| {
        let last = after(&correction);
        refused(1, 12, &all(correction, last))
    };
    // Another range, a stranger, an unlinked one, one over other events.
    let short = Commitment { batch_id: id(90), ..commitment(1, 3, second.new_state_root) };
    assert!(reseal(short.correcting(id(1))).1.contains("which covers 1..=4"));
    let stranger = Commitment { corrects: Some(id(77)), ..correction };
    assert!(reseal(stranger).1.contains("not in the file"));
    let unlinked = Commitment { batch_id: id(90), ..commitment(1, 4, Hash::ZERO) };
    assert!(reseal(unlinked.correcting(id(1))).1.contains("does not continue"));
    let other = Commitment { batch_id: id(90), ..commitment(5, 8, second.new_state_root) };
    let other = Commitment { sequence_start: 1, sequence_end: 4, ..other };
    assert_eq!(reseal(other.correcting(id(1))).0, 1);
    let twice = Commitment { batch_id: id(91), ..commitment(1, 4, last.new_state_root) }.correcting(id(1));
    let chain = [wrong.clone(), second.clone(), correction.clone(), last, twice];
    assert!(refused(1, 12, &chain).1.contains("corrected by"));
    // The next ordinary one must continue the correction, and not what stood before it.
    let (start, problem) = refused(1, 12, &all(correction, after(&second)));
    assert_eq!(start, 10);
    assert!(problem.contains("does not continue the chain"), "{problem}");
}

#[test]
fn a_part_of_the_stream_has_the_corrections_that_concern_it() {
    let [wrong, second, correction, last] = chain();
    // Behind the file's run its predecessor is not there to be compared.
    let report = valid(1, 4, &[wrong.clone(), correction.clone()]);
    assert_eq!((report.commitment_count, report.corrected.len()), (1, 1));
    // Of a commitment outside of the file it is a link of the chain, and no more.
    let report = valid(5, 12, &[second.clone(), correction, last.clone()]);
    assert_eq!((report.commitment_count, report.correction_count, report.corrected.len()), (2, 1, 0));
    assert_eq!(refused(5, 12, &[second.clone(), last]).0, 10);
    // A file up to the head has the whole chain.
    let unlinked = Commitment { batch_id: id(90), ..commitment(1, 4, Hash::new([5; 32])) }.correcting(id(1));
    let ordinary = commitment(10, 12, second.new_state_root);
    let (start, problem) = refused(1, 12, &[wrong, second, ordinary, unlinked]);
    assert_eq!(start, 1);
    assert!(problem.contains("does not continue"), "{problem}");
}

#[test]
fn a_correction_keeps_its_mark_and_others_have_none() {
    let [wrong, _, correction, _] = chain();
    assert_eq!(correction.to_json()["corrects"], id(1).to_string());
    assert_eq!(Commitment::from_json(&correction.to_json().to_string()).unwrap(), correction);
    assert!(wrong.to_json().get("corrects").is_none());
    // The formula of the state root is that of every commitment.
    correction.check().unwrap();
    assert!(wrong.check().is_err());
}
