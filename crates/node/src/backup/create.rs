//! Makes a backup beside nodes that go on writing: one moment of the store, whole, with its manifest at the end.
//!
//! An SQLite file is copied first, into the destination's folder or a temporary one, and packed from there; a
//! PostgreSQL database's tables are packed as they come. What fails half-way is removed, and what is killed
//! half-way has no manifest.

use std::path::{Path, PathBuf};

use bowline_store::{PostgresSnapshot, Snapshot, SqliteSnapshot, StoreError, TableLayout, copy_sqlite};
use bowline_types::{Secret, Timestamp};
use futures_util::TryStreamExt;
use tokio::io::AsyncReadExt;

use super::manifest::MANIFEST_FILE;
use super::transfer::FileWriter;
use super::{BackupError, BackupFile, BackupId, Destination, FileRole, Manifest, Progress, StreamMark};
use crate::data::DataFolder;
use crate::store::schema;

/// The database's file within a backup.
const DATABASE_ENTRY: &str = "bowline.db.gz";
/// Bytes read from the copied file at a time.
const READ_BYTES: usize = 1 << 20;
/// Bytes that a key file may have.
const KEY_BYTES_MAX: usize = 64 << 10;

/// The store that is backed up.
#[derive(Debug, Clone)]
pub enum BackupSource {
    /// An SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database, by its URL.
    Postgres(Secret),
}

/// What goes into a backup.
#[derive(Debug, Clone)]
pub struct CreateOptions {
    /// The store.
    pub source: BackupSource,
    /// The data folder whose keys are to go along; none without them.
    pub keys_of: Option<PathBuf>,
    /// The moment.
    pub now: Timestamp,
}

/// Makes a backup and returns its manifest.
///
/// # Errors
/// See [`BackupError`]; then there is no backup.
pub async fn create_backup(
    destination: &Destination,
    options: &CreateOptions,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| StoreError::Internal(error.to_string()))?;
    let id = BackupId::new(options.now, random);
    let made = write(destination, options, id.clone(), progress).await;
    if made.is_err() {
        // The error is what counts; what can't be removed now has no manifest and goes with `prune`.
        drop(destination.remove(&id, MANIFEST_FILE).await);
    }
    made
}

async fn write(
    destination: &Destination,
    options: &CreateOptions,
    id: BackupId,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    let mut manifest = match &options.source {
        BackupSource::Sqlite(path) => write_sqlite(destination, path, id, options.now, progress).await?,
        BackupSource::Postgres(url) => write_postgres(destination, url, id, options.now, progress).await?,
    };
    if let Some(data) = &options.keys_of {
        for name in DataFolder::KEY_FILES {
            manifest.files.extend(write_key(destination, &manifest.id, data, name).await?);
        }
    }
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| BackupError::Manifest { id: manifest.id.to_string(), problem: error.to_string() })?;
    destination.put(&manifest.id, MANIFEST_FILE, text).await?;
    Ok(manifest)
}

async fn write_sqlite(
    destination: &Destination,
    source: &Path,
    id: BackupId,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    let scratch = scratch_folder(destination, &id).await?;
    let copy = scratch.path().join("bowline.db");
    copy_beside(source, &copy, progress).await?;
    let mut snapshot = SqliteSnapshot::open(&copy, &schema()).await?;
    let mut manifest = Manifest::new(id, "sqlite", snapshot.schema_version(), now);
    manifest.streams = marks(&mut snapshot).await?;
    drop(snapshot);
    let mut file = tokio::fs::File::open(&copy).await.map_err(BackupError::io(&copy))?;
    let all = file.metadata().await.map_err(BackupError::io(&copy))?.len();
    let mut writer = FileWriter::create(destination, &manifest.id, DATABASE_ENTRY, false).await?;
    let (mut buffer, mut done) = (vec![0; READ_BYTES], all);
    loop {
        let count = file.read(&mut buffer).await.map_err(BackupError::io(&copy))?;
        if count == 0 {
            break;
        }
        writer.write(&buffer[..count]).await?;
        done += count as u64;
        progress(done, Some(2 * all));
    }
    manifest.files.push(writer.finish(FileRole::Database).await?);
    Ok(manifest)
}

