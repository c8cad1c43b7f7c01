//! Stores that a former build wrote (`tests/fixtures/schema-16`): this build migrates them, finds no fault, and goes on
//! where they ended.
//!
//! `line` holds seven events of two streams each, a commitment, a schema, a dead letter and a trigger; `triggers` a chain's
//! logs with checkpoint, matches and a delivery; `anchors` a recording, committed and anchored. The files never change.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use bowline_node::{AuditScope, audit};
use bowline_store::{LetterFilter, LetterOrder, LineStore, ReadQuery, VerifiedBatch};
use bowline_types::{AgentId, EventId, StreamId, Timestamp};
use bowline_ves::{Draft, SecretKey, SequencerSigner, sign_envelope, verify};
use flate2::read::GzDecoder;

use crate::place::{Engine, Place};

/// The schema that the former build wrote.
const WRITTEN: i64 = 16;

/// The files of SQLite, with events, commitments and letters of each.
const FILES: [(&str, &[u8], [u64; 3]); 3] = [
    ("line", include_bytes!("../fixtures/schema-16/line.db.gz"), [14, 1, 1]),
    ("triggers", include_bytes!("../fixtures/schema-16/triggers.db.gz"), [2, 0, 0]),
    ("anchors", include_bytes!("../fixtures/schema-16/anchors.db.gz"), [446, 1, 0]),
];

/// The same as `line`, as `pg_dump --inserts` writes it.
const DUMP: &[u8] = include_bytes!("../fixtures/schema-16/line.sql.gz");

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    bytes
}

pub(crate) async fn a_former_builds_store_is_taken_over_whole(engine: Engine) {
    match engine {
        Engine::Sqlite => {
            for (name, packed, counts) in FILES {
                let place = Place::new(engine).await;
                std::fs::write(place.file(), unpacked(packed)).unwrap();
                take_over(name, &place, counts).await;
                place.remove().await;
            }
        }
        Engine::Postgres => {
            let place = Place::new(engine).await;
            place.execute(&String::from_utf8(unpacked(DUMP)).unwrap()).await;
            take_over("line", &place, [14, 1, 1]).await;
            place.remove().await;
        }
    }
}

async fn take_over(name: &str, place: &Place, [events, commitments, letters]: [u64; 3]) {
    let store = place.open().await;
    assert!(store.schema_version() >= WRITTEN);
    let heads: HashMap<StreamId, u64> =
        store.streams().await.unwrap().iter().map(|head| (head.stream, head.head)).collect();
    assert_eq!(heads.values().sum::<u64>(), events, "{name}");
    let kept = store.letters(LetterFilter::default(), LetterOrder::Oldest(None), 9).await.unwrap();
    assert_eq!(kept.len() as u64, letters, "{name}");
    let report = audit(place.snapshot().await.as_mut(), AuditScope::default(), &mut |_, _| ()).await.unwrap();
    assert!(report.is_clean(), "{name}: {:?}", report.findings);
    assert_eq!((report.events, report.commitments), (events, commitments), "{name}");

    // An event that is there gets its receipt of that time; a new one the next number.
    for (stream, head) in heads {
        let stored = store.read(ReadQuery::from(stream, head, 1)).await.unwrap().events;
        assert_eq!(stored[0].receipt.sequence_number, head, "{name}");
        grow(&store, stream).await;
        assert_eq!(store.head(stream).await.unwrap().unwrap().head, head + 1, "{name}");
    }
    store.close().await;
}

/// Appends one new event.
async fn grow(store: &Arc<dyn LineStore>, stream: StreamId) {
    let key = SecretKey::from_seed([1; 32]);
    let signer = SequencerSigner { sequencer_id: uuid::Uuid::from_u128(1), key_version: 1, key };
    let draft = Draft {
        stream,
        event_id: EventId::random(),
        source_agent_id: AgentId::from_bytes([2; 16]),
        agent_key_id: 1,
        entity_type: "upgrade".to_owned(),
        entity_id: "u-1".to_owned(),
        event_type: "upgrade.done".to_owned(),
        created_at: "2026-01-01T00:00:00Z".to_owned(),
        payload: "{}".into(),
        command_id: None,
        base_version: None,
    };
    let event = verify(sign_envelope(draft, &signer.key).unwrap(), Ok(&signer.key.public())).unwrap();
    let batch = VerifiedBatch { events: vec![event], keys_epoch: u64::MAX };
    store.append(batch, Arc::new(signer), Timestamp::from_micros(0)).await.unwrap();
}
