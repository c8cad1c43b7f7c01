//! Endpoints that are there and do not help: of another chain, locked, or with less room for gas than the settings say.
//!
//! That an endpoint is away is in `faults`.

use bowline_anchor::tables::SendState;
use bowline_types::Secret;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::proxy::Proxy;
use crate::rig::{Rig, new_stream};
use crate::support::Anvil;

#[tokio::test]
async fn what_an_endpoint_of_another_chain_says_does_not_count() {
    let rig = Rig::new().await;
    let stream = new_stream();
    rig.commit(stream, 2).await;
    let other = Anvil::start(&["--chain-id", "5"]);
    let proxy = Proxy::start(rig.chain.anvil.url()).await;
    let mut config = rig.config.clone();
    config.rpc_url = Some(Secret::new(format!("{},{}", proxy.url(), other.url())));
    let running = rig.start_with(&config, None);
    rig.all_anchored(stream).await;
    proxy.cut();
    rig.commit(stream, 1).await;
    let text = rig.until_trouble(&running, "CHAIN_MISMATCH").await;
    assert!(text.contains("chain is 5, not 31337"), "{text}");
    assert!(
        rig.rows(stream).await[..2].iter().all(|row| row.commitment.anchor.is_some()),
        "nothing is unmarked"
    );
    proxy.mend();
    rig.all_anchored(stream).await;
    assert_eq!(rig.on_chain(stream).await, 3);
}

/// An endpoint that answers everything with this status and a JSON-RPC error; its address.
async fn locked(status: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/secret-key", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                let _ = client.read(&mut request).await;
                let body =
                    r#"{"jsonrpc":"2.0","id":0,"error":{"code":-32000,"message":"/secret-key is locked"}}"#;
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = client.write_all(answer.as_bytes()).await;
            });
        }
    });
    url
}

#[tokio::test]
async fn an_endpoint_that_is_locked_gives_way_to_the_next_and_its_address_stays_secret() {
    for status in ["403 Forbidden", "401 Unauthorized", "429 Too Many Requests", "503 Service Unavailable"] {
        let rig = Rig::new().await;
        let stream = new_stream();
        rig.commit(stream, 1).await;
        let mut config = rig.config.clone();
        let url = locked(status).await;
        config.rpc_url = Some(Secret::new(&url));
        let running = rig.start_with(&config, None);
        let text = rig.until_trouble(&running, "RPC_UNAVAILABLE").await;
        assert!(text.contains(&status[..3]) && !text.contains("secret-key"), "{text}");
        running.kill().await;
        config.rpc_url = Some(Secret::new(format!("{url},{}", rig.chain.anvil.url())));
        let _running = rig.start_with(&config, None);
        rig.all_anchored(stream).await;
    }
}

#[tokio::test]
async fn a_chain_with_less_room_for_gas_gets_smaller_transactions() {
    let rig = Rig::new().await;
    rig.chain.anvil.call("evm_setBlockGasLimit", json!(["0x7a120"])).await;
    rig.chain.anvil.mine(1).await;
    let stream = new_stream();
    rig.commit(stream, 30).await;
    let _running = rig.start();
    let rows = rig.all_anchored(stream).await;
    assert!(rows.iter().all(|row| row.shared_by < 15), "{}", rows[0].shared_by);
    assert!(rows.iter().all(|row| row.send.as_ref().unwrap().state == SendState::Anchored));
    assert_eq!(rig.on_chain(stream).await, 30);
}
