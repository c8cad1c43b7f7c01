//! Commitments on the contract: what it takes, what it refuses, and what it then says of them.
//!
//! Whatever is refused is asked for twice, as a question, which tells the error, and in a transaction, which must fail
//! and leave no event.

use alloy_primitives::{B256, U256};
use bowline_anchor::abi::BowlineAnchor::{
    self, BOWLINE_ANCHORCall, BadRange, BadStateRoot, BowlineAnchorErrors, Committed, NotChained,
    NotContiguous, anchorOfCall, anchorsOfCall, headCall, headsCall, isAnchoredCall, stateRootCall,
};
use bowline_ves::{Commitment, Hash};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::support::{Chain, Line, batch, commit, on_chain, word};

async fn head(chain: &Chain, line: &Line) -> BowlineAnchor::Head {
    chain.ask(&headCall { streamId: line.id() }).await
}

async fn is_anchored(chain: &Chain, commitment: &Commitment) -> bool {
    let BowlineAnchor::Commitment { streamId, start, end, count, root, prevStateRoot, .. } =
        on_chain(commitment);
    chain.ask(&isAnchoredCall { streamId, start, end, count, root, prevStateRoot }).await
}

#[tokio::test]
async fn commitments_stand_on_the_chain_in_their_order() {
    let chain = Chain::bowline().await;
    assert_eq!(chain.ask(&BOWLINE_ANCHORCall {}).await, U256::from(1));
    // The first may begin anywhere.
    let mut line = Line::starting_at(1_000_001);
    assert_eq!(head(&chain, &line).await.length, 0);
    let (first, second) = (line.commit(3), line.commit(70));
    let mined_first = chain.send(chain.committer, &commit(&first)).await;
    assert!(is_anchored(&chain, &first).await && !is_anchored(&chain, &second).await);
    let mined = chain.send(chain.committer, &commit(&second)).await;
    assert!(is_anchored(&chain, &second).await);

    let end = head(&chain, &line).await;
    let expected = BowlineAnchor::Head {
        stateRoot: word(line.state_root),
        end: 1_000_073,
        length: 2,
        blockNumber: mined.block,
    };
    assert_eq!(end, expected);
    let other = Line::starting_at(1);
    let both = chain.ask(&headsCall { streamIds: vec![other.id(), line.id()] }).await;
    assert_eq!((both[0].length, both[0].stateRoot, &both[1]), (0, B256::ZERO, &end));

    let at = chain.ask(&anchorOfCall { newStateRoot: word(first.new_state_root) }).await;
    let time = chain.time_of(mined_first.block).await;
    let expected =
        BowlineAnchor::Anchor { start: 1_000_001, end: 1_000_003, blockNumber: mined_first.block, time };
    assert_eq!(at, expected);
    let roots = vec![word(second.new_state_root), B256::ZERO, word(first.new_state_root)];
    let found = chain.ask(&anchorsOfCall { newStateRoots: roots }).await;
    assert_eq!((found[0].end, found[1].blockNumber, &found[2]), (1_000_073, 0, &at));

    let event = Committed {
        streamId: line.id(),
        newStateRoot: word(second.new_state_root),
        root: word(second.merkle_root),
        prevStateRoot: word(first.new_state_root),
        start: 1_000_004,
        end: 1_000_073,
    };
    assert_eq!(mined.events::<Committed>(), [event]);
    assert_eq!(mined.logs_count(), 1);
}

#[tokio::test]
async fn gaps_overlaps_and_repetitions_are_refused() {
    let chain = Chain::bowline().await;
    let mut line = Line::starting_at(1);
    let first = line.commit(10);
    chain.send(chain.committer, &commit(&first)).await;
    for (next, given) in [(12, 12), (10, 10), (1, 1)] {
        let mut gone_on = line.clone();
        gone_on.next = next;
        let refused = chain.refused(chain.committer, &commit(&gone_on.commit(5))).await;
        let expected = NotContiguous { streamId: line.id(), expected: 11, given };
        assert_eq!(refused, BowlineAnchorErrors::NotContiguous(expected), "from {next}");
    }
    let refused = chain.refused(chain.committer, &commit(&first)).await;
    let expected = NotChained { streamId: line.id(), expected: word(line.state_root), given: B256::ZERO };
    assert_eq!(refused, BowlineAnchorErrors::NotChained(expected));
    assert_eq!(head(&chain, &line).await.length, 1);
}

#[tokio::test]
async fn a_fork_and_a_commitment_that_comes_too_early_are_refused() {
    let chain = Chain::bowline().await;
    let mut line = Line::starting_at(1);
    chain.send(chain.committer, &commit(&line.commit(10))).await;
    let before = line.clone();
    let mut fork = line.clone();
    let (second, third) = (line.commit(10), line.commit(10));
    let early = chain.refused(chain.committer, &commit(&third)).await;
    let expected = NotChained {
        streamId: line.id(),
        expected: word(before.state_root),
        given: word(second.new_state_root),
    };
    assert_eq!(early, BowlineAnchorErrors::NotChained(expected));

    chain.send(chain.committer, &commit(&second)).await;
    // The same numbers after the same commitment, with other events.
    let refused = chain.refused(chain.committer, &commit(&fork.commit(9))).await;
    let expected = NotChained {
        streamId: line.id(),
        expected: word(second.new_state_root),
        given: word(before.state_root),
    };
    assert_eq!(refused, BowlineAnchorErrors::NotChained(expected));
    // A stream begins after nothing.
    let mut begun = Line::starting_at(1);
    begun.state_root = Hash::new([7; 32]);
    let refused = chain.refused(chain.committer, &commit(&begun.commit(1))).await;
    assert!(matches!(refused, BowlineAnchorErrors::NotChained(_)), "{refused:?}");
    chain.send(chain.committer, &commit(&third)).await;
}

