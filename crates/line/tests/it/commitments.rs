//! Commitments: which ranges are taken, what a refusal says, and one chain whoever commits at the same time.
//!
//! Every chain is checked as a third party would: shape, state root and link of each commitment.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bowline_line::{CommitError, CommitRange};
use bowline_store::{CommitmentOrigin, CommitmentRecord};
use bowline_types::{Code, StreamId};
use bowline_ves::Commitment;

use crate::events::{at, new_stream};
use crate::support::{Line, soon};

fn limited(config: &mut bowline_line::Config) {
    config.limits.commitment_events_max = 10;
}

async fn refused(line: &Line, stream: StreamId, start: Option<u64>, end: Option<u64>) -> CommitError {
    let range = CommitRange { sequence_start: start, sequence_end: end };
    soon(line.handle.commitments.commit(stream, range, CommitmentOrigin::Client)).await.unwrap_err()
}

fn ranges(chain: &[CommitmentRecord]) -> Vec<(u64, u64)> {
    chain.iter().map(|r| (r.commitment.sequence_start, r.commitment.sequence_end)).collect()
}

/// Asserts that each commitment is right in itself and continues the one before.
fn assert_chained(chain: &[CommitmentRecord]) {
    let mut last: Option<&Commitment> = None;
    for CommitmentRecord { commitment, .. } in chain {
        commitment.check().unwrap();
        commitment.follows(last).unwrap();
        last = Some(commitment);
    }
}

#[tokio::test]
async fn a_range_follows_the_last_one_and_ends_at_the_head_unless_told() {
    let line = Line::with(limited).await;
    let stream = new_stream();
    line.grow(stream, 25).await;
    line.clock.set(at(7));
    let first = line.commit(stream, None, 4).await;
    assert_eq!((first.commitment.committed_at, first.origin), (at(7), CommitmentOrigin::Client));
    line.commit(stream, 5, 5).await;
    // As many as one commitment may cover, and then what is left.
    line.commit(stream, 6, None).await;
    line.commit(stream, None, None).await;
    let chain = line.chain(stream).await;
    assert_eq!(ranges(&chain), [(1, 4), (5, 5), (6, 15), (16, 25)]);
    assert_chained(&chain);
    let found = line.handle.commitments.get(first.commitment.batch_id).await.unwrap();
    assert_eq!(found.as_ref(), Some(&first));
}

#[tokio::test]
async fn the_same_range_again_is_the_same_commitment() {
    let line = Line::start().await;
    let stream = new_stream();
    line.grow(stream, 9).await;
    let first = line.commit(stream, 1, 3).await;
    let second = line.commit(stream, 4, 9).await;
    for (end, wanted) in [(Some(3), &first), (None, &first)] {
        assert_eq!(line.commit(stream, 1, end).await, *wanted);
    }
    assert_eq!(line.commit(stream, 4, 9).await, second);
    assert_eq!(line.chain(stream).await, [first, second]);
}

#[tokio::test]
async fn a_range_that_does_not_fit_says_why() {
    let line = Line::with(limited).await;
    let stream = new_stream();
    line.grow(stream, 20).await;
    line.commit(stream, 1, 8).await;
    let cases = [
        (Some(10), Some(12), "non-contiguous sequence: the next commitment begins at 9, not at 10"),
        (Some(3), Some(12), "non-contiguous sequence: the next commitment begins at 9, not at 3"),
        (Some(0), None, "non-contiguous sequence: the next commitment begins at 9, not at 0"),
        (
            Some(u64::MAX),
            None,
            "non-contiguous sequence: the next commitment begins at 9, not at 18446744073709551615",
        ),
        (Some(1), Some(7), "a commitment of 1 to 8 exists already"),
        (Some(9), Some(21), "the range 9 to 21 is not all there: the stream's head is 20"),
        (
            None,
            Some(u64::MAX),
            "the range 9 to 18446744073709551615 is not all there: the stream's head is 20",
        ),
        (None, Some(8), "the range 9 to 8 is not all there: the stream's head is 20"),
    ];
    for (start, end, wanted) in cases {
        let error = refused(&line, stream, start, end).await;
        assert_eq!((error.to_string().as_str(), error.code()), (wanted, Code::SequenceGap));
    }
    let wide = refused(&line, stream, Some(9), Some(19)).await;
    assert!(matches!(wide, CommitError::TooWide { count: 11, max: 10 }), "{wide}");
    line.commit(stream, 9, 18).await;
    line.commit(stream, 19, 20).await;
    for start in [None, Some(21)] {
        let done = refused(&line, stream, start, None).await;
        assert!(matches!(done, CommitError::NothingToCommit { head: 20 }), "{done}");
        assert_eq!(done.code(), Code::InvalidFieldValue);
    }
    assert_eq!(ranges(&line.chain(stream).await), [(1, 8), (9, 18), (19, 20)]);
}

