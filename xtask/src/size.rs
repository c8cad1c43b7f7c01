//! `cargo xtask size`: whether the first build stays small: packages that are compiled, bytes of the binary.
//!
//! Whoever tries Bowline builds it first, so both have a budget. The third figure of `docs/building.md`, the time on two
//! cores, depends on the machine and its load; it is measured by hand, and these two are what it follows from. A dependency that is
//! worth more than its place raises the budget in the commit that brings it in.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::{fs, str};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::workspace::{RELEASE_TARGET, Workspace};

/// Packages of others that `cargo build --release` compiles: a crate split in two costs nothing.
const PACKAGES_MAX: usize = 416;
/// Bytes of the binary as `cargo build --release` leaves it.
const BINARY_BYTES_MAX: u64 = 60_000_000;

/// How the names of the workspace's own packages begin.
const OWN: &str = "bowline-";

const PACKAGE: &str = "bowline-cli";
const BINARY: &str = "bowline";

#[derive(Args)]
pub(crate) struct Options {
    /// Look at this binary instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Builds and measures; `false` if a budget is exceeded.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<bool> {
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(workspace)?,
    };
    check(workspace, &binary)
}

/// Builds the release binary as a user does.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let mut command = workspace.cargo();
    command.args(["build", "--release", "--locked", "--package", PACKAGE]);
    let status = command.status().context("cannot run cargo build")?;
    if !status.success() {
        bail!("the release binary does not build; its errors are above");
    }
    Ok(workspace.metadata()?.target_directory.into_std_path_buf().join("release").join(BINARY))
}

/// Prints both figures beside their budgets; `false` if one is exceeded.
pub(crate) fn check(workspace: &Workspace, binary: &std::path::Path) -> Result<bool> {
    let packages = packages_in(&tree(workspace)?);
    let bytes = fs::metadata(binary).with_context(|| format!("{} is not there", binary.display()))?.len();
    let lines = [
        verdict("packages", packages as u64, PACKAGES_MAX as u64, "find out with `cargo tree` what came in"),
        verdict("binary bytes", bytes, BINARY_BYTES_MAX, "find out what grew, or look at [profile.release]"),
    ];
    for (line, _) in &lines {
        println!("{line}");
    }
    Ok(lines.iter().all(|(_, fits)| *fits))
}

fn verdict(name: &str, found: u64, max: u64, mend: &str) -> (String, bool) {
    match found <= max {
        true => (format!("{name}: {found} of {max}"), true),
        false => (format!("{name}: {found}, over the budget of {max}; {mend}"), false),
    }
}

/// What is compiled for the release binary, build scripts and macros with it, a package a line.
fn tree(workspace: &Workspace) -> Result<String> {
    let mut command = workspace.cargo();
    command.args(["tree", "--locked", "--package", PACKAGE, "--edges", "normal,build"]);
    command.args(["--target", RELEASE_TARGET, "--prefix", "none", "--format", "{p}"]);
    command.env("CARGO_TERM_COLOR", "never");
    let output = command.output().context("cannot run cargo tree")?;
    if !output.status.success() {
        bail!(
            "`cargo tree` ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(str::from_utf8(&output.stdout).context("`cargo tree` printed something else than UTF-8")?.to_owned())
}

/// `name v1.2.3 (path or macro) (*)`: a package counts once for each version, and the workspace's own not at all.
fn packages_in(tree: &str) -> usize {
    let packages = tree.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?)).filter(|(name, _)| !name.starts_with(OWN))
    });
    packages.collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_counts_once_for_each_version() {
        let tree =
            "bowline-cli v0.1.1 (crates/cli)\nsyn v2.0.1\nsyn v3.0.0\nserde v1.0.0\nserde v1.0.0 (*)\n\n";
        assert_eq!(packages_in(tree), 3);
    }

    #[test]
    fn a_budget_is_kept_or_its_breach_says_what_to_do() {
        assert_eq!(verdict("packages", 430, 430, "look"), ("packages: 430 of 430".to_owned(), true));
        let (line, fits) = verdict("packages", 431, 430, "look");
        assert_eq!((line.as_str(), fits), ("packages: 431, over the budget of 430; look", false));
    }

    #[test]
    fn the_default_build_keeps_its_number_of_packages() {
        let packages = packages_in(&tree(&Workspace::find().unwrap()).unwrap());
        assert!(
            (100..=PACKAGES_MAX).contains(&packages),
            "{packages} packages, the budget is {PACKAGES_MAX}"
        );
    }
}
