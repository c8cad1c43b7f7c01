//! EVM chains: how far the indexer is, and the endpoints that other commands ask by themselves.

pub(crate) mod endpoint;
mod indexer;

use clap::Subcommand;

use crate::terminal::context::{Context, block_on};
use crate::terminal::exit::Outcome;

/// The commands of this folder.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// How far chains are on the line
    #[command(subcommand)]
    Indexer(indexer::What),
}

pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Indexer(what) => block_on(indexer::run(context, what)),
    }
}
