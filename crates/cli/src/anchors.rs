//! `bowline anchors`: commitments on a chain that nobody here controls.
//!
//! The node's anchoring process does the work; these commands show how it is doing, leave wishes, and mend what is in
//! its way. What `verify` says is the node's word: `bowline verify anchor` trusts nobody but the chain.

mod act;
mod amounts;
mod deploy;
mod list;
mod show;
mod status;

use bowline_types::BatchId;
use clap::{Args, Subcommand};

use crate::terminal::context::Context;
use crate::terminal::exit::Outcome;

const PATH: [&str; 3] = ["api", "v1", "anchors"];

/// `bowline anchors`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Show how anchoring is doing, and what is in its way; exit 1 if something is
    Status,
    /// Show a stream's chain of commitments, each with its anchor
    List(list::Options),
    /// Show one commitment with everything that was sent for it
    Show(One),
    /// Anchor a commitment now, with all that waits before it
    Send(One),
    /// Let streams that were set aside be tried again at once
    Retry(act::RetryOptions),
    /// Let the node compare a commitment with the chain; exit 1 if it is not there
    Verify(One),
    /// Send anchors to the configured contract from now on, everything anew
    Switch(act::SwitchOptions),
    /// Put a new contract on a chain, for commitments to be anchored in
    DeployContract(deploy::Options),
}

/// One commitment.
#[derive(Debug, Args)]
pub(crate) struct One {
    /// The commitment's id
    batch_id: BatchId,
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::Status => status::run(context).await,
        What::List(options) => list::run(context, options).await,
        What::Show(one) => show::run(context, one).await,
        What::Send(one) => act::send(context, one).await,
        What::Retry(options) => act::retry(context, options).await,
        What::Verify(one) => act::verify(context, one).await,
        What::Switch(options) => act::switch(context, options).await,
        What::DeployContract(options) => deploy::run(context, options).await,
    }
}
