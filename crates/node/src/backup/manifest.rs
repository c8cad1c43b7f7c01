//! What a backup says of itself: `manifest.json`, the last file that is written and the first that is read.
//!
//! It names every file with its size and hash, and where every stream ended. It refuses ids and file names that
//! would lead out of the backup's folder, and formats that this binary does not know.

use std::fmt;
use std::str::FromStr;

use bowline_types::{StoreId, StreamId, TenantId, Timestamp};
use bowline_ves::Hash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::BackupError;

/// The manifest's name; a backup without it does not exist.
pub(super) const MANIFEST_FILE: &str = "manifest.json";
/// The format that this binary writes and reads.
const FORMAT_VERSION: u32 = 1;
/// How a moment stands in an id, to the millisecond; it sorts as the moments do.
const ID_MOMENT: &str = "%Y%m%dT%H%M%S%3fZ";

/// A backup's name: when it was begun, and some random digits. Ids sort by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupId(String);

impl BackupId {
    /// The id of a backup that begins now.
    pub(super) fn new(now: Timestamp, random: [u8; 4]) -> Self {
        Self(format!("{}-{}", now.to_chrono().format(ID_MOMENT), hex::encode(random)))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// When it was begun.
    pub fn begun_at(&self) -> Option<Timestamp> {
        let moment = self.0.split('-').next()?;
        let parsed = chrono::NaiveDateTime::parse_from_str(moment, ID_MOMENT).ok()?;
        Some(Timestamp::from_chrono(parsed.and_utc()))
    }

    /// As part of a database name.
    pub(super) fn label(&self) -> String {
        self.0.to_lowercase().replace('-', "_")
    }
}

impl FromStr for BackupId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = Self(text.to_owned());
        let random = text.split_once('-').map(|(_, random)| random);
        let is_id = id.begun_at().is_some()
            && random.is_some_and(|r| r.len() == 8 && r.bytes().all(|byte| byte.is_ascii_hexdigit()));
        is_id
            .then_some(id)
            .ok_or_else(|| format!("`{text}` is no backup's id; `bowline backup list` has them"))
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for BackupId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BackupId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// 1.
    pub format_version: u32,
    /// The backup's name.
    pub id: BackupId,
    /// `sqlite` or `postgres`.
    pub engine: String,
    /// The store's schema version.
    pub schema_version: i64,
    /// The bowline that wrote it.
    pub bowline_version: String,
    /// When the backup was begun; what it holds is of that moment or a little later.
    pub created_at: Timestamp,
    /// Every stream with its end, ascending by id.
    pub streams: Vec<StreamMark>,
    /// The files beside the manifest.
    pub files: Vec<BackupFile>,
}

/// Where a stream ended when the backup was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamMark {
    /// The stream's tenant.
    pub tenant_id: TenantId,
    /// The stream's store.
    pub store_id: StoreId,
    /// The last sequence number.
    pub head: u64,
    /// The state root after the last commitment.
    pub last_state_root: Option<Hash>,
}

impl StreamMark {
    /// The stream.
    pub fn stream(&self) -> StreamId {
        StreamId::new(self.tenant_id, self.store_id)
    }
}

/// What a file of a backup is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub enum FileRole {
    /// The whole SQLite file.
    Database,
    /// A PostgreSQL table's rows, as `COPY` gives them in binary form.
    Table {
        /// The table.
        table: String,
        /// Its columns, in order.
        columns: Vec<String>,
        /// How many rows.
        rows: u64,
    },
    /// A secret of the data folder.
    Key,
}

/// A file of a backup, compressed with gzip.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its name beside the manifest.
    pub name: String,
    /// What it is.
    #[serde(flatten)]
    pub role: FileRole,
    /// Bytes as stored.
    pub size: u64,
    /// SHA-256 of the bytes as stored.
    pub sha256: Hash,
    /// Bytes when unpacked.
    pub unpacked_size: u64,
}

impl Manifest {
    /// The manifest of a backup by this binary.
    pub(super) fn new(id: BackupId, engine: &str, schema_version: i64, created_at: Timestamp) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            id,
            engine: engine.to_owned(),
            schema_version,
            bowline_version: env!("CARGO_PKG_VERSION").to_owned(),
            created_at,
            streams: Vec::new(),
            files: Vec::new(),
        }
    }

    /// Parses a manifest that must be the one of that backup.
    pub(super) fn parse(id: &BackupId, bytes: &[u8]) -> Result<Self, BackupError> {
        /// The version alone, so that a later format is named as such whatever else it changes.
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let refuse = |problem: String| BackupError::Manifest { id: id.to_string(), problem };
        let Version { format_version } = serde_json::from_slice(bytes).map_err(|e| refuse(e.to_string()))?;
        if format_version != FORMAT_VERSION {
            return Err(refuse(format!(
                "format version {format_version}; this bowline knows {FORMAT_VERSION}"
            )));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|e| refuse(e.to_string()))?;
        if manifest.id != *id {
            return Err(refuse(format!("it is of backup {}", manifest.id)));
        }
        let plain = |name: &str| !name.is_empty() && !name.contains(['/', '\\']) && !name.starts_with('.');
        if let Some(file) = manifest.files.iter().find(|file| !plain(&file.name)) {
            return Err(refuse(format!("`{}` is no file's name", file.name)));
        }
        Ok(manifest)
    }

    /// Events of all streams.
    pub fn events(&self) -> u64 {
        self.streams.iter().map(|mark| mark.head).sum()
    }

    /// Bytes of all files as stored.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// Whether it holds keys.
    pub fn has_keys(&self) -> bool {
        self.files.iter().any(|file| file.role == FileRole::Key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_the_time_sort_by_it_and_are_nothing_else() {
        let moment = Timestamp::from_micros(1_750_000_000_000_000);
        let id = BackupId::new(moment, [1, 2, 3, 4]);
        assert_eq!(id.as_str(), "20250615T150640000Z-01020304");
        assert_eq!((id.as_str().parse(), id.begun_at()), (Ok(id.clone()), Some(moment)));
        assert!(id < BackupId::new(Timestamp::from_micros(1_750_000_001_000_000), [0; 4]));
        for bad in [
            "",
            "../x",
            "20250615T150640000Z",
            "20250615T150640000Z-0102030g",
            "20250615T150640000Z-01020304/..",
        ] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_manifest_that_leads_elsewhere_is_refused() {
        let id = BackupId::new(Timestamp::from_micros(0), [0; 4]);
        let mut manifest = Manifest::new(id.clone(), "sqlite", 1, Timestamp::from_micros(0));
        let parse = |manifest: &Manifest| Manifest::parse(&id, &serde_json::to_vec(manifest).unwrap());
        assert_eq!(parse(&manifest).unwrap(), manifest);
        manifest.files.push(BackupFile {
            name: "../bowline.db".to_owned(),
            role: FileRole::Database,
            size: 0,
            sha256: Hash::ZERO,
            unpacked_size: 0,
        });
        assert!(parse(&manifest).unwrap_err().to_string().contains("no file's name"));
        assert!(
            Manifest::parse(&id, b"{\"format_version\":2}").unwrap_err().to_string().contains("version 2")
        );
    }
}
