//! Clients that stand still, break off or speak nonsense: each is let go, and nobody else notices.
//!
//! They are many at once, because one that is let go proves little.

use std::sync::Arc;
use std::time::Duration;

use crate::author::{Author, INGEST};
use crate::node::ADMIN_KEY;
use crate::site::{Site, until};
use crate::wire::Wire;

const CLIENTS: usize = 20;
/// More than the kernel holds for a connection whose reader takes nothing.
const UNREAD_EVENTS: u64 = 18;
const UNREAD_EVENT_BYTES: usize = 900_000;
/// Between two bytes of a body that trickles.
const TRICKLE: Duration = Duration::from_millis(50);

pub(crate) async fn clients_that_stand_still_are_let_go(site: Arc<Site>) {
    let spec = site.node("data").config("api:\n  header_secs_max: 1\n").env("REQUEST_TIMEOUT_SECS", "1");
    let node = spec.start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;

    let mut standing = Vec::new();
    for at in 0..CLIENTS {
        let mut wire = Wire::connect(&node).await.unwrap();
        if at % 2 == 0 {
            wire.send("POST /api/v1/ves/events/ingest HTTP/1.1\r\nHost: node\r\nx-ap").await.unwrap();
        }
        standing.push(wire);
    }
    author.grow(&api, 1).await;
    for wire in standing {
        let answer = wire.rest().await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    }

    let mut trickling = Wire::announcing(&node, INGEST, 100_000).await;
    let trickle = async {
        while !trickling.read.contains("504") {
            drop(trickling.send(" ").await);
            drop(tokio::time::timeout(TRICKLE, trickling.more()).await);
        }
        trickling.until("TIMEOUT").await;
    };
    crate::site::soon(trickle).await;
    author.grow(&api, 1).await;
    assert_eq!(api.get("/health").await.status, 200);
    assert_eq!(author.head(&api).await["head_sequence"], 2);
}

pub(crate) async fn a_reader_that_takes_nothing_is_cut_off_and_counted(site: Arc<Site>) {
    let spec = site.node("data").config("line:\n  limits:\n    slow_reader_secs_max: 1\n");
    let node = spec.start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    for _ in 0..UNREAD_EVENTS / 9 {
        let large = (0..9)
            .map(|_| author.event(&format!("\"{}\"", "x".repeat(UNREAD_EVENT_BYTES))))
            .collect::<Vec<_>>();
        assert_eq!(author.ingest(&api, &large).await.events_accepted, 9);
    }
    let mut reader = Wire::connect(&node).await.unwrap();
    let path = author.path("stream", "");
    reader
        .send(&format!("GET {path} HTTP/1.1\r\nHost: node\r\nx-api-key: {ADMIN_KEY}\r\n\r\n"))
        .await
        .unwrap();
    let metrics = async |line: &str| api.get("/metrics").await.text.lines().any(|found| found == line);
    until(async || metrics("bowline_event_streams 1").await).await;
    until(async || metrics("bowline_slow_readers_total 1").await).await;
    assert!(metrics("bowline_event_streams 0").await);
    author.grow(&api, 1).await;
    drop(reader);
}

/// A request as bytes, with the key that a right one needs.
fn request(head: &str, rest: &str) -> Vec<u8> {
    format!("POST {INGEST} HTTP/1.1\r\nHost: node\r\nx-api-key: {ADMIN_KEY}\r\n{head}\r\n\r\n{rest}")
        .into_bytes()
}

