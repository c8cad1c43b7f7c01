//! What the chain says: that it answers, that the contract is there, that the account may commit and can pay.
//!
//! A chain that can't be asked is one finding, of `anchor_chain`; the others are skipped then.

use alloy_primitives::U256;
use alloy_primitives::utils::format_ether;
use bowline_runtime::Finding;

use super::{AnchorFacts, anchoring, threshold};
use crate::handle::seconds_between;
use crate::status::{ChainState, Status};

const ASK_CHAIN: &str = "check L2_RPC_URL, and ask the endpoint itself: curl $L2_RPC_URL -H 'content-type: application/json' \
                         -d '{\"jsonrpc\":\"2.0\",\"method\":\"eth_blockNumber\",\"params\":[],\"id\":1}'; what waits is \
                         anchored once one answers";

pub(super) fn chain(facts: &AnchorFacts) -> Finding {
    let status = match anchoring(facts) {
        Ok(status) => status,
        Err(skipped) => return skipped,
    };
    let chain = match &status.chain {
        Ok(chain) => chain,
        Err(cause) => {
            let finding = Finding::fail(format!("the chain can't be asked: {cause}"), ASK_CHAIN);
            return with_endpoints(finding, status);
        }
    };
    if let Some(expected) = status.chain_id.filter(|expected| *expected != chain.chain_id) {
        let fix = "set L2_RPC_URL to an endpoint of the chain, or L2_CHAIN_ID to the chain that it serves";
        return Finding::fail("the endpoint serves another chain, to which nothing is sent", fix)
            .held_against("chain id", chain.chain_id, format!("not {expected}"));
    }
    let age = seconds_between(chain.block_time, facts.now);
    if age > threshold::BLOCK_AGE_SECS {
        let fix = "the chain stands still or the endpoint does not follow it: compare its last block with another endpoint's";
        return Finding::warn("the chain's last block is old", fix)
            .held_against("age of the last block, s", age, threshold::BLOCK_AGE_SECS)
            .with("last block", chain.block_number);
    }
    if status.endpoints.iter().any(|endpoint| endpoint.breaker != "closed") {
        let cause = "an endpoint of the chain is away; another one stands in for it";
        return with_endpoints(Finding::warn(cause, ASK_CHAIN), status);
    }
    Finding::ok("the chain answers and goes on").with("last block", chain.block_number).held_against(
        "age of the last block, s",
        age,
        threshold::BLOCK_AGE_SECS,
    )
}

fn with_endpoints(finding: Finding, status: &Status) -> Finding {
    status.endpoints.iter().fold(finding, |finding, endpoint| {
        finding.held_against(format!("circuit breaker of {}", endpoint.name), &endpoint.breaker, "not closed")
    })
}

/// What the chain says, for a check that another one precedes.
fn told(status: &Status) -> Result<&ChainState, Finding> {
    status.chain.as_ref().map_err(|_| Finding::skipped("the chain can't be asked, see anchor_chain"))
}

pub(super) fn contract(facts: &AnchorFacts) -> Finding {
    let status = match anchoring(facts) {
        Ok(status) => status,
        Err(skipped) => return skipped,
    };
    if let Some(finding) = changed(status) {
        return finding;
    }
    let chain = match told(status) {
        Ok(chain) => chain,
        Err(skipped) => return skipped,
    };
    if status.chain_id != Some(chain.chain_id) {
        return Finding::skipped("the endpoint serves another chain, see anchor_chain");
    }
    let address = status.contract.map(|contract| contract.to_string()).unwrap_or_default();
    match (chain.kind, &chain.contract_problem) {
        (Some(kind), None) => {
            let kind = match kind {
                crate::Kind::Bowline => "BowlineAnchor",
                crate::Kind::Original => "the original's interface",
            };
            Finding::ok("the contract is there").with("contract", address).with("kind", kind)
        }
        (_, problem) => {
            let problem = problem.as_deref().unwrap_or("it is nothing that is known");
            let fix = "set SET_REGISTRY_ADDRESS to the contract, or make one with `bowline anchors deploy-contract`";
            Finding::fail(format!("anchors can't go to the contract: {problem}"), fix)
                .with("contract", address)
        }
    }
}

/// The settings name another contract than the one that the store's anchors go to.
fn changed(status: &Status) -> Option<Finding> {
    let configured = status.chain_id.zip(status.contract)?;
    let chosen = status.chosen_chain_id.zip(status.chosen_contract)?;
    let place = |(chain_id, contract)| format!("{contract} on chain {chain_id}");
    (configured != chosen).then(|| {
        let fix = "set SET_REGISTRY_ADDRESS and L2_CHAIN_ID back, or let `bowline anchors switch` anchor everything anew there";
        Finding::fail("the settings name another contract than the store's anchors go to, so nothing is sent", fix)
            .held_against("settings", place(configured), format!("not {}", place(chosen)))
    })
}

pub(super) fn account(facts: &AnchorFacts) -> Finding {
    let status = match anchoring(facts) {
        Ok(status) => status,
        Err(skipped) => return skipped,
    };
    let chain = match told(status) {
        Ok(chain) => chain,
        Err(skipped) => return skipped,
    };
    if status.chain_id != Some(chain.chain_id) {
        return Finding::skipped("the endpoint serves another chain, see anchor_chain");
    }
    let account = status.sender.map(|sender| sender.to_string()).unwrap_or_default();
    if chain.may_commit == Some(false) {
        let contract = status.contract.map(|contract| contract.to_string()).unwrap_or_default();
        let fix = format!(
            "let the owner of {contract} call setCommitter({account}, true), or set SEQUENCER_PRIVATE_KEY to a committer's key"
        );
        return Finding::fail("the account may not commit to the contract", fix).with("account", account);
    }
    let number = |text: &String| text.parse::<U256>().ok();
    let (Some(balance), Some(base_fee)) =
        (number(&chain.balance_wei), chain.base_fee_wei.as_ref().and_then(number))
    else {
        return Finding::skipped("the chain does not say what gas costs").with("account", account);
    };
    let cost = U256::from(threshold::TRANSACTION_GAS).saturating_mul(base_fee);
    let wanted = cost.saturating_mul(U256::from(threshold::TRANSACTIONS_PAID_MIN));
    let judged = if balance < cost {
        Finding::fail("the account can't pay one more transaction", format!("send ether to {account}"))
    } else if balance < wanted {
        let cause =
            format!("the account can pay fewer than {} more transactions", threshold::TRANSACTIONS_PAID_MIN);
        Finding::warn(cause, format!("send ether to {account}"))
    } else {
        Finding::ok("the account may commit and can pay")
    };
    judged
        .with("account", account)
        .held_against("balance, ether", format_ether(balance), format!("below {}", format_ether(wanted)))
        .with("base fee, wei a unit of gas", base_fee)
        .with("gas of one transaction", threshold::TRANSACTION_GAS)
}
