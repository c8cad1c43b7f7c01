//! A small file system of a test's own, in memory, that can really be full.
//!
//! Mounting one takes root, as CI and containers have it; without, the test fails and says so.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::site::Site;

/// What a node under load writes while the room is taken, at most. It finds the end by itself.
const MEANWHILE_BYTES: u64 = 256 << 10;

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

    /// Takes room in one go, so that hardly more than this is left: what others write meanwhile needs some.
    pub(crate) fn leave(&self, bytes: u64) {
        let filler = File::create(self.filler()).unwrap();
        let taken = self.free().saturating_sub(bytes + MEANWHILE_BYTES);
        fallocate(&filler, FallocateFlags::empty(), 0, taken).unwrap();
    }

    /// Gives back what `leave` took.
    pub(crate) fn clear(&self) {
        fs::remove_file(self.filler()).unwrap();
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
