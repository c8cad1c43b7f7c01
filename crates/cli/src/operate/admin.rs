//! The commands of `stateset-sequencer-admin`, directly on the database: as `bowline admin …`, and as the tool
//! itself when the binary is called by that name.
//!
//! Options are spelt as that tool spells them. What has no meaning here is answered with what is true here, after
//! it was really looked at; nothing pretends to have been done.

mod audit;
mod commit;
mod export;
mod keys;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bowline_node::Config;
use bowline_types::{Secret, StoreId, StreamId, TenantId};
use bowline_ves::{Hash, InclusionProof, ProofError};
use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::operate::direct::DirectStore;
use crate::operate::migrate;
use crate::terminal::context::{Context, block_on};
use crate::terminal::exit::{EXIT_CODES_HELP, Exit, Failure, Outcome};
use crate::terminal::output;

/// The name under which the binary is that tool.
const TOOL: &str = "stateset-sequencer-admin";

/// `bowline admin`: everything behind it is the tool's own.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Options {
    /// A command of `stateset-sequencer-admin` with its options; `bowline admin help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    arguments: Vec<OsString>,
}

/// Works directly on the sequencer's database.
#[derive(Debug, Parser)]
#[command(name = TOOL, version, after_help = EXIT_CODES_HELP, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Which database.
#[derive(Debug, Args)]
struct Place {
    /// The PostgreSQL database; without it the one in the data folder
    #[arg(long, global = true, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The data folder [default: data]
    #[arg(long, global = true, env = "BOWLINE_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true)]
    json: bool,
}

/// A stream that must be named.
#[derive(Debug, Clone, Copy, Args)]
struct StreamArgs {
    /// The stream's tenant
    #[arg(long, value_name = "UUID")]
    tenant_id: TenantId,
    /// The stream's store
    #[arg(long, value_name = "UUID")]
    store_id: StoreId,
}

impl StreamArgs {
    fn stream(self) -> StreamId {
        StreamId::new(self.tenant_id, self.store_id)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Bring the database's schema to what this binary knows
    Migrate,
    /// Check an inclusion proof; nothing but its hashes is needed
    VerifyProof(ProofOptions),
    /// Write a stream's events with their signatures and receipts
    ExportEvents(export::Options),
    /// Register an agent's next signing key
    RotateKeys(keys::RotateOptions),
    /// Show agents' signing keys
    ListAgentKeys(keys::ListOptions),
    /// Check that no payload is encrypted at rest under a key of the sequencer, so that none needs another one
    ReencryptEvents(audit::EventsOptions),
    /// Check that the database has no validity proofs, which this sequencer does not keep
    ReencryptVesValidityProofs(audit::EventsOptions),
    /// Check that the database has no compliance proofs, which this sequencer does not keep
    ReencryptVesComplianceProofs(audit::EventsOptions),
    /// Compute every commitment's root and state root anew, and say whether one is missing or wrong
    BackfillVesStateRoots(audit::RootsOptions),
    /// Commit a range of a stream, and put it on the chain of the settings
    VesCommitAndAnchor(commit::Options),
    /// List the commands
    Commands,
    /// Show the version
    Version,
}

/// `verify-proof`.
#[derive(Debug, Args)]
struct ProofOptions {
    /// The event's leaf
    #[arg(long, value_name = "HEX", value_parser = Hash::parse_hex)]
    leaf_hash: Hash,
    /// The root that it should lead to
    #[arg(long, value_name = "HEX", value_parser = Hash::parse_hex)]
    merkle_root: Hash,
    /// The siblings, bottom-up, separated by commas; none for a tree of one leaf
    #[arg(long, value_name = "HEX,HEX", value_delimiter = ',', value_parser = sibling, default_value = "")]
    proof_path: Vec<Option<Hash>>,
    /// The leaf's place in the tree, from 0
    #[arg(long, value_name = "N")]
    leaf_index: u64,
}

/// A sibling; an empty word is none, so that an empty path can be written.
fn sibling(text: &str) -> Result<Option<Hash>, String> {
    match text.trim() {
        "" => Ok(None),
        text => Hash::parse_hex(text).map(Some).map_err(|error| error.to_string()),
    }
}

/// Whether the binary was called by the tool's name.
pub(crate) fn called_as_tool() -> bool {
    std::env::args_os()
        .next()
        .is_some_and(|name| Path::new(&name).file_stem().is_some_and(|stem| stem == TOOL))
}

/// Runs as the tool.
pub(crate) fn run_as_tool() -> Outcome {
    work(Cli::parse())
}

/// Runs as `bowline admin`: the common options that stand before it hold here, too.
pub(crate) fn run(context: &Context, options: Options) -> Outcome {
    context.refuse_curl()?;
    let mut cli = Cli::parse_from(std::iter::once(OsString::from("bowline admin")).chain(options.arguments));
    cli.place.json |= context.is_json();
    if cli.place.data.is_none() {
        cli.place.data = context.given_data().map(Path::to_owned);
    }
    work(cli)
}

impl Place {
    /// The settings of the environment with what the flags replace.
    fn config(&self) -> Result<Config, Failure> {
        let mut config = Config::load(None).map_err(|error| Failure::usage(error.to_string()))?;
        if let Some(url) = &self.database_url {
            config.store.url = Some(Secret::new(url.clone()));
        }
        if let Some(data) = &self.data {
            config.data = data.clone();
        }
        // A person waits: a database that is away is an answer, not a reason to wait for half a minute.
        config.store.startup_tries_max = 1;
        Ok(config)
    }

