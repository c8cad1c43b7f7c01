//! `bowline backup list` and `bowline backup prune`: what there is, and how much of it stays.
//!
//! The last backup can't be pruned.

use bowline_node::{list_backups, prune_backups};
use bowline_runtime::{Clock as _, SystemClock};
use clap::Args;
use serde_json::json;

use super::{DestinationArgs, manifest_json, refused};
use crate::terminal::context::Context;
use crate::terminal::exit::{Exit, Outcome};
use crate::terminal::output;

/// `bowline backup list`.
#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    #[command(flatten)]
    destination: DestinationArgs,
}

/// `bowline backup prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneOptions {
    /// How many backups stay; at least one
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
    #[command(flatten)]
    destination: DestinationArgs,
}

pub(super) async fn list(context: &Context, options: ListOptions) -> Outcome {
    let (destination, _) = options.destination.open(context)?;
    let manifests = list_backups(&destination).await.map_err(refused)?;
    if context.is_json() {
        let backups: Vec<_> = manifests.iter().map(manifest_json).collect();
        output::line(&json!({ "backups": backups }).to_string())?;
        return Ok(Exit::Done);
    }
    let rows = manifests.iter().map(|manifest| {
        [
            manifest.id.to_string(),
            manifest.created_at.to_string(),
            manifest.engine.clone(),
            manifest.streams.len().to_string(),
            manifest.events().to_string(),
            manifest.size().to_string(),
            if manifest.has_keys() { "with keys".to_owned() } else { String::new() },
        ]
    });
    output::table(["id", "when", "engine", "streams", "events", "bytes", ""], rows)?;
    Ok(Exit::Done)
}

pub(super) async fn prune(context: &Context, options: PruneOptions) -> Outcome {
    let (destination, _) = options.destination.open(context)?;
    let keep = usize::try_from(options.keep).unwrap_or(usize::MAX);
    let removed = prune_backups(&destination, keep, SystemClock.now()).await.map_err(refused)?;
    if context.is_json() {
        output::line(&json!({ "removed": removed }).to_string())?;
        return Ok(Exit::Done);
    }
    for id in &removed {
        output::line(&format!("removed {id}"))?;
    }
    output::line(&format!("{} backups removed", removed.len()))?;
    Ok(Exit::Done)
}
