//! Endpoints that refuse, lag, lie or are away: the line has each log once, and takes nothing back that stands.
//! Each stands before a real node and changes what that one says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bowline_indexer::ChainState;
use serde_json::{Value, json};

use crate::rig::{Rig, start};
use crate::stand_in::{Answer, StandIn};
use bowline_neighbours::{number, soon};

fn span(params: &Value) -> Option<u64> {
    let filter = &params[0];
    (filter["fromBlock"].is_string()).then(|| number(&filter["toBlock"]) - number(&filter["fromBlock"]) + 1)
}

fn as_it_is(_: &str, _: &Value, result: Value) -> Value {
    result
}

/// The number of the block that is asked for.
fn block(method: &str, params: &Value) -> Option<u64> {
    let is_number = method == "eth_getBlockByNumber" && params[0].as_str()?.starts_with("0x");
    is_number.then(|| number(&params[0]))
}

async fn nothing_was_taken_back(rig: &Rig) {
    assert!(rig.events().await.iter().all(|event| event.envelope.event_type != "Retracted"));
}

#[tokio::test]
async fn a_range_that_is_refused_is_asked_for_in_parts() {
    let refusals: [(i64, &'static str); 4] = [
        (-32_005, "query returned more than 10000 results. Try with this block range [0x1, 0x2]."),
        (-32_602, "eth_getLogs is limited to a 5 block range"),
        (-32_000, "no idea what you want"),
        (-32_614, "response is too large"),
    ];
    for (code, words) in refusals {
        let rig = Rig::new().await;
        rig.register(0..20).await;
        rig.anvil.mine(200).await;
        let (widest, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, did) = (Arc::clone(&widest), Arc::clone(&refused));
        let endpoint = StandIn::before(
            rig.anvil.url(),
            move |method, params| {
                let blocks = span(params).filter(|_| method == "eth_getLogs")?;
                if blocks > 5 {
                    did.store(true, Ordering::SeqCst);
                    return Some(Answer::Refusal(code, words));
                }
                seen.fetch_max(blocks, Ordering::SeqCst);
                None
            },
            as_it_is,
        )
        .await;
        let running = start(&rig.over(endpoint.url()), &rig.store, 1);
        rig.settled(&running).await;
        let widest = widest.load(Ordering::SeqCst);
        assert!(refused.load(Ordering::SeqCst) && (2..=5).contains(&widest), "{widest}");
        assert!(running.status().endpoints.iter().all(|endpoint| endpoint.breaker == "closed"));
    }
}

#[tokio::test]
async fn an_endpoint_that_is_away_gives_way_to_the_next_and_is_waited_for() {
    let rig = Rig::new().await;
    rig.register(0..5).await;
    let is_away = Arc::new(AtomicBool::new(true));
    let away = Arc::clone(&is_away);
    let rule = move |_: &str, _: &Value| away.load(Ordering::SeqCst).then_some(Answer::Silence);
    let endpoint = StandIn::before(rig.anvil.url(), rule, as_it_is).await;
    let both = format!("{},{}", endpoint.url(), rig.anvil.url());
    let running = start(&rig.over(&both), &rig.store, 1);
    rig.settled(&running).await;
    running.kill().await;

    let running = start(&rig.over(endpoint.url()), &rig.store, 1);
    running.until(|status| status.state == ChainState::Away && status.last_error.is_some()).await;
    rig.register(5..8).await;
    is_away.store(false, Ordering::SeqCst);
    rig.settled(&running).await;
    running.until(|status| status.state == ChainState::Live && status.last_error.is_none()).await;
}

/// An endpoint that is behind does not have the last blocks: it says `null` to them and leaves their logs out.
async fn behind(url: &str, last: Arc<AtomicU64>) -> StandIn {
    let (shown, cut) = (Arc::clone(&last), last);
    StandIn::before(
        url,
        move |method, params| {
            let last = shown.load(Ordering::SeqCst);
            match block(method, params) {
                Some(number) if number > last => Some(Answer::Result(Value::Null)),
                _ => None,
            }
        },
        move |method, params, mut result| {
            let last = cut.load(Ordering::SeqCst);
            if method == "eth_getBlockByNumber" && params[0] == "latest" && number(&result["number"]) > last {
                // What the head was like then is of no matter.
                result["number"] = json!(format!("{last:#x}"));
            }
            if let Some(logs) = result.as_array_mut().filter(|_| method == "eth_getLogs") {
                logs.retain(|log| number(&log["blockNumber"]) <= last);
            }
            result
        },
    )
    .await
}

#[tokio::test]
async fn an_endpoint_that_falls_behind_is_waited_for_or_passed_over() {
    let rig = Rig::new().await;
    rig.register(0..10).await;
    let height = rig.anvil.height().await;
    let last = Arc::new(AtomicU64::new(height));
    let lagging = behind(rig.anvil.url(), Arc::clone(&last)).await;
    let running = start(&rig.over(lagging.url()), &rig.store, 1);
    rig.settled(&running).await;
    // The chain goes on, and the endpoint goes back.
    rig.register(10..15).await;
    last.store(height - 4, Ordering::SeqCst);
    running.until(|status| status.head == Some(height - 4)).await;
    assert_eq!(running.status().block, Some(height));
    last.store(height + 3, Ordering::SeqCst);
    running.until_block(height + 3).await;
    last.store(u64::MAX, Ordering::SeqCst);
    rig.settled(&running).await;
    running.kill().await;
    // With another endpoint beside it nobody waits.
    last.store(height, Ordering::SeqCst);
    rig.register(15..20).await;
    let both = format!("{},{}", lagging.url(), rig.anvil.url());
    let running = start(&rig.over(&both), &rig.store, 1);
    rig.settled(&running).await;
    nothing_was_taken_back(&rig).await;
}

#[tokio::test]
async fn a_head_that_cannot_be_served_makes_no_gap() {
    let rig = Rig::new().await;
    rig.register(0..10).await;
    rig.anvil.mine(80).await;
    // It says that it is far ahead, and has no such blocks; and sometimes it has no logs of what it has.
    let calls = AtomicU64::new(0);
    let endpoint = StandIn::before(
        rig.anvil.url(),
        move |method, _| {
            let turn = calls.fetch_add(1, Ordering::SeqCst);
            (method == "eth_getBlockByNumber" && turn % 7 == 3)
                .then_some(Answer::Result(Value::Null))
                .filter(|_| turn > 10)
        },
        |method, params, mut result| {
            if method == "eth_getBlockByNumber" && params[0] == "latest" {
                result["number"] = json!(format!("{:#x}", number(&result["number"]) + 5));
                result["hash"] = json!(format!("0x{:064x}", 7));
            }
            result
        },
    )
    .await;
    let running = start(&rig.over(&format!("{},{}", endpoint.url(), rig.anvil.url())), &rig.store, 1);
    for id in 10..15 {
        rig.register(id..id + 1).await;
        rig.settled(&running).await;
    }
    nothing_was_taken_back(&rig).await;
}

#[tokio::test]
async fn an_endpoint_that_changes_its_mind_takes_nothing_back() {
    let rig = Rig::new().await;
    rig.register(0..10).await;
    let running = rig.start();
    rig.settled(&running).await;
    running.kill().await;
    // Its newest blocks have another hash each time that it is asked.
    let height = rig.anvil.height().await;
    let is_lying = Arc::new(AtomicBool::new(true));
    let (lies, calls) = (Arc::clone(&is_lying), AtomicU64::new(1));
    let endpoint = StandIn::before(
        rig.anvil.url(),
        |_, _| None,
        move |method, _, mut result| {
            let is_new =
                method == "eth_getBlockByNumber" && !result.is_null() && number(&result["number"]) >= height;
            if is_new && lies.load(Ordering::SeqCst) {
                result["hash"] = json!(format!("0x{:064x}", calls.fetch_add(1, Ordering::SeqCst)));
            }
            result
        },
    )
    .await;
    let running = start(&rig.over(endpoint.url()), &rig.store, 1);
    rig.register(10..12).await;
    let asked = running.until(|status| status.last_error.is_some()).await;
    assert_eq!(asked.block, Some(height));
    // Beside one that tells the truth it does no harm.
    let both = format!("{},{}", endpoint.url(), rig.anvil.url());
    running.kill().await;
    let running = start(&rig.over(&both), &rig.store, 1);
    rig.settled(&running).await;
    is_lying.store(false, Ordering::SeqCst);
    rig.register(12..14).await;
    rig.settled(&running).await;
    nothing_was_taken_back(&rig).await;
}

#[tokio::test]
async fn logs_of_other_blocks_than_those_asked_for_do_not_count() {
    let rig = Rig::new().await;
    rig.register(0..10).await;
    rig.anvil.mine(100).await;
    rig.register(10..15).await;
    let is_lying = Arc::new(AtomicBool::new(true));
    let lies = Arc::clone(&is_lying);
    let endpoint = StandIn::before(
        rig.anvil.url(),
        |_, _| None,
        move |method, _, mut result| {
            if let Some(log) =
                result.as_array_mut().filter(|_| method == "eth_getLogs").and_then(|logs| logs.last_mut())
                && lies.load(Ordering::SeqCst)
            {
                log["blockHash"] = json!(format!("0x{:064x}", 7));
            }
            result
        },
    )
    .await;
    let running = start(&rig.over(endpoint.url()), &rig.store, 1);
    running.until(|status| status.last_error.is_some()).await;
    is_lying.store(false, Ordering::SeqCst);
    rig.settled(&running).await;
    nothing_was_taken_back(&rig).await;
}

/// Before a node, an endpoint that has another hash for one block, always the same, and counts how often it was asked.
async fn with_another(url: &str, height: u64, is_lying: Arc<AtomicBool>, asked: Arc<AtomicU64>) -> StandIn {
    StandIn::before(
        url,
        |_, _| None,
        move |method, _, mut result| {
            let is_it =
                method == "eth_getBlockByNumber" && !result.is_null() && number(&result["number"]) == height;
            if is_it && is_lying.load(Ordering::SeqCst) {
                asked.fetch_add(1, Ordering::SeqCst);
                result["hash"] = json!(format!("0x{:064x}", 7));
            }
            result
        },
    )
    .await
}

#[tokio::test]
async fn one_endpoint_alone_does_not_take_back_what_another_one_has() {
    let rig = Rig::new().await;
    rig.register(0..10).await;
    let running = rig.start();
    rig.settled(&running).await;
    running.kill().await;
    let (is_lying, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let height = rig.anvil.height().await;
    let endpoint = with_another(rig.anvil.url(), height, Arc::clone(&is_lying), Arc::clone(&asked)).await;
    let both = format!("{},{}", endpoint.url(), rig.anvil.url());
    let running = start(&rig.over(&both), &rig.store, 1);
    soon(|| async { (asked.load(Ordering::SeqCst) > 300).then_some(()) }).await;
    rig.register(10..13).await;
    rig.settled(&running).await;
    nothing_was_taken_back(&rig).await;
}

#[tokio::test]
async fn a_lie_that_nobody_could_see_through_is_mended() {
    let rig = Rig::new().await;
    rig.register(0..10).await;
    let running = rig.start();
    rig.settled(&running).await;
    running.kill().await;
    let (is_lying, asked) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let height = rig.anvil.height().await;
    let endpoint = with_another(rig.anvil.url(), height, Arc::clone(&is_lying), asked).await;
    let running = start(&rig.over(endpoint.url()), &rig.store, 1);
    running.until(|status| status.generation > 0).await;
    is_lying.store(false, Ordering::SeqCst);
    rig.register(10..13).await;
    let events = rig.settled(&running).await;
    assert_eq!(events.len(), 52 + 4 + 4);
}
