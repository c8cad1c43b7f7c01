//! Corrections on the contract: at the end of the chain, within what was committed, moving nothing.

use bowline_anchor::abi::BowlineAnchor::{
    BowlineAnchorErrors, Committed, Corrected, NotChained, NotContiguous, anchorOfCall, headCall,
};

use crate::support::{Chain, Line, batch, commit, correct, word};

#[tokio::test]
async fn a_correction_goes_on_with_the_chain_and_leaves_the_range() {
    let chain = Chain::bowline().await;
    let mut line = Line::starting_at(1);
    let (first, second) = (line.commit(10), line.commit(10));
    chain.send(chain.committer, &batch([&first, &second])).await;
    let correction = line.correct(1, 10);
    let mined = chain.send(chain.committer, &correct(&correction)).await;
    let events = mined.events::<Corrected>();
    assert_eq!((events.len(), mined.logs_count()), (1, 1));
    assert_eq!((events[0].start, events[0].end), (1, 10));
    assert_eq!(events[0].newStateRoot, word(correction.new_state_root));

    let head = chain.ask(&headCall { streamId: line.id() }).await;
    assert_eq!((head.stateRoot, head.end, head.length), (word(line.state_root), 20, 3));
    let at = chain.ask(&anchorOfCall { newStateRoot: word(correction.new_state_root) }).await;
    assert_eq!((at.start, at.end, at.blockNumber), (1, 10, mined.block));
    // The line goes on after the correction, with the next number.
    chain.send(chain.committer, &commit(&line.commit(5))).await;
    let head = chain.ask(&headCall { streamId: line.id() }).await;
    assert_eq!((head.end, head.length), (25, 4));
}

#[tokio::test]
async fn a_correction_reaches_neither_beyond_nor_before_its_stream() {
    let chain = Chain::bowline().await;
    let mut line = Line::starting_at(100);
    chain.send(chain.committer, &commit(&line.commit(10))).await;
    for (start, count, expected, given) in [(105, 6, 109, 110), (110, 1, 109, 110), (99, 2, 100, 99)] {
        let refused = chain.refused(chain.committer, &correct(&line.clone().correct(start, count))).await;
        let expected = NotContiguous { streamId: line.id(), expected, given };
        assert_eq!(refused, BowlineAnchorErrors::NotContiguous(expected), "{start}, {count} events");
    }
    let mut unknown = Line::starting_at(1);
    let refused = chain.refused(chain.committer, &correct(&unknown.correct(1, 1))).await;
    let expected = NotContiguous { streamId: unknown.id(), expected: 0, given: 1 };
    assert_eq!(refused, BowlineAnchorErrors::NotContiguous(expected));
}

#[tokio::test]
async fn a_correction_is_chained_and_is_no_way_around_the_rules() {
    let chain = Chain::bowline().await;
    let mut line = Line::starting_at(1);
    let first = line.commit(10);
    chain.send(chain.committer, &commit(&first)).await;
    let mut stale = line.clone();
    let correction = line.correct(1, 10);
    chain.send(chain.committer, &correct(&correction)).await;
    let refused = chain.refused(chain.committer, &correct(&stale.correct(1, 9))).await;
    let expected = NotChained {
        streamId: line.id(),
        expected: word(correction.new_state_root),
        given: word(first.new_state_root),
    };
    assert_eq!(refused, BowlineAnchorErrors::NotChained(expected));
    // As an ordinary commitment a correction would go back.
    let refused = chain.refused(chain.committer, &commit(&line.clone().correct(1, 10))).await;
    assert!(matches!(refused, BowlineAnchorErrors::NotContiguous(_)), "{refused:?}");

    let mixed = [line.commit(3), line.correct(11, 3), line.commit(1)];
    let mined = chain.send(chain.committer, &batch(&mixed)).await;
    assert_eq!((mined.events::<Committed>().len(), mined.events::<Corrected>().len()), (2, 1));
}
