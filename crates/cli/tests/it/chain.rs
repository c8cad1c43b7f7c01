//! A private EVM chain with our contract on it, behind a door that a test shuts and opens.
//!
//! The door is a proxy in the test's process, so that an endpoint can go away and come back at the same address.

use std::ops::Deref;

use bowline_neighbours::Anvil;
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::node::Spec;
use crate::site::until;

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
    anvil: Anvil,
    door: watch::Sender<bool>,
    /// The address of the door.
    pub(crate) url: String,
    /// The contract.
    pub(crate) contract: String,
}

impl Deref for Chain {
    type Target = Anvil;

    /// The chain itself: the door does not matter.
    fn deref(&self) -> &Self::Target {
        &self.anvil
    }
}

impl Chain {
    /// A chain where each transaction gets a block at once, with a fresh contract.
    pub(crate) async fn start() -> Self {
        let anvil = Anvil::start(&[]);
        let inside = anvil.url().trim_start_matches("http://").to_owned();
        let (door, is_open) = watch::channel(true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(keep_door(listener, inside, is_open));
        let mut chain = Self { anvil, door, url, contract: String::new() };
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
