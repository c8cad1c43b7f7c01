//! A disk that fails, one system call at a time: whatever call of the store fails, what was acknowledged is there
//! afterwards, every request settles by being sent again, and the store is sound.
//!
//! A dry run counts the calls. An ordinary run fails a few of them, spread over all; `cargo xtask soak` fails each.

use std::path::Path;
use std::sync::Arc;

use bowline_ves::{TrustedKeys, verify_export};

use crate::author::{Author, INGEST, Ingested, assert_dense, sequencer_keys};
use crate::client::Api;
use crate::load::{self, BATCH, Done};
use crate::node::{Node, Spec};
use crate::site::{Site, soak_secs, soon, until};
use crate::strace::{self, Attached, Fault};

/// Faults of an ordinary run, in each of the two tests.
const SAMPLE: usize = 20;
/// Of them at the same time.
const AT_ONCE: usize = 3;
/// Requests that a node is sent while a fault waits for its call.
const REQUESTS: usize = 5;

/// What a trace showed.
struct Seen {
    /// How often each call was made, by the thread that made it most.
    counts: Vec<(String, usize)>,
    /// Whether the fault happened.
    struck: bool,
}

impl Seen {
    fn of(trace: &Path) -> Self {
        Self { counts: strace::counts(trace), struck: strace::has_struck(trace) }
    }
}

/// One I/O error in each call, and a disk without room where that can be.
fn faults(counts: &[(String, usize)]) -> Vec<Fault> {
    let errors = |call: &str| match call {
        "pwrite64" | "write" => &["EIO", "ENOSPC"][..],
        "openat" => &["EMFILE"],
        "fallocate" => &["ENOSPC"],
        _ => &["EIO"],
    };
    let of_call = |(call, count): &(String, usize)| {
        let each =
            (1..=*count).flat_map(|nth| errors(call).iter().map(move |error| Fault::of(call, error, nth)));
        each.collect::<Vec<_>>()
    };
    let each: Vec<Vec<Fault>> = counts.iter().map(of_call).collect();
    if soak_secs().is_some() {
        return each.concat();
    }
    // Every kind of call has its share, however many the most frequent one makes.
    let share = SAMPLE.div_ceil(each.len().max(1));
    each.iter().flat_map(|faults| spread(faults, share)).collect()
}

/// So many of them: the first, the last, and what lies evenly between.
fn spread(faults: &[Fault], count: usize) -> Vec<Fault> {
    if faults.len() <= count {
        return faults.to_vec();
    }
    let step = |at: usize| at * (faults.len() - 1) / (count - 1).max(1);
    (0..count).map(|at| faults[step(at)].clone()).collect()
}

/// Runs every fault in a folder of its own, a few at a time.
async fn each<F: Future<Output = bool>>(faults: Vec<Fault>, try_one: impl Fn(usize, Fault) -> F) {
    use futures_util::StreamExt as _;
    assert!(faults.len() >= SAMPLE / 2, "too few calls were seen: {faults:?}");
    println!(
        "{} faults: {}",
        faults.len(),
        faults.iter().map(Fault::to_string).collect::<Vec<_>>().join(", ")
    );
    let tries = faults.into_iter().enumerate().map(|(at, fault)| try_one(at, fault));
    let struck: Vec<bool> = futures_util::stream::iter(tries).buffer_unordered(AT_ONCE).collect().await;
    // Readers' threads share their calls as it happens, so the last call of a dry run may not come again.
    let hits = struck.iter().filter(|struck| **struck).count();
    assert!(3 * hits >= 2 * struck.len(), "{hits} of {} faults happened", struck.len());
}

/// Sends requests one after the other; each answer is either a 200 or says what may have happened.
async fn send(api: &Api, author: &Author, done: &mut Done) {
    for _ in 0..REQUESTS {
        let body = author.body(&author.events(BATCH));
        match soon(api.try_ask("POST", INGEST, body.clone())).await {
            Ok(answer) if answer.status == 200 => {
                done.acknowledged.extend(Ingested::of(&answer).receipts().into_iter().map(str::to_owned));
            }
            Ok(answer) => {
                let known = [(503, "SERVICE_UNAVAILABLE"), (500, "OUTCOME_UNKNOWN"), (507, "STORAGE_FULL")];
                let told = (answer.status, answer.header("x-error-code"));
                assert!(known.contains(&told) || told == (500, "DATABASE_ERROR"), "{}", answer.text);
                done.unsettled.push(body);
            }
            Err(_) => done.unsettled.push(body),
        }
    }
}

