//! Programs from npm that the tests and the contracts need, put beside the build's output.
//!
//! Each set of packages gets a folder of its own in the target folder, is installed once in exactly the versions
//! that its caller names, and runs no install scripts. Node.js itself comes from Debian if this machine has none.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages;
use crate::postgres::last_lines;

/// What tests run beside the product: whoever receives signed webhooks checks them with the first, and the second is
/// a server of tools.
const FOR_TESTS: [&str; 2] = ["standardwebhooks@1.1.1", "@modelcontextprotocol/server-everything@2026.8.31"];
const MANUALLY: &str = "install Node.js 18 or newer with npm";
const LOG_LINES_SHOWN: usize = 15;

/// The folder `node_modules` that has what tests need.
pub(crate) fn for_tests(target: &Path) -> Result<PathBuf> {
    find_or_install(target, "npm-tests", &FOR_TESTS)
}

/// The folder `node_modules` that has `packages`, each as `name@version`; `folder` is its place in the target folder.
pub(crate) fn find_or_install(target: &Path, folder: &str, packages: &[&str]) -> Result<PathBuf> {
    let folder = target.join(folder);
    let modules = folder.join("node_modules");
    let wanted = packages.join("\n");
    if fs::read_to_string(folder.join("installed")).is_ok_and(|installed| installed == wanted) {
        return Ok(modules);
    }
    let npm = packages::find_or_install(|| packages::on_path("npm"), "npm", MANUALLY)?;
    eprintln!("npm: installing {} into {}", packages.join(" "), folder.display());
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut command = Command::new(npm);
    command.args([
        "install",
        "--save-exact",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--loglevel=error",
    ]);
    command.arg("--prefix").arg(&folder).args(packages).current_dir(&folder);
    let output = command.output().context("cannot run npm")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "npm ended with {}; {} must be had from the npm registry:\n{}",
            output.status,
            packages.join(" "),
            last_lines(&said, LOG_LINES_SHOWN)
        );
    }
    // Written last, so that half an installation is done again.
    fs::write(folder.join("installed"), wanted).context("cannot note the installation")?;
    Ok(modules)
}

/// The program `node`, which comes with npm.
pub(crate) fn node() -> Result<PathBuf> {
    packages::find_or_install(|| packages::on_path("node"), "nodejs", MANUALLY)
}
