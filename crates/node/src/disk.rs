//! Watches the data folder's disk: closes the store's gate before the disk is full, gives up the ballast when it
//! is, and opens the gate again when there is room.
//!
//! A ballast is a file that only takes room. Without it, a full disk would not even hold what must be finished:
//! the database's log folded in at the end, a key's revocation, a restart. It never decides what is refused while
//! the gate is closed; the store does that. A line that is kept elsewhere has no gate, and its disk is only
//! measured.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bowline_runtime::{Shutdown, TaskError};
use bowline_store::{Room, WriteGate};
use metrics::gauge;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

use crate::config::DiskConfig;
use crate::data::DataFolder;
use crate::metrics::{DISK_BALLAST, DISK_FREE, READ_ONLY};

/// Between two looks at the disk, unless the store finds it full.
const PERIOD: Duration = Duration::from_secs(1);

const MIB: u64 = 1 << 20;

/// What opening the embedded database may take: the index of its log, and a migration.
const START_BYTES: u64 = 4 * MIB;

/// Free room beyond the least at which the gate opens again, so that it does not swing.
const REOPEN_BYTES: u64 = MIB;

/// The watch over one disk; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct DiskWatch(Arc<Disk>);

#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    ballast: PathBuf,
    free_min: u64,
    ballast_bytes: u64,
    gate: Option<WriteGate>,
    /// Whether the last ballast could not be made, which is said once.
    without_ballast: AtomicBool,
}

/// What was found.
#[derive(Debug, Clone, Copy)]
struct Found {
    room: Room,
    free: u64,
    ballast: u64,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    /// There is too little room: close the gate.
    Close,
    /// The disk is full: give the ballast up.
    GiveUpBallast,
    /// There is room for the ballast, and then for events.
    Restore,
}

impl DiskWatch {
    pub(crate) fn new(config: DiskConfig, data: &DataFolder, gate: Option<WriteGate>) -> Self {
        Self(Arc::new(Disk {
            folder: data.path().to_owned(),
            ballast: data.ballast(),
            free_min: config.free_mib_min.saturating_mul(MIB),
            ballast_bytes: config.ballast_mib.saturating_mul(MIB),
            gate,
            without_ballast: AtomicBool::new(false),
        }))
    }

    /// Gives the ballast up if the disk is too full for a node to start.
    pub(crate) fn make_room_to_start(data: &DataFolder) {
        let full = free_bytes(data.path()).is_ok_and(|free| free < START_BYTES);
        if full && size(&data.ballast()) > 0 {
            give_up(&data.ballast());
        }
    }

    /// Looks at the disk until the shutdown begins.
    pub(crate) async fn run(self, shutdown: Shutdown) -> Result<(), TaskError> {
        let gate = self.0.gate.clone().unwrap_or_default();
        let mut room = gate.watch();
        while !shutdown.has_begun() {
            room.borrow_and_update();
            let watch = self.clone();
            if let Err(error) = tokio::task::spawn_blocking(move || watch.activate()).await {
                return Err(TaskError { task: "disk", cause: error.to_string() });
            }
            tokio::select! {
                _ = tokio::time::timeout(PERIOD, room.changed()) => {}
                () = shutdown.begun() => {}
            }
        }
        Ok(())
    }

    /// Looks at the disk once, and does what is due.
    pub(crate) fn activate(&self) {
        self.0.activate();
    }
}

impl Disk {
    fn activate(&self) {
        let free = match free_bytes(&self.folder) {
            Ok(free) => free,
            Err(error) => {
                tracing::warn!(component = "node", %error, "Disk not measured");
                return;
            }
        };
        gauge!(DISK_FREE).set(free as f64);
        let Some(gate) = &self.gate else { return };
        let found = Found { room: gate.room(), free, ballast: size(&self.ballast) };
        match self.step(found) {
            Step::Nothing => {}
            Step::Close => {
                let free_min = self.free_min;
                gate.set(Room::Low);
                tracing::error!(
                    component = "node",
                    free,
                    free_min,
                    "Disk nearly full, no events are taken until there is room"
                );
            }
            Step::GiveUpBallast => give_up(&self.ballast),
            Step::Restore => self.restore(gate, found),
        }
        gauge!(READ_ONLY).set(if gate.room() == Room::Enough { 0.0 } else { 1.0 });
        gauge!(DISK_BALLAST).set(size(&self.ballast) as f64);
    }

    fn step(&self, found: Found) -> Step {
        let missing = self.ballast_bytes.saturating_sub(found.ballast);
        let enough = found.free >= self.free_min.saturating_add(missing).saturating_add(REOPEN_BYTES);
        match found.room {
            Room::Enough if found.free < self.free_min => Step::Close,
            Room::Enough if found.ballast > self.ballast_bytes || missing > 0 && enough => Step::Restore,
            Room::Enough => Step::Nothing,
            Room::Full if found.ballast > 0 && !enough => Step::GiveUpBallast,
            Room::Low | Room::Full if enough => Step::Restore,
            Room::Low | Room::Full => Step::Nothing,
        }
    }

