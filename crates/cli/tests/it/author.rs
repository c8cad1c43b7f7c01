//! An agent that signs events for one stream, and what a node must say to it.
//!
//! Keys and ids are fresh in every test. What is checked of a receipt is checked against the sequencer's published
//! keys and the event as the agent signed it, never against what the node says of itself.

use std::collections::HashMap;

use bowline_types::{AgentId, EventId, StoreId, StreamId, TenantId};
use bowline_ves::{AgentPublicKey, Draft, Envelope, Receipt, SecretKey, event_signing_hash, sign_envelope};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::client::{Answer, Api};

pub(crate) const INGEST: &str = "/api/v1/ves/events/ingest";

/// An agent with its key, and the stream that it writes.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    pub(crate) stream: StreamId,
    pub(crate) agent_id: AgentId,
    pub(crate) key: SecretKey,
}

/// What ingest answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ingested {
    pub(crate) events_accepted: u64,
    pub(crate) events_rejected: u64,
    pub(crate) sequence_start: Option<u64>,
    pub(crate) sequence_end: Option<u64>,
    pub(crate) head_sequence: u64,
    #[serde(default)]
    pub(crate) rejections: Vec<Rejected>,
    #[serde(default)]
    receipts: Vec<Box<RawValue>>,
}

/// One event that was not taken.
#[derive(Debug, Deserialize)]
pub(crate) struct Rejected {
    pub(crate) index: usize,
    pub(crate) event_id: Option<String>,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) field: Option<String>,
}

impl Author {
    /// A new agent in a new stream.
    pub(crate) fn new() -> Self {
        Self::of(StreamId::new(TenantId::random(), StoreId::random()))
    }

    /// A new agent in a stream.
    pub(crate) fn of(stream: StreamId) -> Self {
        Self { stream, agent_id: AgentId::random(), key: SecretKey::random().unwrap() }
    }

    /// The same agent in another store of its tenant.
    pub(crate) fn elsewhere(&self) -> Self {
        Self { stream: StreamId::new(self.stream.tenant_id, StoreId::random()), ..self.clone() }
    }

    /// Makes the agent's key known.
    pub(crate) async fn register(&self, api: &Api) -> Answer {
        let body = json!({
            "tenantId": self.stream.tenant_id, "agentId": self.agent_id, "keyId": 1,
            "publicKey": self.key.public(),
        });
        api.post("/api/v1/agents/keys", body.to_string()).await
    }

    /// A new agent in a new stream whose key the node knows.
    pub(crate) async fn known_to(api: &Api) -> Self {
        let author = Self::new();
        assert_eq!(author.register(api).await.status, 200);
        author
    }

    pub(crate) fn draft(&self, payload: &str) -> Draft {
        Draft {
            stream: self.stream,
            event_id: EventId::random(),
            source_agent_id: self.agent_id,
            agent_key_id: 1,
            entity_type: "order".to_owned(),
            entity_id: "o-1".to_owned(),
            event_type: "order.created".to_owned(),
            created_at: "2025-12-20T17:51:10.243Z".to_owned(),
            payload: payload.into(),
            command_id: None,
            base_version: None,
        }
    }

    pub(crate) fn sign(&self, draft: Draft) -> String {
        sign_envelope(draft, &self.key).unwrap().to_json()
    }

    pub(crate) fn event(&self, payload: &str) -> String {
        self.sign(self.draft(payload))
    }

    /// So many small events.
    pub(crate) fn events(&self, count: u64) -> Vec<String> {
        (0..count).map(|n| self.event(&format!("{{\"n\":{n}}}"))).collect()
    }

    pub(crate) fn body(&self, events: &[String]) -> String {
        format!("{{\"agentId\":\"{}\",\"events\":[{}]}}", self.agent_id, events.join(","))
    }

    pub(crate) async fn ingest(&self, api: &Api, events: &[String]) -> Ingested {
        Ingested::of(&api.post(INGEST, self.body(events)).await)
    }

    /// Appends so many new events, which must all be accepted.
    pub(crate) async fn grow(&self, api: &Api, count: u64) -> Vec<String> {
        let events = self.events(count);
        let ingested = self.ingest(api, &events).await;
        assert_eq!(ingested.events_accepted, count, "{ingested:?}");
        events
    }

