//! The `bowline` binary: parses the command line, runs the command, ends with its exit code.
//!
//! Each command has a file of its own name. Nothing is decided here beyond which of them runs.

mod admin;
mod anchors;
mod answers;
mod api_keys;
mod append;
mod args;
mod backup;
mod bench;
mod chain;
mod client;
mod commitments;
mod completions;
mod config;
mod context;
mod dead_letters;
mod deliveries;
mod demo;
mod direct;
mod doctor;
mod events;
mod exit;
mod explain;
mod export;
mod head;
mod indexer;
mod keys;
mod local;
mod migrate;
mod output;
mod progress;
mod queue;
mod reputation;
mod schemas;
mod serve;
mod tail;
mod triggers;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use context::{Context, block_on};
use exit::Outcome;

fn main() -> ExitCode {
    let outcome = match admin::called_as_tool() {
        true => admin::run_as_tool(),
        false => run(Cli::parse()),
    };
    outcome.unwrap_or_else(|failure| failure.report()).into()
}

fn run(cli: Cli) -> Outcome {
    let context = Context::new(cli.global);
    match cli.command {
        Command::Serve(options) => block_on(serve::run(&context, options)),
        Command::Demo(options) => block_on(demo::run(&context, options)),
        Command::Config(what) => config::run(&context, what),
        Command::Migrate(settings) => block_on(migrate::run(&context, settings)),
        Command::Append(options) => block_on(append::run(&context, options)),
        Command::Tail(options) => block_on(tail::run(&context, options)),
        Command::Head(options) => block_on(head::run(&context, options)),
        Command::Events(what) => block_on(events::run(&context, what)),
        Command::Export(options) => block_on(export::run(&context, options)),
        Command::Verify(what) => verify::run(&context, what),
        Command::Backup(what) => block_on(backup::run(&context, what)),
        Command::Commitments(what) => block_on(commitments::run(&context, what)),
        Command::Anchors(what) => block_on(anchors::run(&context, what)),
        Command::DeadLetters(what) => block_on(dead_letters::run(&context, what)),
        Command::Triggers(what) => block_on(triggers::run(&context, what)),
        Command::Deliveries(what) => block_on(deliveries::run(&context, what)),
        Command::Queue(what) => block_on(queue::run(&context, what)),
        Command::Indexer(what) => block_on(indexer::run(&context, what)),
        Command::Keys(what) => block_on(keys::run(&context, what)),
        Command::ApiKeys(what) => block_on(api_keys::run(&context, what)),
        Command::Schemas(what) => block_on(schemas::run(&context, what)),
        Command::Explain(options) => block_on(explain::run(&context, options)),
        Command::Doctor(options) => block_on(doctor::run(&context, options)),
        Command::Admin(options) => admin::run(&context, options),
        Command::Bench(what) => bench::run(&context, what),
        Command::Completions(options) => completions::run(&context, options),
    }
}
