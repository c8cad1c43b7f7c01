//! promtool, which checks the alert rules and plays time series to them.
//!
//! It comes in Debian's package of Prometheus. The package would also set up a server, so it is only unpacked: the one
//! program goes into the target folder, nothing is installed and nothing is started.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages;
use crate::postgres::last_lines;

const PACKAGE: &str = "prometheus";
const MANUALLY: &str = "install Prometheus so that promtool is on the PATH";
const LOG_LINES_SHOWN: usize = 15;

/// The program: this machine's own, or the one in the target folder.
pub(crate) fn find_or_install(target: &Path) -> Result<PathBuf> {
    let program = target.join("promtool").join("promtool");
    match packages::on_path("promtool") {
        Some(found) => return Ok(found),
        None if program.is_file() => return Ok(program),
        None => {}
    }
    packages::demand_apt_get(PACKAGE, MANUALLY)?;
    let folder = tempfile::tempdir().context("cannot make a temporary directory for promtool")?;
    eprintln!("promtool: unpacking Debian's package {PACKAGE} into {}", target.display());
    if download(folder.path()).is_err() {
        packages::update_lists(PACKAGE)?;
        download(folder.path())?;
    }
    let package = fs::read_dir(folder.path()).context("cannot list what was downloaded")?;
    let mut package = package.filter_map(|entry| Some(entry.ok()?.path()));
    let package = package.next().with_context(|| format!("apt-get downloaded no package; {MANUALLY}"))?;
    let unpacked = folder.path().join("unpacked");
    run(Command::new("dpkg-deb").arg("-x").args([&package, &unpacked]), "dpkg-deb")?;
    put(&unpacked.join("usr/bin/promtool"), &program)?;
    Ok(program)
}

fn download(folder: &Path) -> Result<()> {
    run(Command::new("apt-get").args(["download", "-q", PACKAGE]).current_dir(folder), "apt-get download")
}

/// The last step is a rename, so that half a program is never taken for one.
fn put(from: &Path, to: &Path) -> Result<()> {
    let half = to.with_extension("half");
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::copy(from, &half).with_context(|| format!("cannot copy {}", from.display()))?;
    fs::rename(&half, to).with_context(|| format!("cannot put {}", to.display()))
}

fn run(command: &mut Command, name: &str) -> Result<()> {
    let output = command.output().with_context(|| format!("cannot run {name}; {MANUALLY}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} ended with {}; {MANUALLY}:\n{}", output.status, last_lines(&said, LOG_LINES_SHOWN));
    }
    Ok(())
}
