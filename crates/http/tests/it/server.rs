//! Binding, limits of connections and heads, and the drain.
//! Connections are plain sockets, since a client would hide what is looked at.

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use bowline_http::{Error, Server, ServerLimits};
use bowline_runtime::Shutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::listener::{LIMITS, Listener, SOON, Site};

const HEAD: &[u8] = b"GET /ok HTTP/1.1\r\nhost: here\r\n\r\n";

/// A route that answers at once.
fn routes() -> Router {
    Router::new().route("/ok", get(async || "ok"))
}

async fn connect(listener: &Listener) -> TcpStream {
    TcpStream::connect(listener.address).await.unwrap()
}

/// Reads until the answer `ok` is there.
async fn read_ok(stream: &mut TcpStream) {
    let mut read = Vec::new();
    while !read.ends_with(b"ok") {
        let mut page = [0; 1_024];
        let bytes = timeout(SOON, stream.read(&mut page)).await.expect("an answer").unwrap();
        assert!(bytes > 0, "cut after {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&page[..bytes]);
    }
}

#[tokio::test]
async fn an_address_in_use_is_refused_by_name() {
    let first = Server::bind("127.0.0.1:0".parse().unwrap(), LIMITS).await.unwrap();
    let refused = Server::bind(first.address(), LIMITS).await.unwrap_err();
    assert!(matches!(&refused, Error::Bind { address, .. } if *address == first.address()), "{refused}");
    assert!(refused.to_string().contains(&first.address().to_string()), "{refused}");
}

#[tokio::test]
async fn a_head_that_takes_too_long_ends_its_connection() {
    let mut site = Site::new().await;
    site.server_limits = ServerLimits { header_secs_max: 1, ..LIMITS };
    let listener = site.serve(routes()).await;
    let mut slow = connect(&listener).await;
    let began = Instant::now();
    slow.write_all(b"GET /ok HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    drop(timeout(SOON, slow.read_to_end(&mut rest)).await.expect("the connection ends"));
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    let mut quick = connect(&listener).await;
    quick.write_all(HEAD).await.unwrap();
    read_ok(&mut quick).await;
}

#[tokio::test]
async fn a_connection_beyond_the_limit_waits_until_another_one_ends() {
    let mut site = Site::new().await;
    site.server_limits = ServerLimits { connections_max: 1, ..LIMITS };
    let listener = site.serve(routes()).await;
    let mut first = connect(&listener).await;
    first.write_all(HEAD).await.unwrap();
    read_ok(&mut first).await;
    let mut second = connect(&listener).await;
    second.write_all(HEAD).await.unwrap();
    let mut page = [0; 1];
    let waits = timeout(Duration::from_millis(300), second.peek(&mut page)).await;
    assert!(waits.is_err(), "it was served beside the first");
    drop(first);
    read_ok(&mut second).await;
}

#[tokio::test]
async fn what_was_begun_is_finished_and_nothing_new_is_taken() {
    let (begun, mut begins) = mpsc::channel(1);
    let finish = Shutdown::new();
    let until = finish.clone();
    let routes = Router::new().route(
        "/ok",
        get(async move || {
            begun.send(()).await.unwrap();
            until.begun().await;
            "ok"
        }),
    );
    let listener = Site::new().await.serve(routes).await;
    let mut stream = connect(&listener).await;
    stream.write_all(HEAD).await.unwrap();
    timeout(SOON, begins.recv()).await.unwrap();
    listener.shutdown.begin();
    let refused = async {
        while TcpStream::connect(listener.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, refused).await.expect("new connections are refused");
    finish.begin();
    read_ok(&mut stream).await;
    listener.stop().await.unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_end_is_cut_after_the_grace() {
    let (begun, mut begins) = mpsc::channel(1);
    let routes = Router::new().route(
        "/ok",
        get(async move || {
            begun.send(()).await.unwrap();
            std::future::pending::<&str>().await
        }),
    );
    let listener = Site::new().await.serve(routes).await;
    let mut stream = connect(&listener).await;
    stream.write_all(HEAD).await.unwrap();
    timeout(SOON, begins.recv()).await.unwrap();
    assert!(matches!(listener.stop().await, Err(Error::Drain(_))));
}
