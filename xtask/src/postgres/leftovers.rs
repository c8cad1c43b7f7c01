//! Removes what a killed run left behind: a private server's directory, and the server itself.
//!
//! `Drop` cleans up after success, failure and panics, but not after SIGKILL or Ctrl-C. So each
//! directory is signed with its owner's process id, and a later run removes those whose owner is
//! gone. A directory without a signature, or of a living owner, is never touched.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::DIRECTORY_PREFIX;

const SIGNATURE: &str = "owner.pid";
const PROCESSES: &str = "/proc";

/// Writes the owner of a directory into it.
pub(super) fn sign(directory: &Path) -> Result<()> {
    fs::write(directory.join(SIGNATURE), std::process::id().to_string())
        .with_context(|| format!("cannot write into {}", directory.display()))
}

/// Removes every directory whose owner is gone. What cannot be removed is left alone: it is in
/// nobody's way.
pub(super) fn remove() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let directory = entry.path();
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(DIRECTORY_PREFIX));
        if ours && is_abandoned(&directory) {
            eprintln!("PostgreSQL: removing what an interrupted run left in {}", directory.display());
            stop_server(&directory.join("data"));
            let _ = fs::remove_dir_all(&directory);
        }
    }
}

fn is_abandoned(directory: &Path) -> bool {
    let Ok(owner) = fs::read_to_string(directory.join(SIGNATURE)) else { return false };
    let Ok(owner) = owner.trim().parse::<u32>() else { return false };
    Path::new(PROCESSES).join("self").exists() && !Path::new(PROCESSES).join(owner.to_string()).exists()
}

/// Stops the server of a data directory as the account that owns the directory.
fn stop_server(data: &Path) {
    let Ok(pid_file) = fs::read_to_string(data.join("postmaster.pid")) else { return };
    let Some(pid) = pid_file.lines().next().and_then(|line| line.trim().parse::<u32>().ok()) else { return };
    let Ok(program) = fs::read_link(Path::new(PROCESSES).join(pid.to_string()).join("exe")) else { return };
    let Ok(owner) = fs::metadata(data) else { return };
    let mut command = Command::new(program.with_file_name("pg_ctl"));
    command.args(["stop", "-w", "-s", "-m", "immediate", "-D"]).arg(data);
    command.current_dir(data).stdin(Stdio::null());
    if fs::metadata(Path::new(PROCESSES).join("self")).is_ok_and(|own| own.uid() == 0) {
        command.uid(owner.uid()).gid(owner.gid());
    }
    let _ = command.status();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_signed_directory_of_a_dead_owner_is_abandoned() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_abandoned(directory.path()), "not signed");
        sign(directory.path()).unwrap();
        assert!(!is_abandoned(directory.path()), "its owner lives");
        let mut gone = Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        fs::write(directory.path().join(SIGNATURE), gone.id().to_string()).unwrap();
        assert!(is_abandoned(directory.path()));
    }
}
