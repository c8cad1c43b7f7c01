//! Rules for the documents in the root: they exist, and the description of the design stays short.
//!
//! Whether a document is true is for its reader to judge; here only what can be counted is checked.
//! Links have a file of their own.

use super::tree::Tree;
use super::{Finding, Repo};

const ROOT_FILES: [&str; 8] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-MIT",
    "LICENSE-APACHE",
    "rustfmt.toml",
    ".ci/run",
];

const ARCHITECTURE: &str = "ARCHITECTURE.md";
const ARCHITECTURE_LINES_MAX: usize = 400;

/// The files that every reader expects in the root are there and are not empty.
pub(super) fn root_files(repo: &Repo) -> Vec<Finding> {
    check_root_files(&repo.tree)
}

/// The description of the design can be read in one sitting.
pub(super) fn architecture_length(repo: &Repo) -> Vec<Finding> {
    check_architecture(&repo.tree)
}

fn check_root_files(tree: &Tree) -> Vec<Finding> {
    ROOT_FILES
        .iter()
        .filter(|path| tree.file(path).is_none_or(|file| file.text.trim().is_empty()))
        .map(|path| Finding::new(path, 1, "the file is missing or empty", "write it"))
        .collect()
}

fn check_architecture(tree: &Tree) -> Vec<Finding> {
    let lines = tree.file(ARCHITECTURE).map_or(0, |file| file.text.lines().count());
    if lines <= ARCHITECTURE_LINES_MAX {
        return Vec::new();
    }
    let what = format!("{lines} lines, the limit is {ARCHITECTURE_LINES_MAX}");
    vec![Finding::new(ARCHITECTURE, ARCHITECTURE_LINES_MAX + 1, what, "move detail into the heads of files")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_or_empty_root_file_is_found() {
        let mut files: Vec<(&str, &str)> = ROOT_FILES.iter().map(|path| (*path, "text")).collect();
        assert_eq!(check_root_files(&Tree::of(&files)), []);
        files[0].1 = " \n";
        files.pop();
        let paths: Vec<String> =
            check_root_files(&Tree::of(&files)).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["README.md", ".ci/run"]);
    }

    #[test]
    fn a_long_description_of_the_design_is_found() {
        let text = |lines: usize| "line\n".repeat(lines);
        assert_eq!(check_architecture(&Tree::of(&[(ARCHITECTURE, &text(400))])), []);
        let findings = check_architecture(&Tree::of(&[(ARCHITECTURE, &text(401))]));
        assert_eq!((findings.len(), findings[0].line), (1, 401));
    }
}