#[tokio::test]
async fn a_state_root_of_other_fields_is_refused() {
    let chain = Chain::bowline().await;
    let good = commit(&Line::starting_at(5).commit(3));
    let computed = |call: &BowlineAnchor::commitCall| stateRootCall {
        streamId: call.streamId,
        start: call.start,
        end: call.end,
        count: call.count,
        root: call.root,
        prevStateRoot: call.prevStateRoot,
    };
    let mut wrong = Vec::new();
    for change in 0..3 {
        let mut call = good.clone();
        match change {
            0 => call.root.0[31] ^= 1,
            1 => (call.start, call.end) = (call.start + 1, call.end + 1),
            _ => call.newStateRoot.0[0] ^= 0x80,
        }
        wrong.push(call);
    }
    for call in wrong {
        let refused = chain.refused(chain.committer, &call).await;
        let expected = chain.ask(&computed(&call)).await;
        let expected = BadStateRoot { streamId: good.streamId, expected, given: call.newStateRoot };
        assert_eq!(refused, BowlineAnchorErrors::BadStateRoot(expected));
    }
    chain.send(chain.committer, &good).await;
}

#[tokio::test]
async fn ranges_that_are_none_are_refused() {
    let chain = Chain::bowline().await;
    let good = commit(&Line::starting_at(5).commit(3));
    let ranges =
        [(0, 2, 3), (5, 7, 0), (5, 7, 2), (5, 4, 0), (8, 7, 0), (0, u64::MAX, 0), (1, u64::MAX, u32::MAX)];
    for (start, end, count) in ranges {
        let call = BowlineAnchor::commitCall { start, end, count, ..good.clone() };
        let refused = chain.refused(chain.committer, &call).await;
        let expected = BadRange { streamId: good.streamId, start, end, count };
        assert_eq!(refused, BowlineAnchorErrors::BadRange(expected), "{start} {end} {count}");
    }
}

/// Where the numbers end there is an answer and no overflow.
#[tokio::test]
async fn nothing_follows_the_last_number_of_all() {
    let chain = Chain::bowline().await;
    let mut line = Line::starting_at(u64::MAX);
    chain.send(chain.committer, &commit(&line.commit(1))).await;
    assert_eq!(head(&chain, &line).await.end, u64::MAX);
    for given in [1, u64::MAX] {
        let mut gone_on = line.clone();
        gone_on.next = given;
        let refused = chain.refused(chain.committer, &commit(&gone_on.commit(1))).await;
        let expected = NotContiguous { streamId: line.id(), expected: 0, given };
        assert_eq!(refused, BowlineAnchorErrors::NotContiguous(expected));
    }
}

#[tokio::test]
async fn a_batch_is_anchored_whole_or_not_at_all() {
    let chain = Chain::bowline().await;
    let (mut left, mut right) = (Line::starting_at(1), Line::starting_at(40));
    let good = [left.commit(5), right.commit(1), left.commit(6), right.commit(2)];
    let mut forged = good.clone();
    forged[3].merkle_root = Hash::new([9; 32]);
    let refused = chain.refused(chain.committer, &batch(&forged)).await;
    assert!(matches!(refused, BowlineAnchorErrors::BadStateRoot(_)), "{refused:?}");
    for line in [&left, &right] {
        assert_eq!(head(&chain, line).await.length, 0);
    }
    assert!(!is_anchored(&chain, &good[0]).await);

    let mined = chain.send(chain.committer, &batch(&good)).await;
    let roots: Vec<B256> = mined.events::<Committed>().into_iter().map(|event| event.newStateRoot).collect();
    let expected: Vec<B256> = good.iter().map(|commitment| word(commitment.new_state_root)).collect();
    assert_eq!(roots, expected);
    assert_eq!((head(&chain, &left).await.end, head(&chain, &right).await.end), (11, 42));
    chain.send(chain.committer, &batch([])).await;
}

/// The hash is computed twice, once in each language.
#[test]
fn what_rust_seals_solidity_takes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let chain = runtime.block_on(Chain::bowline());
    let lengths = prop::collection::vec(1_u32..300, 1..6);
    let starts = prop_oneof![1_u64..1_000, 1_u64..(1 << 40), (u64::MAX - 5_000)..(u64::MAX - 2_000)];
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let checked = TestRunner::new(config).run(&(starts, lengths), |(start, lengths)| {
        let mut line = Line::starting_at(start);
        let sealed: Vec<Commitment> = lengths.iter().map(|length| line.commit(*length)).collect();
        runtime.block_on(async {
            let mined = chain.send(chain.committer, &batch(&sealed)).await;
            assert_eq!(mined.events::<Committed>().len(), sealed.len());
            let end = head(&chain, &line).await;
            assert_eq!((end.stateRoot, end.end), (word(line.state_root), line.next - 1));
        });
        Ok(())
    });
    checked.unwrap();
}
