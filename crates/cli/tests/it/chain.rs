//! A private EVM chain with our contract on it, behind a door that a test shuts and opens.
//!
//! The chain is an anvil of its own on a free port. It ends with the test, also when the test's process is killed: then
//! the input of the shell around it closes. The door is a proxy in the test's process, so that an endpoint can go away
//! and come back at the same address.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::node::Spec;
use crate::site::{from_xtask, until};

/// Seconds until anvil must listen.
const START_SECS_MAX: u64 = 30;

/// Kills anvil as soon as nobody holds the input of the shell.
const GUARD: &str = r#""$0" "$@" & pid=$!; exec >&- 2>&-; read -r _; kill -9 "$pid"; wait "$pid""#;

/// The compiled contract.
const ARTIFACT: &str = include_str!("../../../../contracts/artifacts/BowlineAnchor.json");

/// The secret keys of the first accounts of every anvil: the contract's owner, its committer, and a stranger.
pub(crate) const KEYS: [&str; 3] = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
];

/// A running chain; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Chain {
    shell: Child,
    inside: String,
    http: reqwest::Client,
    door: watch::Sender<bool>,
    /// The address of the door.
    pub(crate) url: String,
    /// The contract.
    pub(crate) contract: String,
}

impl Chain {
    /// A chain where each transaction gets a block at once, with a fresh contract.
    pub(crate) async fn start() -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", GUARD])
            .arg(PathBuf::from(from_xtask("BOWLINE_TEST_ANVIL")))
            .args(["--port", "0"]);
        let mut shell =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
        let (sender, receiver) = channel();
        let stdout = shell.stdout.take().unwrap();
        std::thread::spawn(move || read_log(stdout, &sender));
        let listens = receiver.recv_timeout(Duration::from_secs(START_SECS_MAX));
        let (door, is_open) = watch::channel(true);
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut chain =
            Self { shell, inside: String::new(), http, door, url: String::new(), contract: String::new() };
        // Only now, so that an anvil which does not listen is ended as well.
        let address = listens.expect("anvil does not listen");
        chain.inside = format!("http://{address}");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        chain.url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(keep_door(listener, address, is_open));
        chain.contract = chain.deploy().await;
        chain
    }

    /// Another contract of the same owner and committer.
    pub(crate) async fn deploy(&self) -> String {
        let accounts = self.call("eth_accounts", json!([])).await;
        let word = |index: usize| {
            let address = accounts[index].as_str().unwrap();
            format!("{:0>64}", address.trim_start_matches("0x"))
        };
        let artifact: Value = serde_json::from_str(ARTIFACT).unwrap();
        let code = format!("{}{}{}", artifact["bytecode"].as_str().unwrap(), word(0), word(1));
        let made = json!([{ "from": accounts[0], "data": code, "gas": "0xf00000" }]);
        let hash = self.call("eth_sendTransaction", made).await;
        let mut receipt = Value::Null;
        until(async || {
            receipt = self.call("eth_getTransactionReceipt", json!([hash])).await;
            !receipt.is_null()
        })
        .await;
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt["contractAddress"].as_str().unwrap().to_owned()
    }

    /// Calls a method, which must succeed; the door does not matter.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let sent = self.http.post(&self.inside).json(&body).send().await.unwrap();
        let answer: Value = sent.json().await.unwrap();
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].clone()
    }

    /// Makes so many blocks.
    pub(crate) async fn mine(&self, blocks: u64) {
        self.call("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    /// The endpoint is gone, with every connection to it.
    pub(crate) fn shut(&self) {
        self.door.send_replace(false);
    }

    /// It is back.
    pub(crate) fn open(&self) {
        self.door.send_replace(true);
    }

    /// `HOST:PORT` of the endpoint.
    pub(crate) fn endpoint(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// What a node has to be told to anchor here, quickly.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let fixed = [
            ("L2_CHAIN_ID", "31337"),
            ("SEQUENCER_PRIVATE_KEY", KEYS[1]),
            ("ANCHOR_INTERVAL_SECS", "0"),
            ("ANCHOR_FINALITY_POLL_SECS", "0"),
            ("ANCHOR_FINALITY_CONFIRMATIONS", "1"),
            ("ANCHOR_POLL_MS", "50"),
            ("ANCHOR_BREAKER_OPEN_SECS", "1"),
            ("ANCHOR_CALL_SECS_MAX", "5"),
        ];
        let own = [("L2_RPC_URL", self.url.clone()), ("SET_REGISTRY_ADDRESS", self.contract.clone())];
        fixed.into_iter().map(|(name, value)| (name, value.to_owned())).chain(own).collect()
    }

    /// The node of the spec anchors here.
    pub(crate) fn of(&self, spec: Spec) -> Spec {
        self.settings().into_iter().fold(spec, |spec, (name, value)| spec.env(name, &value))
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Passes on where anvil listens, and reads on so that it never blocks on what it writes.
fn read_log(stdout: ChildStdout, address: &Sender<String>) {
    for line in BufReader::new(stdout).lines().map_while(Result::ok) {
        if let Some(found) = line.strip_prefix("Listening on ") {
            let _ = address.send(found.trim().to_owned());
        }
    }
}

async fn keep_door(listener: TcpListener, inside: String, is_open: watch::Receiver<bool>) {
    while let Ok((outer, _)) = listener.accept().await {
        tokio::spawn(pass(outer, inside.clone(), is_open.clone()));
    }
}

/// Carries a connection until one side or the door closes.
async fn pass(mut outer: TcpStream, inside: String, mut is_open: watch::Receiver<bool>) {
    if !*is_open.borrow_and_update() {
        return;
    }
    let Ok(mut inner) = TcpStream::connect(inside).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut outer, &mut inner) => {}
        _ = is_open.wait_for(|open| !open) => {}
    }
}
