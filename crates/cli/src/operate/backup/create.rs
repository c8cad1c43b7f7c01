//! `bowline backup create`: which store goes where, and whether its keys go along.
//!
//! Keys are never taken unless they are asked for, and what is printed says whether they were.

use std::path::PathBuf;

use bowline_node::{BackupSource, CreateOptions, DataFolder, create_backup};
use bowline_runtime::{Clock as _, SystemClock};
use clap::Args;

use super::{DestinationArgs, advance, bar, manifest_json, refused, shown};
use crate::terminal::context::{Context, until_interrupted};
use crate::terminal::exit::{Exit, Failure, Outcome};
use crate::terminal::output;
use crate::verify::store::StorePlace;

/// `bowline backup create`.
#[derive(Debug, Args)]
#[command(after_help = "\
The store is the one of the settings (--config, DATABASE_URL, --data) unless --database-url names another. Nodes
go on writing: the backup is of one moment. Only with --include-keys can a lost machine be brought back whole.")]
pub(crate) struct Options {
    #[command(flatten)]
    destination: DestinationArgs,
    /// A PostgreSQL database instead of the settings' store
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Put the data folder's secrets in too: the sequencer's key and the administrator's
    #[arg(long)]
    include_keys: bool,
}

pub(super) async fn run(context: &Context, options: Options) -> Outcome {
    let (destination, config) = options.destination.open(context)?;
    let place =
        StorePlace::find(context, &options.destination.settings, None::<PathBuf>, options.database_url)?;
    let source = match place {
        StorePlace::File(path) if !path.is_file() => {
            return Err(Failure::usage(format!("there is no store: {} is no file", shown(&path)))
                .next("name the data folder with --data, or a database with --database-url"));
        }
        StorePlace::File(path) => BackupSource::Sqlite(path),
        StorePlace::Database(url) => BackupSource::Postgres(url),
    };
    let keys_of = options.include_keys.then(|| config.data.clone());
    let create = CreateOptions { source, keys_of, now: SystemClock.now() };
    let bar = bar(context, "backed up");
    let made = until_interrupted(async {
        let mut progress = |done, all| advance(&bar, done, all);
        create_backup(&destination, &create, &mut progress).await.map_err(refused)
    })
    .await;
    bar.finish_and_clear();
    let manifest = made?;
    let keys: Vec<_> = DataFolder::KEY_FILES
        .into_iter()
        .filter(|key| manifest.files.iter().any(|file| file.name == format!("{key}.gz")))
        .collect();
    if context.is_json() {
        output::line(&manifest_json(&manifest).to_string())?;
        return Ok(Exit::Done);
    }
    output::fields([
        ("backup", manifest.id.to_string()),
        ("store", format!("{}, schema version {}", manifest.engine, manifest.schema_version)),
        ("streams", manifest.streams.len().to_string()),
        ("events", manifest.events().to_string()),
        ("bytes", manifest.size().to_string()),
        (
            "keys",
            match keys.as_slice() {
                [] => "not included: --include-keys takes sequencer.key and admin.key along".to_owned(),
                keys => format!("{}: keep this backup as secret as they are", keys.join(", ")),
            },
        ),
    ])?;
    Ok(Exit::Done)
}
