//! `bowline bench`: how fast this machine verifies signatures, a server takes events, a chain takes
//! anchors, triggers find their events.
//!
//! Everything is measured here and printed with its unit; nothing is compared or judged. Each figure is of
//! one run, so a noisy machine is the caller's to average.

mod anchor;
mod bodies;
mod commit;
mod deliver;
mod drive;
mod index;
mod ingest;
mod match_events;
mod match_triggers;
mod matches;
mod verify;
mod writer;

use clap::Subcommand;

use crate::context::{Context, block_on};
use crate::exit::Outcome;

/// `bowline bench`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Events a second that the server at --url takes
    Ingest(ingest::Options),
    /// Strict Ed25519 verifications a second on one core, one signature at a time
    Verify(verify::Options),
    /// The same with a precomputed table for the key
    Prepared(verify::Options),
    /// Events a second that one caller writes without a server, one transaction each
    Writer(writer::Options),
    /// A commitment of a million events, proofs out of it, and a node's start on such a store
    Commit(commit::Options),
    /// Commitments a second that get on a chain, and their gas, against a development node
    Anchor(anchor::Options),
    /// Webhooks a second that events of the server at --url lead to, and how soon one arrives
    Deliver(deliver::Options),
    /// Logs a second that get from a chain on the line, beside what its endpoint alone delivers
    Index(index::Options),
    /// Events a second that one core holds against many triggers, without a store
    Match(matches::Options),
}

pub(crate) fn run(context: &Context, what: What) -> Outcome {
    context.refuse_curl()?;
    match what {
        What::Ingest(options) => ingest::run(context, options),
        What::Verify(options) => verify::run(context, options, verify::Method::Single),
        What::Prepared(options) => verify::run(context, options, verify::Method::Prepared),
        What::Writer(options) => block_on(writer::run(context, options)),
        What::Commit(options) => block_on(commit::run(context, options)),
        What::Anchor(options) => block_on(anchor::run(context, options)),
        What::Deliver(options) => block_on(deliver::run(context, options)),
        What::Index(options) => block_on(index::run(context, options)),
        What::Match(options) => matches::run(context, options),
    }
}
