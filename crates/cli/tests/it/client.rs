//! What a client of the API does: requests, answers, and event streams read frame by frame.
//!
//! It is not the CLI's own client, so that a mistake of that one can't hide here. An answer keeps its text as it
//! came, because receipts and payloads are compared byte for byte.

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::header::HeaderMap;
use serde_json::Value;

use crate::site::soon;

/// A node's API and a credential.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: reqwest::Client,
    address: String,
    headers: HeaderMap,
}

/// One answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

/// An open event stream.
pub(crate) struct Feed {
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
    read: String,
}

/// What stands between two blank lines of an event stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) id: Option<u64>,
    pub(crate) event: String,
    pub(crate) data: String,
    pub(crate) comment: String,
}

impl Api {
    pub(crate) fn new(address: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, address: address.to_owned(), headers: HeaderMap::new() }
    }

    pub(crate) fn with_key(&self, key: &str) -> Self {
        self.with("x-api-key", key)
    }

    /// The key that it is asked with.
    pub(crate) fn key(&self) -> &str {
        self.headers["x-api-key"].to_str().unwrap()
    }

    /// The same API, asked with one header and no other.
    pub(crate) fn with(&self, name: &'static str, value: &str) -> Self {
        let headers = HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]);
        Self { headers, ..self.clone() }
    }

    /// The same API, asked with one more header.
    pub(crate) fn and(&self, name: &'static str, value: &str) -> Self {
        let mut api = self.clone();
        api.headers.insert(name, value.parse().unwrap());
        api
    }

    /// A header that it is asked with.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn without_key(&self) -> Self {
        Self { headers: HeaderMap::new(), ..self.clone() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        self.ask("POST", path, body).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        soon(self.try_ask(method, path, body)).await.unwrap()
    }

    /// Also where the node may be gone.
    pub(crate) async fn try_ask(
        &self,
        method: &str,
        path: &str,
        body: impl Into<reqwest::Body>,
    ) -> reqwest::Result<Answer> {
        let request = self.http.request(method.parse().unwrap(), format!("{}{path}", self.address));
        let response = request.headers(self.headers.clone()).body(body).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, text: response.text().await? })
    }

    /// Opens an event stream that must be there.
    pub(crate) async fn follow(&self, path: &str, last_event_id: Option<u64>) -> Feed {
        self.try_follow(path, last_event_id).await.unwrap_or_else(|answer| panic!("{}", answer.text))
    }

    /// Opens an event stream, or says why not.
    pub(crate) async fn try_follow(&self, path: &str, last_event_id: Option<u64>) -> Result<Feed, Answer> {
        let mut request = self.http.get(format!("{}{path}", self.address)).headers(self.headers.clone());
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = soon(request.send()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        if status != 200 {
            return Err(Answer { status, headers, text: soon(response.text()).await.unwrap() });
        }
        assert_eq!(headers["content-type"], "text/event-stream");
        Ok(Feed { chunks: response.bytes_stream().boxed(), read: String::new() })
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body of an answer that must be 200.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text);
        self.body()
    }

    /// The body whatever the status.
    pub(crate) fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The message of an error that must be this one, in the standard shape.
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        assert_eq!((self.status, self.header("x-error-code")), (status, code), "{}", self.text);
        let error = &self.body()["error"];
        assert_eq!(error["code"], code);
        assert!(error["numeric_code"].is_u64(), "{}", self.text);
        assert_eq!(error["request_id"], self.header("x-request-id"));
        error["message"].as_str().unwrap().to_owned()
    }
}

impl Feed {
    /// The next frame; none if the server has ended the stream.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.read.find("\n\n") {
                let frame = Frame::parse(&self.read[..end]);
                self.read.drain(..end + 2);
                return Some(frame);
            }
            let chunk = soon(self.chunks.next()).await?.expect("the stream broke off");
            // Events are cut between lines at most, so that every chunk is text.
            self.read.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event; heartbeats are passed over.
    pub(crate) async fn event(&mut self) -> Frame {
        loop {
            let frame = self.next().await.expect("the stream ended");
            if frame.comment.is_empty() {
                assert_eq!(frame.event, "event", "{frame:?}");
                return frame;
            }
        }
    }

    /// Events of these numbers come next, each once and in order; returns their data.
    pub(crate) async fn expect(&mut self, numbers: std::ops::RangeInclusive<u64>) -> Vec<String> {
        let mut data = Vec::new();
        for number in numbers {
            let frame = self.event().await;
            assert_eq!(frame.id, Some(number), "after {} events", data.len());
            data.push(frame.data);
        }
        data
    }
}

impl Frame {
    fn parse(text: &str) -> Self {
        let mut frame = Self::default();
        for line in text.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "" => frame.comment = value.to_owned(),
                "id" => frame.id = value.parse().ok(),
                "event" => frame.event = value.to_owned(),
                "data" => frame.data = value.to_owned(),
                _ => panic!("{line}"),
            }
        }
        frame
    }
}
