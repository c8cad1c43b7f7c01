//! Archives byte for byte: tar (POSIX ustar) and ar, as Debian packages and images consist of them.
//!
//! Entries are sorted by path, all times are one constant, and folders that lead to an entry are added, so that equal
//! content gives equal bytes. A path that ustar has no room for is an error, never cut.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

/// 2020-01-01T00:00:00Z: of everything that is in an archive.
pub(super) const TIME_SECS: u64 = 1_577_836_800;
pub(super) const TIME: &str = "2020-01-01T00:00:00Z";

const BLOCK_BYTES: usize = 512;
const NAME_BYTES_MAX: usize = 100;

/// What stands at a path.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    File(Vec<u8>),
    Folder,
    /// A symbolic link to this target.
    Link(String),
}

/// One entry of a tree; `owner` is the user's and the group's number.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    mode: u32,
    owner: u32,
    content: Content,
}

/// Files by their absolute paths without the leading `/`.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    entries: BTreeMap<String, Entry>,
}

impl Tree {
    /// A file of root's.
    pub(super) fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.add(path, Entry { mode, owner: 0, content: Content::File(bytes.into()) });
    }

    pub(super) fn folder(&mut self, path: &str, mode: u32, owner: u32) {
        self.add(path, Entry { mode, owner, content: Content::Folder });
    }

    pub(super) fn link(&mut self, path: &str, target: &str) {
        self.add(path, Entry { mode: 0o777, owner: 0, content: Content::Link(target.to_owned()) });
    }

    /// Path and bytes of every file.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.entries.iter().filter_map(|(path, entry)| match &entry.content {
            Content::File(bytes) => Some((path.as_str(), bytes.as_slice())),
            Content::Folder | Content::Link(_) => None,
        })
    }

    /// The whole tree as tar, with `prefix` in front of every path.
    pub(super) fn tar(&self, prefix: &str) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for (path, entry) in &self.entries {
            put(&mut out, &format!("{prefix}{path}"), entry)?;
        }
        out.resize(out.len() + 2 * BLOCK_BYTES, 0);
        Ok(out)
    }

    fn add(&mut self, path: &str, entry: Entry) {
        for (at, _) in path.match_indices('/') {
            let folder = Entry { mode: 0o755, owner: 0, content: Content::Folder };
            self.entries.entry(path[..at].to_owned()).or_insert(folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }
}

fn put(out: &mut Vec<u8>, path: &str, entry: &Entry) -> Result<()> {
    let (kind, target, bytes, name): (u8, &str, &[u8], String) = match &entry.content {
        Content::File(bytes) => (b'0', "", bytes, path.to_owned()),
        Content::Link(target) => (b'2', target, &[], path.to_owned()),
        Content::Folder => (b'5', "", &[], format!("{path}/")),
    };
    if name.len() > NAME_BYTES_MAX || target.len() > NAME_BYTES_MAX {
        bail!("{name} is too long for an archive: at most {NAME_BYTES_MAX} bytes");
    }
    let mut header = [0_u8; BLOCK_BYTES];
    let mut field = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    field(0, &name);
    field(100, &format!("{:07o}", entry.mode));
    field(108, &format!("{:07o}", entry.owner));
    field(116, &format!("{:07o}", entry.owner));
    field(124, &format!("{:011o}", bytes.len()));
    field(136, &format!("{TIME_SECS:011o}"));
    // The sum is taken with spaces in its own place.
    field(148, "        ");
    field(157, target);
    field(257, "ustar\x0000");
    header[156] = kind;
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(bytes);
    out.resize(out.len().next_multiple_of(BLOCK_BYTES), 0);
    Ok(())
}

/// An ar archive of these members, in this order.
pub(super) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in members {
        let header = format!("{name:<16}{TIME_SECS:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 100_644, bytes.len());
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(bytes);
        if bytes.len() % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt as _;
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_itself_reads_what_is_written() {
        let mut tree = Tree::default();
        tree.file("usr/bin/tool", 0o755, b"program".to_vec());
        tree.link("usr/bin/alias", "tool");
        tree.folder("var/lib/tool", 0o700, 10_001);
        tree.file("usr/bin/empty", 0o644, Vec::new());
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("a.tar");
        fs::write(&archive, tree.tar("./").unwrap()).unwrap();
        let listed =
            Command::new("tar").arg("-tvf").arg(&archive).args(["--numeric-owner", "--utc"]).output();
        let listed = listed.unwrap();
        assert!(listed.status.success() && listed.stderr.is_empty(), "{listed:?}");
        let listed = String::from_utf8(listed.stdout).unwrap();
        let lines: Vec<String> =
            listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "drwxr-xr-x 0/0 0 2020-01-01 00:00 ./usr/",
                "drwxr-xr-x 0/0 0 2020-01-01 00:00 ./usr/bin/",
                "lrwxrwxrwx 0/0 0 2020-01-01 00:00 ./usr/bin/alias -> tool",
                "-rw-r--r-- 0/0 0 2020-01-01 00:00 ./usr/bin/empty",
                "-rwxr-xr-x 0/0 7 2020-01-01 00:00 ./usr/bin/tool",
                "drwxr-xr-x 0/0 0 2020-01-01 00:00 ./var/",
                "drwxr-xr-x 0/0 0 2020-01-01 00:00 ./var/lib/",
                "drwx------ 10001/10001 0 2020-01-01 00:00 ./var/lib/tool/",
            ]
        );
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(&archive).arg("--no-same-owner").current_dir(folder.path());
        assert!(unpack.status().unwrap().success());
        assert_eq!(fs::read(folder.path().join("usr/bin/alias")).unwrap(), b"program");
        assert_eq!(fs::metadata(folder.path().join("usr/bin/tool")).unwrap().mtime() as u64, TIME_SECS);
    }

    #[test]
    fn a_path_without_room_is_an_error() {
        let mut tree = Tree::default();
        tree.file(&"x".repeat(NAME_BYTES_MAX + 1), 0o644, Vec::new());
        assert!(tree.tar("").is_err());
    }

    #[test]
    fn members_of_an_ar_archive_begin_at_even_places() {
        let archive = ar(&[("debian-binary", b"2.0"), ("x", b"")]);
        let text = String::from_utf8(archive).unwrap();
        let second = text.find("x  ").unwrap();
        assert_eq!((text.starts_with("!<arch>\ndebian-binary   "), second), (true, 8 + 60 + 4));
        assert_eq!(text.len(), 8 + 60 + 4 + 60);
    }
}
