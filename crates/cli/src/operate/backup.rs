//! `bowline backup`: makes, lists, checks, brings back and removes backups of a store.
//!
//! It works on the store itself and on the backups' folder or bucket, beside a running node and without one. What
//! a backup is, and what makes it good, is in the node's crate; here is what a person says and is told.

mod create;
mod keep;
mod restore;
mod verify;

use std::path::Path;

use bowline_node::{BackupError, BackupId, Config, Destination, DestinationOptions, Manifest};
use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::operate::serve::SettingsArgs;
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::progress;

/// `bowline backup`.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Back the store up while its nodes go on writing
    Create(create::Options),
    /// Show the backups that there are
    List(keep::ListOptions),
    /// Read a backup whole, open it and check the store in it
    Verify(verify::Options),
    /// Put a backup in the place of the store
    Restore(restore::Options),
    /// Remove all but the newest backups
    Prune(keep::PruneOptions),
}

/// Where backups lie.
#[derive(Debug, Args)]
pub(crate) struct DestinationArgs {
    /// A folder, or s3://BUCKET/PREFIX [default: backup.destination of the settings]
    #[arg(long, value_name = "PLACE")]
    destination: Option<String>,
    /// The address of an S3-compatible server; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The bucket's region
    #[arg(long, value_name = "REGION")]
    region: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl DestinationArgs {
    /// The destination of the flags, else of the settings; and the settings.
    fn open(&self, context: &Context) -> Result<(Destination, Config), Failure> {
        let config = self.settings.load(context)?;
        let location = self.destination.clone().or_else(|| config.backup.destination.clone());
        let options = DestinationOptions {
            location: location.ok_or_else(|| {
                Failure::usage("no destination is named")
                    .next("name a folder or s3://BUCKET/PREFIX with --destination, or set backup.destination")
            })?,
            endpoint: self.endpoint.clone().or_else(|| config.backup.endpoint.clone()),
            region: self.region.clone().or_else(|| config.backup.region.clone()),
        };
        Ok((open(&options)?, config))
    }
}

/// The destination of that name, whose TLS has what it needs.
pub(crate) fn open(options: &DestinationOptions) -> Result<Destination, Failure> {
    if options.location.starts_with("s3://") {
        // The client of buckets takes the process's provider; a second installation is refused.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    Destination::open(options).map_err(refused)
}

pub(crate) async fn run(context: &Context, what: What) -> Outcome {
    context.refuse_curl()?;
    match what {
        What::Create(options) => create::run(context, options).await,
        What::List(options) => keep::list(context, options).await,
        What::Verify(options) => verify::run(context, options).await,
        What::Restore(options) => restore::run(context, options).await,
        What::Prune(options) => keep::prune(context, options).await,
    }
}

/// Why a backup was not made or brought back, and what mends it.
fn refused(error: BackupError) -> Failure {
    let (exit, next) = match &error {
        BackupError::Destination { .. } => {
            (Exit::Usage, "name a folder or s3://BUCKET/PREFIX with --destination")
        }
        BackupError::Bucket(_) => (
            Exit::Unreachable,
            "check --endpoint, --region, the bucket, and AWS_ACCESS_KEY_ID and its secret",
        ),
        BackupError::Io { .. } => (Exit::Usage, "check the path, its owner, and the room on its disk"),
        BackupError::Missing(_) => (Exit::No, "`bowline backup list` shows what there is"),
        BackupError::Manifest { .. } | BackupError::Damaged { .. } | BackupError::Faulty(_) => {
            (Exit::No, "use another backup: `bowline backup list`, then `bowline backup verify ID`")
        }
        BackupError::Engine { .. } => {
            (Exit::Usage, "name a PostgreSQL database with --database-url, or a data folder with --data")
        }
        BackupError::Occupied(_) => (Exit::Usage, "with --replace the store that is there is kept aside"),
        BackupError::InUse(_) | BackupError::Data(_) => (Exit::Usage, "stop the nodes first"),
        BackupError::Store(error) if error.retryable() => {
            (Exit::Unreachable, "check the database and try again")
        }
        BackupError::Store(_) => {
            (Exit::Usage, "check --data or --database-url; `bowline verify store` looks at it")
        }
        BackupError::Ended(_) => (Exit::Interrupted, "start it again"),
    };
    Failure::new(exit, error.to_string()).next(next)
}

/// A bar of bytes that is told how far it is.
fn bar(context: &Context, message: &'static str) -> ProgressBar {
    let bar = progress::bytes(context.quiet(), Some(0));
    bar.set_message(message);
    bar
}

fn advance(bar: &ProgressBar, done: u64, all: Option<u64>) {
    bar.set_length(all.unwrap_or(done));
    bar.set_position(done);
}

fn parse_id(text: &str) -> Result<BackupId, String> {
    text.parse()
}

fn manifest_json(manifest: &Manifest) -> Value {
    json!({
        "id": manifest.id, "created_at": manifest.created_at, "engine": manifest.engine,
        "schema_version": manifest.schema_version, "bowline_version": manifest.bowline_version,
        "streams": manifest.streams.len(), "events": manifest.events(), "size": manifest.size(),
        "files": manifest.files.len(), "has_keys": manifest.has_keys(),
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
