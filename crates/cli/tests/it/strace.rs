//! System calls of a node that fail when a test wants them to, by strace's fault injection.
//!
//! Only calls on the files of the data folder are looked at, so that a fault hits the store and not the network.
//! strace counts each thread's calls by themselves: the node opens its store on one thread and writes on another.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::node::Node;
use crate::site::{from_xtask, until};

/// What a store does to its files.
const CALLS: &str = "pwrite64,write,fsync,fdatasync,ftruncate,fallocate,rename,unlink,openat";

/// Files that a node writes, and the folder itself.
const FILES: [&str; 11] = [
    "",
    "bowline.db",
    "bowline.db-wal",
    "bowline.db-shm",
    "bowline.db-journal",
    "bowline.lock",
    "bowline.ballast",
    "sequencer.key",
    "sequencer.tmp",
    "admin.key",
    "admin.tmp",
];

/// One call that fails without being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) call: String,
    pub(crate) error: &'static str,
    /// Which of its thread's calls, from 1.
    pub(crate) nth: usize,
    /// Whether all later ones fail as well.
    pub(crate) lasting: bool,
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} = {}", self.call, self.nth, self.error)
    }
}

impl Fault {
    pub(crate) fn of(call: &str, error: &'static str, nth: usize) -> Self {
        Self { call: call.to_owned(), error, nth, lasting: false }
    }

    /// From that call on.
    pub(crate) fn lasting(self) -> Self {
        Self { lasting: true, ..self }
    }
}

/// The words before a node's command line that start it traced. The node stays the caller's own child.
pub(crate) fn prefix(data: &Path, fault: Option<&Fault>, seen: &Path) -> Vec<String> {
    let mut words = vec![program(), "-D".to_owned()];
    words.extend(arguments(data, fault, seen));
    words
}

fn program() -> String {
    from_xtask("BOWLINE_TEST_STRACE")
}

fn arguments(data: &Path, fault: Option<&Fault>, seen: &Path) -> Vec<String> {
    let mut words: Vec<String> = ["-f", "-qq", "-s", "0", "-e"].map(str::to_owned).into();
    words.push(format!("trace={CALLS}"));
    for file in FILES {
        words.extend(["-P".to_owned(), data.join(file).to_str().unwrap().trim_end_matches('/').to_owned()]);
    }
    if let Some(Fault { call, error, nth, lasting }) = fault {
        let on = if *lasting { "+" } else { "" };
        words.extend(["-e".to_owned(), format!("inject={call}:error={error}:when={nth}{on}")]);
    }
    words.extend(["-o".to_owned(), seen.to_str().unwrap().to_owned()]);
    words
}

/// A tracer of a node that runs already; ended when dropped, and the node goes on.
#[derive(Debug)]
pub(crate) struct Attached {
    child: Child,
    seen: PathBuf,
}

impl Attached {
    /// Attaches, and waits until it has every thread.
    pub(crate) async fn to(node: &Node, fault: Option<&Fault>, seen: PathBuf) -> Self {
        let mut command = Command::new(program());
        command.args(arguments(node.data(), fault, &seen)).args(["-p", &node.pid().to_string()]);
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let tasks = PathBuf::from(format!("/proc/{}/task", node.pid()));
        let traced = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            !status.lines().any(|line| line.split_whitespace().eq(["TracerPid:", "0"]))
        };
        until(async || std::fs::read_dir(&tasks).unwrap().all(|task| task.is_ok_and(traced))).await;
        Self { child, seen }
    }

    /// Whether the fault has happened.
    pub(crate) fn has_struck(&self) -> bool {
        has_struck(&self.seen)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SIGTERM makes it let the node go; it has ended by itself if the node has.
        drop(
            Command::new("kill").args(["-TERM", &self.child.id().to_string()]).stderr(Stdio::null()).status(),
        );
        drop(self.child.wait());
    }
}

/// Whether a trace has a fault in it.
pub(crate) fn has_struck(seen: &Path) -> bool {
    std::fs::read_to_string(seen).unwrap_or_default().contains("(INJECTED)")
}

/// How often each call was made, by the thread that made it most.
pub(crate) fn counts(seen: &Path) -> Vec<(String, usize)> {
    let mut counted: HashMap<(String, String), usize> = HashMap::new();
    for line in std::fs::read_to_string(seen).unwrap().lines() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let Some((call, _)) = rest.trim_start().split_once('(') else { continue };
        if CALLS.split(',').any(|known| known == call) {
            *counted.entry((call.to_owned(), thread.to_owned())).or_default() += 1;
        }
    }
    let mut most: HashMap<String, usize> = HashMap::new();
    for ((call, _), count) in counted {
        let known = most.entry(call).or_default();
        *known = count.max(*known);
    }
    let mut most: Vec<_> = most.into_iter().collect();
    most.sort();
    most
}
