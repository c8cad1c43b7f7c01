//! Brings a backup back: beside the live store first, and in its place only when all of it is there and good.
//!
//! SQLite: the file is unpacked and audited in the data folder under another name; the old one's log is folded into
//! it, it gets a second name, and one rename puts the new one in its place. PostgreSQL: everything happens in one
//! transaction. Whenever it is killed, the folder or the database holds either the old store or the new one.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use bowline_store::{
    PostgresRestore, RestoreObstacle, RestoreTarget, StoreError, fold_sqlite_log, sqlite_companions,
};
use bowline_types::{Secret, Timestamp};

use super::destination::sync_folder;
use super::transfer::read_file;
use super::verify::{Meter, judge, judge_file, load, unpack};
use super::{BackupError, BackupId, Destination, FileRole, Manifest, Progress, keep};
use crate::audit::{AuditReport, AuditScope};
use crate::data::DataFolder;
use crate::store::schema;

/// Where a store is brought back to.
#[derive(Debug, Clone)]
pub enum RestoreTo {
    /// The data folder that is given beside it.
    DataFolder,
    /// A PostgreSQL database.
    Database {
        /// Its URL.
        url: Secret,
        /// The name that nodes show in `pg_stat_activity`.
        application_name: String,
    },
}

/// What is brought back, and where.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// The backup; the newest if absent.
    pub id: Option<BackupId>,
    /// Where the store goes.
    pub to: RestoreTo,
    /// The data folder: for the SQLite file, and for keys if the backup has some.
    pub data: PathBuf,
    /// Whether a store that is there may be put aside.
    pub replace: bool,
    /// The moment; the old store's new name has it.
    pub now: Timestamp,
}

/// What has just been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestoreStep {
    /// The backup was read and is the one that was written.
    Unpacked,
    /// The store in it has no fault.
    Audited,
    /// Keys that the folder lacked are there.
    KeysPlaced,
    /// The old file holds all of the old store.
    LogFolded,
    /// The old file has its second name.
    PutAside,
    /// The new store is in its place.
    Swapped,
}

impl fmt::Display for RestoreStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unpacked => "unpacked",
            Self::Audited => "audited",
            Self::KeysPlaced => "keys placed",
            Self::LogFolded => "log folded",
            Self::PutAside => "put aside",
            Self::Swapped => "swapped",
        })
    }
}

/// Sees every step, and may end the restore after it: what a kill at that moment leaves is then left.
pub type RestoreWatch<'w> = &'w mut (dyn FnMut(RestoreStep) -> ControlFlow<()> + Send);

/// A store that was brought back.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The backup.
    pub manifest: Manifest,
    /// The audit of what was brought back.
    pub audit: AuditReport,
    /// Where the old store is, if there was one: a file, or a schema of the database.
    pub aside: Option<String>,
    /// Key files that were put into the data folder.
    pub keys: Vec<String>,
}

/// Brings a backup back.
///
/// # Errors
/// See [`BackupError`]; the live store is then as it was.
pub async fn restore_backup(
    destination: &Destination,
    options: &RestoreOptions,
    progress: Progress<'_>,
    watch: RestoreWatch<'_>,
) -> Result<Restored, BackupError> {
    let manifest = keep::find(destination, options.id.as_ref()).await?;
    let wanted = match options.to {
        RestoreTo::DataFolder => "sqlite",
        RestoreTo::Database { .. } => "postgres",
    };
    if manifest.engine != wanted {
        return Err(BackupError::Engine { found: manifest.engine, wanted });
    }
    let mut meter = Meter { all: manifest.size(), done: 0, progress };
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|error| StoreError::Internal(error.to_string()))?;
    let label = BackupId::new(options.now, random);
    let work = Work { destination, manifest, label, watch };
    match &options.to {
        RestoreTo::DataFolder => work.into_folder(options, &mut meter).await,
        RestoreTo::Database { url, application_name } => {
            let target = RestoreTarget {
                schema: schema(),
                url: url.reveal().to_owned(),
                schema_version: work.manifest.schema_version,
                label: work.label.label(),
                node_application_name: application_name.clone(),
            };
            work.into_database(target, options, &mut meter).await
        }
    }
}

struct Work<'r> {
    destination: &'r Destination,
    manifest: Manifest,
    /// What is put aside and what is not finished are named by this.
    label: BackupId,
    watch: RestoreWatch<'r>,
}

