//! `bowline anchors show`: one commitment with everything that was ever sent for it.
//!
//! It tells what the node has written down; whether that is true is for `verify`.

use bowline_client::{Call, answers};
use bowline_types::{BatchId, EvmAddress, EvmHash};
use serde::Deserialize;

use super::amounts::{gwei, short};
use super::{One, PATH};
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

#[derive(Debug, Deserialize)]
struct Shown {
    batch_id: BatchId,
    tenant_id: String,
    store_id: String,
    sequence_start: u64,
    sequence_end: u64,
    chain_position: u64,
    committed_at: String,
    state: String,
    chain_id: Option<u64>,
    chain_tx_hash: Option<EvmHash>,
    chain_block_number: Option<u64>,
    anchored_at: Option<String>,
    attempts: Vec<Attempt>,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    state: String,
    origin: String,
    contract: EvmAddress,
    nonce: Option<u64>,
    commitments: u64,
    created_at: String,
    tx_hash: Option<EvmHash>,
    block_number: Option<u64>,
    gas_used: Option<u64>,
    gas_price_wei: Option<String>,
    reason: Option<String>,
    transactions: Vec<serde::de::IgnoredAny>,
}

pub(super) async fn run(context: &Context, one: One) -> Outcome {
    let call = Call::get(&[&PATH[..], &[&one.batch_id.to_string()]].concat());
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    let shown: Shown = answers::parse(&text)?;
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let is_open = shown.state == "pending";
    output::fields(fields(&shown))?;
    if !shown.attempts.is_empty() {
        output::line("")?;
        let header = ["sent at", "state", "by", "nonce", "with", "block", "gas", "transaction", ""];
        output::table(header, shown.attempts.iter().map(cells))?;
    }
    if is_open {
        output::talk(
            "next: `bowline anchors send` anchors it now; `bowline anchors status` says what is in the way",
        );
    }
    Ok(Exit::Done)
}

fn fields(shown: &Shown) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("batch", shown.batch_id.to_string()),
        ("stream", format!("{}/{}", shown.tenant_id, shown.store_id)),
        ("position", shown.chain_position.to_string()),
        ("events", format!("{}..={}", shown.sequence_start, shown.sequence_end)),
        ("committed at", shown.committed_at.clone()),
        ("state", shown.state.clone()),
    ];
    let marks = [
        ("chain", shown.chain_id.map(|id| id.to_string())),
        ("block", shown.chain_block_number.map(|number| number.to_string())),
        ("transaction", shown.chain_tx_hash.map(|hash| hash.to_string())),
        ("anchored at", shown.anchored_at.clone()),
    ];
    fields.extend(marks.into_iter().filter_map(|(name, value)| Some((name, value?))));
    fields
}

fn cells(one: &Attempt) -> [String; 9] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let gas = one.gas_used.map(|gas| match &one.gas_price_wei {
        Some(price) => format!("{gas} at {}", gwei(price)),
        None => gas.to_string(),
    });
    let more = match one.transactions.len() {
        0 | 1 => String::new(),
        tries => format!("{tries} transactions "),
    };
    let note = match &one.reason {
        Some(reason) => format!("{more}{reason}"),
        None => format!("{more}to {}", one.contract),
    };
    [
        one.created_at.clone(),
        one.state.clone(),
        one.origin.clone(),
        or_dash(one.nonce.map(|nonce| nonce.to_string())),
        one.commitments.to_string(),
        or_dash(one.block_number.map(|number| number.to_string())),
        or_dash(gas),
        or_dash(one.tx_hash.as_ref().map(short)),
        note,
    ]
}
