//! The programs of the system that make a release: `strip`, `gzip`, `sha256sum`, `md5sum`, `ldd`.
//!
//! All but `strip` and `ldd` are filters, called with their input in a file, so that no pipe can fill up. A program
//! that is missing is named with what to install.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Writes the binary without its symbols.
pub(super) fn strip(from: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("strip");
    command.arg("--strip-all").arg("-o").arg(to).arg(from);
    run(&mut command, "strip", "install binutils").map(drop)
}

/// Without a name and a time in its header.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    filter("gzip", &["-9", "-n", "-c"], bytes)
}

/// Hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> Result<String> {
    sum("sha256sum", bytes)
}

/// Hexadecimal, for `dpkg --verify`.
pub(super) fn md5(bytes: &[u8]) -> Result<String> {
    sum("md5sum", bytes)
}

/// The shared objects that the loader of this machine gives to a program, the loader among them.
pub(super) fn shared_objects(binary: &Path) -> Result<Vec<PathBuf>> {
    let said = run(Command::new("ldd").arg(binary), "ldd", "it belongs to glibc")?;
    objects_in(&String::from_utf8_lossy(&said))
}

/// `libm.so.6 => /lib/libm.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`, and the kernel's own without a path.
fn objects_in(said: &str) -> Result<Vec<PathBuf>> {
    let mut objects = Vec::new();
    for line in said.lines().map(str::trim) {
        if line.ends_with("=> not found") {
            bail!("this machine lacks a shared object: {line}");
        }
        let path = line.split_once("=> ").map_or(line, |(_, path)| path);
        let path = path.split_once(" (").map_or(path, |(path, _)| path);
        if path.starts_with('/') {
            objects.push(PathBuf::from(path));
        }
    }
    Ok(objects)
}

fn sum(program: &str, bytes: &[u8]) -> Result<String> {
    let said = String::from_utf8_lossy(&filter(program, &[], bytes)?).into_owned();
    let hash = said.split_whitespace().next().map(str::to_owned);
    hash.with_context(|| format!("{program} printed no hash"))
}

fn filter(program: &str, arguments: &[&str], bytes: &[u8]) -> Result<Vec<u8>> {
    let mut input: fs::File = tempfile::tempfile().context("cannot make a temporary file")?;
    input.write_all(bytes).context("cannot write a temporary file")?;
    input.rewind().context("cannot read a temporary file")?;
    run(Command::new(program).args(arguments).stdin(input), program, "install coreutils and gzip")
}

fn run(command: &mut Command, program: &str, install: &str) -> Result<Vec<u8>> {
    let output = command.stderr(Stdio::piped()).output();
    let output = output.with_context(|| format!("cannot run {program}; {install}"))?;
    if !output.status.success() {
        bail!("{program} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_compression_are_those_of_the_system() {
        assert_eq!(md5(b"").unwrap(), "d41d8cd98f00b204e9800998ecf8427e");
        assert!(sha256(b"abc").unwrap().starts_with("ba7816bf8f01cfea"));
        let large = vec![7; 1 << 20];
        assert_eq!(gzip(&large).unwrap(), gzip(&large).unwrap());
    }

    #[test]
    fn the_loader_and_what_it_finds_are_read_from_ldd() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibm.so.6 => /lib/libm.so.6 (0x00007f42)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f43)\n";
        let objects = objects_in(said).unwrap();
        assert_eq!(objects, [PathBuf::from("/lib/libm.so.6"), PathBuf::from("/lib64/ld-linux-x86-64.so.2")]);
        assert_eq!(objects_in("\tstatically linked\n").unwrap(), Vec::<PathBuf>::new());
        assert!(objects_in("\tlibz.so.1 => not found\n").is_err());
    }
}
