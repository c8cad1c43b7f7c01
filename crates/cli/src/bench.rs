//! `bowline bench`: how fast this machine verifies signatures, and how fast a server takes events.
//!
//! Everything is measured here and printed with its unit; nothing is compared or judged. Each figure is of
//! one run, so a noisy machine is the caller's to average.

mod bodies;
mod drive;
mod ingest;
mod verify;

use clap::Subcommand;

use crate::context::Context;
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
}

pub(crate) fn run(context: &Context, what: What) -> Outcome {
    context.refuse_curl()?;
    match what {
        What::Ingest(options) => ingest::run(context, options),
        What::Verify(options) => verify::run(context, options, verify::Method::Single),
        What::Prepared(options) => verify::run(context, options, verify::Method::Prepared),
    }
}
