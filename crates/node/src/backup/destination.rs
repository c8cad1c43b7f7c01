//! Where backups lie: a folder, or an S3-compatible bucket.
//!
//! In a folder a file is synced before it gets its name, and so is the folder. In a bucket a file is uploaded in
//! parts and is there when the last one is. Credentials of a bucket come from the usual `AWS_…` variables.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, RetryConfig, WriteMultipart};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{BackupError, BackupId};

/// Bytes of one part of an upload; S3 takes 10,000 parts, so a file may have 320 GB.
const PART_BYTES: usize = 32 << 20;
/// Parts on their way at a time.
const PARTS_MAX: usize = 2;
/// Tries of one request after the first, and the time that they take at most.
const RETRIES_MAX: usize = 5;
const RETRY_TIME: Duration = Duration::from_secs(30);
/// Bytes read from a file at a time.
const READ_BYTES: usize = 256 << 10;
/// Bytes that a manifest may have.
const MANIFEST_BYTES_MAX: u64 = 512 << 20;

/// A destination as it is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DestinationOptions {
    /// A folder, or `s3://BUCKET/PREFIX`.
    pub location: String,
    /// The address of an S3-compatible server that is not Amazon's.
    pub endpoint: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
}

/// Where backups lie.
#[derive(Debug, Clone)]
pub enum Destination {
    /// A folder; a backup is a folder in it.
    Folder(PathBuf),
    /// A bucket; a backup is a prefix within this one.
    Bucket {
        /// The bucket.
        bucket: Arc<AmazonS3>,
        /// Where the backups begin.
        prefix: Key,
    },
}

/// A file that is being written to a destination.
pub(super) enum Sink {
    File { file: tokio::fs::File, temporary: PathBuf, path: PathBuf },
    Upload(Box<WriteMultipart>),
}

impl Destination {
    /// The destination of that name. Nothing is asked of it yet.
    ///
    /// # Errors
    /// The name is neither a folder's nor a bucket's, or a setting of the bucket is missing.
    pub fn open(options: &DestinationOptions) -> Result<Self, BackupError> {
        let location = options.location.trim();
        let refuse = |problem: String| BackupError::Destination { given: location.to_owned(), problem };
        let Some(rest) = location.strip_prefix("s3://") else {
            return match location {
                "" => Err(refuse("name a folder or s3://BUCKET/PREFIX".to_owned())),
                _ if location.contains("://") => Err(refuse("only s3:// and folders are known".to_owned())),
                folder => Ok(Self::Folder(PathBuf::from(folder))),
            };
        };
        let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if name.is_empty() {
            return Err(refuse("it names no bucket".to_owned()));
        }
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(RetryConfig {
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_TIME,
            ..RetryConfig::default()
        });
        if let Some(endpoint) = &options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        // Whoever names an address without TLS means it.
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        if endpoint.is_some_and(|endpoint| endpoint.starts_with("http://")) {
            builder = builder.with_allow_http(true);
        }
        if let Some(region) = &options.region {
            builder = builder.with_region(region);
        }
        let bucket = builder.build().map_err(|error| refuse(error.to_string()))?;
        let prefix = Key::parse(prefix.trim_matches('/')).map_err(|error| refuse(error.to_string()))?;
        Ok(Self::Bucket { bucket: Arc::new(bucket), prefix })
    }

