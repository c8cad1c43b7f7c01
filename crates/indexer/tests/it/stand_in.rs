//! An endpoint that answers as a test wants, and passes on what it has nothing to say to. It speaks the real bytes:
//! HTTP with connections that are used again, and JSON-RPC.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What it answers: a result, a refusal with code and words, or nothing at all.
pub(crate) enum Answer {
    Result(Value),
    Refusal(i64, &'static str),
    Silence,
}

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;
type Handler = dyn Fn(String, Value) -> Answering + Send + Sync;

/// A running endpoint; it ends with the test.
pub(crate) struct StandIn {
    url: String,
}

impl StandIn {
    /// Answers each call by itself.
    pub(crate) async fn start<F: Future<Output = Answer> + Send + 'static>(
        handler: impl Fn(String, Value) -> F + Send + Sync + 'static,
    ) -> StandIn {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let handler: Arc<Handler> = Arc::new(move |method, params| Box::pin(handler(method, params)));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(client, Arc::clone(&handler)));
            }
        });
        StandIn { url }
    }

    /// Asks the node at `url`, unless `rule` has something to say to the call, or to the node's answer.
    pub(crate) async fn before(
        url: &str,
        rule: impl Fn(&str, &Value) -> Option<Answer> + Send + Sync + 'static,
        change: impl Fn(&str, &Value, Value) -> Value + Send + Sync + 'static,
    ) -> StandIn {
        let (url, http) = (url.to_owned(), reqwest::Client::builder().no_proxy().build().unwrap());
        let rules = Arc::new((rule, change));
        Self::start(move |method, params| {
            let (url, http, rules) = (url.clone(), http.clone(), Arc::clone(&rules));
            async move {
                if let Some(answer) = rules.0(&method, &params) {
                    return answer;
                }
                let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
                let response = http.post(&url).json(&body).send().await.unwrap();
                let mut answer: Value = response.json().await.unwrap();
                match answer.get("error") {
                    Some(_) => Answer::Refusal(-32_000, "the node refuses"),
                    None => Answer::Result(rules.1(&method, &params, answer["result"].take())),
                }
            }
        })
        .await
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }
}

async fn serve(mut client: TcpStream, handler: Arc<Handler>) -> Option<()> {
    let mut read = Vec::new();
    loop {
        let (head_end, body_bytes) = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
                break (end + 4, length.trim().parse::<usize>().ok()?);
            }
            fill(&mut client, &mut read).await?;
        };
        while read.len() < head_end + body_bytes {
            fill(&mut client, &mut read).await?;
        }
        let request: Value = serde_json::from_slice(&read[head_end..head_end + body_bytes]).ok()?;
        read.drain(..head_end + body_bytes);
        let method = request["method"].as_str()?.to_owned();
        let mut answer = json!({"jsonrpc": "2.0", "id": request["id"]});
        match handler(method, request["params"].clone()).await {
            Answer::Result(result) => answer["result"] = result,
            Answer::Refusal(code, message) => answer["error"] = json!({"code": code, "message": message}),
            Answer::Silence => return None,
        }
        let body = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        client.write_all((head + &body).as_bytes()).await.ok()?;
    }
}

async fn fill(client: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    let mut more = [0; 16_384];
    let count = client.read(&mut more).await.ok().filter(|count| *count > 0)?;
    read.extend_from_slice(&more[..count]);
    Some(())
}
