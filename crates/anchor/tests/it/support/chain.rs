//! A chain with one contract on it, called from the accounts whose keys anvil holds.
//!
//! Transactions get a block at once, and gas enough to fail in it.

use alloy_primitives::{Address, B256, Bytes, LogData, hex};
use alloy_sol_types::{SolCall, SolEvent, SolInterface, SolValue};
use bowline_anchor::abi::BowlineAnchor::BowlineAnchorErrors;
use serde_json::{Value, json};

use super::{Anvil, Refusal, number, soon};

/// The artifact.
pub(crate) const BOWLINE: &str = include_str!("../../../../../contracts/artifacts/BowlineAnchor.json");
/// The artifact.
pub(crate) const ORIGINAL: &str = include_str!("../../../../../contracts/artifacts/test/OriginalAnchor.json");
/// Gas of every transaction here, so that one that reverts is mined as well: what Ethereum allows one to have.
const GAS_MAX: u64 = 1 << 24;

/// A chain and its contract.
pub(crate) struct Chain {
    pub(crate) anvil: Anvil,
    pub(crate) contract: Address,
    /// Owns `BowlineAnchor` and deployed `OriginalAnchor`.
    pub(crate) owner: Address,
    /// May commit to `BowlineAnchor`.
    pub(crate) committer: Address,
    /// May do nothing.
    pub(crate) stranger: Address,
    /// What the deployment cost.
    pub(crate) deployment: Mined,
}

/// A transaction in a block.
#[derive(Debug, Clone)]
pub(crate) struct Mined {
    pub(crate) succeeded: bool,
    pub(crate) gas: u64,
    pub(crate) block: u64,
    logs: Vec<LogData>,
    created: Option<Address>,
}

impl Mined {
    /// Its events of one kind, in order.
    pub(crate) fn events<E: SolEvent>(&self) -> Vec<E> {
        let of_kind = self.logs.iter().filter(|log| log.topics().first() == Some(&E::SIGNATURE_HASH));
        of_kind.map(|log| E::decode_log_data(log).unwrap()).collect()
    }

    pub(crate) fn logs_count(&self) -> usize {
        self.logs.len()
    }
}

impl Chain {
    /// A chain with a fresh `BowlineAnchor`.
    pub(crate) async fn bowline() -> Chain {
        Chain::with(BOWLINE, |owner, committer| (owner, committer).abi_encode_params()).await
    }

    /// A chain with a fresh `OriginalAnchor`.
    pub(crate) async fn original() -> Chain {
        Chain::with(ORIGINAL, |_, _| Vec::new()).await
    }

    async fn with(artifact: &str, arguments: impl Fn(Address, Address) -> Vec<u8>) -> Chain {
        let anvil = Anvil::start(&[]);
        let accounts = anvil.call("eth_accounts", json!([])).await;
        let account = |index: usize| address(&accounts[index]);
        let (owner, committer, stranger) = (account(0), account(1), account(2));
        let artifact: Value = serde_json::from_str(artifact).unwrap();
        let mut code = bytes(&artifact["bytecode"]).to_vec();
        code.extend(arguments(owner, committer));
        let deployment = transact(&anvil, owner, None, &code).await;
        assert!(deployment.succeeded, "the contract was not deployed: {deployment:?}");
        let contract = deployment.created.unwrap();
        let deployed = anvil.call("eth_getCode", json!([contract, "latest"])).await;
        assert_eq!(bytes(&deployed), bytes(&artifact["deployedBytecode"]));
        Chain { anvil, contract, owner, committer, stranger, deployment }
    }

    /// Sends a transaction that must succeed.
    pub(crate) async fn send<C: SolCall>(&self, from: Address, call: &C) -> Mined {
        let mined = self.send_any(from, call).await;
        assert!(mined.succeeded, "{} reverted: {:?}", C::SIGNATURE, self.simulate(from, call).await);
        mined
    }

