//! A server that gives prepared answers, one a connection, and keeps the heads of what it was asked.

use std::sync::{Arc, Mutex};

use bowline_client::Url;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Listens until the test's runtime ends.
pub(crate) struct Server {
    url: Url,
    asked: Arc<Mutex<Vec<String>>>,
}

/// An answer as it goes over the wire.
pub(crate) fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// The address of a port that nobody listens on.
pub(crate) async fn nowhere() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap()).parse().unwrap()
}

impl Server {
    pub(crate) async fn answering<const N: usize>(answers: [String; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/line/", listener.local_addr().unwrap()).parse().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            for answer in answers {
                let (mut socket, _) = listener.accept().await.unwrap();
                let request = read(&mut socket).await;
                kept.lock().unwrap().push(request);
                socket.write_all(answer.as_bytes()).await.unwrap();
                socket.shutdown().await.unwrap();
            }
        });
        Self { url, asked }
    }

    /// Its address, below a path.
    pub(crate) fn url(&self) -> Url {
        self.url.clone()
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

/// A whole request: a connection that is closed with something unread is reset.
async fn read(socket: &mut TcpStream) -> String {
    let mut request = String::new();
    loop {
        let body_bytes = |head: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            line.map_or(0, |bytes| bytes.parse().unwrap())
        };
        if let Some((head, body)) = request.split_once("\r\n\r\n")
            && body.len() >= body_bytes(head)
        {
            return request;
        }
        let mut chunk = Vec::new();
        assert_ne!(socket.read_buf(&mut chunk).await.unwrap(), 0, "the request breaks off");
        request.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}
