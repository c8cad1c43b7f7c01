//! The anchors' health checks: what an operator asks when commitments do not reach their chain, each a pure function
//! of [`AnchorFacts`].
//!
//! Nothing here gathers anything. A node that does not anchor is skipped, never called well; what mends trouble is a
//! command or a setting that exists.

mod chain;
mod work;

use bowline_runtime::{Check, Finding, Seen};
use bowline_types::Timestamp;

use crate::status::Status;

/// Everything that the anchors' checks look at.
#[derive(Debug, Clone)]
pub struct AnchorFacts {
    /// What a node answers on `/api/v1/anchors/status`.
    pub status: Seen<Status>,
    /// Our own moment.
    pub now: Timestamp,
}

/// Every check of the anchors, in the order in which an operator would go.
pub const CHECKS: &[Check<AnchorFacts>] = &[
    Check { name: "anchor_settings", about: "the node is set up to anchor", judge: settings },
    Check {
        name: "anchor_chain",
        about: "the chain answers, is the right one, and goes on",
        judge: chain::chain,
    },
    Check {
        name: "anchor_contract",
        about: "anchors go to a contract that is known",
        judge: chain::contract,
    },
    Check { name: "anchor_account", about: "the account may commit and can pay", judge: chain::account },
    Check { name: "anchor_holder", about: "some node anchors for the store", judge: work::holder },
    Check { name: "anchor_backlog", about: "commitments become final in time", judge: work::backlog },
    Check { name: "anchor_stuck", about: "transactions get into blocks", judge: work::stuck },
    Check { name: "anchor_streams", about: "no stream is set aside", judge: work::streams },
];

/// The checks' thresholds, in one place, with the unit in the name.
mod threshold {
    /// Of the chain's last block.
    pub(super) const BLOCK_AGE_SECS: u64 = 600;
    /// What one ordinary transaction is taken to use.
    pub(super) const TRANSACTION_GAS: u64 = 1_000_000;
    /// Transactions that the account should be able to pay.
    pub(super) const TRANSACTIONS_PAID_MIN: u64 = 100;
    /// Of the anchors' interval, that the oldest commitment may wait besides what finality takes.
    pub(super) const WAIT_INTERVALS: u64 = 10;
    /// That one block may take, when the wait for finality is judged.
    pub(super) const BLOCK_SECS: u64 = 15;
    /// Of the wait from which on a backlog is a warning: then it is a failure.
    pub(super) const WAIT_FAIL_TIMES: u64 = 10;
    /// Of the time after which a transaction is replaced.
    pub(super) const REPLACEMENTS: u64 = 5;
}

/// The status of a node that anchors; or why there is nothing to judge.
fn anchoring(facts: &AnchorFacts) -> Result<&Status, Finding> {
    let status = facts.status.as_ref().map_err(|reason| Finding::skipped(reason.clone()))?;
    match status.configured {
        true => Ok(status),
        false => Err(Finding::skipped("the node is not set up to anchor, see anchor_settings")),
    }
}

fn settings(facts: &AnchorFacts) -> Finding {
    let status = match &facts.status {
        Ok(status) => status,
        Err(reason) => return Finding::skipped(reason.clone()),
    };
    let (Some(chain_id), Some(contract), Some(sender)) = (status.chain_id, status.contract, status.sender)
    else {
        return Finding::skipped(
            "the node anchors nothing, and commitments are valid without; L2_RPC_URL, SET_REGISTRY_ADDRESS and \
             SEQUENCER_PRIVATE_KEY turn anchoring on",
        )
        .with("commitments pending", status.pending);
    };
    Finding::ok("the node is set up to anchor")
        .with("chain", chain_id)
        .with("contract", contract)
        .with("account", sender)
        .with("final commitments", status.anchored)
}

#[cfg(test)]
mod tests;
