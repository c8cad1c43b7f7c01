//! The registries on a test's chain, and calls of them.
//! Each call is a transaction of the first account and has a block of its own.

use alloy_primitives::{Address, Bytes, hex};
use alloy_sol_types::{SolCall, sol};
use serde_json::{Value, json};

use bowline_neighbours::{Anvil, soon};

sol! {
    interface Identity {
        function register(uint256 agentId, string calldata uri) external;
        function setMetadata(uint256 agentId, string calldata key, bytes calldata value) external;
        function setUri(uint256 agentId, string calldata uri) external;
        function transfer(address to, uint256 agentId) external;
        function approve(address to, uint256 agentId) external;
        function approveAll(address operator, bool approved) external;
        function updateMany(uint256 from, uint256 to) external;
        function upgrade(address implementation) external;
        function emitRaw(bytes32 topic, bytes calldata data) external;
        function registerMany(uint256 firstId, uint256 count, string calldata uri) external;
    }

    struct Feedback {
        uint256 agentId;
        uint64 index;
        int128 value;
        uint8 decimals;
        string tag1;
        string tag2;
        string endpoint;
        string uri;
        bytes32 hash;
    }

    interface Reputation {
        function give(Feedback calldata f) external;
        function giveScore(Feedback calldata f, uint8 score) external;
        function giveScoreHashed(Feedback calldata f, uint8 score) external;
        function giveLegacy(uint256 agentId, uint8 score, bytes32 tag1, bytes32 tag2, string calldata uri, bytes32 hash) external;
        function revoke(uint256 agentId, uint64 index) external;
        function respond(uint256 agentId, address client, uint64 index, string calldata uri, bytes32 hash) external;
        function giveMany(Feedback calldata f, uint256 count) external;
    }

    interface Validation {
        function request(address validator, uint256 agentId, string calldata uri, bytes32 hash) external;
        function respond(uint256 agentId, bytes32 requestHash, uint8 response, string calldata uri, bytes32 hash, string calldata tag) external;
    }
}

/// The artifacts.
const IDENTITY: &str = include_str!("../../../../contracts/artifacts/test/ERC8004Identity.json");
const REPUTATION: &str = include_str!("../../../../contracts/artifacts/test/ERC8004Reputation.json");
const VALIDATION: &str = include_str!("../../../../contracts/artifacts/test/ERC8004Validation.json");
/// Gas of every transaction here.
const GAS_MAX: u64 = 1 << 24;

/// The three registries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deployed {
    pub(crate) identity: Address,
    pub(crate) reputation: Address,
    pub(crate) validation: Address,
    /// Who calls.
    pub(crate) caller: Address,
}

impl Deployed {
    pub(crate) async fn on(anvil: &Anvil) -> Deployed {
        let accounts = anvil.call("eth_accounts", json!([])).await;
        let caller: Address = accounts[0].as_str().unwrap().parse().unwrap();
        let mut made = Vec::new();
        for artifact in [IDENTITY, REPUTATION, VALIDATION] {
            let artifact: Value = serde_json::from_str(artifact).unwrap();
            let code: Bytes = artifact["bytecode"].as_str().unwrap().parse().unwrap();
            let receipt = transact(anvil, caller, None, &code).await;
            made.push(receipt["contractAddress"].as_str().unwrap().parse().unwrap());
        }
        Deployed { identity: made[0], reputation: made[1], validation: made[2], caller }
    }

    /// Calls the identity registry; the receipt.
    pub(crate) async fn identity<C: SolCall>(&self, anvil: &Anvil, call: C) -> Value {
        transact(anvil, self.caller, Some(self.identity), &call.abi_encode()).await
    }

    pub(crate) async fn reputation<C: SolCall>(&self, anvil: &Anvil, call: C) -> Value {
        transact(anvil, self.caller, Some(self.reputation), &call.abi_encode()).await
    }

    pub(crate) async fn validation<C: SolCall>(&self, anvil: &Anvil, call: C) -> Value {
        transact(anvil, self.caller, Some(self.validation), &call.abi_encode()).await
    }

    /// One block with the four events of a registration.
    pub(crate) async fn register(&self, anvil: &Anvil, id: u64) -> Value {
        let call =
            Identity::registerCall { agentId: alloy_primitives::U256::from(id), uri: format!("ipfs://{id}") };
        self.identity(anvil, call).await
    }
}

async fn transact(anvil: &Anvil, from: Address, to: Option<Address>, data: &[u8]) -> Value {
    let gas = format!("{GAS_MAX:#x}");
    let transaction = json!({ "from": from, "to": to, "data": hex::encode_prefixed(data), "gas": gas });
    let hash = anvil.call("eth_sendTransaction", json!([transaction])).await;
    let receipt = soon(|| async {
        let receipt = anvil.call("eth_getTransactionReceipt", json!([hash])).await;
        (!receipt.is_null()).then_some(receipt)
    })
    .await;
    assert_eq!(receipt["status"], "0x1", "{receipt}");
    receipt
}
