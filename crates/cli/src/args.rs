//! The clap tree: what the binary takes, as types.
//!
//! A command's own options live beside its code; this file names the commands and the flags that all of
//! them share. It refuses to act on anything.

use std::path::PathBuf;

use bowline_types::{StoreId, TenantId};
use clap::{Args, Parser, Subcommand};
use reqwest::Url;

use crate::exit::EXIT_CODES_HELP;
use crate::output::Format;
use crate::{
    admin, anchors, api_keys, append, backup, bench, commitments, completions, config, dead_letters,
    deliveries, demo, doctor, events, explain, export, head, indexer, keys, queue, schemas, serve, tail,
    triggers, verify,
};

/// Bowline: a durable, ordered, provable event line.
#[derive(Debug, Parser)]
#[command(name = "bowline", version, after_help = EXIT_CODES_HELP, propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that stand before or after every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct GlobalArgs {
    /// The server's address
    #[arg(
        long,
        global = true,
        env = "BOWLINE_URL",
        value_name = "URL",
        default_value = "http://127.0.0.1:8080"
    )]
    #[arg(value_parser = parse_url)]
    pub(crate) url: Url,

    /// The key to the server; for a server on this machine, DATA/admin.key is used if there is none
    #[arg(long, global = true, env = "BOWLINE_API_KEY", value_name = "KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,

    /// The data folder: a node's database and keys, and this machine's remembered ids [default: data]
    #[arg(long, global = true, env = "BOWLINE_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// How to print data
    #[arg(long, global = true, value_enum, default_value = "table", value_name = "FORMAT")]
    pub(crate) output: Format,

    /// Print the call as a curl command on stderr instead of making it
    #[arg(long, global = true)]
    pub(crate) curl: bool,

    /// No progress bars
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// Which stream; what is left out is the stream that `append` remembered in DATA/cli.json.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct StreamArgs {
    /// The stream's tenant
    #[arg(long, value_name = "UUID")]
    pub(crate) tenant: Option<TenantId>,
    /// The stream's store
    #[arg(long, value_name = "UUID")]
    pub(crate) store: Option<StoreId>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    Serve(serve::Options),
    /// See the main job on real events: signed, ordered, committed, proven, verified
    Demo(demo::Options),
    /// Check or show the settings that a node would run with
    #[command(subcommand)]
    Config(config::What),
    /// Bring the store's schema to what this binary knows
    Migrate(serve::SettingsArgs),
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
    /// Check exports, proofs and receipts without asking the server
    #[command(subcommand)]
    Verify(verify::What),
    /// Back the store up, check backups, and bring one back
    #[command(subcommand)]
    Backup(backup::What),
    /// Commit events to Merkle roots, and prove that one is included
    #[command(subcommand)]
    Commitments(commitments::What),
    /// Put commitments on a chain that nobody here controls, and see that they stay there
    #[command(subcommand)]
    Anchors(anchors::What),
    /// Look after events that were not taken: see why, mend the cause, try them again
    #[command(subcommand)]
    DeadLetters(dead_letters::What),
    /// Rules over the line: which events set something off, and what
    #[command(subcommand)]
    Triggers(triggers::What),
    /// What triggers set off: see every attempt, repeat, forget
    #[command(subcommand)]
    Deliveries(deliveries::What),
    /// How many deliveries wait
    #[command(subcommand)]
    Queue(queue::What),
    /// How far chains are on the line
    #[command(subcommand)]
    Indexer(indexer::What),
    /// Agents' keys and the sequencer's
    #[command(subcommand)]
    Keys(keys::What),
    /// The keys that open the API
    #[command(subcommand)]
    ApiKeys(api_keys::What),
    /// What payloads of an event type must look like
    #[command(subcommand)]
    Schemas(schemas::What),
    /// Tell the life of one event: created, sequenced, verified, committed, proven
    Explain(explain::Options),
    /// Check a node and its database: what is sick, by which figures, and what mends it
    Doctor(doctor::Options),
    /// The commands of `stateset-sequencer-admin`, directly on the database; also under that name
    Admin(admin::Options),
    /// Measure this machine, or a server on it
    #[command(subcommand)]
    Bench(bench::What),
    /// Print a completion script for a shell
    Completions(completions::Options),
}

pub(crate) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        _ => Err("expected http://HOST:PORT or https://HOST".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn common_options_stand_before_or_after_a_command() {
        for line in ["bowline --output json head", "bowline head --output json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.global.output, Format::Json, "{line}");
        }
        let bench = "bowline bench ingest --url http://127.0.0.1:1 --api-key k --output json --connections 16 \
                     --batch 100 --streams 4 --seconds 8 --warmup-secs 2";
        assert!(Cli::try_parse_from(bench.split_whitespace()).is_ok());
    }

    #[test]
    fn bad_ids_and_urls_are_refused_with_their_option() {
        for line in ["bowline head --tenant x", "bowline --url ftp://x head", "bowline --url localhost head"]
        {
            let error = Cli::try_parse_from(line.split(' ')).unwrap_err().to_string();
            assert!(error.contains("--tenant") || error.contains("--url"), "{error}");
        }
    }
}
