//! The demo's chain: a development node of its own or one that is given, a contract on it, and the proof that the demo's
//! commitments are in it.
//!
//! Everything is signed with a key that is published with every development node, so only a chain on this machine with
//! their id is taken: on any other one whoever reads this could take over what the demo makes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bowline_anchor::deploy::{Deployed, Deployment, deploy};
use bowline_anchor::verify::{Comparison, Source};
use bowline_anchor::{Config, Wallet};
use bowline_evm::Rpc;
use bowline_types::{Secret, StreamId};
use bowline_ves::ExportReport;
use reqwest::Url;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::chain;
use crate::client::{Call, Client, is_loopback};
use crate::exit::{Exit, Failure};
use crate::{output, verify};

/// The first account of every development node; its key is in their manuals.
const DEV_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// The chain id of development nodes.
const DEV_CHAIN: u64 = 31_337;

/// Blocks on top that make an anchor final here.
const CONFIRMATIONS: u64 = 3;

/// Names the development node's program.
const ANVIL_VARIABLE: &str = "BOWLINE_ANVIL";

/// What starting the chain, deploying and anchoring may take, each.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Between two looks at what is anchored.
const POLL: Duration = Duration::from_millis(200);

/// Wei a unit of gas that the demo pays at most.
const FEE_CAP: u128 = 500_000_000_000;

/// Ends a program, and whatever it has started, as soon as nobody holds the input of this shell.
const GUARD: &str = r#""$0" "$@" & exec >&- 2>&-; read -r _; kill -9 0"#;

/// A chain with a contract.
#[derive(Debug)]
pub(crate) struct DevChain {
    url: String,
    rpc: Rpc,
    http: reqwest::Client,
    deployed: Deployed,
    /// The node that was started for the demo; it ends when this is dropped.
    own: Option<Child>,
}

impl DevChain {
    /// Finds or starts the chain, and puts a contract on it.
    pub(crate) async fn start(given: Option<&str>) -> Result<Self, Failure> {
        let (url, own) = match given {
            Some(url) => (on_this_machine(url)?, None),
            None => {
                let (url, child) = start_anvil(&program()?).await?;
                (url, Some(child))
            }
        };
        let rpc = chain::connect(Some(&url))?;
        let wallet = Wallet::new(&Secret::new(DEV_KEY)).map_err(Failure::usage)?;
        let account = wallet.address();
        let deployment =
            Deployment { chain_id: DEV_CHAIN, owner: account, committer: account, fee_cap: FEE_CAP };
        let deployed = deploy(&rpc, &wallet, deployment, WAIT_MAX).await.map_err(|error| {
            Failure::new(Exit::Unreachable, format!("the demo's contract: {error}")).next(format!(
                "the demo wants a development node with the chain id {DEV_CHAIN}, such as anvil"
            ))
        })?;
        let http = reqwest::Client::builder().no_proxy().timeout(WAIT_MAX).build();
        let http = http.map_err(|error| Failure::usage(format!("cannot start the client: {error}")))?;
        let whose = if own.is_some() { "Started anvil on" } else { "Uses the development node on" };
        output::talk(&format!(
            "{whose} {url} (chain {DEV_CHAIN}) and put contract {} on it, with the published key of its first account.",
            deployed.contract
        ));
        Ok(Self { url, rpc, http, deployed, own })
    }

    /// A node that anchors there, at once.
    pub(crate) fn settings(&self) -> Config {
        Config {
            rpc_url: Some(Secret::new(self.url.clone())),
            contract: Some(self.deployed.contract.to_string()),
            private_key: Some(Secret::new(DEV_KEY)),
            chain_id: DEV_CHAIN,
            interval_secs: 1,
            batch_threshold: 1,
            finality_confirmations: CONFIRMATIONS,
            finality_poll_secs: 1,
            poll_ms: 200,
            ..Config::default()
        }
    }

