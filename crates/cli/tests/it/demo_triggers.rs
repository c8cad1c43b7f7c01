//! `bowline demo --triggers`: from a chain's log to a webhook, on a chain of its own and on one that is given, and what it
//! says where there is none.

use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::evm::Anvil;
use crate::node::{BINARY, bowline, bowline_in, run_program};
use crate::site::{Site, from_xtask, until};

const DEMO: [&str; 5] = ["demo", "--triggers", "--quiet", "--data", "data"];

pub(crate) async fn the_demo_shows_the_way_from_a_log_to_a_webhook(site: Arc<Site>) {
    let anvil = from_xtask("BOWLINE_TEST_ANVIL");
    let words: Vec<&str> = DEMO.into_iter().chain(["--output", "json", "--anvil", &anvil]).collect();
    let ended = bowline(&site.path(""), &words).await;
    let shown = ended.json(0);
    let events = shown["events"].as_array().unwrap();
    let fires: Vec<(&Value, &Value)> =
        events.iter().map(|event| (&event["score"], &event["would_fire"])).collect();
    assert_eq!(fires, [(&json!(92), &json!(false)), (&json!(35), &json!(true))], "{shown}");
    let numbers: Vec<&Value> = events.iter().map(|event| &event["sequence_number"]).collect();
    assert_eq!(numbers, [&json!(1), &json!(2)]);
    let webhooks = shown["webhooks"].as_array().unwrap();
    assert_eq!(webhooks.len(), 1, "{shown}");
    assert_eq!((&webhooks[0]["signature"], &webhooks[0]["body"]["score"]), (&json!("valid"), &json!(35)));
    assert_eq!(webhooks[0]["body"]["transaction_hash"], events[1]["transaction"]);
    assert!(webhooks[0]["latency_ms"].as_u64().is_some(), "{shown}");
    let deliveries = shown["deliveries"].as_array().unwrap();
    assert_eq!(deliveries.len(), 1, "{shown}");
    assert_eq!(
        (&deliveries[0]["state"], &deliveries[0]["id"], &deliveries[0]["event_id"]),
        (&json!("succeeded"), &webhooks[0]["id"], &events[1]["event_id"])
    );
    // The chain that was started is gone.
    let started = ended.stderr.lines().find_map(|line| line.strip_prefix("Started anvil on http://"));
    let address = started.unwrap_or_else(|| panic!("{ended:?}")).split(' ').next().unwrap().to_owned();
    until(async || TcpStream::connect(&address).is_err()).await;
}

pub(crate) async fn what_the_demo_says_to_type_works(site: Arc<Site>) {
    // A chain that others use too, with blocks of its own.
    let chain = Anvil::start(&[]);
    chain.mine(7).await;
    let words: Vec<&str> = DEMO.into_iter().chain(["--rpc-url", chain.url()]).collect();
    let ended = bowline(&site.path(""), &words).await;
    for part in ["arrived with a valid signature", "35 lt 50", "92 lt 50", "succeeded"] {
        assert!(ended.must(0).stdout.contains(part), "{part}: {ended:?}");
    }
    let typed: Vec<Vec<&str>> = ended
        .stderr
        .lines()
        .skip_while(|line| *line != "Next:")
        .skip(1)
        .map(|line| line.split_whitespace().skip(1).collect())
        .collect();
    let (serve, others) = typed.split_first().unwrap_or_else(|| panic!("{ended:?}"));
    assert_eq!((serve[0], others.len()), ("serve", 5), "{ended:?}");
    let node = crate::node::Spec::new(site.path(serve[2])).start().await;
    let environment = [("BOWLINE_URL", node.address()), ("BOWLINE_API_KEY", crate::node::ADMIN_KEY)];
    for words in others {
        let ran = bowline_in(&site.path(""), &environment, words, "").await;
        assert!(!ran.must(0).stdout.is_empty(), "{words:?}: {ran:?}");
    }
}

pub(crate) async fn the_triggers_demo_says_what_chain_it_wants(site: Arc<Site>) {
    let ended = async |environment: &[(&str, &str)], more: &[&str]| {
        let words: Vec<&str> = DEMO.into_iter().chain(more.iter().copied()).collect();
        bowline_in(&site.path(""), environment, &words, "").await
    };
    let words: Vec<&str> = ["PATH=/nowhere", BINARY].into_iter().chain(DEMO).collect();
    let nowhere = run_program(Path::new("env"), &site.path(""), &[], &words, "").await;
    assert!(nowhere.must(2).stderr.contains("no anvil on the path"), "{nowhere:?}");
    assert!(nowhere.stderr.contains("npm install -g @foundry-rs/anvil"), "{nowhere:?}");
    let absent = ended(&[], &["--anvil", "nowhere/anvil"]).await;
    assert!(absent.must(2).stderr.contains("nowhere/anvil, which is no file"), "{absent:?}");
    let far = ended(&[], &["--rpc-url", "http://10.0.0.1:8545"]).await;
    assert!(far.must(2).stderr.contains("takes only a chain on this machine"), "{far:?}");
    let away = ended(&[], &["--rpc-url", "http://127.0.0.1:9"]).await;
    assert!(away.must(3).stderr.contains("the development node"), "{away:?}");
    let other = Anvil::start(&["--chain-id", "5"]);
    let refused = ended(&[], &["--rpc-url", other.url()]).await;
    assert!(refused.must(3).stderr.contains("not 31337"), "{refused:?}");
    ended(&[], &["--anchor"]).await.must(2);
    let alone = bowline(&site.path(""), &["demo", "--anvil", "x"]).await;
    assert!(alone.must(2).stderr.contains("go with --anchor or --triggers"), "{alone:?}");
    assert!(!site.path("data").exists());
}
