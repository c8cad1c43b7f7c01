//! `cargo xtask tidy`: the rules of the repository that a machine can check in seconds.
//!
//! Each rule is one row of `RULES` and lives in the file of its noun. A rule returns findings and
//! never prints; a finding says where, what is wrong and how to mend it. Nothing here compiles the
//! workspace, changes a file or calls git: the working tree is read as it stands.

mod claims;
mod docs;
mod doubled;
mod edges;
mod licences;
mod links;
mod migrations;
mod sources;
mod spdx;
mod tree;
mod words;

use std::fmt;

use anyhow::Result;
use cargo_metadata::Metadata;

use crate::workspace::Workspace;
use tree::Tree;

/// What every rule may look at.
struct Repo {
    tree: Tree,
    metadata: Metadata,
    /// As `Workspace::dependency_tree` gives it.
    dependency_tree: String,
}

type Rule = fn(&Repo) -> Vec<Finding>;

/// Every rule, in the order in which findings are printed.
const RULES: &[(&str, Rule)] = &[
    ("dependencies between crates point down", edges::layers),
    ("pure crates know no server and no database", edges::pure_crates),
    ("files open with a head", sources::heads),
    ("files stay short", sources::lengths),
    ("no test is switched off and no code is missing", sources::unfinished),
    ("one module reads the environment", sources::environment),
    ("no machine's paths", words::machine_paths),
    ("no notes to self", words::notes),
    ("the root's files exist", docs::root_files),
    ("ARCHITECTURE.md stays short", docs::architecture_length),
    ("relative links lead somewhere", links::relative),
    ("claims are backed by tests", claims::backed),
    ("licences are allowed", licences::allowed),
    ("dependencies come from crates.io", licences::sources),
    ("one version of each dependency", doubled::versions),
    ("both stores have the same migrations", migrations::same_names),
];

/// One breach of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// Relative to the repository root.
    path: String,
    /// Counted from 1.
    line: usize,
    what: String,
    mend: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>, mend: impl Into<String>) -> Finding {
        Finding { path: path.to_owned(), line, what: what.into(), mend: mend.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}; {}", self.path, self.line, self.what, self.mend)
    }
}

/// Runs every rule and prints what they find; `true` when they find nothing.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let repo = Repo {
        tree: Tree::read(workspace.root())?,
        metadata: workspace.metadata()?,
        dependency_tree: workspace.dependency_tree()?,
    };
    let mut findings_count = 0;
    for (name, rule) in RULES {
        let findings = rule(&repo);
        if !findings.is_empty() {
            println!("{name}:");
        }
        for finding in &findings {
            println!("{finding}");
        }
        findings_count += findings.len();
    }
    println!("{}", last_line(findings_count));
    Ok(findings_count == 0)
}

fn last_line(findings_count: usize) -> String {
    match findings_count {
        0 => format!("tidy: {} checks, no findings", RULES.len()),
        count => format!("tidy: {count} findings"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_place_fault_and_remedy() {
        let finding = Finding::new("crates/line/src/tail.rs", 7, "it is too long", "split it");
        assert_eq!(finding.to_string(), "crates/line/src/tail.rs:7: it is too long; split it");
    }

    #[test]
    fn the_last_line_counts_rules_or_findings() {
        assert_eq!(last_line(0), format!("tidy: {} checks, no findings", RULES.len()));
        assert_eq!(last_line(3), "tidy: 3 findings");
    }
}
