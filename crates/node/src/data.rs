//! The data folder: one process at a time, readable by its owner only.
//!
//! It holds the embedded database, the sequencer's identity, and the administrator's, the indexer's and the secrets'
//! keys. What is made on the
//! first start is written whole or not at all.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bowline_types::Secret;
use bowline_ves::SecretKey;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::SequencerConfig;

const LOCK_FILE: &str = "bowline.lock";
const DATABASE_FILE: &str = "bowline.db";
const SEQUENCER_FILE: &str = "sequencer.key";
const ADMIN_FILE: &str = "admin.key";
const INDEXER_FILE: &str = "indexer.key";
const SECRETS_FILE: &str = "secrets.key";
const BALLAST_FILE: &str = "bowline.ballast";

/// The data folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Another process has it.
    #[error(
        "the data folder {0} is in use by another node; stop that one, or give this one its own folder with \
         --data or BOWLINE_DATA"
    )]
    InUse(PathBuf),
    /// The system refused.
    #[error("{path}: {cause}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        cause: io::Error,
    },
    /// Another process has it, and the line is kept in it.
    #[error(
        "the data folder {0} is in use by another node, and the embedded database in it belongs to one process: to run \
         roles in processes of their own, keep the line in PostgreSQL (store.url, DATABASE_URL)"
    )]
    NotShared(PathBuf),
    /// A key file does not hold a key.
    #[error("{path}: {problem}")]
    Key {
        /// The file, or the setting.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A data folder that belongs to this process as long as the value lives.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    _lock: File,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SequencerFile {
    sequencer_id: Uuid,
    seed: String,
}

impl DataFolder {
    /// The files that hold secrets.
    pub const KEY_FILES: [&str; 4] = [SEQUENCER_FILE, ADMIN_FILE, INDEXER_FILE, SECRETS_FILE];

    /// Puts a key file into a folder that has none of that name; whether it did.
    ///
    /// # Errors
    /// The file can't be written, or is not text.
    pub fn place_key(folder: &Path, name: &str, text: &[u8]) -> Result<bool, DataError> {
        let path = folder.join(name);
        if read(&path)?.is_some() {
            return Ok(false);
        }
        let text = std::str::from_utf8(text)
            .map_err(|error| DataError::Key { path: path.clone(), problem: error.to_string() })?;
        let refuse = |cause| DataError::Io { path: folder.to_owned(), cause };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(refuse)?;
        write_once(&path, text.trim_end())?;
        Ok(true)
    }

    /// Takes the folder, and makes it if it is not there.
    ///
    /// # Errors
    /// Another process has it, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let refuse = |path: &Path| {
            let path = path.to_owned();
            move |cause| DataError::Io { path, cause }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refuse(path))?;
        let lock_path = path.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(refuse(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DataError::InUse(path.to_owned())),
            Err(TryLockError::Error(cause)) => Err(DataError::Io { path: lock_path, cause }),
        }
    }

    /// The embedded database.
    pub fn database(&self) -> PathBuf {
        Self::database_in(&self.path)
    }

    /// The embedded database of a folder that may be another process's: to be read and not written.
    pub fn database_in(path: &Path) -> PathBuf {
        path.join(DATABASE_FILE)
    }

    /// The file that only takes room.
    pub(crate) fn ballast(&self) -> PathBuf {
        self.path.join(BALLAST_FILE)
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The sequencer's id and key: as configured, else from the folder, else made and kept there.
    ///
    /// # Errors
    /// The file can't be read or written, or holds no key.
    pub fn sequencer(&self, config: &SequencerConfig) -> Result<(Uuid, SecretKey), DataError> {
        let configured = config.signing_key.as_ref().map(|secret| secret.reveal().to_owned());
        let path = self.path.join(SEQUENCER_FILE);
        if let (Some(id), Some(seed)) = (config.id, &configured) {
            return Ok((id, parse_key(seed, Path::new("sequencer.signing_key"))?));
        }
        let file = match read(&path)? {
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| DataError::Key { path: path.clone(), problem: error.to_string() })?,
            None => {
                let fresh = SecretKey::random()
                    .map_err(|error| DataError::Key { path: path.clone(), problem: error.to_string() })?;
                let seed: String = fresh.seed().iter().map(|byte| format!("{byte:02x}")).collect();
                let file = SequencerFile { sequencer_id: config.id.unwrap_or_else(Uuid::new_v4), seed };
                write_once(&path, &serde_json::to_string(&file).unwrap_or_default())?;
                file
            }
        };
        let key = parse_key(configured.as_ref().unwrap_or(&file.seed), &path)?;
        Ok((config.id.unwrap_or(file.sequencer_id), key))
    }

    /// The key with which the indexer signs what it writes: made on the first start.
    ///
    /// # Errors
    /// The file can't be read or written, or holds no key.
    pub fn indexer_key(&self) -> Result<SecretKey, DataError> {
        let seed = self.kept(INDEXER_FILE, random_hex)?;
        parse_key(&seed, &self.path.join(INDEXER_FILE))
    }

    /// The key under which triggers' secrets are kept, 32 bytes in hex: made on the first start.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn secrets_key(&self) -> Result<Secret, DataError> {
        Ok(Secret::new(self.kept(SECRETS_FILE, random_hex)?))
    }

    /// What a file holds, or what is made for it.
    fn kept(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<String, DataError>,
    ) -> Result<String, DataError> {
        let path = self.path.join(name);
        if let Some(text) = read(&path)? {
            return Ok(text.trim().to_owned());
        }
        let made = make(&path)?;
        write_once(&path, &made)?;
        Ok(made)
    }

    /// The administrator's API key for whoever can read the folder: made on the first start.
    ///
    /// # Errors
    /// The file can't be read or written.
    pub fn admin_key(&self) -> Result<Secret, DataError> {
        let key = self.kept(ADMIN_FILE, |path| {
            let mut random = [0; 24];
            getrandom::fill(&mut random).map_err(|error| no_key(path, &error))?;
            Ok(format!("ss_admin_{}", URL_SAFE_NO_PAD.encode(random)))
        })?;
        Ok(Secret::new(key))
    }
}

