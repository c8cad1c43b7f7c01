//! `bowline anchors status`: one look at anchoring.
//!
//! Its exit code is for monitors: 1 as soon as something is in the way. Refuses to mend anything.

use bowline_anchor::status::{Blocked, ChainState, Status, Trouble, UnderWay};
use bowline_client::{Call, answers};

use super::PATH;
use super::amounts::{ether, gwei, seconds, short};
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

pub(super) async fn run(context: &Context) -> Outcome {
    let call = Call::get(&[&PATH[..], &["status"]].concat());
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    let status: Status = answers::parse(&text)?;
    let exit = if is_well(&status) { Exit::Done } else { Exit::No };
    if context.is_json() {
        output::line(&text)?;
        return Ok(exit);
    }
    output::fields(fields(&status))?;
    if !status.transactions.is_empty() {
        output::line("")?;
        let header = ["transaction", "state", "nonce", "commitments", "block", "confirmations", "tries"];
        output::table(header, status.transactions.iter().map(transaction))?;
    }
    if !status.blocked.is_empty() {
        output::line("")?;
        output::table(["stream set aside", "code", "since", "cause"], status.blocked.iter().map(blocked))?;
        output::talk("next: see what is wrong, mend it, then `bowline anchors retry`");
    }
    if let Some(Trouble { fix, .. }) = &status.trouble {
        output::talk(&format!("next: {}", output::shown(fix, 300)));
    } else if let (true, Err(_)) = (status.configured, &status.chain) {
        output::talk("next: check L2_RPC_URL and the node behind it");
    } else if !status.configured {
        output::talk(
            "next: set L2_RPC_URL, SET_REGISTRY_ADDRESS and SEQUENCER_PRIVATE_KEY, and restart the node",
        );
    }
    Ok(exit)
}

/// Nothing is in the way. A node that anchors nothing is well, too.
fn is_well(status: &Status) -> bool {
    let is_ready = |chain: &ChainState| chain.contract_problem.is_none() && chain.may_commit != Some(false);
    let chain_is_well = !status.configured || status.chain.as_ref().is_ok_and(is_ready);
    status.trouble.is_none() && status.blocked.is_empty() && chain_is_well && !is_elsewhere(status)
}

/// Anchors went to another contract so far than the configured one.
fn is_elsewhere(status: &Status) -> bool {
    let (configured, chosen) =
        ((status.chain_id, status.contract), (status.chosen_chain_id, status.chosen_contract));
    status.configured && chosen.1.is_some() && chosen != configured
}

fn fields(status: &Status) -> Vec<(&'static str, String)> {
    let mut fields =
        vec![("anchoring", if status.configured { "on" } else { "not set up on this node" }.to_owned())];
    if status.configured {
        chain(status, &mut fields);
    }
    if let Some(holder) = &status.holder {
        let who = match holder.is_this_process {
            true => "this node".to_owned(),
            false => format!("another process, {}, until {}", holder.holder, holder.expires_at),
        };
        fields.push(("anchored by", who));
    }
    let oldest =
        status.oldest_secs.map_or_else(String::new, |secs| format!(", the oldest {} old", seconds(secs)));
    let open = status.pending + status.under_way;
    fields.extend([
        ("pending", status.pending.to_string()),
        ("under way", status.under_way.to_string()),
        ("anchored", status.anchored.to_string()),
        ("not final", format!("{open}{oldest}")),
    ]);
    if let Some(Trouble { code, message, since, .. }) = &status.trouble {
        fields.push(("in the way", format!("{code} since {since}: {message}")));
    }
    fields
}

fn chain(status: &Status, fields: &mut Vec<(&'static str, String)>) {
    let unknown = || "-".to_owned();
    let contract = status.contract.map_or_else(unknown, |contract| contract.to_string());
    let sender = status.sender.map_or_else(unknown, |sender| sender.to_string());
    match &status.chain {
        Ok(state) => {
            let fee = state.base_fee_wei.as_deref().map_or_else(unknown, gwei);
            let id = state.chain_id;
            fields.push((
                "chain",
                format!("{id}, block {} of {}, base fee {fee}", state.block_number, state.block_time),
            ));
            let kind = match (&state.contract_problem, state.kind) {
                (Some(problem), _) => problem.clone(),
                (None, Some(kind)) => format!("{contract} ({kind:?})"),
                (None, None) => contract,
            };
            fields.push(("contract", kind));
            let may = match state.may_commit {
                Some(true) => "may commit",
                Some(false) => "may NOT commit",
                None => "whether it may commit is not known",
            };
            fields.push(("account", format!("{sender}, {}, {may}", ether(&state.balance_wei))));
        }
        Err(problem) => {
            fields.push(("chain", problem.clone()));
            fields.push(("contract", contract));
            fields.push(("account", sender));
        }
    }
    let endpoints = status.endpoints.iter().map(|endpoint| format!("{} {}", endpoint.name, endpoint.breaker));
    fields.push(("endpoints", endpoints.collect::<Vec<_>>().join(", ")));
    if is_elsewhere(status)
        && let (Some(id), Some(chosen)) = (status.chosen_chain_id, status.chosen_contract)
    {
        fields
            .push(("anchors go to", format!("{chosen} on chain {id}, which is not the configured contract")));
    }
}

fn transaction(one: &UnderWay) -> [String; 7] {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    [
        one.tx_hash.as_ref().map_or_else(|| "-".to_owned(), short),
        one.state.clone(),
        number(one.nonce),
        one.commitments.to_string(),
        number(one.block_number),
        number(one.confirmations),
        one.transactions.to_string(),
    ]
}

fn blocked(one: &Blocked) -> [String; 4] {
    [one.stream.to_string(), one.code.clone(), one.since.to_string(), one.message.clone()]
}
