//! What documents claim is backed by tests that exist.
//!
//! In the files of `CLAIMING` every row of a table names at least one test in its last cell, as
//! `crate/module::function` between backticks, or says `documentation` or `not there yet` in place of a status.
//! A module stands for `crates/CRATE/tests/it/MODULE.rs`; `crate/src/path::function` names a test beside the code.
//! Whether the test shows what the row says is for its reader to judge.

use super::tree::{SourceFile, Tree};
use super::{Finding, Repo};

const CLAIMING: [&str; 2] = ["docs/promises.md", "docs/runbooks/coverage.md"];
/// Cells that excuse a row from naming a test.
const EXCUSES: [&str; 2] = ["documentation", "not there yet"];

/// Every row names a test, and every named test is there.
pub(super) fn backed(repo: &Repo) -> Vec<Finding> {
    check(&repo.tree)
}

fn check(tree: &Tree) -> Vec<Finding> {
    let missing = CLAIMING.iter().filter(|path| tree.file(path).is_none());
    let missing = missing.map(|path| Finding::new(path, 1, "the file is missing", "write it"));
    missing
        .chain(CLAIMING.iter().filter_map(|path| tree.file(path)).flat_map(|file| rows(file, tree)))
        .collect()
}

fn rows(file: &SourceFile, tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut is_body = false;
    let mut body_rows = 0;
    for (index, line) in file.text.lines().enumerate() {
        let Some(row) = line.strip_prefix('|') else {
            is_body = false;
            continue;
        };
        if row.chars().all(|c| "|-: ".contains(c)) {
            is_body = true;
        } else if is_body {
            body_rows += 1;
            let what = faults(row, tree);
            findings.extend(what.into_iter().map(|what| {
                Finding::new(
                    &file.path,
                    index + 1,
                    what,
                    "name the test that shows it, as `crate/module::function`",
                )
            }));
        }
    }
    if body_rows == 0 {
        findings.push(Finding::new(&file.path, 1, "it has no table of claims", "write the rows"));
    }
    findings
}

fn faults(row: &str, tree: &Tree) -> Vec<String> {
    let cells: Vec<&str> = row.trim_end().trim_end_matches('|').split('|').map(str::trim).collect();
    let tests: Vec<&str> = names(cells.last().unwrap_or(&"")).collect();
    if tests.is_empty() && !cells.iter().any(|cell| EXCUSES.contains(cell)) {
        return vec!["the row names no test".to_owned()];
    }
    tests
        .into_iter()
        .filter(|name| !exists(name, tree))
        .map(|name| format!("there is no test `{name}`"))
        .collect()
}

/// What stands between backticks and looks like a test's name.
fn names(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2).filter(|word| word.contains("::") && word.contains('/'))
}

fn exists(name: &str, tree: &Tree) -> bool {
    let Some((place, function)) = name.rsplit_once("::") else { return false };
    let Some((owner, module)) = place.split_once('/') else { return false };
    let path = match module.strip_prefix("src/") {
        Some(inner) => format!("crates/{owner}/src/{inner}.rs"),
        None => format!("crates/{owner}/tests/it/{module}.rs"),
    };
    tree.file(&path).is_some_and(|file| file.text.contains(&format!("fn {function}(")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: (&str, &str) = ("crates/line/tests/it/tail.rs", "async fn it_wakes(site: Site) {}\n");
    const UNIT: (&str, &str) = ("crates/line/src/keys.rs", "fn places_are_given_back() {}\n");

    fn found(table: &str) -> Vec<String> {
        let text = format!("# Head\n\n| what | status | test |\n|---|---|---|\n{table}\n");
        let whole = "| a | b |\n|---|---|\n| x | `line/tail::it_wakes` |\n";
        let tree = Tree::of(&[(CLAIMING[0], whole), (CLAIMING[1], &text), TEST, UNIT]);
        check(&tree).into_iter().map(|finding| format!("{}: {}", finding.line, finding.what)).collect()
    }

    #[test]
    fn rows_with_tests_that_exist_are_backed() {
        let table = "| a | works | `line/tail::it_wakes`, `line/src/keys::places_are_given_back` |\n\
                     | b | documentation | |\n| c | not there yet | later |";
        assert_eq!(found(table), Vec::<String>::new());
    }

    #[test]
    fn a_row_without_a_test_or_with_one_that_is_gone_is_found() {
        let table = "| a | works | `line/tail::it_woke` |\n| b | works | by hand |\n| c | works | `line/gone::it_wakes` |";
        assert_eq!(
            found(table),
            [
                "5: there is no test `line/tail::it_woke`",
                "6: the row names no test",
                "7: there is no test `line/gone::it_wakes`"
            ]
        );
    }

    #[test]
    fn a_file_that_is_missing_or_empty_is_found() {
        let tree = Tree::of(&[(CLAIMING[0], "# Nothing\n")]);
        let paths: Vec<_> = check(&tree).into_iter().map(|finding| (finding.path, finding.what)).collect();
        assert_eq!(paths.len(), 2, "{paths:?}");
    }
}
