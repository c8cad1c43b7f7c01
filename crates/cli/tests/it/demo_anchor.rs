//! `bowline demo --anchor`: on a chain of its own and on one that is given, and what it says where there is none.

use std::net::TcpStream;
use std::sync::Arc;

use serde_json::json;

use crate::evm::{Anvil, CHAIN};
use crate::node::{bowline, bowline_in};
use crate::site::{Site, from_xtask, until};

const DEMO: [&str; 4] = ["demo", "--anchor", "--quiet", "--data"];

pub(crate) async fn the_demo_starts_a_chain_and_ends_it(site: Arc<Site>) {
    let anvil = from_xtask("BOWLINE_TEST_ANVIL");
    site.write("few.ndjson", "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    let words: Vec<&str> =
        DEMO.into_iter().chain(["data", "--output", "json", "--input", "few.ndjson"]).collect();
    let ended = bowline_in(&site.path(""), &[("BOWLINE_ANVIL", &anvil)], &words, "").await;
    let shown = ended.json(0);
    let anchor = &shown["anchor"]["verified"];
    assert_eq!(
        (&anchor["anchored"], &anchor["final"], &anchor["missing"]),
        (&json!(true), &json!(1), &json!(0))
    );
    assert_eq!(
        (&anchor["chain_id"], &anchor["anchored_event_count"]),
        (&json!(31_337), &json!(3)),
        "{shown}"
    );
    assert!(shown["anchor"]["transaction"].as_str().unwrap().starts_with("0x"), "{shown}");
    assert!(shown["tampering_caught"].is_string(), "{shown}");
    let started = ended.stderr.lines().find_map(|line| line.strip_prefix("Started anvil on http://"));
    let address = started.unwrap_or_else(|| panic!("{ended:?}")).split(' ').next().unwrap().to_owned();
    assert!(ended.stderr.contains("published key"), "{ended:?}");
    until(async || TcpStream::connect(&address).is_err()).await;
}

pub(crate) async fn the_demo_uses_a_chain_that_is_there(site: Arc<Site>) {
    let anvil = Anvil::start(&["--block-time", "0.3"]);
    site.write("few.ndjson", "{\"n\":1}\n");
    let words: Vec<&str> =
        DEMO.into_iter().chain(["data", "--rpc-url", anvil.url(), "--input", "few.ndjson"]).collect();
    let ended = bowline(&site.path(""), &words).await;
    for part in ["contract", "blocks on top of it", "1 of 1 commitments final"] {
        assert!(ended.must(0).stdout.contains(part), "{part}: {ended:?}");
    }
    // What it offers to type next is true.
    let next = ended
        .stderr
        .lines()
        .find(|line| line.contains("verify anchor"))
        .unwrap_or_else(|| panic!("{ended:?}"));
    let words: Vec<&str> = next.split_whitespace().skip(1).collect();
    assert!(words.contains(&CHAIN), "{next}");
    bowline(&site.path(""), &words).await.must(0);
}

pub(crate) async fn the_demo_says_what_chain_it_wants(site: Arc<Site>) {
    let ended = async |environment: &[(&str, &str)], more: &[&str]| {
        let words: Vec<&str> = DEMO.into_iter().chain(["data"]).chain(more.iter().copied()).collect();
        bowline_in(&site.path(""), environment, &words, "").await
    };
    let absent = ended(&[("BOWLINE_ANVIL", "/nowhere/anvil")], &[]).await;
    assert!(absent.must(2).stderr.contains("/nowhere/anvil, which is no file"), "{absent:?}");
    assert!(absent.stderr.contains("npm install -g @foundry-rs/anvil"), "{absent:?}");
    let broken = ended(&[("BOWLINE_ANVIL", "/bin/true")], &[]).await;
    assert!(broken.must(2).stderr.contains("it ended without listening"), "{broken:?}");
    let far = ended(&[], &["--rpc-url", "http://10.0.0.1:8545"]).await;
    assert!(far.must(2).stderr.contains("takes only a chain on this machine"), "{far:?}");
    let anvil = Anvil::start(&["--chain-id", "5"]);
    let other = ended(&[], &["--rpc-url", anvil.url()]).await;
    assert!(
        other.must(3).stderr.contains("the chain has the id 5, not 31337: nothing was sent"),
        "{other:?}"
    );
    assert_eq!(anvil.nonce().await, "0x0");
    assert!(!site.path("data").exists());
}