    /// Hands a transaction over that goes before all that wait for a block, and does not wait for one.
    pub(crate) async fn send_first<C: SolCall>(&self, from: Address, call: &C) {
        let mut transaction = request(from, Some(self.contract), &call.abi_encode());
        transaction["maxFeePerGas"] = json!("0x174876e800");
        transaction["maxPriorityFeePerGas"] = json!("0x2540be400");
        self.anvil.call("eth_sendTransaction", json!([transaction])).await;
    }

    /// A second `BowlineAnchor`, with the same owner and committer.
    pub(crate) async fn deploy_another(&self) -> Address {
        let artifact: Value = serde_json::from_str(BOWLINE).unwrap();
        let mut code = bytes(&artifact["bytecode"]).to_vec();
        code.extend((self.owner, self.committer).abi_encode_params());
        transact(&self.anvil, self.owner, None, &code).await.created.unwrap()
    }

    /// Why a call is refused; the same call in a transaction must fail and leave no event.
    pub(crate) async fn refused<C: SolCall>(&self, from: Address, call: &C) -> BowlineAnchorErrors {
        let data = self.reverted(from, call).await;
        BowlineAnchorErrors::abi_decode(&data).unwrap_or_else(|error| panic!("{data}: {error}"))
    }

    /// The same, undecoded.
    pub(crate) async fn reverted<C: SolCall>(&self, from: Address, call: &C) -> Bytes {
        let refusal = self.simulate(from, call).await.expect_err(C::SIGNATURE);
        let mined = self.send_any(from, call).await;
        assert!(!mined.succeeded && mined.logs_count() == 0, "{}: {mined:?}", C::SIGNATURE);
        bytes(&Value::from(refusal.data.expect("a revert has data")))
    }

    /// Asks the contract.
    pub(crate) async fn ask<C: SolCall>(&self, call: &C) -> C::Return {
        let answer = self.simulate(self.stranger, call).await.expect(C::SIGNATURE);
        C::abi_decode_returns(&answer).unwrap()
    }

    /// The seconds since 1970 of a block.
    pub(crate) async fn time_of(&self, block: u64) -> u64 {
        let found = self.anvil.call("eth_getBlockByNumber", json!([format!("{block:#x}"), false])).await;
        number(&found["timestamp"])
    }

    async fn send_any<C: SolCall>(&self, from: Address, call: &C) -> Mined {
        transact(&self.anvil, from, Some(self.contract), &call.abi_encode()).await
    }

    async fn simulate<C: SolCall>(&self, from: Address, call: &C) -> Result<Bytes, Refusal> {
        let transaction = request(from, Some(self.contract), &call.abi_encode());
        Ok(bytes(&self.anvil.ask("eth_call", json!([transaction, "latest"])).await?))
    }
}

fn request(from: Address, to: Option<Address>, data: &[u8]) -> Value {
    let gas = format!("{GAS_MAX:#x}");
    json!({ "from": from, "to": to, "data": hex::encode_prefixed(data), "gas": gas })
}

async fn transact(anvil: &Anvil, from: Address, to: Option<Address>, data: &[u8]) -> Mined {
    let hash = anvil.call("eth_sendTransaction", json!([request(from, to, data)])).await;
    let receipt = || async {
        let receipt = anvil.call("eth_getTransactionReceipt", json!([hash])).await;
        (!receipt.is_null()).then_some(receipt)
    };
    let receipt = soon(receipt).await;
    let logs = receipt["logs"].as_array().unwrap().iter().map(|log| {
        let topics: Vec<B256> = serde_json::from_value(log["topics"].clone()).unwrap();
        LogData::new(topics, bytes(&log["data"])).unwrap()
    });
    Mined {
        succeeded: number(&receipt["status"]) == 1,
        gas: number(&receipt["gasUsed"]),
        block: number(&receipt["blockNumber"]),
        logs: logs.collect(),
        created: receipt["contractAddress"].as_str().map(|text| text.parse().unwrap()),
    }
}

fn address(value: &Value) -> Address {
    value.as_str().unwrap().parse().unwrap()
}

fn bytes(value: &Value) -> Bytes {
    value.as_str().unwrap().parse().unwrap()
}
