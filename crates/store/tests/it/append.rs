//! What an append answers and leaves behind: numbers, receipts, replays and the reasons of rejections.
//!
//! Each test runs on both stores through the contract alone.

use std::sync::Arc;

use bowline_types::{CommandId, EventId, StoreId, StreamId};
use bowline_ves::{Draft, SecretKey, VerifiedEvent, verify};

use crate::support::Place;
use bowline_conformance::events::{
    agent_key, append, append_at, at, draft, encrypted, fresh, grow, new_events, new_stream, receipts,
    signed, signed_by, signer, signer_of, whole, words,
};

pub(crate) async fn numbers_are_dense_from_one_and_receipts_prove_them(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let report = append(&store, Vec::new()).await;
    assert!(report.outcomes.is_empty() && report.heads.is_empty());

    // A batch of 40 is sealed by several threads.
    for (size, head) in [(1, 1), (3, 4), (40, 44), (1, 45)] {
        let batch = new_events(stream, size);
        let report = append(&store, batch.clone()).await;
        assert_eq!(report.heads.into_iter().collect::<Vec<_>>(), [(stream, head)]);
        let first = head - size as u64 + 1;
        for ((event, outcome), number) in batch.iter().zip(&report.outcomes).zip(first..) {
            let bowline_store::AppendOutcome::Accepted(receipt) = outcome else { panic!("{outcome:?}") };
            assert_eq!((receipt.sequence_number, receipt.stream), (number, stream));
            assert_eq!((receipt.event_id, receipt.sequenced_at), (event.envelope.event_id, at(0)));
            receipt.verify(Some(&event.signing_hash), &signer().key.public()).unwrap();
        }
    }
    for stored in whole(&store, stream).await {
        let receipt = stored.receipt.signed().unwrap();
        receipt.verify(Some(&stored.signing_hash), &signer().key.public()).unwrap();
    }
}

pub(crate) async fn what_was_signed_is_what_is_stored(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let mut batch = odd_payloads(stream);
    batch.extend(odd_fields(stream));
    let receipts = receipts(&append(&store, batch.clone()).await);
    store.close().await;

    let store = place.open().await;
    let stored = whole(&store, stream).await;
    assert_eq!(stored.len(), batch.len());
    for ((stored, sent), receipt) in stored.into_iter().zip(batch).zip(receipts) {
        assert_eq!(stored.envelope.to_json(), sent.envelope.to_json());
        assert_eq!(stored.receipt.signed(), Some(receipt));
        assert_eq!(verify(stored.envelope, Ok(&agent_key().public())).unwrap(), sent);
        assert_eq!(stored.signing_hash, sent.signing_hash);
    }
}

