//! A small file system of a test's own, in memory, that can really be full.
//!
//! Mounting one takes root, as CI and containers have it; without, the test fails and says so.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::site::Site;

/// Bytes that a filler leaves, at least: less is not to be had in one piece.
const PAGE_BYTES: u64 = 4_096;

/// A mounted file system; unmounted when dropped.
#[derive(Debug)]
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many MiB in the site's folder.
    pub(crate) fn mount(site: &Site, mib: u64) -> Self {
        let path = site.shared_folder("small-disk");
        let options = format!("size={mib}m,mode=755");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).output();
        let mounted = mount.expect("this test needs the program `mount`");
        let said = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "this test mounts a small file system, which takes root: {said}");
        Self { path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn free(&self) -> u64 {
        let found = statvfs(&self.path).unwrap();
        found.f_bavail * found.f_frsize
    }

    /// Takes room until so much is left; nothing stays if that is 0.
    pub(crate) fn leave(&self, bytes: u64) {
        let mut filler = File::create(self.filler()).unwrap();
        let taken = self.free().saturating_sub(bytes.max(PAGE_BYTES));
        fallocate(&filler, FallocateFlags::empty(), 0, taken.max(1)).unwrap();
        if bytes == 0 {
            let mut rest = File::create(self.path.join("rest")).unwrap();
            while rest.write_all(&[0; PAGE_BYTES as usize]).is_ok() {}
        }
        filler.flush().unwrap();
    }

    /// Gives back what `leave` took.
    pub(crate) fn clear(&self) {
        for file in [self.filler(), self.path.join("rest")] {
            drop(fs::remove_file(file));
        }
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// A folder on it, which others may reach.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.path.join(name);
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        folder
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that a failing test leaves behind may still be there.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}