    async fn open(&self) -> Result<DirectStore, Failure> {
        Ok(DirectStore::open(&self.config()?, false).await?.0)
    }
}

fn work(cli: Cli) -> Outcome {
    let Cli { place, command } = cli;
    match command {
        Command::Migrate => block_on(async { migrate::apply(&place.config()?, place.json).await }),
        Command::VerifyProof(options) => verify_proof(&place, options),
        Command::ExportEvents(options) => {
            block_on(on_store(&place, async |store| export::run(&place, store, options).await))
        }
        Command::RotateKeys(options) => {
            block_on(on_store(&place, async |store| keys::rotate(&place, store, options).await))
        }
        Command::ListAgentKeys(options) => {
            block_on(on_store(&place, async |store| keys::list(&place, store, options).await))
        }
        Command::ReencryptEvents(options) => {
            block_on(on_store(&place, async |store| audit::events(&place, store, options).await))
        }
        Command::ReencryptVesValidityProofs(_) => block_on(on_store(&place, async |store| {
            audit::no_proofs(&place, store, "ves_validity_proofs").await
        })),
        Command::ReencryptVesComplianceProofs(_) => block_on(on_store(&place, async |store| {
            audit::no_proofs(&place, store, "ves_compliance_proofs").await
        })),
        Command::BackfillVesStateRoots(options) => {
            block_on(on_store(&place, async |store| audit::state_roots(&place, store, options).await))
        }
        Command::VesCommitAndAnchor(options) => {
            block_on(on_store(&place, async |store| commit::run(&place, store, options).await))
        }
        Command::Commands => commands(&place),
        Command::Version => {
            output::line(&format!("{TOOL} {}", env!("CARGO_PKG_VERSION")))?;
            Ok(Exit::Done)
        }
    }
}

/// Opens the store, works on it, and closes it however that ended.
async fn on_store(place: &Place, work: impl AsyncFnOnce(&DirectStore) -> Outcome) -> Outcome {
    let direct = place.open().await?;
    let outcome = work(&direct).await;
    direct.close().await;
    outcome
}

fn verify_proof(place: &Place, options: ProofOptions) -> Outcome {
    let path = options.proof_path.into_iter().flatten().collect();
    let proof = InclusionProof { leaf_hash: options.leaf_hash, leaf_index: options.leaf_index, path };
    let valid = match proof.verify(&options.merkle_root) {
        Ok(()) => true,
        Err(ProofError::RootMismatch { .. }) => false,
        Err(error) => return Err(Failure::usage(error.to_string())),
    };
    let (leaf, root) = (options.leaf_hash.to_string(), options.merkle_root.to_string());
    match (place.json, valid) {
        (true, _) => {
            output::line(&json!({ "valid": valid, "leaf_hash": leaf, "merkle_root": root }).to_string())?
        }
        (false, true) => output::line("the proof is valid")?,
        (false, false) => output::line("the proof is not valid: it does not lead to that root")?,
    }
    Ok(if valid { Exit::Done } else { Exit::No })
}

fn commands(place: &Place) -> Outcome {
    use clap::CommandFactory as _;
    let tree = Cli::command();
    let about = |command: &clap::Command| command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut all: Vec<[String; 2]> =
        tree.get_subcommands().map(|command| [command.get_name().to_owned(), about(command)]).collect();
    // Clap adds its own when it parses.
    if !all.iter().any(|[name, _]| name == "help") {
        all.push(["help".to_owned(), "Show how a command is used".to_owned()]);
    }
    match place.json {
        true => {
            let all = all.into_iter().map(|[name, about]| json!({ "command": name, "about": about }));
            output::line(&json!({ "commands": all.collect::<Vec<_>>() }).to_string())?;
        }
        false => output::table(["command", "what it does"], all)?,
    }
    Ok(Exit::Done)
}

/// What a store refused, for a person.
fn store_failed(error: bowline_store::StoreError) -> Failure {
    let exit = if error.retryable() { Exit::Unreachable } else { Exit::Usage };
    Failure::new(exit, error.to_string()).next("check the database with `bowline doctor --database-url URL`")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_tool_has_its_thirteen_commands() {
        Cli::command().debug_assert();
        let mut tree = Cli::command();
        tree.build();
        let mut names: Vec<&str> = tree.get_subcommands().map(clap::Command::get_name).collect();
        names.sort_unstable();
        let expected = [
            "backfill-ves-state-roots",
            "commands",
            "export-events",
            "help",
            "list-agent-keys",
            "migrate",
            "reencrypt-events",
            "reencrypt-ves-compliance-proofs",
            "reencrypt-ves-validity-proofs",
            "rotate-keys",
            "verify-proof",
            "version",
            "ves-commit-and-anchor",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn options_are_taken_as_the_original_spells_them() {
        let tenant = "64527dd3-a654-4410-9327-e58a1492ce77";
        let key = bowline_ves::SecretKey::from_seed([1; 32]).public();
        for line in [
            format!(
                "x --database-url postgres://h/d export-events --tenant-id {tenant} --store-id {tenant} --format ndjson"
            ),
            format!(
                "x rotate-keys --tenant-id {tenant} --agent-id {tenant} --new-key-id 2 --public-key {key} --revoke-old"
            ),
            format!("x list-agent-keys --tenant-id {tenant} --database-url postgres://h/d"),
            format!(
                "x reencrypt-events --tenant-id {tenant} --store-id {tenant} --batch-size 500 --limit 9 --dry-run --force"
            ),
            "x reencrypt-ves-validity-proofs --batch-size 200 --dry-run".to_owned(),
            "x backfill-ves-state-roots --dry-run --force".to_owned(),
            format!(
                "x ves-commit-and-anchor --tenant-id {tenant} --store-id {tenant} --sequence-start 1 --sequence-end 9 --max-events 1024"
            ),
        ] {
            let parsed = Cli::try_parse_from(line.split(' '));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}
