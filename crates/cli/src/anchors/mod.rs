//! `bowline anchors`: what of the line is on an EVM chain, and the contract that it is on.

mod deploy;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Outcome;

/// `bowline anchors`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Put a new contract on a chain, for commitments to be anchored in
    DeployContract(deploy::Options),
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    match what {
        What::DeployContract(options) => deploy::run(context, options).await,
    }
}
