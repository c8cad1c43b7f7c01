//! `GET /api/v1/ves/export`: a range of a stream as one self-contained file that anyone can verify offline.
//!
//! Pages go out as they are read, so an export of any size costs one page of memory. If the store fails on the
//! way the connection is cut, and a file without its last line does not verify.

use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bowline_http::{ApiError, Params, Principal};
use bowline_store::{Permission, ReadQuery, StoreError, StoredEvent};
use bowline_types::{AgentId, Code, StoreId, StreamId, TenantId};
use bowline_ves::{AgentKeyRecord, AgentPublicKey, ExportHeader, ExportWriter, KeyError, SequencerKeyRecord};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use utoipa::IntoParams;

use super::export_chain::ChainReader;
use crate::state::Api;

/// Events read at a time.
const PAGE_EVENTS: usize = 500;

/// Payload bytes read at a time.
const PAGE_BYTES: usize = 4 << 20;

/// Pages that wait for the client to take them.
const PAGES_WAITING_MAX: usize = 2;

/// Which range.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ExportQuery {
    /// The tenant.
    #[param(value_type = String, format = "uuid")]
    tenant_id: TenantId,
    /// The store.
    #[param(value_type = String, format = "uuid")]
    store_id: StoreId,
    /// The first sequence number; 1 if absent.
    from: Option<u64>,
    /// The last sequence number; the head if absent.
    to: Option<u64>,
}

/// Export a stream or a range of it, with the keys, receipts and commitments that `bowline verify export`
/// needs to check every hash, signature, number and root offline.
#[utoipa::path(get, path = "/api/v1/ves/export", tag = "prove", params(ExportQuery), responses(
    (status = 200, description = "The export, a JSON object a line", content_type = "application/x-ndjson", body = String),
    (status = 400, description = "The range is not all there")))]
pub(super) async fn export(
    State(api): State<Api>,
    principal: Principal,
    Params(query): Params<ExportQuery>,
) -> Result<Response, ApiError> {
    let stream = StreamId::new(query.tenant_id, query.store_id);
    principal.require_stream(Permission::Read, stream)?;
    let head = api.line.reader.head(stream).await?.map_or(0, |head| head.head);
    let (start, end) = (query.from.unwrap_or(1), query.to.unwrap_or(head));
    if start == 0 || end > head || start > end + 1 {
        let message = format!("the range {start} to {end} is not all there: the stream's head is {head}");
        return Err(ApiError::new(Code::SequenceGap, message));
    }
    let keys = api.line.store.sequencer_keys().await?;
    let sequencer_keys = keys
        .into_iter()
        .map(|key| {
            let public_key = AgentPublicKey::from_bytes(&key.public_key)?;
            Ok(SequencerKeyRecord {
                key_version: key.key_version,
                sequencer_id: key.sequencer_id,
                public_key,
            })
        })
        .collect::<Result<_, KeyError>>()
        .map_err(|error| ApiError::new(Code::InternalError, format!("a stored sequencer key: {error}")))?;
    let exported_at = api.line.clock.now();
    let header =
        ExportHeader { stream, sequence_start: start, sequence_end: end, exported_at, sequencer_keys };
    let (sender, receiver) = mpsc::channel(PAGES_WAITING_MAX);
    tokio::spawn(async move {
        if let Err(error) = write(&api, header, head, &sender).await {
            tracing::warn!(component = "api", %stream, %error, "Export broke off");
            drop(sender.send(Err(io::Error::other(error.to_string()))).await);
        }
    });
    let pages = futures_util::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|page| (page, receiver))
    });
    let name = format!("attachment; filename=\"{}-{start}-{end}.bowline.ndjson\"", stream.store_id);
    let headers =
        [(header::CONTENT_TYPE, "application/x-ndjson".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from_stream(pages)).into_response())
}

/// Why an export broke off.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Write(#[from] io::Error),
    #[error("the receipt of event {0} was not signed")]
    Unsigned(u64),
    #[error("the stored key {1} of agent {0} is missing or not a key")]
    Key(AgentId, u32),
}

type Pages = mpsc::Sender<io::Result<Bytes>>;

async fn write(api: &Api, header: ExportHeader, head: u64, pages: &Pages) -> Result<(), Broken> {
    let sink = Sink::default();
    let mut writer = ExportWriter::new(sink.clone(), &header)?;
    let mut chain =
        ChainReader::open(api, header.stream, header.sequence_start..=header.sequence_end).await?;
    let mut known_keys = HashSet::new();
    let mut next = header.sequence_start;
    while next <= header.sequence_end {
        let mut query = ReadQuery::from(header.stream, next, PAGE_EVENTS);
        query.to = Some(header.sequence_end);
        query.bytes_max = PAGE_BYTES;
        let events = api.line.reader.read(query).await?.events;
        let events = api.line.with_receipts(events).await?;
        let Some(last) = events.last() else {
            return Err(StoreError::Internal(format!("event {next} is missing")).into());
        };
        next = last.receipt.sequence_number + 1;
        for event in &events {
            write_key(api, &mut writer, &mut known_keys, event).await?;
            let receipt = event.receipt.signed().ok_or(Broken::Unsigned(event.receipt.sequence_number))?;
            writer.event(&event.envelope, &receipt)?;
            while let Some(commitment) = chain.next_at(event.receipt.sequence_number).await? {
                writer.commitment(&commitment)?;
            }
        }
        // Nobody listens any more: the client hung up.
        if pages.send(Ok(sink.take())).await.is_err() {
            return Ok(());
        }
    }
    writer.finish(head)?;
    drop(pages.send(Ok(sink.take())).await);
    Ok(())
}

async fn write_key(
    api: &Api,
    writer: &mut ExportWriter<Sink>,
    known: &mut HashSet<(AgentId, u32)>,
    event: &StoredEvent,
) -> Result<(), Broken> {
    let (agent_id, agent_key_id) = (event.envelope.source_agent_id, event.envelope.agent_key_id);
    if !known.insert((agent_id, agent_key_id)) {
        return Ok(());
    }
    let record = api.line.store.agent_key(event.envelope.stream.tenant_id, agent_id, agent_key_id).await?;
    let public_key = record.and_then(|record| AgentPublicKey::from_bytes(&record.public_key).ok());
    let public_key = public_key.ok_or(Broken::Key(agent_id, agent_key_id))?;
    writer.agent_key(&AgentKeyRecord { agent_id, agent_key_id, public_key })?;
    Ok(())
}

/// Where the writer puts its lines until the page goes out.
#[derive(Debug, Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
