//! Whether a backup would bring back what was backed up: every byte, and the store that the bytes make.
//!
//! An SQLite backup is unpacked into a scratch folder and audited there. A PostgreSQL backup is loaded into a
//! transaction of a scratch database, audited, and rolled back; without such a database its rows are counted and
//! nothing is said of what is in them.

use std::path::{Path, PathBuf};

use bowline_store::{
    PostgresRestore, RestoreTarget, Snapshot, SqliteConfig, SqliteSnapshot, SqliteStore, TableLayout,
};
use bowline_types::Secret;
use tokio::io::AsyncWriteExt;

use super::create::marks;
use super::rows::RowCounter;
use super::transfer::read_file;
use super::{BackupError, BackupFile, BackupId, Destination, FileRole, Manifest, Progress, keep};
use crate::audit::{AuditReport, AuditScope, audit};
use crate::store::schema;

/// Where a backup may be unpacked to be looked at.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    /// A folder with room for an unpacked SQLite file; the system's temporary one if absent.
    pub folder: Option<PathBuf>,
    /// A PostgreSQL database; nothing stays in it.
    pub database: Option<Secret>,
}

/// What a verification found.
#[derive(Debug, Clone)]
pub struct VerifiedBackup {
    /// The backup.
    pub manifest: Manifest,
    /// The audit of the store in it; none if it was not opened.
    pub audit: Option<AuditReport>,
}

/// Reads a backup whole and judges it: the one named, or the newest.
///
/// # Errors
/// [`BackupError::is_verdict`] tells a bad backup from one that could not be read. Faults of a store that was
/// backed up with them are in the audit's report and no error.
pub async fn verify_backup(
    destination: &Destination,
    id: Option<&BackupId>,
    scratch: &Scratch,
    scope: AuditScope,
    progress: Progress<'_>,
) -> Result<VerifiedBackup, BackupError> {
    let manifest = keep::find(destination, id).await?;
    let mut meter = Meter { all: manifest.size(), done: 0, progress };
    for file in manifest.files.iter().filter(|file| file.role == FileRole::Key) {
        read_file(destination, &manifest.id, file, async |_| Ok(())).await?;
    }
    let audit = match manifest.engine.as_str() {
        "sqlite" => {
            let parent = scratch.folder.clone().unwrap_or_else(std::env::temp_dir);
            let folder = tempfile::tempdir_in(&parent).map_err(BackupError::io(&parent))?;
            let file = folder.path().join("bowline.db");
            unpack(destination, &manifest, &file, &mut meter).await?;
            Some(judge_file(&file, &manifest, scope).await?)
        }
        _ => match &scratch.database {
            Some(url) => Some(judge_tables(destination, &manifest, url, scope, &mut meter).await?),
            None => {
                count_rows(destination, &manifest, &mut meter).await?;
                None
            }
        },
    };
    Ok(VerifiedBackup { manifest, audit })
}

/// Counts what is read of a backup.
pub(super) struct Meter<'p> {
    pub(super) all: u64,
    pub(super) done: u64,
    pub(super) progress: Progress<'p>,
}

impl Meter<'_> {
    fn file_done(&mut self, file: &BackupFile) {
        self.done += file.size;
        (self.progress)(self.done, Some(self.all));
    }
}

/// Unpacks the database's file, durably.
pub(super) async fn unpack(
    destination: &Destination,
    manifest: &Manifest,
    to: &Path,
    meter: &mut Meter<'_>,
) -> Result<(), BackupError> {
    let database = manifest.files.iter().find(|file| file.role == FileRole::Database);
    let database = database.ok_or_else(|| BackupError::Manifest {
        id: manifest.id.to_string(),
        problem: "it names no database file".to_owned(),
    })?;
    let mut options = tokio::fs::OpenOptions::new();
    options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(to).await.map_err(BackupError::io(to))?;
    read_file(destination, &manifest.id, database, async |bytes| {
        file.write_all(bytes).await.map_err(BackupError::io(to))
    })
    .await?;
    file.flush().await.map_err(BackupError::io(to))?;
    file.sync_all().await.map_err(BackupError::io(to))?;
    meter.file_done(database);
    Ok(())
}