/// 32 random bytes for that file.
fn random_hex(path: &Path) -> Result<String, DataError> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| no_key(path, &error))?;
    Ok(hex::encode(random))
}

fn no_key(path: &Path, error: &dyn std::fmt::Display) -> DataError {
    DataError::Key { path: path.to_owned(), problem: error.to_string() }
}

fn parse_key(seed: &str, path: &Path) -> Result<SecretKey, DataError> {
    SecretKey::parse_hex(seed)
        .map_err(|error| DataError::Key { path: path.to_owned(), problem: error.to_string() })
}

fn read(path: &Path) -> Result<Option<String>, DataError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(DataError::Io { path: path.to_owned(), cause }),
    }
}

/// Writes a file that only its owner may read: durable and whole, or not there at all.
fn write_once(path: &Path, text: &str) -> Result<(), DataError> {
    let refuse = |cause| DataError::Io { path: path.to_owned(), cause };
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(refuse)?;
    file.write_all(format!("{text}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(refuse)?;
    fs::rename(&temporary, path).map_err(refuse)?;
    let folder = path.parent().map(File::open).transpose().map_err(refuse)?;
    folder.map_or(Ok(()), |folder| folder.sync_all()).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_process_at_a_time_and_keys_that_stay() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        let folder = DataFolder::open(&path).unwrap();
        assert!(matches!(DataFolder::open(&path), Err(DataError::InUse(_))));
        let (id, key) = folder.sequencer(&SequencerConfig::default()).unwrap();
        let admin = folder.admin_key().unwrap();
        let (indexer, secrets) = (folder.indexer_key().unwrap(), folder.secrets_key().unwrap());
        drop(folder);
        let again = DataFolder::open(&path).unwrap();
        let (same_id, same_key) = again.sequencer(&SequencerConfig::default()).unwrap();
        assert_eq!((id, key.seed()), (same_id, same_key.seed()));
        assert_eq!(admin.reveal(), again.admin_key().unwrap().reveal());
        assert_eq!(indexer.seed(), again.indexer_key().unwrap().seed());
        assert_eq!((secrets.reveal(), secrets.reveal().len()), (again.secrets_key().unwrap().reveal(), 64));
        for file in DataFolder::KEY_FILES {
            assert_eq!(fs::metadata(path.join(file)).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_broken_key_file_is_an_error_and_stays_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(parent.path()).unwrap();
        let path = parent.path().join(SEQUENCER_FILE);
        fs::write(&path, "{").unwrap();
        assert!(matches!(folder.sequencer(&SequencerConfig::default()), Err(DataError::Key { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{");
    }
}
