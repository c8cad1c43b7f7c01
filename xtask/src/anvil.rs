//! anvil, the EVM node that tests and measurements put their anchors on.
//!
//! It is installed once from npm into the target folder. Whoever needs a chain starts one of its own from that
//! program; nothing is started here.

use std::env::consts::{ARCH, OS};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::npm;

const VERSION: &str = "1.7.1";

/// The program, which was seen to run.
pub(crate) fn find_or_install(target: &Path) -> Result<PathBuf> {
    let package = package_of(OS, ARCH)?;
    let modules =
        npm::find_or_install(target, &format!("anvil-{VERSION}"), &[&format!("{package}@{VERSION}")])?;
    let program = modules.join(package).join("bin/anvil");
    let output = Command::new(&program).arg("--version").output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !said.contains(VERSION) {
        bail!(
            "{} is not anvil {VERSION}: `--version` ended with {} and said `{}`",
            program.display(),
            output.status,
            said.trim()
        );
    }
    Ok(program)
}

/// The npm package with the program for a machine.
fn package_of(os: &str, arch: &str) -> Result<&'static str> {
    match (os, arch) {
        ("linux", "x86_64") => Ok("@foundry-rs/anvil-linux-amd64"),
        ("linux", "aarch64") => Ok("@foundry-rs/anvil-linux-arm64"),
        ("macos", "x86_64") => Ok("@foundry-rs/anvil-darwin-amd64"),
        ("macos", "aarch64") => Ok("@foundry-rs/anvil-darwin-arm64"),
        _ => {
            bail!("npm has no anvil for {os} on {arch}; run the tests on Linux or macOS, on x86-64 or arm64")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_package_is_named() {
        assert_eq!(package_of("linux", "x86_64").unwrap(), "@foundry-rs/anvil-linux-amd64");
        let error = package_of("plan9", "sparc").unwrap_err();
        assert!(error.to_string().contains("plan9 on sparc"), "{error}");
    }
}
