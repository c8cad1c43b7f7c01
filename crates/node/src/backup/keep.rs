//! Which backups there are, which is the newest, and which may go.
//!
//! Only a manifest makes a backup: what lacks one is never listed, and removed when it can't be under way any more.

use bowline_types::Timestamp;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::manifest::MANIFEST_FILE;
use super::{BackupError, BackupId, Destination, Manifest};

/// Manifests read at a time.
const READS_MAX: usize = 8;
/// Hours after which what has no manifest is no backup under way any more.
const UNFINISHED_HOURS: i64 = 24;

/// Every backup, oldest first. What has no manifest does not exist.
///
/// # Errors
/// The destination can't be read, or holds a manifest that this binary can't.
pub async fn list(destination: &Destination) -> Result<Vec<Manifest>, BackupError> {
    let ids = destination.ids().await?;
    let manifests = stream::iter(ids).map(async |id| manifest(destination, &id).await).buffered(READS_MAX);
    manifests.try_filter_map(async |found| Ok(found)).try_collect().await
}

/// The newest backup, if there is one.
///
/// # Errors
/// As for [`list`].
pub async fn newest(destination: &Destination) -> Result<Option<Manifest>, BackupError> {
    for id in destination.ids().await?.iter().rev() {
        if let Some(manifest) = manifest(destination, id).await? {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

/// Removes all but the `keep` newest backups, and what was begun more than a day before `now` and never
/// finished. Returns what was removed.
///
/// # Errors
/// The destination can't be read or changed.
pub async fn prune(
    destination: &Destination,
    keep: usize,
    now: Timestamp,
) -> Result<Vec<BackupId>, BackupError> {
    let oldest_unfinished = now.to_chrono() - chrono::TimeDelta::hours(UNFINISHED_HOURS);
    let (mut kept, mut removed) = (0, Vec::new());
    for id in destination.ids().await?.into_iter().rev() {
        let is_whole = destination.get(&id, MANIFEST_FILE).await?.is_some();
        let is_due = match is_whole {
            true => kept >= keep,
            false => id.begun_at().is_some_and(|begun| begun.to_chrono() < oldest_unfinished),
        };
        if is_due {
            destination.remove(&id, MANIFEST_FILE).await?;
            removed.push(id);
        } else if is_whole {
            kept += 1;
        }
    }
    removed.reverse();
    Ok(removed)
}

/// The manifest of the named backup, or of the newest.
pub(super) async fn find(destination: &Destination, id: Option<&BackupId>) -> Result<Manifest, BackupError> {
    let found = match id {
        Some(id) => manifest(destination, id).await?,
        None => newest(destination).await?,
    };
    found.ok_or_else(|| BackupError::Missing(id.map(ToString::to_string)))
}

async fn manifest(destination: &Destination, id: &BackupId) -> Result<Option<Manifest>, BackupError> {
    let bytes = destination.get(id, MANIFEST_FILE).await?;
    bytes.map(|bytes| Manifest::parse(id, &bytes)).transpose()
}
