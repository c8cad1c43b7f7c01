//! Words that do not belong into the repository: paths of one machine and notes to oneself.
//!
//! Every text file is read, whatever its ending. The patterns are put together at run time, so that
//! this file does not find itself. A path counts only where it begins, so that `$HOME/x` or a link's
//! middle is left alone.

use super::tree::{SourceFile, Tree};
use super::{Finding, Repo};

/// No text names an absolute path that exists on one person's machine only.
pub(super) fn machine_paths(repo: &Repo) -> Vec<Finding> {
    check_paths(&repo.tree)
}

/// No text carries a note that was meant to be gone before anyone reads it.
pub(super) fn notes(repo: &Repo) -> Vec<Finding> {
    check_notes(&repo.tree)
}

fn check_paths(tree: &Tree) -> Vec<Finding> {
    let patterns = ["root", "work", "home"].map(|folder| format!("/{folder}/"));
    let mend = "name the place relative to the repository, or let a variable or a temporary folder give it";
    tree.files()
        .flat_map(|file| find_words(file, &patterns, begins_a_path))
        .map(|(path, line, word)| {
            Finding::new(path, line, format!("`{word}` is a path of one machine"), mend)
        })
        .collect()
}

fn check_notes(tree: &Tree) -> Vec<Finding> {
    let patterns = [["FIX", "ME"], ["TO", "DO:"], ["TO", "DO("], ["XX", "X:"]].map(|parts| parts.concat());
    let mend = "do it now, or describe what is missing where a user would look for it";
    tree.files()
        .flat_map(|file| find_words(file, &patterns, |_, _| true))
        .map(|(path, line, word)| Finding::new(path, line, format!("`{word}` is a note to oneself"), mend))
        .collect()
}

/// Every line that has one of the patterns at a place that `counts` accepts.
fn find_words<'a>(
    file: &'a SourceFile,
    patterns: &'a [String],
    counts: impl Fn(&str, usize) -> bool,
) -> Vec<(&'a str, usize, &'a str)> {
    let mut found = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        for pattern in patterns {
            if line.match_indices(pattern.as_str()).any(|(at, _)| counts(line, at)) {
                found.push((file.path.as_str(), index + 1, pattern.as_str()));
            }
        }
    }
    found
}

fn begins_a_path(line: &str, at: usize) -> bool {
    let before = line[..at].chars().next_back();
    !before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '~' | '}' | ')' | '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(folder: &str) -> String {
        format!("/{folder}/")
    }

    #[test]
    fn paths_of_a_machine_are_found_where_they_begin() {
        let found = [
            format!("see `{}shared`", path("work")),
            format!("{}me/x", path("home")),
            format!("file://{}x", path("root")),
        ];
        for text in &found {
            assert_eq!(check_paths(&Tree::of(&[("docs/a.md", text)])).len(), 1, "{text}");
        }
        let left_alone = [
            format!("$HOME{}x", path("work")),
            format!("https://example.org{}x", path("root")),
            format!("crates{}src", path("work")),
            "homework/and/roots".to_owned(),
        ];
        for text in &left_alone {
            assert_eq!(check_paths(&Tree::of(&[("docs/a.md", text)])), [], "{text}");
        }
    }

    #[test]
    fn notes_to_oneself_are_found_with_their_line() {
        let text = ["first\n// FIX", "ME later\n"].concat();
        let findings = check_notes(&Tree::of(&[("crates/a/src/lib.rs", &text)]));
        assert_eq!(findings.len(), 1);
        assert_eq!((findings[0].path.as_str(), findings[0].line), ("crates/a/src/lib.rs", 2));
    }
}
