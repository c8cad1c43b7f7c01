//! `bowline anchors deploy-contract` on a real chain: what it puts there, and when it sends nothing.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::evm::{Anvil, CHAIN, KEYS};
use crate::node::{bowline, bowline_in};
use crate::site::{Site, until};

pub(crate) async fn a_contract_is_put_on_a_chain(site: Arc<Site>) {
    let anvil = Anvil::start(&[]);
    let accounts = anvil.call("eth_accounts", json!([])).await;
    let (payer, other) = (accounts[0].as_str().unwrap(), accounts[1].as_str().unwrap());
    let made = anvil.deploys(&site, &["--committer", other]).await.json(0);
    assert_eq!(
        (&made["chain_id"], &made["owner"], &made["committer"]),
        (&json!(31_337), &json!(payer.to_lowercase()), &json!(other.to_lowercase()))
    );
    let artifact: Value =
        serde_json::from_str(include_str!("../../../../contracts/artifacts/BowlineAnchor.json")).unwrap();
    let code = anvil.call("eth_getCode", json!([made["contract"], "latest"])).await;
    let expected = artifact["deployedBytecode"].as_str().unwrap().trim_start_matches("0x").to_owned();
    assert_eq!(code.as_str().unwrap().trim_start_matches("0x"), expected);
    let receipt = anvil.call("eth_getTransactionReceipt", json!([made["tx_hash"]])).await;
    assert_eq!(receipt["gasUsed"], format!("{:#x}", made["gas_used"].as_u64().unwrap()));
    assert_eq!(receipt["blockNumber"], format!("{:#x}", made["block_number"].as_u64().unwrap()));

    // A person reads the costs first, and then what to write into the node's settings.
    let words = ["anchors", "deploy-contract", "--yes"];
    let environment =
        [("L2_RPC_URL", anvil.url()), ("L2_CHAIN_ID", CHAIN), ("SEQUENCER_PRIVATE_KEY", KEYS[0])];
    let told = bowline_in(&site.path(""), &environment, &words, "").await;
    told.must(0);
    for part in [
        "cost       about 0.00",
        "L2_CHAIN_ID=31337",
        "SET_REGISTRY_ADDRESS=0x",
        payer.to_lowercase().as_str(),
    ] {
        assert!(told.stderr.contains(part), "{part}: {told:?}");
    }
    assert!(!format!("{told:?}").contains(KEYS[0]), "{told:?}");
    assert_eq!(anvil.nonce().await, "0x2");
}

pub(crate) async fn nothing_is_sent_where_something_is_wrong(site: Arc<Site>) {
    let anvil = Anvil::start(&[]);
    let wrong = anvil.deploys(&site, &["--chain-id", "1"]).await;
    assert!(
        wrong.must(2).stderr.contains("the chain has the id 31337, not 1: nothing was sent"),
        "{wrong:?}"
    );
    assert!(wrong.stderr.contains("--chain-id 31337"), "{wrong:?}");
    let dear = anvil.deploys(&site, &["--fee-gwei-max", "1"]).await;
    assert!(dear.must(1).stderr.contains("the cap is 1000000000: nothing was sent"), "{dear:?}");

    let folder = site.path("");
    let common = ["anchors", "deploy-contract", "--rpc-url", anvil.url(), "--chain-id", CHAIN];
    let with = async |more: &[&str]| {
        let words: Vec<&str> = common.into_iter().chain(more.iter().copied()).collect();
        bowline(&folder, &words).await
    };
    // Nobody can be asked, and nobody has said yes.
    let unasked = with(&["--private-key-file", "payer.key"]).await;
    assert!(unasked.must(2).stderr.contains("there is no terminal to ask on"), "{unasked:?}");
    assert!(unasked.stderr.contains("--yes"), "{unasked:?}");
    assert!(with(&["--yes"]).await.must(2).stderr.contains("no private key is given"));
    site.write("poor.key", "11".repeat(32));
    let poor = with(&["--private-key-file", "poor.key", "--yes"]).await;
    assert!(poor.must(1).stderr.contains("has 0.000000000000000000 ether and needs up to"), "{poor:?}");
    site.write("broken.key", "secret");
    let broken = with(&["--private-key-file", "broken.key", "--yes"]).await;
    assert!(
        broken.must(2).stderr.contains("not a private key") && !broken.stderr.contains("secret"),
        "{broken:?}"
    );
    assert_eq!(anvil.nonce().await, "0x0");

    let url = anvil.url().to_owned();
    drop(anvil);
    let away = ["anchors", "deploy-contract", "--rpc-url", &url, "--private-key-file", "payer.key", "--yes"];
    let away = bowline(&folder, &away).await;
    assert!(away.must(3).stderr.contains("no endpoint of the chain answers"), "{away:?}");
}

pub(crate) async fn a_transaction_that_no_block_takes_is_named(site: Arc<Site>) {
    let anvil = Anvil::start(&["--no-mining"]);
    let sent = anvil.deploys(&site, &["--wait", "1"]).await;
    assert!(sent.must(3).stderr.contains("is in no block after 1 s"), "{sent:?}");
    let hash = sent.stderr.lines().find_map(|line| line.strip_prefix("sent transaction ")).unwrap();
    let hash = hash.split(',').next().unwrap();
    assert!(sent.stderr.contains(&format!("look {hash} up at the chain")), "{sent:?}");
    // It comes all the same, as was said.
    anvil.mine(1).await;
    until(async || !anvil.call("eth_getTransactionReceipt", json!([hash])).await.is_null()).await;
}
