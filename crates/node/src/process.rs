//! What the operating system knows of this process and of its disk, as metrics under the names that Prometheus'
//! own client libraries give them.
//!
//! It reads `/proc` and asks for the data folder's file system; what can't be read keeps its last value, for a
//! node must not fail because nobody can look at it.

use std::fs;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use metrics::{Unit, describe_gauge, gauge};

const RESIDENT: &str = "process_resident_memory_bytes";
const OPEN_FILES: &str = "process_open_fds";
const OPEN_FILES_MAX: &str = "process_max_fds";
const THREADS: &str = "process_threads";
const STARTED: &str = "process_start_time_seconds";
const DISK_TOTAL: &str = "bowline_disk_total_bytes";

/// Looks at this process and at the disk of its data folder.
#[derive(Debug)]
pub(crate) struct ProcessMetrics {
    data: PathBuf,
}

impl ProcessMetrics {
    /// Describes the metrics and looks for the first time.
    pub(crate) fn start(data: PathBuf) -> Self {
        describe_gauge!(RESIDENT, Unit::Bytes, "Memory of this process that is in RAM");
        describe_gauge!(OPEN_FILES, Unit::Count, "Open files and connections of this process");
        describe_gauge!(OPEN_FILES_MAX, Unit::Count, "Files and connections that this process may open");
        describe_gauge!(THREADS, Unit::Count, "Threads of this process");
        describe_gauge!(STARTED, Unit::Seconds, "When this process started, in seconds since 1970");
        describe_gauge!(DISK_TOTAL, Unit::Bytes, "Size of the data folder's file system");
        gauge!(STARTED).set(UNIX_EPOCH.elapsed().map_or(0.0, |since| since.as_secs_f64()));
        let metrics = Self { data };
        metrics.look();
        metrics
    }

    /// Sets every gauge to what is so now.
    pub(crate) fn look(&self) {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kibibytes = |name: &str| field(&status, name)?.strip_suffix(" kB")?.trim().parse::<f64>().ok();
        set(RESIDENT, kibibytes("VmRSS").map(|kibibytes| kibibytes * 1_024.0));
        set(THREADS, field(&status, "Threads").and_then(|count| count.parse().ok()));
        // The folder that is read is open itself while it is.
        let open = fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1) as f64);
        set(OPEN_FILES, open.ok());
        set(OPEN_FILES_MAX, open_files_max(&fs::read_to_string("/proc/self/limits").unwrap_or_default()));
        if let Ok(disk) = rustix::fs::statvfs(&self.data) {
            gauge!(DISK_TOTAL).set((disk.f_blocks.saturating_mul(disk.f_frsize)) as f64);
        }
    }
}

fn set(name: &'static str, value: Option<f64>) {
    if let Some(value) = value {
        gauge!(name).set(value);
    }
}

/// The value of a line `Name:   value`.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim())
}

/// The soft limit of `Max open files`; none if there is no limit.
fn open_files_max(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_prints_is_read() {
        let status = "Name:\tbowline\nVmRSS:\t   12345 kB\nThreads:\t9\n";
        assert_eq!((field(status, "VmRSS"), field(status, "Threads")), (Some("12345 kB"), Some("9")));
        assert_eq!(field(status, "Vm"), None);
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(open_files_max(limits), Some(1024.0));
        assert_eq!(open_files_max("Max open files  unlimited  unlimited  files"), None);
    }
}