/// What was acknowledged is there, what was not settles, and the store is sound: neither the node on it nor an
/// auditor who reads it without one finds a fault.
async fn assert_sound(site: &Site, name: &str, author: &Author, done: Done) {
    let mut node = site.node(name).start().await;
    let api = node.api();
    let mut acknowledged = done.acknowledged;
    for body in done.unsettled {
        acknowledged.extend(load::settle(&api, &body).await);
    }
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    load::assert_kept(&acknowledged, &stored);
    assert_eq!(stored.len(), acknowledged.len());
    author.commit(&api, None, None).await.json();
    let export = api.get(&author.path("export", "")).await.text;
    let keys = sequencer_keys(&api).await.into_values().collect();
    let pinned = TrustedKeys { sequencer_keys: keys, ..TrustedKeys::default() };
    let report = verify_export(export.as_bytes(), &pinned, |_| {}).unwrap();
    assert_eq!(report.event_count, stored.len() as u64);
    node.terminate();
    assert_eq!(node.ended().await.code(), Some(0));
    site.assert_clean(name, stored.len()).await;
}

pub(crate) async fn a_disk_that_fails_while_a_node_serves_loses_nothing(site: Arc<Site>) {
    let calm = serve(&site, "calm", None).await;
    // Without this nothing that is acknowledged would be durable, and no kill would show it: each request came
    // after the one before was answered, so each had its own.
    let synced = calm.counts.iter().find(|(call, _)| call == "fsync").map_or(0, |(_, count)| *count);
    assert!(synced >= 2 * REQUESTS, "{:?}", calm.counts);
    let faults = faults(&calm.counts);
    each(faults, |at, fault| {
        let site = Arc::clone(&site);
        async move { serve(&site, &format!("serving-{at}"), Some(fault)).await.struck }
    })
    .await;
}

/// Lets a call fail while the node serves and when it stops; returns how many calls it made.
async fn serve(site: &Site, name: &str, fault: Option<Fault>) -> Seen {
    let mut node = site.node(name).start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let mut done = Done::default();
    let seen = site.path(&format!("{name}.strace"));
    let attached = Attached::to(&node, fault.as_ref(), seen.clone()).await;
    send(&api, &author, &mut done).await;
    drop(Author::new().register(&api).await);
    drop(author.commit(&api, None, None).await);
    send(&api, &author, &mut done).await;
    let struck = attached.has_struck();
    if struck {
        // Whatever failed, the node goes on without anyone's help.
        until(async || api.get("/ready").await.status == 200).await;
        let body = author.body(&author.events(BATCH));
        done.acknowledged.extend(load::settle(&api, &body).await);
    }
    // Half of the nodes get no chance to mend what went wrong.
    if struck && fault.as_ref().is_some_and(|fault| fault.nth % 2 == 0) {
        node.kill();
    } else {
        node.terminate();
        assert_eq!(node.ended().await.code(), Some(0), "{fault:?}");
    }
    drop(attached);
    assert_sound(site, name, &author, done).await;
    Seen::of(&seen)
}

pub(crate) async fn a_disk_that_fails_while_a_node_starts_loses_nothing(site: Arc<Site>) {
    // A folder that is new, and one whose node was killed: its log is read again.
    for used in [false, true] {
        let calm = begin(&site, &format!("calm-{used}"), used, None).await;
        let faults = faults(&calm.counts);
        each(faults, |at, fault| {
            let site = Arc::clone(&site);
            async move { begin(&site, &format!("starting-{used}-{at}"), used, Some(fault)).await.struck }
        })
        .await;
    }
}

