//! Finds PostgreSQL's server programs, installs them where there are none, and picks the account
//! that the server runs as.
//!
//! Installing means Debian's package and nothing else: on other systems the error names what to
//! install. It never starts or changes a server that the package sets up.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::run_quietly;
use crate::packages::{self, id, is_root};

/// Where Debian's packages put each version: `/usr/lib/postgresql/15/bin`.
const DEBIAN_FOLDER: &str = "/usr/lib/postgresql";
/// Accounts that the server may get when the caller is root, best first.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];
const MANUALLY: &str =
    "install PostgreSQL 15 or newer so that `pg_config --bindir` names its server programs";

/// The folder with `initdb`, `postgres`, `pg_ctl` and `createdb` of one version.
#[derive(Debug)]
pub(super) struct Binaries {
    bindir: PathBuf,
}

impl Binaries {
    /// The newest version that is there; installs one if there is none.
    pub(super) fn find_or_install() -> Result<Binaries> {
        if let Some(binaries) = Binaries::find() {
            return Ok(binaries);
        }
        packages::install("postgresql", MANUALLY)?;
        match Binaries::find() {
            Some(binaries) => Ok(binaries),
            None => bail!(
                "PostgreSQL was installed but {DEBIAN_FOLDER}/*/bin/initdb is not there; look at `apt-get`'s output above"
            ),
        }
    }

    pub(super) fn bindir(&self) -> &Path {
        &self.bindir
    }

    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.bindir.join(name)
    }

    fn find() -> Option<Binaries> {
        newest_in(Path::new(DEBIAN_FOLDER)).or_else(named_by_pg_config).map(|bindir| Binaries { bindir })
    }
}

fn newest_in(folder: &Path) -> Option<PathBuf> {
    let versions = fs::read_dir(folder).ok()?.filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        let bindir = folder.join(&name).join("bin");
        let major = name.parse::<u32>().ok()?;
        bindir.join("initdb").is_file().then_some((major, bindir))
    });
    versions.max().map(|(_, bindir)| bindir)
}

fn named_by_pg_config() -> Option<PathBuf> {
    let bindir =
        PathBuf::from(run_quietly(Command::new("pg_config").arg("--bindir"), "pg_config").ok()?.trim());
    bindir.join("initdb").is_file().then_some(bindir)
}

/// The account that the server runs as.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// `None`: the caller's own account will do.
    pub(super) fn for_server() -> Result<Option<Account>> {
        if !is_root()? {
            return Ok(None);
        }
        for name in ACCOUNTS {
            if let (Ok(uid), Ok(gid)) = (id(&["-u", name]), id(&["-g", name])) {
                return Ok(Some(Account { name: name.to_owned(), uid, gid }));
            }
        }
        bail!(
            "PostgreSQL does not run as root and there is no account {}; run this as another user",
            ACCOUNTS.join(" or ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_with_a_server_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        for (version, has_server) in [("9", true), ("15", true), ("17", false), ("tools", true)] {
            let bindir = folder.path().join(version).join("bin");
            fs::create_dir_all(&bindir).unwrap();
            if has_server {
                fs::write(bindir.join("initdb"), "").unwrap();
            }
        }
        assert_eq!(newest_in(folder.path()), Some(folder.path().join("15/bin")));
        assert_eq!(newest_in(&folder.path().join("none")), None);
    }
}
