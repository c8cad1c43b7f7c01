//! Keys: agents' and the sequencer's, which sign, and those that open the API.

mod agent_keys;
mod api_keys;

use clap::Subcommand;

use crate::terminal::context::{Context, block_on};
use crate::terminal::exit::Outcome;

/// The commands of this folder.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "a process parses one command line")]
pub(crate) enum Command {
    /// Agents' keys and the sequencer's
    #[command(subcommand)]
    Keys(agent_keys::What),
    /// The keys that open the API
    #[command(subcommand)]
    ApiKeys(api_keys::What),
}

pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Keys(what) => block_on(agent_keys::run(context, what)),
        Command::ApiKeys(what) => block_on(api_keys::run(context, what)),
    }
}