    /// `PATH?tenant_id=…&store_id=…` and whatever else.
    pub(crate) fn path(&self, path: &str, more: &str) -> String {
        let StreamId { tenant_id, store_id } = self.stream;
        format!("/api/v1/ves/{path}?tenant_id={tenant_id}&store_id={store_id}{more}")
    }

    /// The body of a commitment's request.
    pub(crate) fn range(&self, start: Option<u64>, end: Option<u64>) -> String {
        json!({
            "tenant_id": self.stream.tenant_id, "store_id": self.stream.store_id,
            "sequence_start": start, "sequence_end": end,
        })
        .to_string()
    }

    pub(crate) async fn commit(&self, api: &Api, start: Option<u64>, end: Option<u64>) -> Answer {
        api.post("/api/v1/ves/commitments", self.range(start, end)).await
    }

    pub(crate) async fn head(&self, api: &Api) -> Value {
        api.get(&self.path("head", "")).await.json()
    }

    /// The whole stream as pages give it, each event with its receipt.
    pub(crate) async fn read(&self, api: &Api, page_events: u64) -> Vec<Stored> {
        let mut stored = Vec::new();
        let mut next = Some(1);
        while let Some(from) = next {
            let more = format!("&from={from}&limit={page_events}&receipts=true");
            let page = api.get(&self.path("events", &more)).await;
            assert_eq!(page.status, 200, "{}", page.text);
            let page: Page = serde_json::from_str(&page.text).unwrap();
            assert!(page.events.len() as u64 <= page_events);
            stored.extend(page.events.iter().map(|event| Stored::of(event.get())));
            next = page.next;
        }
        stored
    }
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Box<RawValue>>,
    next: Option<u64>,
}

/// An event as the node gives it.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) event_id: EventId,
    pub(crate) sequence_number: u64,
    /// The whole event.
    pub(crate) text: String,
    /// Its receipt, byte for byte.
    pub(crate) receipt: String,
}

impl Stored {
    pub(crate) fn of(text: &str) -> Self {
        #[derive(Deserialize)]
        struct Fields {
            event_id: EventId,
            sequence_number: u64,
            receipt: Box<RawValue>,
        }
        let Fields { event_id, sequence_number, receipt } = serde_json::from_str(text).unwrap();
        Self { event_id, sequence_number, text: text.to_owned(), receipt: receipt.get().to_owned() }
    }
}

impl Ingested {
    pub(crate) fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status, 200, "{}", answer.text);
        serde_json::from_str(&answer.text).unwrap()
    }

    /// The receipts, byte for byte.
    pub(crate) fn receipts(&self) -> Vec<&str> {
        self.receipts.iter().map(|receipt| receipt.get()).collect()
    }

    /// The one rejection's reason.
    pub(crate) fn reason(&self) -> &str {
        assert_eq!((self.events_accepted, self.rejections.len()), (0, 1), "{self:?}");
        &self.rejections[0].reason
    }
}

/// The sequencer's published keys, asked for without a credential.
pub(crate) async fn sequencer_keys(api: &Api) -> HashMap<(String, u64), AgentPublicKey> {
    let answer = api.without_key().get("/api/v1/sequencer/keys").await.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let keys = answer["keys"].as_array().unwrap().iter().map(|key| {
        let name = (text(&key["sequencer_id"]), key["key_version"].as_u64().unwrap());
        (name, AgentPublicKey::parse_hex(&text(&key["public_key"])).unwrap())
    });
    keys.collect()
}

/// The receipt is this event's, and both signatures are those of a published key.
pub(crate) fn check_receipt(
    receipt: &str,
    event: &str,
    keys: &HashMap<(String, u64), AgentPublicKey>,
) -> Receipt {
    let receipt = Receipt::parse(receipt).unwrap();
    let envelope = Envelope::parse(event).unwrap();
    assert_eq!((receipt.event_id, receipt.stream), (envelope.event_id, envelope.stream));
    let key = &keys[&(receipt.sequencer_id.to_string(), u64::from(receipt.key_version))];
    receipt.verify(Some(&event_signing_hash(&envelope)), key).unwrap();
    receipt
}

/// The numbers are 1, 2, 3, … and no event is there twice.
pub(crate) fn assert_dense(stored: &[Stored]) {
    let numbers = stored.iter().map(|event| event.sequence_number);
    assert!(numbers.eq(1..=stored.len() as u64));
    let ids: std::collections::HashSet<_> = stored.iter().map(|event| event.event_id).collect();
    assert_eq!(ids.len(), stored.len());
}
