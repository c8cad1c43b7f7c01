//! A file on its way: compressed and hashed while it is written, hashed and unpacked while it is read.
//!
//! Neither way holds more of it than some pieces. What is read is judged at its end: until [`read_file`] has
//! returned, what it handed over is not to be trusted.

use std::io::Write;

use bowline_ves::Hash;
use flate2::Compression;
use flate2::write::{GzDecoder, GzEncoder};
use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};

use super::destination::{Destination, Sink};
use super::{BackupError, BackupFile, BackupId, FileRole};

/// Compressed bytes that are handed on at a time.
const PIECE_BYTES: usize = 256 << 10;
/// Compressed bytes that are unpacked at a time: gzip makes at most a thousand times as much of them.
const UNPACK_BYTES: usize = 16 << 10;

/// A file of a backup that is being written.
pub(super) struct FileWriter {
    name: String,
    encoder: GzEncoder<Vec<u8>>,
    digest: Sha256,
    size: u64,
    unpacked_size: u64,
    sink: Sink,
}

impl FileWriter {
    pub(super) async fn create(
        destination: &Destination,
        id: &BackupId,
        name: &str,
        secret: bool,
    ) -> Result<Self, BackupError> {
        Ok(Self {
            name: name.to_owned(),
            encoder: GzEncoder::new(Vec::new(), Compression::fast()),
            digest: Sha256::new(),
            size: 0,
            unpacked_size: 0,
            sink: destination.create(id, name, secret).await?,
        })
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.unpacked_size += bytes.len() as u64;
        self.encoder.write_all(bytes).map_err(BackupError::io(&self.name))?;
        if self.encoder.get_ref().len() >= PIECE_BYTES {
            let piece = std::mem::take(self.encoder.get_mut());
            self.hand_on(&piece).await?;
        }
        Ok(())
    }

    /// Ends the file; `role` is what the manifest says of it.
    pub(super) async fn finish(mut self, role: FileRole) -> Result<BackupFile, BackupError> {
        let encoder = std::mem::replace(&mut self.encoder, GzEncoder::new(Vec::new(), Compression::fast()));
        let rest = encoder.finish().map_err(BackupError::io(&self.name))?;
        self.hand_on(&rest).await?;
        self.sink.finish().await?;
        Ok(BackupFile {
            name: self.name,
            role,
            size: self.size,
            sha256: Hash::new(self.digest.finalize().into()),
            unpacked_size: self.unpacked_size,
        })
    }

    async fn hand_on(&mut self, piece: &[u8]) -> Result<(), BackupError> {
        self.digest.update(piece);
        self.size += piece.len() as u64;
        self.sink.write(piece).await
    }
}

/// Reads a file, unpacks it piece by piece into `each`, and says at its end whether it is the one that was
/// written.
pub(super) async fn read_file(
    destination: &Destination,
    id: &BackupId,
    file: &BackupFile,
    mut each: impl AsyncFnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    let damaged = |problem: String| BackupError::Damaged { file: file.name.clone(), problem };
    let pieces = destination.read(id, &file.name).await?;
    let mut pieces = pieces.ok_or_else(|| damaged("it is not there".to_owned()))?;
    let (mut digest, mut size, mut unpacked_size) = (Sha256::new(), 0_u64, 0_u64);
    let mut decoder = GzDecoder::new(Vec::new());
    while let Some(piece) = pieces.try_next().await? {
        digest.update(&piece);
        size += piece.len() as u64;
        if size > file.size {
            return Err(damaged(format!("expected {} bytes, found more", file.size)));
        }
        for part in piece.chunks(UNPACK_BYTES) {
            decoder.write_all(part).map_err(|error| damaged(format!("it can't be unpacked: {error}")))?;
            let unpacked = std::mem::take(decoder.get_mut());
            unpacked_size += unpacked.len() as u64;
            each(&unpacked).await?;
        }
    }
    let found = Hash::new(digest.finalize().into());
    if (size, found) != (file.size, file.sha256) {
        return Err(damaged(format!(
            "expected {} bytes of SHA-256 {}, found {size} bytes of {found}",
            file.size, file.sha256
        )));
    }
    let rest = decoder.finish().map_err(|error| damaged(format!("it can't be unpacked: {error}")))?;
    unpacked_size += rest.len() as u64;
    if unpacked_size != file.unpacked_size {
        return Err(damaged(format!(
            "expected {} bytes unpacked, found {unpacked_size}",
            file.unpacked_size
        )));
    }
    each(&rest).await
}
