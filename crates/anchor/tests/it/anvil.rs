//! The chain under the tests: what they count on when they take blocks back or hold transactions up.

use std::net::TcpStream;

use alloy_primitives::Address;
use alloy_signer_local::PrivateKeySigner;
use serde_json::{Value, json};

use crate::support::{Anvil, KEYS, number, soon};

/// The first account's transaction with that nonce, signed.
async fn signed(anvil: &Anvil, nonce: u64) -> Value {
    let from = anvil.call("eth_accounts", json!([])).await[0].take();
    let transaction = json!({
        "from": from, "to": Address::with_last_byte(9), "value": "0x1", "gas": "0x5208", "type": "0x2",
        "chainId": "0x7a69", "nonce": format!("{nonce:#x}"),
        "maxFeePerGas": "0xb2d05e00", "maxPriorityFeePerGas": "0x1",
    });
    anvil.call("eth_signTransaction", json!([transaction])).await
}

async fn receipt(anvil: &Anvil, hash: &Value) -> Option<Value> {
    let receipt = anvil.call("eth_getTransactionReceipt", json!([hash])).await;
    (!receipt.is_null()).then_some(receipt)
}

async fn is_known(anvil: &Anvil, hash: &Value) -> bool {
    !anvil.call("eth_getTransactionByHash", json!([hash])).await.is_null()
}

#[tokio::test]
async fn the_keys_are_those_of_the_first_accounts() {
    let anvil = Anvil::start(&[]);
    let accounts = anvil.call("eth_accounts", json!([])).await;
    for (index, key) in KEYS.iter().enumerate() {
        let signer: PrivateKeySigner = key.parse().unwrap();
        let account: Address = accounts[index].as_str().unwrap().parse().unwrap();
        assert_eq!(signer.address(), account);
    }
}

#[tokio::test]
async fn a_chain_ends_with_whoever_started_it() {
    let anvil = Anvil::start(&[]);
    let address = anvil.url().strip_prefix("http://").unwrap().to_owned();
    assert!(TcpStream::connect(&address).is_ok());
    drop(anvil);
    assert!(TcpStream::connect(&address).is_err());
}

#[tokio::test]
async fn a_reorg_takes_transactions_back_and_they_can_be_sent_again() {
    let anvil = Anvil::start(&["--no-mining"]);
    let raw = signed(&anvil, 0).await;
    let hash = anvil.call("eth_sendRawTransaction", json!([raw])).await;
    assert!(receipt(&anvil, &hash).await.is_none() && is_known(&anvil, &hash).await);
    anvil.mine(1).await;
    let before = soon(|| receipt(&anvil, &hash)).await;
    anvil.mine(2).await;
    assert_eq!(anvil.height().await, 3);

    anvil.reorg(3).await;
    assert_eq!(anvil.height().await, 3);
    assert!(receipt(&anvil, &hash).await.is_none() && !is_known(&anvil, &hash).await);
    assert_eq!(anvil.call("eth_sendRawTransaction", json!([raw])).await, hash);
    anvil.mine(1).await;
    let after = soon(|| receipt(&anvil, &hash)).await;
    assert_eq!((number(&before["blockNumber"]), number(&after["blockNumber"])), (1, 4));

    // The same transaction in another block of the same height.
    anvil.call("anvil_reorg", json!([1, [[raw, 0]]])).await;
    let moved = receipt(&anvil, &hash).await.unwrap();
    assert_eq!(moved["blockNumber"], after["blockNumber"]);
    assert_ne!(moved["blockHash"], after["blockHash"]);
}

#[tokio::test]
async fn a_dropped_transaction_is_forgotten() {
    let anvil = Anvil::start(&["--no-mining"]);
    let hash = anvil.call("eth_sendRawTransaction", json!([signed(&anvil, 0).await])).await;
    assert_eq!(anvil.call("anvil_dropTransaction", json!([hash])).await, hash);
    assert!(!is_known(&anvil, &hash).await);
    let refusal = anvil.ask("eth_sendRawTransaction", json!(["0x00"])).await.unwrap_err();
    assert!(refusal.code < 0 && !refusal.message.is_empty(), "{refusal:?}");
    assert_eq!(refusal.data, None);
}
