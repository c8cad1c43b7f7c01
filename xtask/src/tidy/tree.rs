//! The files of the working tree, read once for all rules.
//!
//! It walks the folders itself instead of asking git, so that it also works in an unpacked release,
//! and so that a file is judged before it is committed. Build output, a node's data and scratch files
//! are left out, as `.gitignore` leaves them out; binary files are listed but have no text.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Folders that are never part of the repository, wherever they are.
const SKIPPED_ANYWHERE: [&str; 2] = [".git", "target"];
/// Folders that are not part of the repository when they are in its root.
const SKIPPED_IN_ROOT: [&str; 1] = ["data"];
const SKIPPED_ENDING: &str = ".tmp";

/// One file of the repository.
#[derive(Debug, Clone)]
pub(super) struct SourceFile {
    /// Relative to the root, with `/` between the parts.
    pub(super) path: String,
    /// Empty for a binary file.
    pub(super) text: String,
}

/// All files of the repository, ordered by path.
pub(super) struct Tree {
    files: Vec<SourceFile>,
}

impl Tree {
    /// Reads the whole working tree below `root`.
    pub(super) fn read(root: &Path) -> Result<Tree> {
        let mut files = Vec::new();
        read_folder(root, "", &mut files)?;
        files.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(Tree { files })
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter()
    }

    /// The files whose names end with `ending`, for instance `.rs`.
    pub(super) fn ending_with(&self, ending: &str) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(move |file| file.path.ends_with(ending))
    }

    pub(super) fn file(&self, path: &str) -> Option<&SourceFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Whether `path` is a file, or a folder with at least one file; the empty path is the root.
    pub(super) fn contains(&self, path: &str) -> bool {
        path.is_empty()
            || self.files.iter().any(|file| {
                file.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }

    /// The line of `Cargo.lock` where a package first stands.
    pub(super) fn lock_line(&self, package: &str) -> usize {
        let wanted = format!("name = \"{package}\"");
        let lock = self.file("Cargo.lock");
        let found = lock.and_then(|file| file.text.lines().position(|line| line == wanted));
        found.map_or(1, |index| index + 1)
    }
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
        let kind = entry.file_type().with_context(|| format!("cannot look at {path}"))?;
        if is_skipped(&name, prefix.is_empty()) {
            continue;
        }
        if kind.is_dir() {
            read_folder(&entry.path(), &path, files)?;
        } else if kind.is_file() {
            let bytes = fs::read(entry.path()).with_context(|| format!("cannot read {path}"))?;
            files.push(SourceFile { path, text: text_of(bytes) });
        }
    }
    Ok(())
}

fn is_skipped(name: &str, in_root: bool) -> bool {
    SKIPPED_ANYWHERE.contains(&name)
        || name.ends_with(SKIPPED_ENDING)
        || (in_root && SKIPPED_IN_ROOT.contains(&name))
}

fn text_of(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text,
        _ => String::new(),
    }
}

#[cfg(test)]
impl Tree {
    /// A tree of made-up files, for the tests of the rules.
    pub(super) fn of(files: &[(&str, &str)]) -> Tree {
        let files = files
            .iter()
            .map(|(path, text)| SourceFile { path: (*path).to_owned(), text: (*text).to_owned() })
            .collect();
        Tree { files }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn build_output_scratch_files_and_binary_text_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        for (path, bytes) in [
            ("README.md", &b"text"[..]),
            ("target/debug/x.rs", b"built"),
            ("data/bowline.db", b"rows"),
            ("crates/a/data/kept.txt", b"kept"),
            ("notes.tmp", b"scratch"),
            ("samples/x.gz", b"\x1f\x8b\0\xff"),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let tree = Tree::read(folder.path()).unwrap();
        let paths: Vec<&str> = tree.files().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["README.md", "crates/a/data/kept.txt", "samples/x.gz"]);
        assert_eq!(tree.file("samples/x.gz").unwrap().text, "");
        assert!(tree.contains("crates/a") && tree.contains(""));
        assert!(!tree.contains("crates/a/dat"));
    }
}