    /// Waits until the stream's commitments are final, and holds the verified export against the contract.
    pub(super) async fn prove(
        &self,
        client: &Client,
        stream: StreamId,
        export: &ExportReport,
    ) -> Result<Anchored, Failure> {
        let transaction = tokio::time::timeout(WAIT_MAX, self.until_final(client, stream)).await;
        let transaction = transaction.map_err(|_| {
            let secs = WAIT_MAX.as_secs();
            Failure::new(Exit::Unreachable, format!("the commitments are not final after {secs} s"))
                .next("run the demo again; if it is the same, look at the development node's log")
        })??;
        let source = Source {
            chain_id: Some(DEV_CHAIN),
            contract: self.deployed.contract,
            confirmations: CONFIRMATIONS,
        };
        let comparison = verify::anchor::against(&self.rpc, source, export).await?;
        if !comparison.holds() {
            return Err(Failure::no(
                "the contract does not have the export's commitments, which is a defect",
            ));
        }
        Ok(Anchored { comparison, transaction })
    }

    /// The transaction of the stream's last commitment, once that is final.
    async fn until_final(&self, client: &Client, stream: StreamId) -> Result<Option<String>, Failure> {
        #[derive(Deserialize)]
        struct Commitments {
            commitments: Vec<Commitment>,
        }
        #[derive(Deserialize)]
        struct Commitment {
            is_anchored: bool,
            chain_tx_hash: Option<String>,
        }
        let call = Call::get(&["api", "v1", "ves", "commitments"]).stream(stream).query("all", Some(true));
        loop {
            let mut answer: Commitments = client.json(&call).await?;
            if answer.commitments.iter().all(|commitment| commitment.is_anchored) {
                return Ok(answer.commitments.pop().and_then(|last| last.chain_tx_hash));
            }
            self.mine().await;
            tokio::time::sleep(POLL).await;
        }
    }

    /// Asks for another block. A node that makes blocks by itself may refuse, which does no harm.
    pub(crate) async fn mine(&self) {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "evm_mine", "params": [] });
        drop(self.http.post(&self.url).json(&body).send().await);
    }

    /// Whether the chain is still there when the demo has ended.
    pub(super) fn stays(&self) -> bool {
        self.own.is_none()
    }

    /// The options of `verify anchor` that name the contract.
    pub(super) fn named(&self) -> String {
        let contract = self.deployed.contract;
        format!(
            "--rpc-url {} --chain-id {DEV_CHAIN} --contract {contract} --confirmations {CONFIRMATIONS}",
            self.url
        )
    }
}

/// What the chain has of the demo.
#[derive(Debug)]
pub(super) struct Anchored {
    comparison: Comparison,
    transaction: Option<String>,
}

impl Anchored {
    /// One line for each thing that was shown.
    pub(super) fn told(&self, chain: &DevChain) -> [(&'static str, String); 3] {
        let Comparison { rows, block_number, .. } = &self.comparison;
        let last = rows.last();
        let block = last.and_then(|row| row.place?.block_number).unwrap_or_default();
        let on_top = last.and_then(|row| row.confirmations).unwrap_or_default();
        let transaction = self.transaction.as_deref().unwrap_or("unknown");
        let deployed = &chain.deployed;
        [
            (
                "contract",
                format!("{} on chain {DEV_CHAIN}, made with {} gas", deployed.contract, deployed.gas_used),
            ),
            ("anchor", format!("transaction {transaction} in block {block}, {on_top} blocks on top of it")),
            (
                "chain",
                format!(
                    "the export holds against the contract at block {block_number}: {} of {} commitments final",
                    rows.len(),
                    rows.len()
                ),
            ),
        ]
    }

    /// The same for machines.
    pub(super) fn to_json(&self) -> Value {
        json!({ "transaction": self.transaction, "verified": verify::anchor::to_json(&self.comparison, Value::Null) })
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

/// The development node's program: the one that is named, or the one on the path.
fn program() -> Result<PathBuf, Failure> {
    let next = format!(
        "install it with `npm install -g @foundry-rs/anvil`, name its program in {ANVIL_VARIABLE}, or give the address of a \
         running development node with --rpc-url"
    );
    let absent = |what: String| Err(Failure::usage(what).next(next.clone()));
    if let Some(named) = std::env::var_os(ANVIL_VARIABLE).filter(|named| !named.is_empty()) {
        let named = PathBuf::from(named);
        return if named.is_file() {
            Ok(named)
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