fn odd_payloads(stream: StreamId) -> Vec<VerifiedEvent> {
    let nested = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let wide = format!(r#"{{"text":"{}"}}"#, "ż🐢".repeat(100_000));
    let payloads = [
        "null",
        "0",
        "-0.0",
        r#""""#,
        "{ \"b\" : 1,\t\"a\":[ 1.50 , null,1e2 ] ,\"c\":{}\r\n}",
        "{\"z\":1,\"é\":2,\"\u{202e}\":\"żółw 🐢\u{7f}\"}",
        r#"{"nul":"\u0000","quote":"\"\\'","slash":"\/","pair":"\ud83d\udc22","\u0041":1}"#,
        r#"'' -- '); DROP TABLE ves_events; $1 ?1"#,
        &nested,
        &wide,
    ];
    let event = |payload: &str| match payload.strip_prefix("''") {
        Some(text) => signed(Draft { payload: format!("\"{text}\"").into(), ..draft(stream) }),
        None => signed(Draft { payload: payload.into(), ..draft(stream) }),
    };
    payloads.into_iter().map(event).collect()
}

fn odd_fields(stream: StreamId) -> Vec<VerifiedEvent> {
    let labels = Draft {
        entity_type: "ż".repeat(64),
        entity_id: "%_\\'\"; --\n\t🐢".repeat(25),
        event_type: "T".repeat(256),
        created_at: "2025-12-20T19:51:10.2430000001+02:00".to_owned(),
        agent_key_id: u32::MAX,
        ..draft(stream)
    };
    let first_year = Draft { created_at: "0001-01-01T00:00:00Z".to_owned(), ..draft(stream) };
    let last_year = Draft { created_at: "9999-12-31T23:59:59.999999Z".to_owned(), ..draft(stream) };
    let claims = Draft {
        entity_id: "claimed".to_owned(),
        command_id: Some(CommandId::random()),
        base_version: Some(0),
        ..draft(stream)
    };
    let mut events = vec![signed(labels), signed(first_year), signed(last_year), signed(claims)];
    events.push(encrypted(draft(stream)));
    for scheme in [0, 1] {
        let mut event = signed(draft(stream));
        event.envelope.agent_signature_scheme = Some(scheme);
        events.push(event);
    }
    events
}

pub(crate) async fn a_replay_gets_the_first_receipt_for_ever(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let event = signed(draft(stream));
    let report = append(&store, vec![event.clone(), event.clone()]).await;
    assert_eq!(words(&report), ["accepted 1", "replayed 1"]);
    let first = receipts(&report);
    assert_eq!(first[0], first[1]);
    grow(&store, stream, 3).await;
    store.close().await;

    // What the agent did not sign may differ, and so may the sequencer and the time.
    let mut retried = event.clone();
    retried.envelope.command_id = Some(CommandId::random());
    retried.envelope.base_version = Some(77);
    let store = place.open().await;
    let batch = vec![event, signed(draft(stream)), retried];
    let report = store.append(fresh(batch), signer_of(2), at(60)).await.unwrap();
    assert_eq!(words(&report), ["replayed 1", "accepted 5", "replayed 1"]);
    let again = receipts(&report);
    assert_eq!([&again[0], &again[2]], [&first[0], &first[0]]);
    assert_eq!((again[1].key_version, again[1].sequenced_at), (2, at(60)));
    assert_eq!(whole(&store, stream).await.len(), 5);
    assert_eq!(report.heads[&stream], 5);
}

pub(crate) async fn another_event_under_a_known_id_is_a_duplicate(place: Arc<Place>) {
    let store = place.open().await;
    let (stream, neighbour) = (new_stream(), new_stream());
    let event_id = EventId::random();
    let original = Draft { event_id, ..draft(stream) };
    let other_content = signed(Draft { payload: "18".into(), ..original.clone() });
    let other_key = signed_by(original.clone(), &SecretKey::from_seed([8; 32]));
    let elsewhere = signed(Draft { stream: neighbour, ..original.clone() });
    let original = signed(original);

    let report = append(&store, vec![original.clone(), other_content.clone(), other_key.clone()]).await;
    assert_eq!(words(&report), ["accepted 1", "duplicate_event_id", "duplicate_event_id"]);
    let report = append(&store, vec![other_content, other_key, original.clone(), elsewhere]).await;
    assert_eq!(words(&report), ["duplicate_event_id", "duplicate_event_id", "replayed 1", "accepted 1"]);
    let stored = whole(&store, stream).await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].envelope, original.envelope);
}

pub(crate) async fn a_command_is_taken_once_in_a_stream(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let neighbour = StreamId::new(stream.tenant_id, StoreId::random());
    let command_id = Some(CommandId::random());
    let of_command = |stream| signed(Draft { command_id, ..draft(stream) });

    let first = of_command(stream);
    let report = append(&store, vec![first.clone(), of_command(stream), signed(draft(stream))]).await;
    assert_eq!(words(&report), ["accepted 1", "duplicate_command_id", "accepted 2"]);
    let report = append(&store, vec![of_command(stream), first, of_command(neighbour)]).await;
    assert_eq!(words(&report), ["duplicate_command_id", "replayed 1", "accepted 1"]);
    let report = append(&store, vec![of_command(neighbour)]).await;
    assert_eq!(words(&report), ["duplicate_command_id"]);
}

pub(crate) async fn a_base_version_is_checked_against_the_entity(place: Arc<Place>) {
    let store = place.open().await;
    let stream = new_stream();
    let based = |stream, entity_id: &str, base_version| {
        signed(Draft { entity_id: entity_id.to_owned(), base_version: Some(base_version), ..draft(stream) })
    };
    let report =
        append(&store, vec![based(stream, "a", 0), based(stream, "a", 0), based(stream, "a", 1)]).await;
    assert_eq!(words(&report), ["accepted 1", "version_conflict: expected 0, actual 1", "accepted 2"]);

    let unbased = signed(Draft { entity_id: "a".to_owned(), ..draft(stream) });
    let other_type = Draft { entity_type: "invoice".to_owned(), base_version: Some(0), ..draft(stream) };
    let other_type = signed(Draft { entity_id: "a".to_owned(), ..other_type });
    let neighbour = based(new_stream(), "a", 0);
    let batch = vec![unbased, based(stream, "a", 2), based(stream, "a", 3), other_type, neighbour];
    let report = append(&store, batch).await;
    let conflict = "version_conflict: expected 2, actual 3";
    assert_eq!(words(&report), ["accepted 3", conflict, "accepted 4", "accepted 5", "accepted 1"]);

    let report = append(&store, vec![based(stream, "b", u64::MAX), based(stream, "a", 4)]).await;
    assert_eq!(words(&report), [&format!("version_conflict: expected {}, actual 0", u64::MAX), "accepted 6"]);
    let versions: Vec<u64> = whole(&store, stream).await.iter().map(|e| e.entity_version).collect();
    assert_eq!(versions, [1, 2, 3, 4, 1, 5]);
}

