//! The Debian package: the binary, the units of `deploy/systemd`, the settings, the licences.
//!
//! It is written without Debian's tools and checked with them where they are. Installing it makes the user `bowline`,
//! and enables and starts nothing: a unit needs `/etc/bowline/bowline.env` first, with secrets that no package can bring.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::archive::{Tree, ar};
use super::{Source, tools};
use crate::packages::on_path;

const UNITS: &str = "deploy/systemd";
const SETTINGS: &str = "etc/bowline/runbook.yaml";
const DOCS: &str = "usr/share/doc/bowline";

/// Makes the account that the units run as.
const POSTINST: &str = "#!/bin/sh
set -e
if [ \"$1\" = configure ]; then
    if ! getent passwd bowline >/dev/null; then
        useradd --system --user-group --home-dir /var/lib/bowline --no-create-home --shell /usr/sbin/nologin bowline
    fi
    if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
fi
";
/// What runs is stopped before its binary goes; the data in /var/lib stays, also after a purge.
const PRERM: &str = "#!/bin/sh
set -e
if [ \"$1\" = remove ] && [ -d /run/systemd/system ]; then
    systemctl stop 'bowline.service' 'bowline-*.service' || true
fi
";
const POSTRM: &str = "#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
";

pub(super) fn file_name(version: &str) -> Result<String> {
    Ok(format!("bowline_{version}_{}.deb", architecture()?))
}

/// The bytes of the package.
pub(super) fn package(source: &Source<'_>) -> Result<Vec<u8>> {
    let data = files(source)?;
    let control = control(source, &data)?;
    let control = tools::gzip(&control.tar("./")?)?;
    let data = tools::gzip(&data.tar("./")?)?;
    Ok(ar(&[("debian-binary", b"2.0\n"), ("control.tar.gz", &control), ("data.tar.gz", &data)]))
}

/// Lets Debian's own tool read it, where there is one.
pub(super) fn verify(package: &Path) -> Result<()> {
    if on_path("dpkg-deb").is_none() {
        eprintln!("dpkg-deb is not there; {} was not checked with it", package.display());
        return Ok(());
    }
    for question in ["--info", "--contents"] {
        let output = Command::new("dpkg-deb").arg(question).arg(package).output();
        let output = output.context("cannot run dpkg-deb")?;
        if !output.status.success() {
            bail!("`dpkg-deb {question}` refuses the package: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    Ok(())
}

fn files(source: &Source<'_>) -> Result<Tree> {
    let mut tree = Tree::default();
    tree.file("usr/bin/bowline", 0o755, source.binary.clone());
    tree.link("usr/bin/stateset-sequencer-admin", "bowline");
    tree.file(SETTINGS, 0o644, source.file("config/runbook.yaml")?);
    let units = std::fs::read_dir(source.root.join(UNITS)).with_context(|| format!("cannot list {UNITS}"))?;
    for unit in units {
        let name = unit.with_context(|| format!("cannot list {UNITS}"))?.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".service") {
            tree.file(
                &format!("usr/lib/systemd/system/{name}"),
                0o644,
                source.file(&format!("{UNITS}/{name}"))?,
            );
        }
    }
    let licences = [source.text("LICENSE-MIT")?, source.text("LICENSE-APACHE")?];
    let copyright = format!(
        "Bowline is licensed under either of the following, at your option.\n\n{}",
        licences.join("\n---\n\n")
    );
    tree.file(&format!("{DOCS}/copyright"), 0o644, copyright);
    tree.file(&format!("{DOCS}/changelog.gz"), 0o644, tools::gzip(&source.file("CHANGELOG.md")?)?);
    tree.file(&format!("{DOCS}/README.systemd.md"), 0o644, source.file(&format!("{UNITS}/README.md"))?);
    tree.file(&format!("{DOCS}/examples/bowline.env"), 0o644, source.file(".env.example")?);
    Ok(tree)
}

fn control(source: &Source<'_>, data: &Tree) -> Result<Tree> {
    let mut sums = String::new();
    let mut bytes_count = 0;
    for (path, bytes) in data.files() {
        writeln!(sums, "{}  {path}", tools::md5(bytes)?)?;
        bytes_count += bytes.len();
    }
    let mut tree = Tree::default();
    tree.file("control", 0o644, fields(source, bytes_count.div_ceil(1024))?);
    tree.file("conffiles", 0o644, format!("/{SETTINGS}\n"));
    tree.file("md5sums", 0o644, sums);
    tree.file("postinst", 0o755, POSTINST);
    tree.file("prerm", 0o755, PRERM);
    tree.file("postrm", 0o755, POSTRM);
    Ok(tree)
}

fn fields(source: &Source<'_>, installed_kib: usize) -> Result<String> {
    let libc = match glibc_in(&source.binary) {
        Some((major, minor)) => format!("libc6 (>= {major}.{minor}), libgcc-s1, "),
        None => String::new(),
    };
    Ok(format!(
        "Package: bowline\n\
         Version: {}\n\
         Architecture: {}\n\
         Maintainer: The Bowline authors <bowline@localhost>\n\
         Installed-Size: {installed_kib}\n\
         Depends: {libc}ca-certificates, passwd\n\
         Recommends: postgresql, redis-server\n\
         Section: database\n\
         Priority: optional\n\
         Description: durable, ordered, provable event log\n \
         Signed events are numbered without a gap, kept, committed to Merkle roots and proven,\n \
         anchored on EVM chains, and delivered to webhooks. One binary serves every role.\n",
        source.version,
        architecture()?
    ))
}

/// The newest version of glibc that the binary asks for, by the names of its symbols' versions.
fn glibc_in(binary: &[u8]) -> Option<(u32, u32)> {
    let marker = b"GLIBC_";
    let places = binary.windows(marker.len()).enumerate().filter(|(_, window)| *window == marker);
    let version = |at: usize| {
        let rest =
            binary[at + marker.len()..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b'.');
        let text: String = rest.map(|byte| char::from(*byte)).collect();
        let mut numbers = text.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    places.filter_map(|(at, _)| version(at)).max()
}

/// As Debian calls the architecture of this build.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("a release for {other} was never made; add its Debian name here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Workspace;

    #[test]
    fn the_package_has_what_a_machine_needs_to_run_the_units() {
        let workspace = Workspace::find().unwrap();
        let binary = b"\x7fELF GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_PRIVATE\0GLIBC_2.9\0".to_vec();
        let source = Source { root: workspace.root(), version: "1.2.3".to_owned(), binary };
        let data = files(&source).unwrap();
        let paths: Vec<&str> = data.files().map(|(path, _)| path).collect();
        for path in [
            "etc/bowline/runbook.yaml",
            "usr/bin/bowline",
            "usr/lib/systemd/system/bowline.service",
            "usr/lib/systemd/system/bowline-action-workers@.service",
            "usr/share/doc/bowline/copyright",
        ] {
            assert!(paths.contains(&path), "{path} is not in {paths:?}");
        }
        let unit = source.text("deploy/systemd/bowline.service").unwrap();
        assert!(unit.contains("/usr/bin/bowline serve") && unit.contains(&format!("/{SETTINGS}")), "{unit}");
        let fields = fields(&source, 7).unwrap();
        assert!(fields.contains("\nVersion: 1.2.3\n") && fields.contains("libc6 (>= 2.34), "), "{fields}");
        assert!(fields.lines().all(|line| line.contains(": ") || line.starts_with(' ')), "{fields}");
        let control = control(&source, &data).unwrap();
        let sums = control.files().find(|(path, _)| *path == "md5sums").unwrap().1;
        assert_eq!(String::from_utf8_lossy(sums).lines().count(), paths.len());
    }

    #[test]
    fn the_same_binary_gives_the_same_package() {
        let workspace = Workspace::find().unwrap();
        let source = || Source { root: workspace.root(), version: "1.2.3".to_owned(), binary: b"x".to_vec() };
        let first = package(&source()).unwrap();
        assert!(first.starts_with(b"!<arch>\ndebian-binary   "));
        assert!(first == package(&source()).unwrap());
    }
}