    /// Makes the ballast as large as it must be, and then opens the gate.
    fn restore(&self, gate: &WriteGate, found: Found) {
        let made = found.ballast == self.ballast_bytes || self.make_ballast();
        // A disk that has room and does not give it, by a quota for instance, is as good as full.
        if made && found.room != Room::Enough {
            gate.set(Room::Enough);
            tracing::info!(component = "node", free = found.free, "Disk has room again, events are taken");
        }
    }

    /// Makes the ballast as large as the settings say; whether that went well.
    fn make_ballast(&self) -> bool {
        let made = match self.ballast_bytes {
            0 => fs::remove_file(&self.ballast),
            bytes => take_room(&self.ballast, bytes),
        };
        let Err(error) = made else {
            self.without_ballast.store(false, Ordering::Relaxed);
            return true;
        };
        if !self.without_ballast.swap(true, Ordering::Relaxed) {
            tracing::warn!(component = "node", %error, "Ballast not made");
        }
        drop(fs::remove_file(&self.ballast));
        false
    }
}

fn give_up(ballast: &Path) {
    match fs::remove_file(ballast) {
        Ok(()) => tracing::warn!(component = "node", "Ballast given up"),
        Err(error) => tracing::error!(component = "node", %error, "Ballast not given up"),
    }
}

/// What an unprivileged process may still use.
fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// 0 if the file is not there.
fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

/// Makes a file that takes so much room of the disk.
fn take_room(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP) => write_zeros(&mut file, bytes),
        Err(error) => Err(error.into()),
    }
}

/// For file systems that reserve nothing.
fn write_zeros(file: &mut File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; MIB as usize];
    for _ in 0..bytes / MIB {
        file.write_all(&zeros)?;
    }
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(free_mib_min: u64, ballast_mib: u64) -> (tempfile::TempDir, Disk) {
        let folder = tempfile::tempdir().unwrap();
        let gate = Some(WriteGate::default());
        let disk = Disk {
            folder: folder.path().to_owned(),
            ballast: folder.path().join("ballast"),
            free_min: free_mib_min * MIB,
            ballast_bytes: ballast_mib * MIB,
            gate,
            without_ballast: AtomicBool::new(false),
        };
        (folder, disk)
    }

    #[test]
    fn every_room_has_its_step() {
        let (_folder, disk) = disk(10, 4);
        let cases = [
            (Room::Enough, 100, 4, Step::Nothing),
            (Room::Enough, 10, 4, Step::Nothing),
            (Room::Enough, 9, 4, Step::Close),
            (Room::Enough, 9, 0, Step::Close),
            // The ballast goes before comfort, never before the free room that must be left.
            (Room::Enough, 14, 0, Step::Nothing),
            (Room::Enough, 15, 0, Step::Restore),
            // The settings have changed.
            (Room::Enough, 100, 6, Step::Restore),
            (Room::Low, 10, 4, Step::Nothing),
            (Room::Low, 11, 4, Step::Restore),
            (Room::Low, 0, 4, Step::Nothing),
            (Room::Full, 0, 4, Step::GiveUpBallast),
            (Room::Full, 4, 0, Step::Nothing),
            (Room::Full, 14, 0, Step::Nothing),
            (Room::Full, 15, 0, Step::Restore),
            // Somebody made room before anyone looked.
            (Room::Full, 11, 4, Step::Restore),
        ];
        for (room, free, ballast, step) in cases {
            let found = Found { room, free: free * MIB, ballast: ballast * MIB };
            assert_eq!(disk.step(found), step, "{found:?}");
        }
        let (_folder, unwatched) = self::disk(0, 0);
        let found = |room, free| Found { room, free, ballast: 0 };
        assert_eq!(unwatched.step(found(Room::Enough, 0)), Step::Nothing);
        assert_eq!(unwatched.step(found(Room::Full, 0)), Step::Nothing);
        assert_eq!(unwatched.step(found(Room::Full, MIB)), Step::Restore);
    }

    #[test]
    fn the_ballast_takes_its_room_and_gives_it_back() {
        use std::os::unix::fs::MetadataExt;
        let (_folder, disk) = disk(0, 2);
        disk.activate();
        let made = fs::metadata(&disk.ballast).unwrap();
        assert_eq!(made.len(), 2 * MIB);
        assert!(made.blocks() * 512 >= 2 * MIB, "a hole takes no room");
        write_zeros(&mut File::create(&disk.ballast).unwrap(), 2 * MIB).unwrap();
        assert_eq!(size(&disk.ballast), 2 * MIB);
        let gate = disk.gate.as_ref().unwrap();
        // A quota that this process does not see: a write found no room where there seems to be plenty.
        gate.set(Room::Full);
        disk.activate();
        assert_eq!(gate.room(), Room::Enough);
        let smaller = Disk {
            folder: disk.folder.clone(),
            ballast: disk.ballast.clone(),
            free_min: 0,
            ballast_bytes: MIB,
            gate: Some(gate.clone()),
            without_ballast: AtomicBool::new(false),
        };
        smaller.activate();
        assert_eq!(size(&disk.ballast), MIB);
        let none = Disk { ballast_bytes: 0, ..smaller };
        none.activate();
        assert!(!none.ballast.exists());
        none.activate();
        disk.activate();
        give_up(&disk.ballast);
        assert_eq!(size(&disk.ballast), 0);
    }
}
