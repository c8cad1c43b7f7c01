//! The line itself, over the API: append to it, read it, export it, commit it, tell an event's life.

pub(crate) mod append;
mod commitments;
mod events;
mod explain;
mod export;
mod head;
mod tail;

use clap::Subcommand;

use crate::terminal::context::{Context, block_on};
use crate::terminal::exit::Outcome;

/// The commands of this folder.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign events and append them to a stream
    Append(append::Options),
    /// Show the end of a stream and follow it
    Tail(tail::Options),
    /// Show how far streams have got
    Head(head::Options),
    /// Read events
    #[command(subcommand)]
    Events(events::What),
    /// Write a range of a stream as a file that anyone can verify offline
    Export(export::Options),
    /// Commit events to Merkle roots, and prove that one is included
    #[command(subcommand)]
    Commitments(commitments::What),
    /// Tell the life of one event: created, sequenced, verified, committed, proven
    Explain(explain::Options),
}

pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Append(options) => block_on(append::run(context, options)),
        Command::Tail(options) => block_on(tail::run(context, options)),
        Command::Head(options) => block_on(head::run(context, options)),
        Command::Events(what) => block_on(events::run(context, what)),
        Command::Export(options) => block_on(export::run(context, options)),
        Command::Commitments(what) => block_on(commitments::run(context, what)),
        Command::Explain(options) => block_on(explain::run(context, options)),
    }
}
