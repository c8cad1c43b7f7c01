//! Triggers and what they lead to: the rules themselves, deliveries, and the queue of those that wait.

mod deliveries;
mod queue;
mod rules;

use bowline_client::Call;
use bowline_types::TenantId;
use clap::{Args, Subcommand};

use crate::terminal::context::{Context, block_on};
use crate::terminal::exit::Outcome;

/// The commands of this folder.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Rules over the line: which events set something off, and what
    #[command(subcommand)]
    Triggers(rules::What),
    /// What triggers set off: see every attempt, repeat, forget
    #[command(subcommand)]
    Deliveries(deliveries::What),
    /// How many deliveries wait
    #[command(subcommand)]
    Queue(queue::What),
}

/// For which organization.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct OrganizationArgs {
    /// The organization; the key's own if left out, and all of them with an administrator's key
    #[arg(long, value_name = "UUID", env = "BOWLINE_ORGANIZATION")]
    organization: Option<TenantId>,
}

impl OrganizationArgs {
    /// The call for that organization.
    pub(crate) fn on(self, call: Call) -> Call {
        match self.organization {
            Some(organization) => call.header("x-organization-id", organization),
            None => call,
        }
    }
}

pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Triggers(what) => block_on(rules::run(context, what)),
        Command::Deliveries(what) => block_on(deliveries::run(context, what)),
        Command::Queue(what) => block_on(queue::run(context, what)),
    }
}
