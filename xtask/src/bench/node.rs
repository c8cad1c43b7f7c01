//! A node under measurement: a fresh data folder, a free port, stopped in the way an operator would.
//!
//! A node that dies under load, is not ready in time, or does not exit with 0 after SIGTERM makes the
//! measurement an error: its figures would be of a broken node. The error ends with what its log says.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::postgres::{free_port, last_lines};

const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// A node drains for at most 30 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(40);
const POLL: Duration = Duration::from_millis(50);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
const LOG_LINES_SHOWN: usize = 20;

/// What a node is started with.
pub(super) struct Launch<'a> {
    pub(super) binary: &'a Path,
    /// Made by the start; holds the node's data and its log.
    pub(super) folder: &'a Path,
    pub(super) api_key: &'a str,
    /// `None`: SQLite in the data folder.
    pub(super) database_url: Option<&'a str>,
    /// A settings file.
    pub(super) config: Option<&'a Path>,
    /// More of its environment.
    pub(super) environment: &'a [(&'a str, &'a str)],
}

/// A running node; dropping it kills it, `stop` stops it.
pub(super) struct Node {
    process: Child,
    port: u16,
    log: PathBuf,
}

impl Node {
    /// Starts a node and waits until it says that it is ready.
    pub(super) fn start(launch: &Launch<'_>) -> Result<Node> {
        let data = launch.folder.join("data");
        let log = launch.folder.join("node.log");
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let log_file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let port = free_port()?;
        let mut command = Command::new(launch.binary);
        command.arg("serve").arg("--data").arg(&data).arg("--port").arg(port.to_string());
        command.env("BOOTSTRAP_ADMIN_API_KEY", launch.api_key).env_remove("DATABASE_URL");
        command.envs(launch.database_url.map(|url| ("DATABASE_URL", url)));
        if let Some(config) = launch.config {
            command.arg("--config").arg(config);
        }
        command.envs(launch.environment.iter().copied());
        command.current_dir(launch.folder).stdin(Stdio::null());
        command.stdout(log_file.try_clone().context("cannot share the node's log")?).stderr(log_file);
        let process = command.spawn().with_context(|| format!("cannot run {}", launch.binary.display()))?;
        let mut node = Node { process, port, log };
        node.wait_until_ready()?;
        Ok(node)
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The most memory that the node has held so far.
    pub(super) fn peak_memory_kib(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.process.id());
        let status =
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}; did the node die?"))?;
        peak_in(&status).with_context(|| format!("{path} has no VmHWM; was the node's memory gone already?"))
    }

    /// Sends SIGTERM and demands that the node ends with 0 in time.
    pub(super) fn stop(mut self) -> Result<()> {
        let pid = self.process.id().to_string();
        // The shell's own `kill` is there even where no program of that name is.
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status();
        if !sent.context("cannot run sh")?.success() {
            bail!("the node could not be sent SIGTERM; its log says:\n{}", self.log_tail());
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while Instant::now() < deadline {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => {
                    bail!("after SIGTERM the node ended with {status}; its log says:\n{}", self.log_tail())
                }
                None => thread::sleep(POLL),
            }
        }
        bail!("the node ran on for {STOP_TIMEOUT:?} after SIGTERM; its log says:\n{}", self.log_tail())
    }

    pub(super) fn log_tail(&self) -> String {
        last_lines(&fs::read_to_string(&self.log).unwrap_or_default(), LOG_LINES_SHOWN)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut answer = String::new();
        while Instant::now() < deadline {
            if let Some(status) = self.ended()? {
                bail!("the node ended with {status} before it was ready; its log says:\n{}", self.log_tail());
            }
            answer = get(self.port, "/ready").unwrap_or_else(|error| error.to_string());
            if is_success(&answer) {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        bail!(
            "the node was not ready within {READY_TIMEOUT:?}; GET /ready: {answer}\nits log says:\n{}",
            self.log_tail()
        )
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.process.try_wait().context("cannot watch the node")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The whole answer to one GET, head and body.
fn get(port: u16, path: &str) -> std::io::Result<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIMEOUT)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    // In one piece: a server that answers after the first would reset the connection at the second.
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_success(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ")
}

/// `VmHWM:     81234 kB`
fn peak_in(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn readiness_is_asked_over_http() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\n\r\ndraining").unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        let answer = get(port, "/ready").unwrap();
        assert!(!is_success(&answer) && answer.ends_with("draining"), "{answer}");
        assert!(server.join().unwrap().starts_with("GET /ready HTTP/1.1\r\n"));
        assert!(is_success("HTTP/1.1 200 OK\r\n\r\n{}"));
        assert!(get(free_port().unwrap(), "/ready").is_err());
    }

    #[test]
    fn a_node_that_dies_before_it_is_ready_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let launch = Launch {
            binary: Path::new("false"),
            folder: folder.path(),
            api_key: "k",
            database_url: None,
            config: None,
            environment: &[],
        };
        let error = Node::start(&launch).err().unwrap();
        assert!(error.to_string().contains("before it was ready"), "{error:#}");
    }

    #[test]
    fn peak_memory_is_read_from_the_process_status() {
        assert_eq!(peak_in("Name:\tbowline\nVmPeak:\t  999 kB\nVmHWM:\t   81234 kB\n"), Some(81234));
        assert_eq!(peak_in("Name:\tbowline\n"), None);
    }
}
