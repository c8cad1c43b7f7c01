//! One private PostgreSQL server: its own directory, a free port of 127.0.0.1, gone when dropped.
//!
//! It is as durable as a real one (`fsync` and `synchronous_commit` are on), because tests of
//! durability and benchmarks count on it. PostgreSQL refuses to run as root, so there the server gets
//! an unprivileged account. It never touches a server that it did not start.

mod binaries;
mod leftovers;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use binaries::{Account, Binaries};

const DIRECTORY_PREFIX: &str = "bowline-pg-";
const SUPERUSER: &str = "bowline";
const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(20);
/// Another process may take the free port before the server does.
const START_ATTEMPTS_MAX: u32 = 3;
const LOG_LINES_SHOWN: usize = 15;

/// What differs from PostgreSQL's defaults, besides the address.
pub(crate) const SETTINGS: [(&str, &str); 4] =
    [("max_connections", "200"), ("shared_buffers", "128MB"), ("fsync", "on"), ("synchronous_commit", "on")];

/// A running server; dropping it stops the server and removes its directory.
pub(crate) struct PrivatePostgres {
    binaries: Binaries,
    account: Option<Account>,
    directory: TempDir,
    server: Option<Child>,
    port: u16,
}

impl PrivatePostgres {
    /// Installs PostgreSQL if need be, starts a fresh server and waits until it takes connections.
    pub(crate) fn start() -> Result<PrivatePostgres> {
        let binaries = Binaries::find_or_install()?;
        let account = Account::for_server()?;
        leftovers::remove();
        let directory = tempfile::Builder::new()
            .prefix(DIRECTORY_PREFIX)
            .tempdir()
            .context("cannot make a temporary directory for PostgreSQL")?;
        let mut postgres = PrivatePostgres { binaries, account, directory, server: None, port: 0 };
        postgres.initialize()?;
        for attempt in 1..=START_ATTEMPTS_MAX {
            match postgres.start_server() {
                Ok(()) => return Ok(postgres),
                Err(error) if attempt == START_ATTEMPTS_MAX || postgres.server.is_some() => {
                    return Err(error);
                }
                Err(error) => {
                    eprintln!("PostgreSQL: attempt {attempt} failed ({error:#}), trying another port")
                }
            }
        }
        bail!("PostgreSQL was not started")
    }

    /// The database that every server has; tests make their own from there.
    pub(crate) fn url(&self) -> String {
        self.url_of("postgres")
    }

    pub(crate) fn bindir(&self) -> &Path {
        self.binaries.bindir()
    }

    /// The account that the server runs as, when that is not the caller's own.
    pub(crate) fn account_name(&self) -> &str {
        self.account.as_ref().map_or("", |account| account.name.as_str())
    }

    /// Such as `postgres (PostgreSQL) 15.18`.
    pub(crate) fn version(&self) -> Result<String> {
        let mut command = Command::new(self.binaries.program("postgres"));
        command.arg("--version");
        Ok(run_quietly(&mut command, "postgres --version")?.trim().to_owned())
    }

    /// Makes an empty database and returns its URL.
    pub(crate) fn create_database(&self, name: &str) -> Result<String> {
        let mut command = Command::new(self.binaries.program("createdb"));
        command.args(["-h", "127.0.0.1", "-U", SUPERUSER, "-p", &self.port.to_string(), name]);
        run_quietly(&mut command, "createdb")?;
        Ok(self.url_of(name))
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}@127.0.0.1:{}/{database}", self.port)
    }

    fn initialize(&self) -> Result<()> {
        leftovers::sign(self.directory.path())?;
        if let Some(account) = &self.account {
            chown(self.directory.path(), Some(account.uid), Some(account.gid))
                .with_context(|| format!("cannot give PostgreSQL's directory to {}", account.name))?;
        }
        let mut command = self.command("initdb");
        command.arg("-D").arg(self.data()).args(["-A", "trust", "-U", SUPERUSER, "--no-sync"]);
        command.args(["-E", "UTF8", "--locale=C"]);
        run_quietly(&mut command, "initdb")?;
        Ok(())
    }

    /// The server stays in our process group, so that Ctrl-C reaches it as well.
    fn start_server(&mut self) -> Result<()> {
        self.port = free_port()?;
        let log = File::create(self.log()).context("cannot write PostgreSQL's log")?;
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        command.args(["-c", "listen_addresses=127.0.0.1", "-c"]);
        command.arg(format!("unix_socket_directories={}", self.directory.path().display()));
        for (name, value) in SETTINGS {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.stdout(log.try_clone().context("cannot share PostgreSQL's log")?).stderr(log);
        self.server = Some(command.spawn().context("cannot start PostgreSQL")?);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !self.says_ready() {
            if let Some(server) = &mut self.server
                && let Some(status) = server.try_wait().context("cannot watch PostgreSQL")?
            {
                self.server = None;
                bail!("PostgreSQL ended with {status}; its log says:\n{}", self.log_tail());
            }
            if Instant::now() > deadline {
                bail!(
                    "PostgreSQL was not ready within {START_TIMEOUT:?}; its log says:\n{}",
                    self.log_tail()
                );
            }
            thread::sleep(START_POLL);
        }
        Ok(())
    }

    /// The eighth line of `postmaster.pid` is the state, as `pg_ctl` reads it.
    fn says_ready(&self) -> bool {
        let text = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        text.lines().nth(7).is_some_and(|state| state.trim() == "ready")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.program(program));
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    fn log_tail(&self) -> String {
        last_lines(&fs::read_to_string(self.log()).unwrap_or_default(), LOG_LINES_SHOWN)
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "-w", "-s", "-m", "immediate", "-D"]).arg(self.data());
        if let Err(error) = run_quietly(&mut stop, "pg_ctl stop") {
            eprintln!("PostgreSQL did not stop ({error:#}); killing it");
            let _ = server.kill();
        }
        let _ = server.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no port of 127.0.0.1 is free")?;
    Ok(listener.local_addr().context("the free port has no number")?.port())
}

/// The last lines of a log, for an error message.
pub(crate) fn last_lines(text: &str, lines_max: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(lines_max)..].join("\n")
}

/// Runs a program to its end and returns its stdout; what it said is in the error if it failed.
fn run_quietly(command: &mut Command, name: &str) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("{name} ended with {}:\n{}", output.status, last_lines(&said, LOG_LINES_SHOWN));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_server_starts_takes_databases_and_leaves_nothing_behind() {
        let postgres = PrivatePostgres::start().unwrap();
        let (port, directory) = (postgres.port, postgres.directory.path().to_path_buf());
        assert!(TcpStream::connect(("127.0.0.1", port)).is_ok());
        assert!(postgres.version().unwrap().contains("PostgreSQL"));

        let url = postgres.create_database("second").unwrap();
        assert!(url.ends_with("/second"));
        let error = postgres.create_database("second").unwrap_err();
        assert!(format!("{error:#}").contains("already exists"), "{error:#}");
        let mut ask = Command::new(postgres.bindir().join("psql"));
        ask.args(["-X", "-A", "-t", "-d", &url]);
        ask.args([
            "-c",
            "select current_setting('fsync'), current_setting('max_connections'), version() ~ 'Post'",
        ]);
        assert_eq!(run_quietly(&mut ask, "psql").unwrap().trim(), "on|200|t");

        drop(postgres);
        assert!(!directory.exists());
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }

    #[test]
    fn the_last_lines_of_a_log() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a\n", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }
}