pub(crate) async fn a_rejected_event_leaves_no_trace(place: Arc<Place>) {
    let store = place.open().await;
    let (stream, unborn) = (new_stream(), new_stream());
    let refused = Draft { base_version: Some(9), command_id: Some(CommandId::random()), ..draft(stream) };
    let unborn_event = signed(Draft { stream: unborn, ..refused.clone() });
    let report = append(&store, vec![signed(refused.clone()), signed(draft(stream)), unborn_event]).await;
    let conflict = "version_conflict: expected 9, actual 0";
    assert_eq!(words(&report), [conflict, "accepted 1", conflict]);
    assert_eq!((report.heads.len(), report.heads[&stream], report.heads[&unborn]), (2, 1, 0));

    assert!(store.event(stream, refused.event_id).await.unwrap().is_none());
    assert!(store.head(unborn).await.unwrap().is_none());
    assert_eq!(store.streams().await.unwrap().len(), 1);
    // Neither its id nor its command is taken, and the stream that it did not found is dated by its first event.
    let retried =
        |stream| signed(Draft { stream, base_version: None, payload: "18".into(), ..refused.clone() });
    let report = append_at(&store, vec![retried(unborn), retried(stream)], at(-60)).await;
    assert_eq!(words(&report), ["accepted 1", "accepted 2"]);
    assert_eq!(receipts(&report)[0].sequenced_at, at(-60));
}

pub(crate) async fn a_batch_may_name_several_streams(place: Arc<Place>) {
    let store = place.open().await;
    let streams: Vec<StreamId> = (0..5).map(|_| new_stream()).collect();
    grow(&store, streams[2], 4).await;
    let order = [0, 2, 1, 0, 0, 3, 2, 1, 4];
    let batch: Vec<VerifiedEvent> = order.iter().map(|index| signed(draft(streams[*index]))).collect();
    let report = append(&store, batch.clone()).await;
    let numbers: Vec<u64> = receipts(&report).iter().map(|r| r.sequence_number).collect();
    assert_eq!(numbers, [1, 5, 1, 2, 3, 1, 6, 2, 1]);
    let heads: Vec<u64> = streams.iter().map(|stream| report.heads[stream]).collect();
    assert_eq!((heads, report.heads.len()), (vec![3, 2, 6, 1, 1], 5));

    let report = append(&store, vec![batch[0].clone(), batch[8].clone()]).await;
    assert_eq!(words(&report), ["replayed 1", "replayed 1"]);
    assert_eq!((report.heads.len(), report.heads[&streams[0]], report.heads[&streams[4]]), (2, 3, 1));
    for (stream, length) in streams.into_iter().zip([3, 2, 6, 1, 1]) {
        assert_eq!(whole(&store, stream).await.len(), length);
    }
}

pub(crate) async fn time_never_goes_back_in_a_stream(place: Arc<Place>) {
    let store = place.open().await;
    let (stream, neighbour) = (new_stream(), new_stream());
    for now in [10, 5, -5, 12, 11] {
        append_at(&store, vec![signed(draft(stream))], at(now)).await;
        append_at(&store, vec![signed(draft(neighbour))], at(now + 100)).await;
    }
    // Nothing was accepted, so the time did not go on either.
    let refused = signed(Draft { base_version: Some(70), ..draft(stream) });
    append_at(&store, vec![refused], at(1_000)).await;
    append_at(&store, vec![signed(draft(stream))], at(-70)).await;

    let times: Vec<_> = whole(&store, stream).await.iter().map(|e| e.receipt.sequenced_at).collect();
    assert_eq!(times, [at(10), at(10), at(10), at(12), at(12), at(12)]);
    assert_eq!(store.head(stream).await.unwrap().unwrap().updated_at, at(12));
    assert_eq!(store.head(neighbour).await.unwrap().unwrap().updated_at, at(112));
}