/// The copy is half of the work.
async fn copy_beside(source: &Path, copy: &Path, progress: Progress<'_>) -> Result<(), BackupError> {
    let (source, copy) = (source.to_owned(), copy.to_owned());
    let (report, mut reports) = tokio::sync::mpsc::unbounded_channel();
    let copying = tokio::task::spawn_blocking(move || {
        copy_sqlite(&source, &copy, &mut |done, all| {
            // A closed channel only means that nobody looks.
            let _ = report.send((done, all));
        })
    });
    while let Some((done, all)) = reports.recv().await {
        progress(done, Some(2 * all));
    }
    Ok(copying.await.map_err(|error| StoreError::Internal(error.to_string()))??)
}

/// A folder for the copy, on the disk of the backups if that is one of ours; gone when dropped.
async fn scratch_folder(destination: &Destination, id: &BackupId) -> Result<tempfile::TempDir, BackupError> {
    let parent = destination.folder(id).and_then(|folder| folder.parent().map(Path::to_owned));
    let parent = parent.unwrap_or_else(std::env::temp_dir);
    tokio::fs::create_dir_all(&parent).await.map_err(BackupError::io(&parent))?;
    tempfile::Builder::new().prefix(".copy-").tempdir_in(&parent).map_err(BackupError::io(&parent))
}

async fn write_postgres(
    destination: &Destination,
    url: &Secret,
    id: BackupId,
    now: Timestamp,
    progress: Progress<'_>,
) -> Result<Manifest, BackupError> {
    let mut snapshot = PostgresSnapshot::open(url.reveal(), "bowline backup", &schema()).await?;
    let mut manifest = Manifest::new(id, "postgres", snapshot.schema_version(), now);
    manifest.streams = marks(&mut snapshot).await?;
    let mut done = 0;
    for table in snapshot.tables(&schema()).await? {
        let mut count = |bytes| {
            done += bytes;
            progress(done, None);
        };
        let file = write_table(destination, &manifest.id, &mut snapshot, table, &mut count).await?;
        manifest.files.push(file);
    }
    Ok(manifest)
}

async fn write_table(
    destination: &Destination,
    id: &BackupId,
    snapshot: &mut PostgresSnapshot,
    table: TableLayout,
    count: &mut (dyn FnMut(u64) + Send),
) -> Result<BackupFile, BackupError> {
    let mut writer = FileWriter::create(destination, id, &format!("{}.copy.gz", table.name), false).await?;
    let mut rows = super::rows::RowCounter::new(table.columns.len());
    let mut pieces = snapshot.copy_out(&table).await?;
    while let Some(piece) = pieces.try_next().await? {
        rows.take(&piece)
            .map_err(|problem| StoreError::Internal(format!("COPY of {}: {problem}", table.name)))?;
        writer.write(&piece).await?;
        count(piece.len() as u64);
    }
    drop(pieces);
    let rows = rows
        .finish()
        .map_err(|problem| StoreError::Unavailable(format!("COPY of {}: {problem}", table.name)))?;
    writer.finish(FileRole::Table { table: table.name, columns: table.columns, rows }).await
}

async fn write_key(
    destination: &Destination,
    id: &BackupId,
    data: &Path,
    name: &str,
) -> Result<Option<BackupFile>, BackupError> {
    let path = data.join(name);
    let bytes = match tokio::fs::read(&path).await {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(BackupError::Io { path, cause }),
    };
    if bytes.len() > KEY_BYTES_MAX {
        let cause = std::io::ErrorKind::FileTooLarge.into();
        return Err(BackupError::Io { path, cause });
    }
    let mut writer = FileWriter::create(destination, id, &format!("{name}.gz"), true).await?;
    writer.write(&bytes).await?;
    writer.finish(FileRole::Key).await.map(Some)
}

/// Where every stream ends.
pub(super) async fn marks(snapshot: &mut dyn Snapshot) -> Result<Vec<StreamMark>, StoreError> {
    let mut marks = Vec::new();
    for trace in snapshot.streams().await? {
        let stream = trace.stream;
        marks.push(StreamMark {
            tenant_id: stream.tenant_id,
            store_id: stream.store_id,
            head: trace.counter.unwrap_or(0),
            last_state_root: snapshot.last_state_root(stream).await?,
        });
    }
    Ok(marks)
}
