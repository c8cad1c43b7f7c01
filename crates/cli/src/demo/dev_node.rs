//! The demo's chain: a development node of its own, or one that is given.
//!
//! What is signed there is signed with keys that are published with every development node, so only a chain on this
//! machine is taken.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bowline_client::is_loopback;
use reqwest::Url;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::terminal::exit::Failure;

/// The chain id of development nodes.
pub(super) const DEV_CHAIN: u64 = 31_337;

/// Names the development node's program.
const ANVIL_VARIABLE: &str = "BOWLINE_ANVIL";

/// What starting it may take.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Ends a program, and whatever it has started, as soon as nobody holds the input of this shell.
const GUARD: &str = r#""$0" "$@" & exec >&- 2>&-; read -r _; kill -9 0"#;

/// A development node on this machine.
#[derive(Debug)]
pub(crate) struct DevNode {
    url: String,
    /// The program that was started for the demo; it ends when this is dropped.
    own: Option<Child>,
}

impl DevNode {
    /// The one that is given, or one that is started from that program, or from the one that is found.
    ///
    /// # Errors
    /// That there is none, with how to get one.
    pub(crate) async fn start(rpc_url: Option<&str>, anvil: Option<&Path>) -> Result<Self, Failure> {
        if let Some(given) = rpc_url {
            return Ok(Self { url: on_this_machine(given)?, own: None });
        }
        let (url, child) = start_anvil(&program(anvil)?).await?;
        Ok(Self { url, own: Some(child) })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether it ends with the demo.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }
}

/// What was done to have it: `Started anvil on http://…`.
impl fmt::Display for DevNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = if self.is_own() { "Started anvil on" } else { "Uses the development node on" };
        write!(f, "{whose} {}", self.url)
    }
}

fn on_this_machine(url: &str) -> Result<String, Failure> {
    let parsed = Url::parse(url).map_err(|error| Failure::usage(format!("--rpc-url: {error}")))?;
    match is_loopback(&parsed) {
        true => Ok(url.to_owned()),
        false => Err(Failure::usage(
            "the demo signs with a published key, so it takes only a chain on this machine",
        )
        .next("give a development node's address, such as http://127.0.0.1:8545, or leave --rpc-url out")),
    }
}

/// The development node's program: the one that the flag or the variable names, or the one on the path.
fn program(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(named) = named {
        return match named.is_file() {
            // As a whole: a bare name would be looked for on the path.
            true => Ok(std::path::absolute(named).unwrap_or_else(|_| named.to_owned())),
            false => Err(Failure::usage(format!("--anvil names {}, which is no file", named.display()))
                .next("install it with `npm install -g @foundry-rs/anvil`, and leave --anvil out")),
        };
    }
    let next = format!(
        "install it with `npm install -g @foundry-rs/anvil`, name its program with --anvil or in {ANVIL_VARIABLE}, or give the \
         address of a running development node with --rpc-url"
    );
    let absent = |what: String| Err(Failure::usage(what).next(next.clone()));
    if let Some(named) = std::env::var_os(ANVIL_VARIABLE).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(std::path::absolute(&named).unwrap_or(named))
        } else {
            absent(format!("{ANVIL_VARIABLE} names {}, which is no file", named.display()))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("anvil")).find(|file| file.is_file());
    found.map_or_else(
        || absent("there is no anvil on the path, the development node of the demo's chain".to_owned()),
        Ok,
    )
}

/// Starts the program on a free port; returns its address.
async fn start_anvil(program: &Path) -> Result<(String, Child), Failure> {
    let failed = |problem: String| {
        Failure::usage(format!("{} does not start: {problem}", program.display()))
            .next(format!("run it by hand to see why, or name another one in {ANVIL_VARIABLE}"))
    };
    let mut command = Command::new("sh");
    command.args(["-c", GUARD]).arg(program).args(["--host", "127.0.0.1", "--port", "0"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A group of its own, so that the guard ends all of it, and Ctrl-C reaches only the demo.
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let stdout = child.stdout.take().ok_or_else(|| failed("it has no output".to_owned()))?;
    let mut lines = BufReader::new(stdout).lines();
    let listening = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(address) = line.strip_prefix("Listening on ") {
                return Some(format!("http://{}", address.trim()));
            }
        }
        None
    };
    let url = tokio::time::timeout(WAIT_MAX, listening).await;
    let url = url.map_err(|_| failed(format!("it does not listen within {} s", WAIT_MAX.as_secs())))?;
    let url = url.ok_or_else(|| failed("it ended without listening".to_owned()))?;
    // Read on, so that it never blocks on what it writes.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((url, child))
}
