//! A private EVM chain for one test, and nodes that anchor on it.
//!
//! The chain is an anvil of its own on a free port. It ends with the test, also when the test's process is killed: then
//! the input of the shell around it closes.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::author::Author;
use crate::client::Api;
use crate::node::{Ended, Spec, bowline};
use crate::site::{Site, from_xtask, until};

/// The chain id of every development node.
pub(crate) const CHAIN: &str = "31337";

/// The secret keys of the first accounts of every anvil; each has 10,000 ether.
pub(crate) const KEYS: [&str; 2] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
];

/// Kills anvil as soon as nobody holds the input of the shell.
const GUARD: &str = r#""$0" "$@" & pid=$!; exec >&- 2>&-; read -r _; kill -9 "$pid"; wait "$pid""#;

/// Seconds that a call may take.
const CALL_SECS_MAX: u64 = 30;

/// A running anvil; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Anvil {
    shell: Child,
    url: String,
    http: reqwest::Client,
}

impl Anvil {
    /// Starts a chain with these arguments; without any, each transaction gets a block at once.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let program = from_xtask("BOWLINE_TEST_ANVIL");
        let mut command = Command::new("sh");
        command.args(["-c", GUARD, &program, "--port", "0"]).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let stdout = shell.stdout.take().unwrap();
        // Reads on after the line that counts, so that anvil never blocks on what it writes.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("Listening on ") {
                    drop(sender.send(format!("http://{}", address.trim())));
                }
            }
        });
        let url = receiver.recv_timeout(Duration::from_secs(CALL_SECS_MAX));
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(CALL_SECS_MAX));
        let mut anvil = Self { shell, url: String::new(), http: http.build().unwrap() };
        // Only now, so that an anvil which does not listen is ended as well.
        anvil.url = url.expect("anvil does not listen");
        anvil
    }

    /// Such as `http://127.0.0.1:40000`.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Calls a method that must succeed, with positional parameters.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.http.post(&self.url).json(&body).send().await.unwrap();
        let mut answer: Value = answer.json().await.unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Makes so many blocks.
    pub(crate) async fn mine(&self, blocks: u64) {
        self.call("anvil_mine", json!([format!("{blocks:#x}")])).await;
    }

    /// How many transactions the first account has in blocks.
    pub(crate) async fn nonce(&self) -> Value {
        let account = self.call("eth_accounts", json!([])).await[0].take();
        self.call("eth_getTransactionCount", json!([account, "latest"])).await
    }

    /// Puts a contract there with the command that operators have for it; returns its address.
    pub(crate) async fn contract(&self, site: &Site) -> String {
        let made = self.deploys(site, &[]).await.json(0);
        made["contract"].as_str().unwrap().to_owned()
    }

    /// `bowline anchors deploy-contract` with the first account's key.
    pub(crate) async fn deploys(&self, site: &Site, more: &[&str]) -> Ended {
        site.write("payer.key", format!("0x{}\n", KEYS[0]));
        let mut words =
            vec!["anchors", "deploy-contract", "--private-key-file", "payer.key", "--output", "json"];
        words.extend(["--rpc-url", self.url(), "--yes"]);
        if !more.contains(&"--chain-id") {
            words.extend(["--chain-id", CHAIN]);
        }
        words.extend(more);
        bowline(&site.path(""), &words).await
    }

    /// Puts a contract of the original's kind there.
    pub(crate) async fn original_contract(&self) -> String {
        let artifact: Value =
            serde_json::from_str(include_str!("../../../../contracts/artifacts/test/OriginalAnchor.json"))
                .unwrap();
        let account = self.call("eth_accounts", json!([])).await[0].take();
        let code = artifact["bytecode"].as_str().unwrap().trim_start_matches("0x");
        let transaction = json!({ "from": account, "data": format!("0x{code}"), "gas": "0x4c4b40" });
        let hash = self.call("eth_sendTransaction", json!([transaction])).await;
        let receipt = async || self.call("eth_getTransactionReceipt", json!([hash])).await;
        until(async || !receipt().await.is_null()).await;
        receipt().await["contractAddress"].as_str().unwrap().to_owned()
    }

    /// A node that anchors there, at once; two blocks on top make an anchor final.
    pub(crate) fn node(&self, spec: Spec, contract: &str) -> Spec {
        [
            ("L2_RPC_URL", self.url()),
            ("L2_CHAIN_ID", CHAIN),
            ("SET_REGISTRY_ADDRESS", contract),
            ("SEQUENCER_PRIVATE_KEY", KEYS[0]),
            ("ANCHOR_BATCH_THRESHOLD", "1"),
            ("ANCHOR_POLL_MS", "50"),
            ("ANCHOR_FINALITY_CONFIRMATIONS", "2"),
            ("ANCHOR_FINALITY_POLL_SECS", "1"),
        ]
        .into_iter()
        .fold(spec, |spec, (name, value)| spec.env(name, value))
    }

    /// Makes blocks until all of the stream's commitments are final.
    pub(crate) async fn until_final(&self, api: &Api, author: &Author) {
        until(async || {
            self.mine(1).await;
            let open = api.get(&author.path("commitments", "")).await.json();
            open["count"] == 0
        })
        .await;
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        drop(self.shell.wait());
    }
}
