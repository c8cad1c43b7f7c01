//! Event streams: how many may be open, and how each end is told.
//! A stream is read byte by byte, as a client without a library does.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bowline_http::{
    ApiError, ApiKeySecret, EventSource, EventStreamLimits, EventStreams, Principal, Reader, StreamEnd,
    framed,
};
use bowline_store::{ApiKeyRecord, Permission};
use bowline_types::{Code, TenantId, Timestamp};
use reqwest::Method;
use tokio::time::timeout;

use crate::listener::{ADMIN_KEY, Listener, SOON, Site};

/// Counts to two, and then waits or fails.
struct Two {
    given: usize,
    fails: bool,
}

impl EventSource for Two {
    async fn next(&mut self) -> Result<Event, StreamEnd> {
        if self.given == 2 {
            if self.fails {
                return Err(StreamEnd { code: Code::InternalError, message: "no third".to_owned() });
            }
            std::future::pending::<()>().await;
        }
        self.given += 1;
        Ok(Event::default().event("event").data(self.given.to_string()))
    }

    fn admits(&self, principal: &Principal) -> Result<(), ApiError> {
        principal.require(Permission::Read)
    }
}

async fn follow(State((streams, fails)): State<(EventStreams, bool)>, reader: Reader) -> Response {
    match streams.open(reader, Two { given: 0, fails }) {
        Ok(stream) => stream.into_response(),
        Err(error) => error.into_response(),
    }
}

async fn serve(site: Site, open_max: usize, fails: bool) -> Listener {
    let access = site.access();
    let limits = EventStreamLimits { open_max, heartbeat: SOON, slow_reader_max: SOON };
    site.serve_with(|stopping| {
        let state = (EventStreams::new(limits, stopping), fails);
        framed(Router::new().route("/follow", get(follow)).with_state(state), access)
    })
    .await
}

/// An open stream and what it has said.
struct Following {
    response: reqwest::Response,
    text: String,
}

impl Following {
    async fn open(listener: &Listener, key: &str) -> Self {
        let request = listener.request(Method::GET, "/follow").header("x-api-key", key);
        let response = request.send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        Self { response, text: String::new() }
    }

    /// Reads up to a text; the stream goes on behind it.
    async fn read_until(&mut self, end: &str) {
        while !self.text.contains(end) {
            let page = timeout(SOON, self.response.chunk()).await.expect("an event").unwrap();
            self.text.push_str(std::str::from_utf8(&page.expect("an event")).unwrap());
        }
    }

    /// Reads to the end.
    async fn ends(mut self) -> String {
        while let Some(page) = timeout(SOON, self.response.chunk()).await.expect("an end").unwrap() {
            self.text.push_str(std::str::from_utf8(&page).unwrap());
        }
        self.text
    }
}

#[tokio::test]
async fn a_source_that_fails_ends_its_stream_with_its_code() {
    let listener = serve(Site::new().await, 1, true).await;
    let stream = listener.get("/follow").await;
    assert_eq!(stream.header("content-type"), "text/event-stream");
    let expected = "event: event\ndata: 1\n\nevent: event\ndata: 2\n\nevent: error\n\
                    data: {\"code\":\"INTERNAL_ERROR\",\"message\":\"no third\"}\n\n";
    assert_eq!(stream.text, expected);
}

#[tokio::test]
async fn one_stream_too_many_is_refused_and_all_end_when_the_listener_stops() {
    let listener = serve(Site::new().await, 1, false).await;
    let mut following = Following::open(&listener, ADMIN_KEY).await;
    following.read_until("data: 2").await;
    assert_eq!(listener.get("/follow").await.error(), (503, "SERVICE_UNAVAILABLE".to_owned()));
    listener.shutdown.begin();
    let text = following.ends().await;
    assert!(text.contains("the node is draining"), "{text}");
    listener.stop().await.unwrap();
}

#[tokio::test]
async fn a_stream_ends_when_its_credential_is_revoked() {
    let site = Site::new().await;
    let store = std::sync::Arc::clone(&site.store);
    let tenant_id = TenantId::random();
    let key = ApiKeySecret::generate(tenant_id).unwrap();
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let record = ApiKeyRecord {
        key_hash: key.hash(),
        tenant_id,
        agent_id: None,
        permissions: vec![Permission::Read],
        store_ids: Vec::new(),
        active: true,
        expires_at: None,
        revoked_at: None,
        rate_limit: None,
        created_at: now,
    };
    store.put_api_key(record).await.unwrap();
    let listener = serve(site, 1, false).await;
    let mut following = Following::open(&listener, key.reveal()).await;
    following.read_until("data: 2").await;
    store.revoke_api_key(key.hash(), now).await.unwrap();
    let began = std::time::Instant::now();
    let text = following.ends().await;
    assert!(text.contains("INVALID_API_KEY"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(9), "a change of keys is heard of at once");
}