/// Audits an unpacked file and compares it with the manifest. A file of an older schema is migrated first.
pub(super) async fn judge_file(
    file: &Path,
    manifest: &Manifest,
    scope: AuditScope,
) -> Result<AuditReport, BackupError> {
    let unusable = |error| BackupError::Faulty(format!("it can't be opened: {error}"));
    let mut snapshot = SqliteSnapshot::open(file, &schema()).await.map_err(unusable)?;
    if snapshot.schema_version() < schema().version() {
        drop(snapshot);
        let config = SqliteConfig { readers: 1, schema: schema(), ..SqliteConfig::at(file) };
        let (store, _) = SqliteStore::open(config).await.map_err(unusable)?;
        bowline_store::LineStore::close(&store).await;
        snapshot = SqliteSnapshot::open(file, &schema()).await.map_err(unusable)?;
    }
    judge(&mut snapshot, manifest, scope).await
}

/// What the store is, and whether it is the one that was backed up.
pub(super) async fn judge(
    snapshot: &mut dyn Snapshot,
    manifest: &Manifest,
    scope: AuditScope,
) -> Result<AuditReport, BackupError> {
    let found = marks(snapshot).await?;
    if found != manifest.streams {
        let differing = manifest.streams.iter().find(|mark| !found.contains(mark)).map_or_else(
            || "there are more streams than the manifest names".to_owned(),
            |mark| format!("stream {} is not at {} as the manifest says", mark.stream(), mark.head),
        );
        return Err(BackupError::Faulty(differing));
    }
    Ok(audit(snapshot, scope, &mut |_, _| ()).await?)
}

async fn judge_tables(
    destination: &Destination,
    manifest: &Manifest,
    url: &Secret,
    scope: AuditScope,
    meter: &mut Meter<'_>,
) -> Result<AuditReport, BackupError> {
    let mut restore = PostgresRestore::begin(RestoreTarget {
        schema: schema(),
        url: url.reveal().to_owned(),
        schema_version: manifest.schema_version,
        label: manifest.id.label(),
        node_application_name: String::new(),
    })
    .await?;
    load(destination, manifest, &mut restore, meter).await?;
    let report = judge(restore.snapshot(), manifest, scope).await;
    restore.abandon().await?;
    report
}

/// Fills the tables of a restore and completes them.
pub(super) async fn load(
    destination: &Destination,
    manifest: &Manifest,
    restore: &mut PostgresRestore,
    meter: &mut Meter<'_>,
) -> Result<(), BackupError> {
    let layouts = restore.tables().await?;
    for (file, layout, rows) in tables(manifest) {
        let damaged = |problem: String| BackupError::Damaged { file: file.name.clone(), problem };
        if !layouts.contains(&layout) {
            let version = manifest.schema_version;
            let problem = format!("table {} has other columns in schema version {version}", layout.name);
            return Err(damaged(problem));
        }
        let mut table = restore.load(&layout).await?;
        read_file(destination, &manifest.id, file, async |bytes| Ok(table.send(bytes).await?)).await?;
        let loaded = table.finish().await.map_err(|error| damaged(error.to_string()))?;
        if loaded != rows {
            return Err(damaged(format!("expected {rows} rows, found {loaded}")));
        }
        meter.file_done(file);
    }
    if let Some(missing) =
        layouts.iter().find(|layout| !tables(manifest).any(|(_, found, _)| found == **layout))
    {
        let problem = format!("it names no rows of table {}", missing.name);
        return Err(BackupError::Manifest { id: manifest.id.to_string(), problem });
    }
    Ok(restore.complete().await?)
}

async fn count_rows(
    destination: &Destination,
    manifest: &Manifest,
    meter: &mut Meter<'_>,
) -> Result<(), BackupError> {
    for (file, layout, rows) in tables(manifest) {
        let damaged = |problem: String| BackupError::Damaged { file: file.name.clone(), problem };
        let mut counter = RowCounter::new(layout.columns.len());
        // A damaged file is first of all one whose hash is wrong, so its form is judged after that.
        let mut malformed = None;
        read_file(destination, &manifest.id, file, async |bytes| {
            if malformed.is_none() {
                malformed = counter.take(bytes).err();
            }
            Ok(())
        })
        .await?;
        let counted = malformed.map_or_else(|| counter.finish(), Err).map_err(damaged)?;
        if counted != rows {
            return Err(damaged(format!("expected {rows} rows, found {counted}")));
        }
        meter.file_done(file);
    }
    Ok(())
}

fn tables(manifest: &Manifest) -> impl Iterator<Item = (&BackupFile, TableLayout, u64)> {
    manifest.files.iter().filter_map(|file| match &file.role {
        FileRole::Table { table, columns, rows } => {
            Some((file, TableLayout { name: table.clone(), columns: columns.clone() }, *rows))
        }
        FileRole::Database | FileRole::Key => None,
    })
}
