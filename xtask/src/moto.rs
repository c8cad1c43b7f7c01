//! A private S3: moto's server on a free port of 127.0.0.1, for tests that need a bucket.
//!
//! It is installed once from PyPI into a virtual environment in the target folder, and started for each run. It
//! keeps its buckets in memory and ends with the run, also with one that is killed: then its standard input closes.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::postgres::{free_port, last_lines};

const PACKAGE: &str = "moto[server]==5.2.5";
/// The folder in the target folder; another version of the package gets another one.
const FOLDER: &str = "moto-5.2.5";
const START_TIMEOUT: Duration = Duration::from_secs(60);
const START_POLL: Duration = Duration::from_millis(20);
/// Another process may take the free port before the server does.
const START_ATTEMPTS_MAX: u32 = 3;
const LOG_LINES_SHOWN: usize = 15;

/// The server, which ends when nobody holds its standard input any more.
const PROGRAM: &str = "\
import os, sys, threading
def watch():
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
from moto.server import main
main(['-H', '127.0.0.1', '-p', sys.argv[1]])
";

/// A running server; dropping it stops it.
pub(crate) struct PrivateS3 {
    server: Child,
    port: u16,
    /// Holds the log.
    _directory: TempDir,
}

impl PrivateS3 {
    /// Installs moto if need be, starts a fresh server and waits until it takes connections.
    pub(crate) fn start(target: &Path) -> Result<PrivateS3> {
        let python = find_or_install(target)?;
        for attempt in 1.. {
            match Self::start_once(&python) {
                Err(error) if attempt < START_ATTEMPTS_MAX => {
                    eprintln!("S3: attempt {attempt} failed ({error:#}), trying another port");
                }
                started => return started,
            }
        }
        bail!("S3 was not started")
    }

    /// Such as `http://127.0.0.1:40000`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn start_once(python: &Path) -> Result<PrivateS3> {
        let port = free_port()?;
        let directory = tempfile::tempdir().context("cannot make a temporary directory for S3")?;
        let log_path = directory.path().join("server.log");
        let log = File::create(&log_path).context("cannot write the log of S3")?;
        let mut command = Command::new(python);
        command.args(["-c", PROGRAM, &port.to_string()]).current_dir(directory.path()).stdin(Stdio::piped());
        command.stdout(log.try_clone().context("cannot share the log of S3")?).stderr(log);
        let server = command.spawn().context("cannot start S3")?;
        let mut s3 = PrivateS3 { server, port, _directory: directory };
        s3.wait_until_ready(&log_path)?;
        Ok(s3)
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let said = || last_lines(&fs::read_to_string(log).unwrap_or_default(), LOG_LINES_SHOWN);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.server.try_wait().context("cannot watch S3")? {
                bail!("S3 ended with {status}; its log says:\n{}", said());
            }
            if Instant::now() > deadline {
                bail!("S3 was not ready within {START_TIMEOUT:?}; its log says:\n{}", said());
            }
            thread::sleep(START_POLL);
        }
        Ok(())
    }
}

impl Drop for PrivateS3 {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The Python that has moto.
fn find_or_install(target: &Path) -> Result<PathBuf> {
    let folder = target.join(FOLDER);
    let python = folder.join("bin/python");
    if folder.join("installed").is_file() {
        return Ok(python);
    }
    eprintln!("S3: installing {PACKAGE} into {}", folder.display());
    fs::create_dir_all(target).with_context(|| format!("cannot make {}", target.display()))?;
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder), "python3 -m venv")?;
    let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
    run(Command::new(&python).args(arguments), "pip install")?;
    // Written last, so that half an installation is done again.
    fs::write(folder.join("installed"), PACKAGE).context("cannot note the installation of moto")?;
    Ok(python)
}

fn run(command: &mut Command, name: &str) -> Result<()> {
    let advice = "tests of S3 need Python 3 with venv and pip (Debian: python3-venv) and PyPI";
    let output = command.output().with_context(|| format!("cannot run {name}; {advice}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} ended with {}; {advice}:\n{}", output.status, last_lines(&said, LOG_LINES_SHOWN));
    }
    Ok(())
}
