//! A node as its own process, and the other commands of the binary.
//!
//! Everything goes through the binary as a user starts it, with an environment that holds what the test says and
//! nothing else. What a node said on stderr is printed if its test fails.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, Lines};
use tokio::process::ChildStdout;
use tokio::sync::oneshot;

use crate::client::Api;
use crate::site::{soon, until};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_bowline");

/// The key with all rights of every test's node.
pub(crate) const ADMIN_KEY: &str = "an-administrators-key";

/// How a node is to be started.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    data: PathBuf,
    environment: Vec<(String, String)>,
    config: Option<PathBuf>,
    /// Words before the node's own command line.
    prefix: Vec<String>,
}

/// A running node; killed when dropped.
#[derive(Debug)]
pub(crate) struct Node {
    spec: Spec,
    child: Child,
    said: Arc<Mutex<String>>,
    listener: Option<JoinHandle<()>>,
    address: String,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Spec {
    pub(crate) fn new(data: PathBuf) -> Self {
        Self { data, environment: Vec::new(), config: None, prefix: Vec::new() }
            .env("BOOTSTRAP_ADMIN_API_KEY", ADMIN_KEY)
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a variable that the spec would set.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.environment.retain(|(known, _)| known != name);
        self
    }

    /// With a settings file.
    pub(crate) fn config(mut self, yaml: &str) -> Self {
        let path = self.data.with_extension("yaml");
        std::fs::write(&path, yaml).unwrap();
        self.config = Some(path);
        self
    }

    /// Started by another program, which these words call.
    pub(crate) fn under(mut self, prefix: Vec<String>) -> Self {
        self.prefix = prefix;
        self
    }

    /// Starts the node and waits until it listens.
    pub(crate) async fn start(&self) -> Node {
        self.try_start().await.unwrap_or_else(|ended| panic!("the node does not listen: {ended:?}"))
    }

    /// Starts the node and waits until it listens or has ended.
    pub(crate) async fn try_start(&self) -> Result<Node, Ended> {
        let mut child =
            self.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        let said = Arc::new(Mutex::new(String::new()));
        let (found, address) = oneshot::channel();
        let keep = Arc::clone(&said);
        let listener = std::thread::spawn(move || {
            let mut found = Some(found);
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let rest = line.strip_prefix("bowline listens on ");
                if let Some(address) = rest.and_then(|rest| rest.split(' ').next())
                    && let Some(found) = found.take()
                {
                    drop(found.send(address.to_owned()));
                }
                let mut said = keep.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        let mut node =
            Node { spec: self.clone(), child, said, listener: Some(listener), address: String::new() };
        let Ok(address) = soon(address).await else {
            let code = node.ended().await.code();
            return Err(Ended { code, stdout: String::new(), stderr: node.said() });
        };
        node.address = address;
        Ok(node)
    }

    /// Starts a node that must refuse to run.
    pub(crate) async fn refused(&self) -> Ended {
        let mut command = tokio::process::Command::from(self.command());
        let output = soon(command.kill_on_drop(true).output()).await.unwrap();
        Ended::of(output)
    }

    fn command(&self) -> Command {
        let mut words = self.prefix.iter().map(String::as_str).chain([BINARY]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).args(["serve", "--port", "0", "--data"]).arg(&self.data);
        if let Some(config) = &self.config {
            command.arg("--config").arg(config);
        }
        let environment = self.environment.iter().map(|(name, value)| (name, value));
        command.env_clear().envs(environment);
        command
    }
}

impl Node {
    /// The node's API, asked with the administrator's key.
    pub(crate) fn api(&self) -> Api {
        Api::new(&self.address).with_key(ADMIN_KEY)
    }

    /// `http://127.0.0.1:PORT`
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// What it has said on stderr until now.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    pub(crate) fn data(&self) -> &Path {
        &self.spec.data
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The most memory that it has had, in bytes.
    pub(crate) fn memory_bytes_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }

    /// SIGKILL: nothing of the node runs any more when this returns.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        signal("-TERM", self.child.id());
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until(async || self.child.try_wait().unwrap().is_some()).await;
        self.child.wait().unwrap()
    }

    /// Starts a node on the same data, where this one was killed or has ended.
    pub(crate) async fn again(&self) -> Self {
        self.spec.start().await
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Fails when it has ended, which is as good.
        drop(self.child.kill());
        drop(self.child.wait());
        drop(self.listener.take().map(JoinHandle::join));
        if std::thread::panicking() {
            let said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            println!("the node {} said:\n{said}", self.spec.data.display());
        }
    }
}

impl Ended {
    fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The command's stdout as JSON; the command must have ended with this code.
    pub(crate) fn json(&self, code: i32) -> serde_json::Value {
        self.must(code);
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The command must have ended with this code.
    pub(crate) fn must(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// A command that runs until it is interrupted; killed when dropped. Its stdout comes line by line.
#[derive(Debug)]
pub(crate) struct Running {
    child: tokio::process::Child,
    lines: Lines<tokio::io::BufReader<ChildStdout>>,
}

impl Running {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = tokio::process::Command::new(BINARY);
        command.args(arguments).current_dir(folder).env_clear().kill_on_drop(true);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = tokio::io::BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// The next line of its stdout.
    pub(crate) async fn line(&mut self) -> String {
        soon(self.lines.next_line()).await.unwrap().expect("the command has ended")
    }

    /// Presses Ctrl-C; the code that it ends with.
    pub(crate) async fn interrupt(mut self) -> Option<i32> {
        signal("-INT", self.child.id().unwrap());
        soon(self.child.wait()).await.unwrap().code()
    }
}

fn signal(name: &str, process: u32) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

/// Runs a command to its end, in a folder that it may write to.
pub(crate) async fn bowline(folder: &Path, arguments: &[&str]) -> Ended {
    bowline_with(folder, arguments, "").await
}

/// Runs a command with something on its standard input.
pub(crate) async fn bowline_with(folder: &Path, arguments: &[&str], stdin: &str) -> Ended {
    run_program(Path::new(BINARY), folder, &[], arguments, stdin).await
}

/// Runs a command in an environment of its own.
pub(crate) async fn bowline_in(
    folder: &Path,
    environment: &[(&str, &str)],
    arguments: &[&str],
    stdin: &str,
) -> Ended {
    run_program(Path::new(BINARY), folder, environment, arguments, stdin).await
}

/// Runs the binary by another name.
pub(crate) async fn run_program(
    program: &Path,
    folder: &Path,
    environment: &[(&str, &str)],
    arguments: &[&str],
    stdin: &str,
) -> Ended {
    let mut command = tokio::process::Command::new(program);
    command.args(arguments).current_dir(folder).env_clear().kill_on_drop(true);
    command.envs(environment.iter().copied());
    // `bowline demo` looks for git there.
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // A command that does not read has closed the pipe already.
    drop(input.write_all(stdin.as_bytes()).await);
    drop(input);
    Ended::of(soon(child.wait_with_output()).await.unwrap())
}
