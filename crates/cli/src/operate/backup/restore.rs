//! `bowline backup restore`: puts a backup in the place of a store, or says why it left everything as it was.
//!
//! A store that is there is touched only with `--replace`, and kept.

use std::ops::ControlFlow;

use bowline_node::{BackupId, RestoreOptions, RestoreTo, restore_backup};
use bowline_runtime::{Clock as _, SystemClock};
use bowline_types::Secret;
use clap::Args;
use serde_json::json;

use super::{DestinationArgs, advance, bar, manifest_json, parse_id, refused};
use crate::terminal::context::{Context, until_interrupted};
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

/// `bowline backup restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nodes must be stopped. The backup is read, unpacked beside the store and checked before anything is put in its
place, at once and for good. With --replace the old store stays under the name that is printed at the end.")]
pub(crate) struct Options {
    /// The backup [default: the newest]
    #[arg(value_parser = parse_id)]
    id: Option<BackupId>,
    #[command(flatten)]
    destination: DestinationArgs,
    /// A PostgreSQL database instead of the settings' store
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Put aside the store that is there
    #[arg(long)]
    replace: bool,
}

pub(super) async fn run(context: &Context, options: Options) -> Outcome {
    let (destination, config) = options.destination.open(context)?;
    let url = options.database_url.map(Secret::new).or_else(|| config.store.url.clone());
    let to = match url {
        Some(url) => RestoreTo::Database { url, application_name: config.application_name() },
        None => RestoreTo::DataFolder,
    };
    let restore = RestoreOptions {
        id: options.id,
        to,
        data: config.data.clone(),
        replace: options.replace,
        now: SystemClock.now(),
    };
    let bar = bar(context, "read");
    let restored = until_interrupted(async {
        let mut progress = |done, all| advance(&bar, done, all);
        let mut watch = |_| ControlFlow::Continue(());
        restore_backup(&destination, &restore, &mut progress, &mut watch).await.map_err(refused)
    })
    .await;
    bar.finish_and_clear();
    let restored = restored?;
    if context.is_json() {
        let json = json!({
            "restored": manifest_json(&restored.manifest), "old_store": restored.aside, "keys": restored.keys,
        });
        output::line(&json.to_string())?;
        return Ok(Exit::Done);
    }
    output::fields([
        ("restored", restored.manifest.id.to_string()),
        ("streams", restored.manifest.streams.len().to_string()),
        ("events", format!("{}, all verified", restored.audit.events)),
        ("old store", restored.aside.unwrap_or_else(|| "there was none".to_owned())),
        (
            "keys",
            match restored.keys.as_slice() {
                [] => "none placed: the folder's own stay, or the node makes new ones".to_owned(),
                keys => keys.join(", "),
            },
        ),
    ])?;
    Ok(Exit::Done)
}
