//! When the newest backup was made, wherever it lies.
//!
//! Backups of `bowline backup` tell by their manifests. A folder may also hold others, such as the files of
//! `pg_dump`: of those only the time of the last write is known. Whether one can be restored is for
//! `bowline backup verify` to find out.

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bowline_line::checks::BackupFacts;
use bowline_node::{Destination, DestinationOptions, newest_backup};
use bowline_runtime::Seen;
use bowline_types::Timestamp;

/// The newest backup in a folder or in `s3://BUCKET/PREFIX`.
pub(super) async fn newest(place: &str) -> Seen<BackupFacts> {
    let options = DestinationOptions { location: place.to_owned(), endpoint: None, region: None };
    let destination = crate::operate::backup::open(&options).map_err(|failure| failure.cause)?;
    let own = newest_backup(&destination).await.map_err(|error| error.to_string())?;
    let newest = match (own, &destination) {
        (Some(manifest), _) => Some(manifest.created_at),
        (None, Destination::Folder(folder)) => last_written(folder)?,
        (None, Destination::Bucket { .. }) => None,
    };
    Ok(BackupFacts { place: place.to_owned(), newest })
}

fn last_written(folder: &Path) -> Seen<Option<Timestamp>> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let written = entries.filter_map(|entry| entry.ok()?.metadata().ok()?.modified().ok());
    Ok(written.max().map(moment))
}

fn moment(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