/// Lets a call fail while the node starts: it either serves or says why it does not, and the next start does.
async fn begin(site: &Site, name: &str, used: bool, fault: Option<Fault>) -> Seen {
    let spec = site.node(name).without("BOOTSTRAP_ADMIN_API_KEY");
    let mut done = Done::default();
    let author = Author::new();
    if used {
        let mut node = spec.start().await;
        let api = admin(&node);
        assert_eq!(author.register(&api).await.status, 200);
        send(&api, &author, &mut done).await;
        node.kill();
    }
    let seen = site.path(&format!("{name}.strace"));
    let prefix = strace::prefix(&site.path(name), fault.as_ref(), &seen);
    match spec.clone().under(prefix).try_start().await {
        Ok(mut node) => {
            node.kill();
        }
        Err(ended) => {
            assert_eq!(ended.code, Some(2), "{fault:?}: {}", ended.stderr);
            assert!(ended.stderr.contains("error: ") && ended.stderr.contains("next: "), "{}", ended.stderr);
        }
    }
    let node = spec.start().await;
    let api = admin(&node);
    assert_eq!(author.register(&api).await.status, 200);
    send(&api, &author, &mut done).await;
    assert!(done.unsettled.is_empty());
    drop(node);
    assert_sound(site, name, &author, done).await;
    Seen::of(&seen)
}

/// The node's API with the key that it made for whoever can read its folder.
fn admin(node: &Node) -> Api {
    let key = std::fs::read_to_string(node.data().join("admin.key")).unwrap();
    node.api().without_key().with_key(key.trim())
}

pub(crate) async fn a_commit_of_unknown_outcome_is_settled_by_sending_it_again(site: Arc<Site>) {
    let spec: Spec = site.node("data");
    let mut node = spec.start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 1).await;
    let seen = |name: &str| site.path(name);
    let unknown = async |node: &Node, seen: &Path, body: &str| {
        let fault = Fault::of("fsync", "EIO", 1);
        let attached = Attached::to(node, Some(&fault), seen.to_owned()).await;
        let answer = node.api().post(INGEST, body.to_owned()).await;
        let message = answer.refused(500, "OUTCOME_UNKNOWN");
        assert!(message.contains("send the same events again"), "{message}");
        assert!(attached.has_struck());
    };

    // Within the same process it did not happen, and now it does.
    let first = author.body(&author.events(3));
    unknown(&node, &seen("first"), &first).await;
    assert_eq!(author.head(&api).await["head_sequence"], 1);
    let settled = Ingested::of(&api.post(INGEST, first.clone()).await);
    assert_eq!((settled.events_accepted, settled.receipts().len()), (3, 3));

    // The process dies before anything else is written: the log holds the commit, so it did happen.
    let second = author.body(&author.events(2));
    unknown(&node, &seen("second"), &second).await;
    node.kill();
    let node = node.again().await;
    let api = node.api();
    assert_eq!(author.head(&api).await["head_sequence"], 6);
    let replayed = Ingested::of(&api.post(INGEST, second).await);
    assert_eq!((replayed.events_accepted, replayed.receipts().len()), (0, 2));
    let again = Ingested::of(&api.post(INGEST, first).await);
    assert_eq!((again.events_accepted, again.receipts()), (0, settled.receipts()));
    let stored = author.read(&api, 1_000).await;
    assert_dense(&stored);
    assert_eq!(stored.len(), 6);
}

pub(crate) async fn a_disk_that_goes_on_failing_is_told_until_it_is_well(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 2).await;
    let fault = Fault::of("fsync", "EIO", 1).lasting();
    let attached = Attached::to(&node, Some(&fault), site.path("trace")).await;
    let body = author.body(&author.events(3));
    for _ in 0..3 {
        api.post(INGEST, body.clone()).await.refused(500, "OUTCOME_UNKNOWN");
        let ready = api.get("/ready").await;
        assert_eq!((ready.status, &ready.body()["failing"]), (503, &serde_json::json!(["database"])));
        assert_eq!(api.get("/health").await.status, 200);
        assert_eq!(author.read(&api, 10).await.len(), 2);
    }
    // Nobody writes until the node is ready, and it finds out all the same.
    drop(attached);
    until(async || api.get("/ready").await.status == 200).await;
    assert_eq!(Ingested::of(&api.post(INGEST, body).await).events_accepted, 3);
    assert_dense(&author.read(&api, 10).await);
}
