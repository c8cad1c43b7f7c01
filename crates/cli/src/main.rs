//! The `bowline` binary: parses the command line, runs the command, ends with its exit code.
//!
//! A folder a subject, each with its commands and one `run`. Nothing is decided here beyond which folder runs, and the
//! order in which `bowline --help` lists the commands of all of them.

mod anchors;
mod chains;
mod dead_letters;
mod demo;
mod keys;
mod line;
mod operate;
mod schemas;
mod terminal;
mod triggers;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use operate::admin;
use terminal::args::GlobalArgs;
use terminal::completions;
use terminal::context::{Context, block_on};
use terminal::exit::{EXIT_CODES_HELP, Outcome};

/// Bowline: a durable, ordered, provable event line.
#[derive(Debug, Parser)]
#[command(name = "bowline", version, after_help = EXIT_CODES_HELP, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Operate(operate::Command),
    /// See the main job on real events: signed, ordered, committed, proven, verified
    Demo(demo::Options),
    #[command(flatten)]
    Line(line::Command),
    /// Check exports, proofs and receipts without asking the server
    #[command(subcommand)]
    Verify(verify::What),
    /// Put commitments on a chain that nobody here controls, and see that they stay there
    #[command(subcommand)]
    Anchors(anchors::What),
    /// Look after events that were not taken: see why, mend the cause, try them again
    #[command(subcommand)]
    DeadLetters(dead_letters::What),
    #[command(flatten)]
    Triggers(triggers::Command),
    #[command(flatten)]
    Chains(chains::Command),
    #[command(flatten)]
    Keys(keys::Command),
    /// What payloads of an event type must look like
    #[command(subcommand)]
    Schemas(schemas::What),
    /// Print a completion script for a shell
    Completions(completions::Options),
}

/// The order of `bowline --help`: roughly that in which a newcomer needs them.
const ORDER: [&str; 25] = [
    "serve",
    "demo",
    "config",
    "migrate",
    "append",
    "tail",
    "head",
    "events",
    "export",
    "verify",
    "backup",
    "commitments",
    "anchors",
    "dead-letters",
    "triggers",
    "deliveries",
    "queue",
    "indexer",
    "keys",
    "api-keys",
    "schemas",
    "explain",
    "doctor",
    "admin",
    "completions",
];

fn main() -> ExitCode {
    let outcome = match admin::called_as_tool() {
        true => admin::run_as_tool(),
        false => run(parse()),
    };
    outcome.unwrap_or_else(|failure| failure.report()).into()
}

fn run(cli: Cli) -> Outcome {
    let context = Context::new(cli.global);
    match cli.command {
        Command::Operate(command) => operate::run(&context, command),
        Command::Demo(options) => block_on(demo::run(&context, options)),
        Command::Line(command) => line::run(&context, command),
        Command::Verify(what) => verify::run(&context, what),
        Command::Anchors(what) => block_on(anchors::run(&context, what)),
        Command::DeadLetters(what) => block_on(dead_letters::run(&context, what)),
        Command::Triggers(command) => triggers::run(&context, command),
        Command::Chains(command) => chains::run(&context, command),
        Command::Keys(command) => keys::run(&context, command),
        Command::Schemas(what) => block_on(schemas::run(&context, what)),
        Command::Completions(options) => completions::run(&context, options),
    }
}

/// The commands of all folders, in the order of the help.
fn tree() -> clap::Command {
    // Each command that is named goes to the end, so that completions list them in this order as well.
    ORDER.iter().enumerate().fold(Cli::command(), |tree, (place, name)| {
        tree.mut_subcommand(name, |command| command.display_order(place))
    })
}

fn parse() -> Cli {
    let mut matches = tree().get_matches();
    Cli::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.format(&mut tree()).exit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_consistent_and_every_command_has_its_place() {
        tree().debug_assert();
        let mut declared: Vec<String> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        declared.sort_unstable();
        let mut ordered = ORDER.map(str::to_owned);
        ordered.sort_unstable();
        assert_eq!(declared, ordered);
    }

    #[test]
    fn common_options_stand_before_or_after_a_command() {
        for line in ["bowline --output json head", "bowline head --output json"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(Context::new(cli.global).is_json(), "{line}");
        }
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
