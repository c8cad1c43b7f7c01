//! What the work says: who does it, how much waits, what does not get into a block, which streams are set aside.
//!
//! It judges by what the status says and refuses to guess why: the chain's own checks tell that.

use bowline_runtime::Finding;

use super::{AnchorFacts, anchoring, threshold};
use crate::handle::seconds_between;
use crate::status::Blocked;

/// Streams that a finding names.
const STREAMS_NAMED_MAX: usize = 10;

pub(super) fn holder(facts: &AnchorFacts) -> Finding {
    let status = match anchoring(facts) {
        Ok(status) => status,
        Err(skipped) => return skipped,
    };
    let waiting = status.pending + status.under_way;
    let fix = "look at the log of the nodes that have SEQUENCER_PRIVATE_KEY, and restart one of them: the lease is taken \
               within seconds";
    match &status.holder {
        Some(holder) if holder.expires_at >= facts.now => {
            let here = if holder.is_this_process { "this node" } else { "another node" };
            Finding::ok(format!("{here} anchors for the store")).with("holder", holder.holder)
        }
        None if waiting > 0 => {
            Finding::fail("no node has ever anchored for the store, and commitments wait", fix)
                .with("commitments waiting", waiting)
        }
        Some(holder) if waiting > 0 => {
            let ago = seconds_between(holder.expires_at, facts.now);
            Finding::fail("the node that anchored is gone, and no other took over", fix)
                .held_against("seconds since its lease expired", ago, 1)
                .with("holder", holder.holder)
                .with("commitments waiting", waiting)
        }
        _ => Finding::ok("no node anchors at the moment, and nothing waits"),
    }
}

pub(super) fn backlog(facts: &AnchorFacts) -> Finding {
    let status = match anchoring(facts) {
        Ok(status) => status,
        Err(skipped) => return skipped,
    };
    let final_secs = status.finality_confirmations.saturating_mul(threshold::BLOCK_SECS);
    let warn_secs = status
        .interval_secs
        .saturating_mul(threshold::WAIT_INTERVALS)
        .saturating_add(status.replace_after_secs)
        .saturating_add(final_secs);
    let fail_secs = warn_secs.saturating_mul(threshold::WAIT_FAIL_TIMES);
    let oldest = status.oldest_secs.unwrap_or(0);
    let fix = "see `bowline anchors status`, and what the other checks of the anchors say";
    let finding = if oldest >= fail_secs {
        Finding::fail("a commitment waits far too long to become final", fix)
    } else if oldest >= warn_secs {
        Finding::warn("a commitment waits long to become final", fix)
    } else {
        Finding::ok("commitments become final in time")
    };
    finding
        .held_against("age of the oldest that is not final, s", oldest, warn_secs)
        .with("pending", status.pending)
        .with("under way", status.under_way)
        .with("final", status.anchored)
}

pub(super) fn stuck(facts: &AnchorFacts) -> Finding {
    let status = match anchoring(facts) {
        Ok(status) => status,
        Err(skipped) => return skipped,
    };
    let number = |text: &String| text.parse::<u128>().ok();
    let base_fee = status.chain.as_ref().ok().and_then(|chain| chain.base_fee_wei.as_ref()).and_then(number);
    if let (Some(base_fee), Some(cap)) = (base_fee, number(&status.fee_cap_wei))
        && base_fee > cap
    {
        let fix = "wait until gas is cheaper, or raise anchor.fee_gwei_max (ANCHOR_FEE_GWEI_MAX)";
        return Finding::fail("the chain asks for more than the fee cap, so nothing is sent", fix)
            .held_against("base fee, wei a unit of gas", base_fee, cap);
    }
    let limit = status.replace_after_secs.saturating_mul(threshold::REPLACEMENTS);
    let open = status.transactions.iter().filter(|send| send.state == "open");
    let oldest =
        open.map(|send| (seconds_between(send.created_at, facts.now), send)).max_by_key(|(age, _)| *age);
    if let Some((age, send)) = oldest.filter(|(age, _)| *age > limit) {
        let tx_hash = send.tx_hash.map_or_else(|| "-".to_owned(), |hash| hash.to_string());
        let fix = format!(
            "look {tx_hash} up at the chain: another transaction of the account may hold its nonce back, or its fee is too low"
        );
        return Finding::warn("no block takes a transaction", fix)
            .held_against("age of the transaction, s", age, limit)
            .with("transaction", tx_hash)
            .with("signed so often", send.transactions)
            .with("commitments in it", send.commitments);
    }
    if let Some(trouble) = &status.trouble {
        return Finding::warn(format!("anchoring is held up: {}", trouble.message), &trouble.fix)
            .with("code", &trouble.code)
            .with("seconds", seconds_between(trouble.since, facts.now));
    }
    Finding::ok("nothing is in the way of transactions").with("under way", status.transactions.len())
}

pub(super) fn streams(facts: &AnchorFacts) -> Finding {
    let status = match anchoring(facts) {
        Ok(status) => status,
        Err(skipped) => return skipped,
    };
    let Some(first) = status.blocked.iter().find(|one| is_fork(one)).or(status.blocked.first()) else {
        return Finding::ok("no stream is set aside");
    };
    let count = status.blocked.len();
    let finding = match is_fork(first) {
        true => Finding::fail(
            format!("the chain has another history of stream {}: {}", first.stream, first.message),
            "find out which history is right before anything else: `bowline export` the stream and `bowline verify anchor` \
             the file; then bring the right store back, or `bowline anchors switch` to a new contract",
        ),
        false => Finding::warn(
            format!("stream {} is set aside: {}", first.stream, first.message),
            "mend the cause, then `bowline anchors retry`",
        ),
    };
    let finding = finding.held_against("streams set aside", count, 1);
    status.blocked.iter().take(STREAMS_NAMED_MAX).fold(finding, |finding, blocked| {
        finding.with(blocked.stream.to_string(), format!("{}: {}", blocked.code, blocked.message))
    })
}

fn is_fork(blocked: &Blocked) -> bool {
    blocked.code == "FORKED"
}