    /// The folder of a backup, for a destination that is one.
    pub(super) fn folder(&self, id: &BackupId) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(folder.join(id.as_str())),
            Self::Bucket { .. } => None,
        }
    }

    /// Begins a new file of a backup.
    pub(super) async fn create(&self, id: &BackupId, name: &str, secret: bool) -> Result<Sink, BackupError> {
        match self {
            Self::Folder(folder) => {
                let folder = folder.join(id.as_str());
                make_folder(&folder).await?;
                let path = folder.join(name);
                let temporary = folder.join(format!(".{name}.part"));
                let mut options = tokio::fs::OpenOptions::new();
                options.create(true).truncate(true).write(true).mode(if secret { 0o600 } else { 0o640 });
                let file = options.open(&temporary).await.map_err(BackupError::io(&temporary))?;
                Ok(Sink::File { file, temporary, path })
            }
            Self::Bucket { bucket, prefix } => {
                let upload = bucket.put_multipart(&key(prefix, id, name)).await?;
                Ok(Sink::Upload(Box::new(WriteMultipart::new_with_chunk_size(upload, PART_BYTES))))
            }
        }
    }

    /// Writes a small file at once.
    pub(super) async fn put(&self, id: &BackupId, name: &str, bytes: Vec<u8>) -> Result<(), BackupError> {
        match self {
            Self::Folder(_) => {
                let mut sink = self.create(id, name, false).await?;
                sink.write(&bytes).await?;
                sink.finish().await
            }
            Self::Bucket { bucket, prefix } => {
                Ok(bucket.put(&key(prefix, id, name), bytes.into()).await.map(drop)?)
            }
        }
    }

    /// A file of a backup, piece by piece; none if it is not there.
    pub(super) async fn read(
        &self,
        id: &BackupId,
        name: &str,
    ) -> Result<Option<BoxStream<'static, Result<Bytes, BackupError>>>, BackupError> {
        match self {
            Self::Folder(folder) => {
                let path = folder.join(id.as_str()).join(name);
                match tokio::fs::File::open(&path).await {
                    Ok(file) => Ok(Some(pieces(file, path))),
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                    Err(cause) => Err(BackupError::Io { path, cause }),
                }
            }
            Self::Bucket { bucket, prefix } => match bucket.get(&key(prefix, id, name)).await {
                Ok(found) => Ok(Some(found.into_stream().map_err(BackupError::from).boxed())),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            },
        }
    }

    /// A small file as a whole.
    pub(super) async fn get(&self, id: &BackupId, name: &str) -> Result<Option<Vec<u8>>, BackupError> {
        let Some(mut pieces) = self.read(id, name).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > MANIFEST_BYTES_MAX {
                let problem = format!("it has more than {MANIFEST_BYTES_MAX} bytes");
                return Err(BackupError::Damaged { file: name.to_owned(), problem });
            }
        }
        Ok(Some(bytes))
    }

    /// Every name that could be a backup's, oldest first, whether it has a manifest or not.
    pub(super) async fn ids(&self) -> Result<Vec<BackupId>, BackupError> {
        let mut ids: Vec<BackupId> = match self {
            Self::Folder(folder) => {
                let mut entries = match tokio::fs::read_dir(folder).await {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                    Err(cause) => return Err(BackupError::Io { path: folder.clone(), cause }),
                };
                let mut ids = Vec::new();
                while let Some(entry) = entries.next_entry().await.map_err(BackupError::io(folder))? {
                    ids.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
                }
                ids
            }
            Self::Bucket { bucket, prefix } => {
                let listed = bucket.list_with_delimiter(Some(prefix)).await?;
                listed.common_prefixes.iter().filter_map(|found| found.filename()?.parse().ok()).collect()
            }
        };
        ids.sort_unstable();
        Ok(ids)
    }

    /// Removes a backup: its manifest first, so that half of one is none.
    pub(super) async fn remove(&self, id: &BackupId, manifest: &str) -> Result<(), BackupError> {
        match self {
            Self::Folder(folder) => {
                let folder = folder.join(id.as_str());
                match tokio::fs::remove_file(folder.join(manifest)).await {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(BackupError::Io { path: folder, cause: error });
                    }
                    _ => {}
                }
                tokio::fs::remove_dir_all(&folder).await.map_err(BackupError::io(&folder))
            }
            Self::Bucket { bucket, prefix } => {
                match bucket.delete(&key(prefix, id, manifest)).await {
                    Err(object_store::Error::NotFound { .. }) | Ok(()) => {}
                    Err(error) => return Err(error.into()),
                }
                let files: Vec<_> =
                    bucket.list(Some(&prefix.clone().join(id.as_str()))).try_collect().await?;
                for file in files {
                    bucket.delete(&file.location).await?;
                }
                Ok(())
            }
        }
    }
}

impl Sink {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        match self {
            Self::File { file, temporary, .. } => {
                file.write_all(bytes).await.map_err(BackupError::io(&*temporary))
            }
            Self::Upload(upload) => {
                upload.wait_for_capacity(PARTS_MAX).await?;
                upload.write(bytes);
                Ok(())
            }
        }
    }

    /// From here on the file is there, whole and durable.
    pub(super) async fn finish(self) -> Result<(), BackupError> {
        match self {
            Self::File { mut file, temporary, path } => {
                file.flush().await.map_err(BackupError::io(&temporary))?;
                file.sync_all().await.map_err(BackupError::io(&temporary))?;
                tokio::fs::rename(&temporary, &path).await.map_err(BackupError::io(&path))?;
                sync_folder(path.parent()).await
            }
            Self::Upload(upload) => Ok(upload.finish().await.map(drop)?),
        }
    }
}

fn key(prefix: &Key, id: &BackupId, name: &str) -> Key {
    prefix.clone().join(id.as_str()).join(name)
}

fn pieces(file: tokio::fs::File, path: PathBuf) -> BoxStream<'static, Result<Bytes, BackupError>> {
    let read = move |mut file: tokio::fs::File| {
        let path = path.clone();
        async move {
            let mut buffer = Vec::with_capacity(READ_BYTES);
            let count = (&mut file).take(READ_BYTES as u64).read_to_end(&mut buffer).await;
            match count.map_err(BackupError::io(path))? {
                0 => Ok(None),
                _ => Ok(Some((Bytes::from(buffer), file))),
            }
        }
    };
    futures_util::stream::try_unfold(file, read).boxed()
}

async fn make_folder(folder: &Path) -> Result<(), BackupError> {
    let mut builder = tokio::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(folder).await.map_err(BackupError::io(folder))?;
    sync_folder(folder.parent()).await
}

/// Makes the names in a folder durable.
pub(super) async fn sync_folder(folder: Option<&Path>) -> Result<(), BackupError> {
    let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let opened = tokio::fs::File::open(folder).await.map_err(BackupError::io(folder))?;
    opened.sync_all().await.map_err(BackupError::io(folder))
}
