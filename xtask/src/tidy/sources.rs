//! Rules for Rust sources: heads, lengths, nothing switched off, one reader of the environment.
//!
//! They look at lines of text, not at a syntax tree: a forbidden word inside a comment is a finding
//! too, which is meant, since commented-out code has no place either. The patterns are put together
//! at run time, so that this file does not find itself.

use super::tree::{SourceFile, Tree};
use super::{Finding, Repo};

const LINES_MAX: usize = 500;
const TEST_LINES_MAX: usize = 800;
/// A longer file must say more about itself than one line.
const SHORT_HEAD_LINES_MAX: usize = 100;

/// Files that may be longer than the limit, each with its reason.
const LONG: &[(&str, &str)] = &[];

/// Where the process environment may be read, besides tests.
const ENVIRONMENT_READERS: [&str; 6] = [
    "crates/node/src/config/",
    "crates/node/src/config.rs",
    "crates/cli/",
    "xtask/",
    "crates/neighbours/",
    "crates/conformance/",
];

/// Every Rust file opens with `//!`, and a file of some length says more than one line.
pub(super) fn heads(repo: &Repo) -> Vec<Finding> {
    repo.tree.ending_with(".rs").filter_map(check_head).collect()
}

/// No Rust file is longer than the limit.
pub(super) fn lengths(repo: &Repo) -> Vec<Finding> {
    check_lengths(&repo.tree, LONG)
}

/// No test is ignored, and no code is a placeholder or a debugging print.
pub(super) fn unfinished(repo: &Repo) -> Vec<Finding> {
    repo.tree.ending_with(".rs").flat_map(check_unfinished).collect()
}

/// The environment is read by the configuration, the command line and tests alone.
pub(super) fn environment(repo: &Repo) -> Vec<Finding> {
    repo.tree.ending_with(".rs").flat_map(check_environment).collect()
}

fn check_head(file: &SourceFile) -> Option<Finding> {
    let head_lines = file.text.lines().take_while(|line| line.starts_with("//!")).count();
    let lines = file.text.lines().count();
    let mend = "say what the file is for and what it refuses to do";
    if head_lines == 0 {
        return Some(Finding::new(&file.path, 1, "the file does not open with `//!`", mend));
    }
    if head_lines < 2 && lines > SHORT_HEAD_LINES_MAX {
        let what = format!("a head of one line for a file of {lines} lines");
        return Some(Finding::new(&file.path, 1, what, mend));
    }
    None
}

