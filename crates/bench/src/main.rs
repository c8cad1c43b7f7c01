//! The load generators: how fast this machine verifies signatures, a server takes events, a chain takes anchors,
//! triggers find their events.
//!
//! Everything is measured here and printed with its unit, as a table or as one line of JSON; nothing is compared or
//! judged: `cargo xtask bench` does that. Each figure is of one run, so a noisy machine is the caller's to average. No
//! operator needs this binary, and the product does not know it.

mod anchor;
mod bodies;
mod chain;
mod commit;
mod deliver;
mod index;
mod ingest;
mod matching;
mod memory;
mod settings;
mod shown;
mod verify;
mod writer;

use anyhow::Result;
use clap::{Parser, Subcommand};

use settings::Settings;

/// Load generators for a Bowline server and its parts.
#[derive(Debug, Parser)]
#[command(name = "bowline-bench", version)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    what: What,
}

/// What to measure.
#[derive(Debug, Subcommand)]
enum What {
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
    Match(matching::Options),
}

fn main() -> Result<()> {
    let Cli { settings, what } = Cli::parse();
    match what {
        What::Ingest(options) => ingest::run(&settings, options),
        What::Verify(options) => verify::run(&settings, options, verify::Method::Single),
        What::Prepared(options) => verify::run(&settings, options, verify::Method::Prepared),
        What::Writer(options) => block_on(writer::run(&settings, options)),
        What::Commit(options) => block_on(commit::run(&settings, options)),
        What::Anchor(options) => block_on(anchor::run(&settings, options)),
        What::Deliver(options) => block_on(deliver::run(&settings, options)),
        What::Index(options) => block_on(index::run(&settings, options)),
        What::Match(options) => matching::run(&settings, options),
    }
}

/// Runs what talks to the network or a store.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
        let line = "bowline-bench ingest --url http://127.0.0.1:1 --api-key k --output json --connections 16 \
                    --batch 100 --streams 4 --seconds 8 --warmup-secs 2";
        assert!(Cli::try_parse_from(line.split_whitespace()).is_ok());
    }
}
