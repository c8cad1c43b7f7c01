//! The anchors' metrics, declared at zero so that a graph shows them from the start.

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

pub(crate) const PENDING: &str = "bowline_anchor_pending";
pub(crate) const UNDER_WAY: &str = "bowline_anchor_under_way";
pub(crate) const OLDEST: &str = "bowline_anchor_oldest_seconds";
pub(crate) const LEADER: &str = "bowline_anchor_leader";
pub(crate) const BALANCE: &str = "bowline_anchor_balance_wei";
pub(crate) const COMMITMENTS: &str = "bowline_anchor_commitments_total";
pub(crate) const TRANSACTIONS: &str = "bowline_anchor_transactions_total";
pub(crate) const GAS: &str = "bowline_anchor_gas_total";
pub(crate) const SECONDS: &str = "bowline_anchor_seconds";
pub(crate) const ERRORS: &str = "bowline_anchor_errors_total";

/// What may happen to a commitment.
pub(crate) const OUTCOMES: [&str; 5] = ["sent", "anchored", "adopted", "voided", "unmarked"];

/// What may happen with a transaction.
pub(crate) const EVENTS: [&str; 6] = ["signed", "replaced", "rebroadcast", "mined", "reverted", "reorged"];

/// Describes and zeroes them.
pub(crate) fn declare() {
    describe_gauge!(PENDING, Unit::Count, "Commitments on no chain and in no transaction");
    describe_gauge!(UNDER_WAY, Unit::Count, "Commitments in transactions that are not final");
    describe_gauge!(OLDEST, Unit::Seconds, "Age of the oldest commitment that is not final on a chain");
    describe_gauge!(LEADER, Unit::Count, "Whether this process anchors for the store");
    describe_gauge!(BALANCE, Unit::Count, "What the anchoring account has, wei");
    describe_counter!(COMMITMENTS, Unit::Count, "Commitments by what became of their anchor");
    describe_counter!(TRANSACTIONS, Unit::Count, "Transactions by what happened with them");
    describe_counter!(GAS, Unit::Count, "Gas that mined transactions used");
    describe_histogram!(SECONDS, Unit::Seconds, "From a commitment to its anchor being final");
    describe_counter!(ERRORS, Unit::Count, "Rounds of anchoring that ended early, by cause");
    for name in [PENDING, UNDER_WAY, OLDEST, LEADER, BALANCE] {
        gauge!(name).set(0.0);
    }
    for outcome in OUTCOMES {
        counter!(COMMITMENTS, "outcome" => outcome).absolute(0);
    }
    for event in EVENTS {
        counter!(TRANSACTIONS, "event" => event).absolute(0);
    }
    counter!(GAS).absolute(0);
    drop(histogram!(SECONDS));
    for code in ["RPC_UNAVAILABLE", "REVERTED", "INSUFFICIENT_FUNDS", "STORE"] {
        counter!(ERRORS, "code" => code).absolute(0);
    }
}
