//! Installs Debian packages whose programs the tests need and this machine lacks.
//!
//! It asks for one package at a time, as root or by `sudo`, and says on stderr what it runs. Where there is no
//! apt-get the error names what to install by hand.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What tests call besides PostgreSQL, each with the variable in which they look for it.
pub(crate) struct Tools {
    strace: PathBuf,
    faketime: PathBuf,
    /// A program; tests that need a Redis start one each. Its client `redis-cli` comes with it.
    redis: PathBuf,
}

impl Tools {
    /// Installs what is missing.
    pub(crate) fn find_or_install() -> Result<Tools> {
        let strace = || on_path("strace");
        let manually = "install strace 5.0 or newer";
        let strace = find_or_install(strace, "strace", manually)?;
        let manually = "install libfaketime, which is looked for in /usr/lib";
        let faketime = find_or_install(faketime_library, "libfaketime", manually)?;
        let redis = || on_path("redis-cli").and_then(|_| on_path("redis-server"));
        let manually = "install Redis 7.0 or newer so that redis-server and redis-cli are on the PATH";
        let redis = find_or_install(redis, "redis-server", manually)?;
        Ok(Tools { strace, faketime, redis })
    }

    pub(crate) fn variables(&self) -> [(&'static str, &Path); 3] {
        [
            ("BOWLINE_TEST_STRACE", &self.strace),
            ("BOWLINE_TEST_FAKETIME", &self.faketime),
            ("BOWLINE_TEST_REDIS", &self.redis),
        ]
    }
}

/// Looks for something, and installs the package that brings it if it is not there.
pub(crate) fn find_or_install(
    find: impl Fn() -> Option<PathBuf>,
    package: &str,
    manually: &str,
) -> Result<PathBuf> {
    if let Some(found) = find() {
        return Ok(found);
    }
    install(package, manually)?;
    find().with_context(|| {
        format!("{package} was installed but what it brings is not there; look at `apt-get`'s output above")
    })
}

/// Where the shell would find a program.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

/// The variant for programs with threads, in Debian's folder for this machine or in others' plain one.
fn faketime_library() -> Option<PathBuf> {
    let plain = Path::new("/usr/lib");
    let folders = std::fs::read_dir(plain).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let candidates =
        folders.chain([plain.to_owned()]).map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    candidates.into_iter().find(|path| path.is_file())
}

/// Installs a package; `manually` says what to do where that can't be.
pub(crate) fn install(package: &str, manually: &str) -> Result<()> {
    demand_apt_get(package, manually)?;
    update_lists(package)?;
    apt_get(package, &format!("install -y -q --no-install-recommends {package}"))
}

/// What is not there can't be fetched without it.
pub(crate) fn demand_apt_get(package: &str, manually: &str) -> Result<()> {
    if Command::new("apt-get").arg("--version").output().is_err() {
        bail!("{package} is missing and there is no apt-get; {manually}");
    }
    Ok(())
}

/// Lets apt-get know of packages at all, on a machine whose lists are empty or old.
pub(crate) fn update_lists(package: &str) -> Result<()> {
    apt_get(package, "update -q")
}

fn apt_get(package: &str, arguments: &str) -> Result<()> {
    let mut words: Vec<&str> = if is_root()? { Vec::new() } else { vec!["sudo", "-n"] };
    words.extend(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    words.extend(arguments.split(' '));
    eprintln!("{package} is missing: {}", words.join(" "));
    let status = Command::new(words[0]).args(&words[1..]).status();
    if !status.is_ok_and(|status| status.success()) {
        bail!("{package} could not be had; run as root: apt-get {arguments}");
    }
    Ok(())
}

pub(crate) fn is_root() -> Result<bool> {
    Ok(id(&["-u"])? == 0)
}

/// What the program `id` answers to these arguments.
pub(crate) fn id(arguments: &[&str]) -> Result<u32> {
    let output = Command::new("id").args(arguments).output().context("cannot run id")?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().with_context(|| format!("`id` answered `{}` instead of a number", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_where_the_shell_finds_them() {
        assert!(on_path("sh").is_some_and(|path| path.is_absolute()));
        assert_eq!(on_path("no-such-program-anywhere"), None);
        assert!(id(&["-u"]).is_ok());
    }
}
