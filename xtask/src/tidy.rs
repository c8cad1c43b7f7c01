//! `cargo xtask tidy`: the rules of the repository that a machine can check in seconds.
//!
//! Each rule is one row of `RULES` and lives in the file of its noun. A rule returns findings and
//! never prints; a finding says where, what is wrong and how to mend it. Nothing here compiles the
//! workspace or changes a file: the working tree is read as it stands. Git is asked for one thing, the
//! messages of the commits; where it can't tell, that rule is skipped, with its reason in the output.

mod claims;
mod commits;
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
use commits::History;
use tree::Tree;

/// What every rule may look at.
struct Repo {
    tree: Tree,
    metadata: Metadata,
    /// As `Workspace::dependency_tree` gives it.
    dependency_tree: String,
    history: History,
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
    ("commits have a body", commits::bodies),
];

/// One breach of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// Relative to the repository root.
    path: String,
    /// Counted from 1; 0 if the finding is about no line of a file, as that of a commit.
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
        let Finding { path, line, what, mend } = self;
        match line {
            0 => write!(out, "{path} {what}; {mend}"),
            line => write!(out, "{path}:{line}: {what}; {mend}"),
        }
    }
}

/// Runs every rule and prints what they find; `true` when they find nothing.
pub(crate) fn run(workspace: &Workspace) -> Result<bool> {
    let repo = Repo {
        tree: Tree::read(workspace.root())?,
        metadata: workspace.metadata()?,
        dependency_tree: workspace.dependency_tree()?,
        history: History::read(workspace.root()),
    };
    let skipped = repo.history.unknown_because();
    if let Some(reason) = skipped {
        println!("skipped: commits have a body: {reason}");
    }
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
    println!("{}", last_line(findings_count, usize::from(skipped.is_some())));
    Ok(findings_count == 0)
}

fn last_line(findings_count: usize, skipped_count: usize) -> String {
    let skipped = match skipped_count {
        0 => String::new(),
        count => format!(", {count} skipped"),
    };
    match findings_count {
        0 => format!("tidy: {} checks{skipped}, no findings", RULES.len() - skipped_count),
        count => format!("tidy: {count} findings{skipped}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_place_fault_and_remedy() {
        let finding = Finding::new("crates/line/src/tail.rs", 7, "it is too long", "split it");
        assert_eq!(finding.to_string(), "crates/line/src/tail.rs:7: it is too long; split it");
        let finding = Finding::new("commit 1f3d2c1", 0, "`[line] faster` has no body", "write one");
        assert_eq!(finding.to_string(), "commit 1f3d2c1 `[line] faster` has no body; write one");
    }

    #[test]
    fn the_last_line_counts_rules_or_findings() {
        assert_eq!(last_line(0, 0), format!("tidy: {} checks, no findings", RULES.len()));
        assert_eq!(last_line(3, 0), "tidy: 3 findings");
        assert_eq!(last_line(0, 1), format!("tidy: {} checks, 1 skipped, no findings", RULES.len() - 1));
        assert_eq!(last_line(3, 1), "tidy: 3 findings, 1 skipped");
    }
}
