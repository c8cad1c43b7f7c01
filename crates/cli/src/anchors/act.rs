//! `bowline anchors send`, `retry`, `verify` and `switch`: what somebody may ask the anchoring process for.
//!
//! Each makes one call. Refuses to retry every stream, or to change the contract, without being told so.

use bowline_client::{Call, answers};
use bowline_types::{BatchId, EvmAddress, EvmHash, StreamId};
use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::{One, PATH};
use crate::terminal::args::StreamArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;

/// `bowline anchors retry`.
#[derive(Debug, Args)]
pub(crate) struct RetryOptions {
    #[command(flatten)]
    stream: StreamArgs,
    /// Every stream that was set aside
    #[arg(long, conflicts_with_all = ["tenant", "store"])]
    all: bool,
}

/// `bowline anchors switch`.
#[derive(Debug, Args)]
pub(crate) struct SwitchOptions {
    /// Yes, anchor everything anew there
    #[arg(long, required = true)]
    yes: bool,
}

#[derive(Debug, Deserialize)]
struct Sent {
    batch_id: BatchId,
    status: String,
    sequence_start: u64,
    sequence_end: u64,
    chain_id: Option<u64>,
    chain_tx_hash: Option<EvmHash>,
    chain_block_number: Option<u64>,
    confirmations_needed: u64,
    anchored_at: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Verified {
    batch_id: BatchId,
    anchored_on_chain: bool,
    chain_id: u64,
    contract: EvmAddress,
    block_number: Option<u64>,
    confirmations: Option<u64>,
    head_block: u64,
    is_anchored: bool,
}

pub(super) async fn send(context: &Context, one: One) -> Outcome {
    let call = Call::post(&["api", "v1", "ves", "anchor"], &json!({ "batch_id": one.batch_id }))?;
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    let sent: Sent = answers::parse(&text)?;
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    let fields = [
        ("batch", Some(sent.batch_id.to_string())),
        ("status", Some(sent.status.clone())),
        ("events", Some(format!("{}..={}", sent.sequence_start, sent.sequence_end))),
        ("chain", sent.chain_id.map(|id| id.to_string())),
        ("transaction", sent.chain_tx_hash.map(|hash| hash.to_string())),
        ("block", sent.chain_block_number.map(|number| number.to_string())),
        ("anchored at", sent.anchored_at),
    ];
    output::fields(fields.into_iter().filter_map(|(name, value)| Some((name, value?))))?;
    match sent.status.as_str() {
        "mined" => output::talk(&format!(
            "final after {} blocks on top; it is marked then",
            sent.confirmations_needed
        )),
        "sent" => {
            output::talk("no block has it yet; the node goes on by itself, see `bowline anchors status`")
        }
        "pending" => output::talk("another process has not taken it up yet; see `bowline anchors status`"),
        _ => {}
    }
    Ok(Exit::Done)
}

pub(super) async fn retry(context: &Context, options: RetryOptions) -> Outcome {
    #[derive(Deserialize)]
    struct Retried {
        unblocked: u64,
    }
    let body = match options.all {
        true => json!({}),
        false => {
            let StreamId { tenant_id, store_id } = context.stream(options.stream)?;
            json!({ "tenant_id": tenant_id, "store_id": store_id })
        }
    };
    let call = Call::post(&[&PATH[..], &["retry"]].concat(), &body)?;
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    let Retried { unblocked } = answers::parse(&text)?;
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    output::line(&format!("{unblocked} streams were set aside, and are tried again now"))?;
    if unblocked > 0 {
        output::talk("next: see with `bowline anchors status` whether they stay");
    }
    Ok(Exit::Done)
}

pub(super) async fn verify(context: &Context, one: One) -> Outcome {
    let id = one.batch_id.to_string();
    let call = Call::get(&["api", "v1", "ves", "anchor", &id, "verify"]);
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    let found: Verified = answers::parse(&text)?;
    if context.is_json() {
        output::line(&text)?;
    } else {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let fields = [
            ("batch", Some(found.batch_id.to_string())),
            ("on the chain", Some(if found.anchored_on_chain { "yes" } else { "no" }.to_owned())),
            ("marked here", Some(if found.is_anchored { "anchored" } else { "not yet" }.to_owned())),
            ("chain", Some(found.chain_id.to_string())),
            ("contract", Some(found.contract.to_string())),
            ("block", number(found.block_number)),
            ("blocks on top", number(found.confirmations)),
            ("last block", Some(found.head_block.to_string())),
        ];
        output::fields(fields.into_iter().filter_map(|(name, value)| Some((name, value?))))?;
    }
    match (found.anchored_on_chain, found.is_anchored) {
        (true, _) => Ok(Exit::Done),
        (false, false) => {
            output::talk("next: `bowline anchors send` anchors it now");
            Ok(Exit::No)
        }
        (false, true) => Err(Failure::no("the node marks it as anchored, and the chain does not know it")
            .next("it is sent again by itself within ANCHOR_RECONCILE_SECS; see `bowline anchors status`")),
    }
}

pub(super) async fn switch(context: &Context, SwitchOptions { yes: _ }: SwitchOptions) -> Outcome {
    #[derive(Deserialize)]
    struct Switched {
        chain_id: u64,
        contract: EvmAddress,
    }
    let call = Call::post(&[&PATH[..], &["switch"]].concat(), &json!({}))?;
    let Some(text) = context.call(&call).await? else { return Ok(Exit::Done) };
    let Switched { chain_id, contract } = answers::parse(&text)?;
    if context.is_json() {
        output::line(&text)?;
        return Ok(Exit::Done);
    }
    output::line(&format!("anchors go to {contract} on chain {chain_id} from now on"))?;
    output::talk("next: `bowline anchors status` shows how many are still to be sent there");
    Ok(Exit::Done)
}
