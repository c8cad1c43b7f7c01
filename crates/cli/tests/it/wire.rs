//! HTTP as bytes on a connection, for clients that no library would be: slow ones, silent ones, and ones that stop
//! in the middle.
//!
//! It understands nothing of what it reads.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::node::{ADMIN_KEY, Node};
use crate::site::soon;

/// One connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    pub(crate) read: String,
}

impl Wire {
    pub(crate) async fn connect(node: &Node) -> std::io::Result<Self> {
        let stream = TcpStream::connect(node.address().trim_start_matches("http://")).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: String::new() })
    }

    /// A connection with the head of a request that announces a body, and asks before it sends that.
    pub(crate) async fn announcing(node: &Node, path: &str, body_bytes: usize) -> Self {
        let mut wire = Self::connect(node).await.unwrap();
        wire.send(&format!(
            "POST {path} HTTP/1.1\r\nHost: node\r\nx-api-key: {ADMIN_KEY}\r\nContent-Length: {body_bytes}\r\n\
             Expect: 100-continue\r\n\r\n"
        ))
        .await
        .unwrap();
        wire.until("100 Continue\r\n\r\n").await;
        wire
    }

    pub(crate) async fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(text.as_bytes()).await
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Breaks the connection off, as a peer that died: what is on its way is lost.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Reads until the text has come.
    pub(crate) async fn until(&mut self, text: &str) {
        while !self.read.contains(text) {
            assert!(self.more().await, "the connection ended after {:?}", self.read);
        }
    }

    /// Reads until the node ends the connection; all that came since the beginning.
    pub(crate) async fn rest(mut self) -> String {
        while self.more().await {}
        self.read
    }

    /// Whether anything came, within the deadline.
    pub(crate) async fn more(&mut self) -> bool {
        let mut chunk = [0; 4_096];
        // A connection that is reset has ended too.
        let bytes = soon(self.stream.read(&mut chunk)).await.unwrap_or(0);
        self.read.push_str(&String::from_utf8_lossy(&chunk[..bytes]));
        bytes > 0
    }
}