pub(crate) async fn requests_that_are_no_requests_cost_nobody_anything(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    let body = author.body(&author.events(1));
    let length = format!("Content-Length: {}", body.len());
    let many = (0..300).map(|n| format!("x-header-{n}: {n}\r\n")).collect::<String>();
    let large = format!("x-large: {}", "x".repeat(1 << 20));
    let chunked = "Transfer-Encoding: chunked";
    let nonsense: Vec<(&str, Vec<u8>)> = vec![
        ("no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("no version", b"GET /health\r\n\r\n".to_vec()),
        ("a long path", format!("GET /{} HTTP/1.1\r\nHost: node\r\n\r\n", "x".repeat(1 << 20)).into_bytes()),
        ("many headers", request(&format!("{many}{length}"), &body)),
        ("a large header", request(&format!("{large}\r\n{length}"), &body)),
        ("a header that is no text", [request("x-bad: \u{1}", ""), body.clone().into_bytes()].concat()),
        ("a length below nothing", request("Content-Length: -1", &body)),
        ("a length beyond numbers", request("Content-Length: 99999999999999999999999", &body)),
        ("two lengths", request(&format!("{length}\r\nContent-Length: 3"), &body)),
        ("a chunk that is no number", request(chunked, "zz\r\nabc\r\n0\r\n\r\n")),
        ("a chunk beyond numbers", request(chunked, "ffffffffffffffffff\r\nabc\r\n0\r\n\r\n")),
        ("a chunk without its end", request(chunked, "3\r\nabcdef\r\n0\r\n\r\n")),
        ("a transfer that nobody knows", request("Transfer-Encoding: quantum", &body)),
    ];
    for (what, bytes) in &nonsense {
        let mut wire = Wire::connect(&node).await.unwrap();
        // The node may have hung up before all of it was sent.
        drop(wire.send_bytes(bytes).await);
        let answer = wire.rest().await;
        assert!(!answer.starts_with("HTTP/1.1 2") && !answer.starts_with("HTTP/1.1 5"), "{what}: {answer}");
    }
    // A length and chunks at once are how requests are smuggled past a proxy: one of them counts, and it is over then.
    let mut both = Wire::connect(&node).await.unwrap();
    both.send_bytes(&request(&format!("{length}\r\n{chunked}"), "0\r\n\r\nGET /health HTTP/1.1\r\n\r\n"))
        .await
        .unwrap();
    let answer = both.rest().await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");

    author.grow(&api, 1).await;
    assert_eq!(author.head(&api).await["head_sequence"], 1);
    assert!(api.get("/metrics").await.text.lines().any(|line| line == "bowline_http_panics_total 0"));
}

pub(crate) async fn clients_that_break_off_leave_nothing_behind(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    for _ in 0..5 {
        let large = vec![author.event(&format!("\"{}\"", "x".repeat(UNREAD_EVENT_BYTES)))];
        assert_eq!(author.ingest(&api, &large).await.events_accepted, 1);
    }
    let body = author.body(&author.events(3));
    for at in 0..CLIENTS {
        let mut wire = Wire::connect(&node).await.unwrap();
        match at % 3 {
            // Half of a body.
            0 => {
                let half = request(&format!("Content-Length: {}", body.len()), &body[..body.len() / 2]);
                wire.send_bytes(&half).await.unwrap();
            }
            // A chunk of a body that never ends.
            1 => wire.send_bytes(&request("Transfer-Encoding: chunked", "5\r\n{\"age\r\n")).await.unwrap(),
            // An answer of megabytes, of which a little is read.
            _ => {
                let path = author.path("export", "");
                let head = format!("GET {path} HTTP/1.1\r\nHost: node\r\nx-api-key: {ADMIN_KEY}\r\n\r\n");
                wire.send(&head).await.unwrap();
                wire.until("200 OK").await;
            }
        }
        wire.reset();
    }
    // The one that asks stays.
    until(async || {
        let text = api.get("/metrics").await.text;
        text.lines().any(|line| line == "bowline_http_connections 1")
    })
    .await;
    assert_eq!(author.head(&api).await["head_sequence"], 5);
    author.grow(&api, 1).await;
}

pub(crate) async fn bodies_that_do_not_come_take_no_memory(site: Arc<Site>) {
    let node = site.node("data").start().await;
    let api = node.api();
    let author = Author::known_to(&api).await;
    author.grow(&api, 1).await;
    let before = node.memory_bytes_max();
    // Each announces as much as is taken, and sends nearly nothing.
    let mut waiting = Vec::new();
    for _ in 0..10 * CLIENTS {
        let mut wire = Wire::announcing(&node, INGEST, 10 << 20).await;
        wire.send("{\"agentId\"").await.unwrap();
        waiting.push(wire);
    }
    // Deep and wide JSON, which a careless parser turns into many times its size.
    for nonsense in
        ["[".repeat(5 << 20), "[0,".repeat(3 << 20), format!("{{\"events\":[{}", "{},".repeat(3 << 20))]
    {
        api.post(INGEST, nonsense).await.refused(400, "INVALID_REQUEST_BODY");
    }
    author.grow(&api, 1).await;
    let grown = node.memory_bytes_max() - before;
    assert!(grown < 200 << 20, "{} MiB more", grown >> 20);
    drop(waiting);
}
