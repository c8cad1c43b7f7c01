//! A node and its database, for operators: run it, set it up, look after it. Only these commands open a store.

pub(crate) mod admin;
mod backup;
mod config;
mod direct;
mod doctor;
mod migrate;
pub(crate) mod serve;

use clap::Subcommand;

use crate::terminal::context::{Context, block_on};
use crate::terminal::exit::Outcome;

/// The commands of this folder.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node
    Serve(serve::Options),
    /// Check or show the settings that a node would run with
    #[command(subcommand)]
    Config(config::What),
    /// Bring the store's schema to what this binary knows
    Migrate(serve::SettingsArgs),
    /// Back the store up, check backups, and bring one back
    #[command(subcommand)]
    Backup(backup::What),
    /// Check a node and its database: what is sick, by which figures, and what mends it
    Doctor(doctor::Options),
    /// The commands of `stateset-sequencer-admin`, directly on the database; also under that name
    Admin(admin::Options),
}

pub(crate) fn run(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Serve(options) => block_on(serve::run(context, options)),
        Command::Config(what) => config::run(context, what),
        Command::Migrate(settings) => block_on(migrate::run(context, settings)),
        Command::Backup(what) => block_on(backup::run(context, what)),
        Command::Doctor(options) => block_on(doctor::run(context, options)),
        Command::Admin(options) => admin::run(context, options),
    }
}
