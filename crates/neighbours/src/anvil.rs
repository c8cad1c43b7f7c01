//! A private EVM chain for one test: an anvil of its own on a free port. It ends with the test, also when the test's
//! process is killed: then the input of the shell around it closes. Nothing here waits without a deadline.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// The variable that names the program; `cargo xtask test` sets it.
const PROGRAM: &str = "BOWLINE_TEST_ANVIL";

/// Seconds until anvil must listen.
const START_SECS_MAX: u64 = 30;

/// Seconds that a call may take.
const CALL_SECS_MAX: u64 = 30;

/// Kills anvil as soon as nobody holds the input of the shell.
const GUARD: &str = r#""$0" "$@" & pid=$!; exec >&- 2>&-; read -r _; kill -9 "$pid"; wait "$pid""#;

/// The chain id of every anvil that is not told another one.
pub const CHAIN: u64 = 31_337;

/// The secret keys of the first accounts of every anvil, in hex; each has 10,000 ether.
pub const KEYS: [&str; 3] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

/// What a node answered instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code of JSON-RPC.
    pub code: i64,
    /// Its words.
    pub message: String,
    /// Such as what a contract reverted with, in hex.
    pub data: Option<String>,
}

/// A running anvil; dropping it ends it, if it was started here.
#[derive(Debug)]
pub struct Anvil {
    shell: Option<Child>,
    url: String,
    http: reqwest::Client,
}

impl Anvil {
    /// Starts a chain with these arguments, for instance `["--no-mining"]` or `["--block-time", "1"]`; without any,
    /// each transaction gets a block at once.
    pub fn start(arguments: &[&str]) -> Self {
        let program = std::env::var_os(PROGRAM);
        let program = program.unwrap_or_else(|| panic!("{PROGRAM} is not set: run `cargo xtask test`"));
        Self::of(Path::new(&program), arguments)
    }

    /// The same with this program.
    pub fn of(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", GUARD]).arg(program).args(["--port", "0"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut shell = command.spawn().unwrap();
        let (sender, receiver) = channel();
        let stdout = shell.stdout.take().unwrap();
        std::thread::spawn(move || read_log(stdout, &sender));
        let url = receiver.recv_timeout(Duration::from_secs(START_SECS_MAX));
        let mut anvil = Self::at("");
        anvil.shell = Some(shell);
        // Only now, so that an anvil which does not listen is ended as well.
        anvil.url = url.expect("anvil does not listen");
        anvil
    }

    /// One that runs already, at this address, and goes on running.
    pub fn at(url: &str) -> Self {
        // An error means that another test of this process was first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(CALL_SECS_MAX));
        Self { shell: None, url: url.to_owned(), http: http.build().unwrap() }
    }

    /// Such as `http://127.0.0.1:40000`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls a method with positional parameters.
    ///
    /// # Errors
    /// What the node refused.
    pub async fn ask(&self, method: &str, params: Value) -> Result<Value, Refusal> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let response = self.http.post(&self.url).json(&body).send().await.unwrap();
        let mut answer: Value = response.json().await.unwrap();
        match answer.get("error") {
            None => Ok(answer["result"].take()),
            Some(error) => Err(Refusal {
                code: error["code"].as_i64().unwrap(),
                message: error["message"].as_str().unwrap().to_owned(),
                data: error["data"].as_str().map(str::to_owned),
            }),
        }
    }

    /// The same for a call that must succeed.
    pub async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params.clone()).await;
        answer.unwrap_or_else(|refusal| panic!("{method} {params}: {refusal:?}"))
    }

    /// Makes so many blocks.
    pub async fn mine(&self, blocks: u64) {
        self.call("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    /// Replaces the last blocks by as many empty ones. What was in them is gone, also from the mempool.
    pub async fn reorg(&self, depth: u64) {
        self.call("anvil_reorg", json!([depth, []])).await;
    }

    /// The number of the last block.
    pub async fn height(&self) -> u64 {
        number(&self.call("eth_blockNumber", json!([])).await)
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        if let Some(shell) = &mut self.shell {
            drop(shell.stdin.take());
            drop(shell.wait());
        }
    }
}

/// Passes on where anvil listens, and reads on so that it never blocks on what it writes.
fn read_log(stdout: ChildStdout, url: &Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Some(address) = line.strip_prefix("Listening on ") {
            drop(url.send(format!("http://{}", address.trim())));
        }
    }
}

/// A quantity of JSON-RPC.
pub fn number(quantity: &Value) -> u64 {
    let digits = quantity.as_str().and_then(|text| text.strip_prefix("0x"));
    u64::from_str_radix(digits.unwrap_or_else(|| panic!("{quantity} is not a quantity")), 16).unwrap()
}