#[tokio::test]
async fn the_first_commitment_may_begin_anywhere_in_the_stream() {
    let line = Line::start().await;
    let (stream, empty) = (new_stream(), new_stream());
    let nothing = refused(&line, empty, None, None).await;
    assert!(matches!(nothing, CommitError::NothingToCommit { head: 0 }), "{nothing}");
    line.grow(stream, 9).await;
    for start in [0, 10, u64::MAX] {
        let error = refused(&line, stream, Some(start), None).await;
        assert!(matches!(error, CommitError::OutOfRange { head: 9, .. }), "from {start}: {error}");
    }
    line.commit(stream, 5, 7).await;
    let before = refused(&line, stream, Some(1), Some(4)).await;
    assert!(matches!(before, CommitError::NonContiguous { expected: 8, given: 1 }), "{before}");
    line.commit(stream, None, None).await;
    let chain = line.chain(stream).await;
    assert_eq!(ranges(&chain), [(5, 7), (8, 9)]);
    assert_chained(&chain);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_committers_make_one_chain_without_overlap() {
    let line = Arc::new(Line::start().await);
    let stream = new_stream();
    line.grow(stream, 1).await;
    let grown = Arc::new(AtomicBool::new(false));
    let committers: Vec<_> = (0..8)
        .map(|_| {
            let (commitments, grown) = (line.handle.commitments.clone(), Arc::clone(&grown));
            tokio::spawn(async move {
                let mut made = 0;
                loop {
                    let last_round = grown.load(Ordering::SeqCst);
                    match commitments.commit(stream, CommitRange::default(), CommitmentOrigin::Client).await {
                        Ok(_) => made += 1,
                        Err(CommitError::NothingToCommit { .. }) if last_round => return made,
                        Err(CommitError::NothingToCommit { .. } | CommitError::Raced) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    for _ in 0..50 {
        line.grow(stream, 3).await;
    }
    grown.store(true, Ordering::SeqCst);
    let mut made = 0;
    for committer in committers {
        made += soon(committer).await.unwrap();
    }
    let chain = line.chain(stream).await;
    assert_chained(&chain);
    let (first, last) = (&chain[0].commitment, &chain[chain.len() - 1].commitment);
    assert_eq!((first.sequence_start, last.sequence_end, chain.len()), (1, 151, made));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_equal_requests_at_a_time_all_get_the_one_commitment() {
    let line = Line::start().await;
    let stream = new_stream();
    line.grow(stream, 40).await;
    for start in [1, 11, 21] {
        let range = CommitRange { sequence_start: Some(start), sequence_end: Some(start + 9) };
        let requests: Vec<_> = (0..8)
            .map(|_| {
                let commitments = line.handle.commitments.clone();
                tokio::spawn(async move { commitments.commit(stream, range, CommitmentOrigin::Client).await })
            })
            .collect();
        let mut answers = Vec::new();
        for request in requests {
            answers.push(soon(request).await.unwrap().unwrap());
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    let chain = line.chain(stream).await;
    assert_eq!(ranges(&chain), [(1, 10), (11, 20), (21, 30)]);
    assert_chained(&chain);
}