fn check_lengths(tree: &Tree, long: &[(&str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.ending_with(".rs") {
        let lines = file.text.lines().count();
        let lines_max = if is_test_file(&file.path) { TEST_LINES_MAX } else { LINES_MAX };
        let listed = long.iter().any(|(path, _)| *path == file.path);
        if lines > lines_max && !listed {
            let what = format!("{lines} lines, the limit is {lines_max}");
            findings.push(Finding::new(&file.path, lines_max + 1, what, "split the file by noun"));
        }
        if lines <= lines_max && listed {
            let mend = "take it out of LONG in xtask/src/tidy/sources.rs";
            findings.push(Finding::new(&file.path, 1, "the file is no longer too long", mend));
        }
    }
    findings
}

fn check_unfinished(file: &SourceFile) -> Vec<Finding> {
    let switched_off = "make the test pass, or delete it";
    let patterns = [
        (["#[", "ignore"].concat(), switched_off),
        ([", ignore", ")]"].concat(), switched_off),
        (["```", "ignore"].concat(), "make the example compile, or mark it `text`"),
        (["todo", "!("].concat(), "write the code, or take the entry point away"),
        (["unimpl", "emented!("].concat(), "write the code, or take the entry point away"),
        (["dbg", "!("].concat(), "remove it, or log what it shows"),
    ];
    let mut findings = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for (pattern, mend) in patterns.iter().filter(|(pattern, _)| line.contains(pattern.as_str())) {
            findings.push(Finding::new(&file.path, index + 1, format!("`{pattern}` is not allowed"), *mend));
        }
    }
    findings
}

fn check_environment(file: &SourceFile) -> Vec<Finding> {
    let allowed =
        is_test_file(&file.path) || ENVIRONMENT_READERS.iter().any(|reader| file.path.starts_with(reader));
    if allowed {
        return Vec::new();
    }
    let pattern = ["env::", "var"].concat();
    let in_tests = test_module_lines(&file.text);
    file.text
        .lines()
        .zip(in_tests)
        .enumerate()
        .filter(|(_, (line, in_tests))| line.contains(&pattern) && !in_tests)
        .map(|(index, _)| {
            let mend = "read it in crates/node/src/config and pass the value in";
            Finding::new(&file.path, index + 1, "the environment is read outside of the configuration", mend)
        })
        .collect()
}

fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// For each line, whether it is inside a `#[cfg(test)] mod … { … }`, relying on rustfmt's indentation.
fn test_module_lines(text: &str) -> Vec<bool> {
    let mut inside: Option<String> = None;
    let mut after_attribute = false;
    let mut marks = Vec::new();
    for line in text.lines() {
        let code = line.trim_start();
        if let Some(end) = &inside {
            marks.push(true);
            if line == end {
                inside = None;
            }
            continue;
        }
        marks.push(false);
        if after_attribute && code.starts_with("mod ") && code.ends_with('{') {
            inside = Some(format!("{}}}", &line[..line.len() - code.len()]));
        }
        after_attribute = code == "#[cfg(test)]" || (after_attribute && code.starts_with("#["));
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn a_file_without_a_head_is_found() {
        let found = check_head(&file("crates/line/src/tail.rs", "use std::fmt;\n//! late\n")).unwrap();
        assert_eq!(
            found.to_string().split(';').next(),
            Some("crates/line/src/tail.rs:1: the file does not open with `//!`")
        );
        assert!(check_head(&file("a.rs", "")).is_some());
        assert!(check_head(&file("a.rs", "//! What it is for.\n")).is_none());
    }

    #[test]
    fn a_longer_file_needs_a_longer_head() {
        let body = "\nfn f() {}".repeat(100);
        assert!(check_head(&file("a.rs", &format!("//! One line.{body}"))).is_some());
        assert!(check_head(&file("a.rs", &format!("//! One line.\n//! Another.{body}"))).is_none());
    }

    #[test]
    fn lengths_know_sources_tests_and_the_list_of_exceptions() {
        let lines = |count: usize| "x\n".repeat(count);
        let (short, long, longer) = (lines(500), lines(501), lines(801));
        let tree = Tree::of(&[
            ("crates/a/src/short.rs", &short),
            ("crates/a/src/long.rs", &long),
            ("crates/a/tests/it/long.rs", &long),
            ("crates/a/tests/it/longer.rs", &longer),
        ]);
        let paths = |long: &[(&str, &str)]| -> Vec<String> {
            check_lengths(&tree, long).into_iter().map(|finding| finding.path).collect()
        };
        assert_eq!(paths(&[]), ["crates/a/src/long.rs", "crates/a/tests/it/longer.rs"]);
        assert_eq!(paths(&[("crates/a/src/long.rs", "a table")]), ["crates/a/tests/it/longer.rs"]);
        let stale = [("crates/a/src/short.rs", "once long"), ("crates/a/src/long.rs", "a table")];
        assert_eq!(paths(&stale), ["crates/a/src/short.rs", "crates/a/tests/it/longer.rs"]);
    }

    #[test]
    fn switched_off_tests_and_placeholders_are_found_with_their_lines() {
        let text = [
            "//! Head.\n",
            "#[",
            "ignore = \"slow\"]\n",
            "fn f() { todo",
            "!() }\n",
            "let x = dbg",
            "!(1);\n",
            "// ignored_events is fine\n",
        ]
        .concat();
        let lines: Vec<usize> =
            check_unfinished(&file("a.rs", &text)).into_iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn the_environment_is_read_in_few_places() {
        let read = ["//! Head.\nlet url = std::env::", "var(\"DATABASE_URL\");\n"].concat();
        let count = |path: &str, text: &str| check_environment(&file(path, text)).len();
        assert_eq!(count("crates/store/src/lib.rs", &read), 1);
        assert_eq!(count("crates/node/src/build.rs", &read), 1);
        for path in
            ["crates/node/src/config/env.rs", "crates/cli/src/main.rs", "crates/store/tests/it/main.rs"]
        {
            assert_eq!(count(path, &read), 0, "{path}");
        }
        let in_module = format!("//! Head.\n#[cfg(test)]\nmod tests {{\n{read}}}\n");
        assert_eq!(count("crates/store/src/lib.rs", &in_module), 0);
        assert_eq!(count("crates/store/src/lib.rs", &format!("{in_module}{read}")), 1);
    }
}
