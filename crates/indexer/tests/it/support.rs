//! A private EVM chain for one test: an anvil of its own on a free port. It ends with the test, also when the test's
//! process is killed: then the input of the shell around it closes. Nothing here waits without a deadline.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// Seconds until anvil must listen.
const START_SECS_MAX: u64 = 30;
/// Seconds that a call may take.
const CALL_SECS_MAX: u64 = 30;
/// Seconds that a state which must come may take.
const STATE_SECS_MAX: u64 = 60;
const POLL: Duration = Duration::from_millis(10);

/// Kills anvil as soon as nobody holds the input of the shell.
const GUARD: &str = r#""$0" "$@" & pid=$!; exec >&- 2>&-; read -r _; kill -9 "$pid"; wait "$pid""#;

/// What a node answered instead of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: i64,
    pub(crate) message: String,
    /// Such as what a contract reverted with.
    pub(crate) data: Option<String>,
}

/// A running anvil; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Anvil {
    shell: Child,
    url: String,
    http: reqwest::Client,
}

impl Anvil {
    /// Starts a chain with these arguments, for instance `["--no-mining"]` or `["--block-time", "1"]`; without any,
    /// each transaction gets a block at once.
    pub(crate) fn start(arguments: &[&str]) -> Anvil {
        let program = std::env::var_os("BOWLINE_TEST_ANVIL").map(PathBuf::from);
        let program = program.expect("BOWLINE_TEST_ANVIL is not set; run the tests with `cargo xtask test`");
        let mut command = Command::new("sh");
        command.args(["-c", GUARD]).arg(program).args(["--port", "0"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut shell = command.spawn().unwrap();
        let (sender, receiver) = channel();
        let stdout = shell.stdout.take().unwrap();
        std::thread::spawn(move || read_log(stdout, &sender));
        let url = receiver.recv_timeout(Duration::from_secs(START_SECS_MAX));
        // An error means that another test of this process was first.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(CALL_SECS_MAX));
        let mut anvil = Anvil { shell, url: String::new(), http: http.build().unwrap() };
        // Only now, so that an anvil which does not listen is ended as well.
        anvil.url = url.expect("anvil does not listen");
        anvil
    }

    /// Such as `http://127.0.0.1:40000`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Calls a method with positional parameters.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Result<Value, Refusal> {
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
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params.clone()).await;
        answer.unwrap_or_else(|refusal| panic!("{method} {params}: {refusal:?}"))
    }

    /// Makes so many blocks.
    pub(crate) async fn mine(&self, blocks: u64) {
        self.call("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    /// Replaces the last blocks by as many empty ones. What was in them is gone, also from the mempool.
    pub(crate) async fn reorg(&self, depth: u64) {
        self.call("anvil_reorg", json!([depth, []])).await;
    }

    /// The number of the last block.
    pub(crate) async fn height(&self) -> u64 {
        number(&self.call("eth_blockNumber", json!([])).await)
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Passes on where anvil listens, and reads on so that it never blocks on what it writes.
fn read_log(stdout: ChildStdout, url: &Sender<String>) {
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { return };
        if let Some(address) = line.strip_prefix("Listening on ") {
            let _ = url.send(format!("http://{}", address.trim()));
        }
    }
}

/// A quantity of JSON-RPC.
pub(crate) fn number(quantity: &Value) -> u64 {
    let digits = quantity.as_str().and_then(|text| text.strip_prefix("0x"));
    u64::from_str_radix(digits.unwrap_or_else(|| panic!("{quantity} is not a quantity")), 16).unwrap()
}

/// What `look` finds, which must be there soon.
pub(crate) async fn soon<T, F: Future<Output = Option<T>>>(look: impl Fn() -> F) -> T {
    let found = tokio::time::timeout(Duration::from_secs(STATE_SECS_MAX), async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(POLL).await;
        }
    });
    found.await.expect("what was waited for did not come")
}