impl Work<'_> {
    fn done(&mut self, step: RestoreStep) -> Result<(), BackupError> {
        match (self.watch)(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BackupError::Ended(step.to_string())),
        }
    }

    async fn into_folder(
        mut self,
        options: &RestoreOptions,
        meter: &mut Meter<'_>,
    ) -> Result<Restored, BackupError> {
        let folder = DataFolder::open(&options.data)?;
        let live = folder.database();
        if live.exists() && !options.replace {
            return Err(BackupError::Occupied(live.display().to_string()));
        }
        let new = PathBuf::from(format!("{}.restoring", live.display()));
        let new = Unfinished(new);
        remove_database(&new.0)?;
        unpack(self.destination, &self.manifest, &new.0, meter).await?;
        self.done(RestoreStep::Unpacked)?;
        let audit = sound(judge_file(&new.0, &self.manifest, AuditScope::default()).await?)?;
        // The audit's reader leaves the files beside the database that SQLite reads through.
        sqlite_companions(&new.0).iter().try_for_each(|path| remove_file(path))?;
        self.done(RestoreStep::Audited)?;
        let keys = place_keys(self.destination, &self.manifest, &options.data).await?;
        self.done(RestoreStep::KeysPlaced)?;
        let aside = self.swap(&live, &new.0).await?;
        self.done(RestoreStep::Swapped)?;
        let aside = aside.map(|path| path.display().to_string());
        Ok(Restored { manifest: self.manifest, audit, aside, keys })
    }

    /// Puts `new` in the place of `live`, which keeps its data under another name.
    async fn swap(&mut self, live: &Path, new: &Path) -> Result<Option<PathBuf>, BackupError> {
        let aside = PathBuf::from(format!("{}.before-{}", live.display(), self.label));
        let is_there = live.exists();
        if is_there {
            let folded = fold_sqlite_log(live);
            self.done(RestoreStep::LogFolded)?;
            fs::hard_link(live, &aside).map_err(BackupError::io(&aside))?;
            if folded.is_err() {
                // A store that can't be opened keeps its log beside it, also under its new name. From the next
                // line to the rename that name alone has both.
                for (log, kept) in sqlite_companions(live).iter().zip(sqlite_companions(&aside)) {
                    if log.exists() {
                        fs::hard_link(log, &kept).map_err(BackupError::io(&kept))?;
                    }
                }
            }
            sync_folder(live.parent()).await?;
            self.done(RestoreStep::PutAside)?;
        }
        // A log that was left would be read into the new file.
        sqlite_companions(live).iter().try_for_each(|path| remove_file(path))?;
        fs::rename(new, live).map_err(BackupError::io(live))?;
        sync_folder(live.parent()).await?;
        Ok(is_there.then_some(aside))
    }

    async fn into_database(
        mut self,
        target: RestoreTarget,
        options: &RestoreOptions,
        meter: &mut Meter<'_>,
    ) -> Result<Restored, BackupError> {
        let mut restore = PostgresRestore::begin(target).await?;
        refuse(restore.obstacle(options.replace).await?)?;
        load(self.destination, &self.manifest, &mut restore, meter).await?;
        self.done(RestoreStep::Unpacked)?;
        let audit = sound(judge(restore.snapshot(), &self.manifest, AuditScope::default()).await?)?;
        self.done(RestoreStep::Audited)?;
        let keys = place_keys(self.destination, &self.manifest, &options.data).await?;
        self.done(RestoreStep::KeysPlaced)?;
        refuse(restore.obstacle(options.replace).await?)?;
        let aside = restore.publish().await?;
        self.done(RestoreStep::Swapped)?;
        Ok(Restored {
            manifest: self.manifest,
            audit,
            aside: aside.map(|name| format!("schema {name}")),
            keys,
        })
    }
}

/// Puts keys into the data folder that it lacks; what is there stays.
async fn place_keys(
    destination: &Destination,
    manifest: &Manifest,
    data: &Path,
) -> Result<Vec<String>, BackupError> {
    let mut placed = Vec::new();
    for file in manifest.files.iter().filter(|file| file.role == FileRole::Key) {
        let Some(name) = DataFolder::KEY_FILES.into_iter().find(|name| format!("{name}.gz") == file.name)
        else {
            continue;
        };
        let mut text = Vec::new();
        read_file(destination, &manifest.id, file, async |bytes| {
            text.extend_from_slice(bytes);
            Ok(())
        })
        .await?;
        if DataFolder::place_key(data, name, &text)? {
            placed.push(name.to_owned());
        }
    }
    Ok(placed)
}

/// A file that goes unless it got its place. A killed restore leaves it, and the next one removes it.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        drop(remove_database(&self.0));
    }
}

fn refuse(obstacle: Option<RestoreObstacle>) -> Result<(), BackupError> {
    match obstacle {
        None => Ok(()),
        Some(RestoreObstacle::NotEmpty) => Err(BackupError::Occupied("the database is not empty".to_owned())),
        Some(in_use @ RestoreObstacle::NodesConnected(_)) => Err(BackupError::InUse(in_use)),
    }
}

fn sound(report: AuditReport) -> Result<AuditReport, BackupError> {
    match report.findings.kept().first() {
        None => Ok(report),
        Some(first) => Err(BackupError::Faulty(format!(
            "{} findings, the first of them: expected {}, found {}",
            report.findings.total(),
            first.expected,
            first.found
        ))),
    }
}

fn remove_database(path: &Path) -> Result<(), BackupError> {
    remove_file(path)?;
    sqlite_companions(path).iter().try_for_each(|path| remove_file(path))
}

fn remove_file(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(BackupError::Io { path: path.to_owned(), cause: error })
        }
        _ => Ok(()),
    }
}
