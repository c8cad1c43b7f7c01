//! The memory of this process, as Linux tells it; none where the system does not say.

/// At present, in KiB.
pub(crate) fn present_kib() -> Option<u64> {
    read("VmRSS:")
}

/// The most that it has had, in MiB.
pub(crate) fn peak_mib() -> Option<u64> {
    read("VmHWM:").map(|kib| kib / 1_024)
}

fn read(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
