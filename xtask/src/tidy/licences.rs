//! Every dependency may be shipped in the binary: its licence is allowed and its origin is known.
//!
//! The graph is the one that cargo resolves for the release platform, tests and build scripts
//! included. A dependency without a licence expression is a finding, even if it has a licence file:
//! someone must read that file and add a row to `CLARIFIED`.

use cargo_metadata::Package;

use super::spdx;
use super::{Finding, Repo};

const ALLOWED: [&str; 15] = [
    "MIT",
    // MIT without the duty to name anybody.
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MPL-2.0",
    "Unicode-3.0",
    "Zlib",
    "CC0-1.0",
    "0BSD",
    "Unlicense",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
];

/// Packages whose manifest names no expression: name, the expression that their licence file amounts to.
const CLARIFIED: &[(&str, &str)] = &[];

/// Every package's licence expression is satisfied by `ALLOWED`.
pub(super) fn allowed(repo: &Repo) -> Vec<Finding> {
    let faults = repo.metadata.packages.iter().filter_map(|package| {
        let clarified = CLARIFIED.iter().find(|(name, _)| *name == package.name.as_str());
        let expression = clarified.map(|(_, expression)| *expression).or(package.license.as_deref());
        fault_of(expression).map(|fault| (package, fault))
    });
    faults
        .map(|(package, fault)| {
            finding(
                repo,
                package,
                &fault,
                "use another crate, or argue for the licence in ALLOWED of xtask/src/tidy/licences.rs",
            )
        })
        .collect()
}

/// Every package that is not of the workspace comes from crates.io.
pub(super) fn sources(repo: &Repo) -> Vec<Finding> {
    let members = &repo.metadata.workspace_members;
    let strangers = repo.metadata.packages.iter().filter(|package| {
        !members.contains(&package.id) && !package.source.as_ref().is_some_and(|source| source.is_crates_io())
    });
    strangers
        .map(|package| {
            finding(repo, package, "it does not come from crates.io", "depend on a published version")
        })
        .collect()
}

fn fault_of(expression: Option<&str>) -> Option<String> {
    let Some(expression) = expression else {
        return Some("its manifest names no licence".to_owned());
    };
    match spdx::satisfied(expression, &|name| ALLOWED.contains(&name)) {
        Ok(true) => None,
        Ok(false) => Some(format!("its licence `{expression}` is not allowed")),
        Err(why) => Some(format!("its licence `{expression}` cannot be read: {why}")),
    }
}

fn finding(repo: &Repo, package: &Package, fault: &str, mend: &str) -> Finding {
    let what = format!("{} {}: {fault}", package.name, package.version);
    Finding::new("Cargo.lock", repo.tree.lock_line(&package.name), what, mend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_licences_pass_and_others_are_named() {
        assert_eq!(fault_of(Some("MIT OR Apache-2.0")), None);
        assert_eq!(fault_of(Some("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT")), None);
        assert_eq!(fault_of(Some("Apache-2.0 AND ISC")), None);
        let fault = fault_of(Some("AGPL-3.0-only")).unwrap();
        assert!(fault.contains("AGPL-3.0-only"), "{fault}");
        assert!(fault_of(Some("MIT AND")).unwrap().contains("cannot be read"));
        assert!(fault_of(None).is_some());
    }
}
