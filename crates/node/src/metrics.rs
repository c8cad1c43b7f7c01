//! The node's own metrics, each present from the start.

use metrics::{Unit, describe_gauge, gauge};

pub(crate) const DISK_FREE: &str = "bowline_disk_free_bytes";
pub(crate) const DISK_BALLAST: &str = "bowline_disk_ballast_bytes";
pub(crate) const READ_ONLY: &str = "bowline_read_only";

/// Names, describes and zeroes every metric of this crate.
pub(crate) fn declare() {
    describe_gauge!(DISK_FREE, Unit::Bytes, "Free room on the data folder's disk");
    describe_gauge!(DISK_BALLAST, Unit::Bytes, "Size of the file that is given up when the disk is full");
    describe_gauge!(READ_ONLY, Unit::Count, "1 while the node takes no events because its disk has no room");
    for name in [DISK_FREE, DISK_BALLAST, READ_ONLY] {
        gauge!(name).set(0.0);
    }
}
