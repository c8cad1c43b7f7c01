//! What anchoring costs in gas: each kind of transaction stays within 5 % of what was measured.
//!
//! | transaction | gas | for each commitment |
//! |---|---|---|
//! | the deployment | 1,273,500 | |
//! | a stream's first commitment | 98,800 | 98,800 |
//! | one more commitment of it | 64,800 | 64,800 |
//! | 10 more in one batch | 353,700 | 35,400 |
//! | 100 more in one batch | 3,241,100 | 32,400 |
//! | the first ones of 10 streams in one batch | 779,700 | 78,000 |
//! | the first ones of 100 streams in one batch | 7,586,800 | 75,900 |
//! | one more of 10 streams in one batch | 440,100 | 44,000 |
//! | one more of 100 streams in one batch | 4,190,400 | 41,900 |
//!
//! Gas follows from the compiled contract and hardly from the data: a zero byte of it is a little cheaper.

use bowline_ves::Commitment;

use crate::support::{Chain, Line, batch, commit};

/// Events of a commitment, which gas does not depend on.
const COUNT: u32 = 1_000;
/// Percent of the measured gas.
const TOLERATED: u64 = 105;

fn assert_costs(what: &str, gas: u64, measured: u64) {
    assert!(gas <= measured * TOLERATED / 100, "{what} costs {gas} gas, and once cost {measured}");
    assert!(gas >= measured * 100 / TOLERATED, "{what} costs only {gas} gas: correct the figure {measured}");
}

#[tokio::test]
async fn anchoring_costs_the_gas_that_it_did() {
    let chain = Chain::bowline().await;
    assert_costs("a deployment", chain.deployment.gas, 1_273_500);
    let mut line = Line::starting_at(1);
    let first = chain.send(chain.committer, &commit(&line.commit(COUNT))).await;
    assert_costs("a first commitment", first.gas, 98_800);
    let next = chain.send(chain.committer, &commit(&line.commit(COUNT))).await;
    assert_costs("one more commitment", next.gas, 64_800);
}

#[tokio::test]
async fn batches_cost_the_gas_that_they_did() {
    let chain = Chain::bowline().await;
    let sizes = [(10, 353_700, 779_700, 440_100), (100, 3_241_100, 7_586_800, 4_190_400)];
    for (size, of_one_stream, first_of_each, next_of_each) in sizes {
        let mut line = Line::starting_at(1);
        chain.send(chain.committer, &commit(&line.commit(COUNT))).await;
        let sealed: Vec<Commitment> = (0..size).map(|_| line.commit(COUNT)).collect();
        let mined = chain.send(chain.committer, &batch(&sealed)).await;
        assert_costs(&format!("{size} of one stream"), mined.gas, of_one_stream);

        let mut lines: Vec<Line> = (0..size).map(|_| Line::starting_at(1)).collect();
        for (what, measured) in [("the first", first_of_each), ("one more", next_of_each)] {
            let sealed: Vec<Commitment> = lines.iter_mut().map(|line| line.commit(COUNT)).collect();
            let mined = chain.send(chain.committer, &batch(&sealed)).await;
            assert_costs(&format!("{what} of {size} streams"), mined.gas, measured);
        }
    }
}
