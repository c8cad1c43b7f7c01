#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::print_stdout)]
use bowline_ves::*;
use std::hint::black_box;
use std::time::Instant;
fn t(name: &str, n: u32, mut f: impl FnMut()) {
    for _ in 0..n / 10 + 1 {
        f();
    }
    let mut best = f64::MAX;
    for _ in 0..5 {
        let s = Instant::now();
        for _ in 0..n {
            f();
        }
        best = best.min(s.elapsed().as_secs_f64() / f64::from(n));
    }
    println!("{name}: {:.2} µs  {:.0}/s", best * 1e6, 1.0 / best);
}
fn main() {
    let key = SecretKey::from_seed([1; 32]);
    let p = key.public();
    let pre = PreparedKey::new(p);
    let msg = [7u8; 32];
    let sig = key.sign(&msg);
    t("verify_strict", 5000, || assert!(black_box(&p).verify(&msg, &sig)));
    t("prepared", 5000, || assert!(black_box(&pre).verify(&msg, &sig)));
    t("prepare", 500, || {
        black_box(PreparedKey::new(p));
    });
    t("sign", 5000, || {
        black_box(key.sign(&msg));
    });
    let payload = r#"{"order_id":"ORD-2024-000123","customer":{"name":"Jane Doe","email":"jane@example.com"},"items":[{"sku":"WIDGET-001","qty":2,"price":19.99},{"sku":"GADGET-7","qty":1,"price":5}],"total":44.98,"currency":"USD"}"#;
    println!("payload {} bytes", payload.len());
    t("canonicalize", 50000, || {
        black_box(canonicalize(black_box(payload)).unwrap());
    });
    t("serde_json Value", 50000, || {
        black_box(serde_json::from_str::<serde_json::Value>(black_box(payload)).unwrap().to_string());
    });
    let d = Draft {
        stream: bowline_types::StreamId::new(
            bowline_types::TenantId::random(),
            bowline_types::StoreId::random(),
        ),
        event_id: bowline_types::EventId::random(),
        source_agent_id: bowline_types::AgentId::random(),
        agent_key_id: 1,
        entity_type: "order".into(),
        entity_id: "ORD-1".into(),
        event_type: "order.created".into(),
        created_at: "2025-01-01T00:00:00.123Z".into(),
        payload: payload.into(),
        command_id: Some(bowline_types::CommandId::random()),
        base_version: Some(3),
    };
    let e = sign_envelope(d.clone(), &key).unwrap();
    let j = e.to_json();
    t("sign_envelope (with clone)", 5000, || {
        black_box(sign_envelope(d.clone(), &key).unwrap());
    });
    t("parse", 20000, || {
        black_box(Envelope::parse(black_box(&j)).unwrap());
    });
    t("check_hashes", 20000, || {
        check_hashes(black_box(&e)).unwrap();
    });
    t("signing_hash", 20000, || {
        black_box(event_signing_hash(black_box(&e)));
    });
    t("verify prepared (with clone)", 5000, || {
        black_box(verify(e.clone(), Ok(&pre)).unwrap());
    });
    let at = bowline_types::Timestamp::from_micros(1_700_000_000_123_456);
    t("sequenced_json", 20000, || {
        black_box(e.sequenced_json(77, at));
    });
    let s = SequencerSigner { sequencer_id: bowline_types::EventId::random().uuid(), key_version: 1, key: key.clone() };
    let h = event_signing_hash(&e);
    t("seal", 5000, || {
        black_box(s.seal(e.stream, e.event_id, &h, 5, at));
    });
    let r = s.seal(e.stream, e.event_id, &h, 5, at);
    t("receipt to_writer", 20000, || {
        black_box(serde_json::to_vec(&r).unwrap());
    });
    let leaves: Vec<Hash> = (0..1_000_000u64).map(|n| leaf_hash(e.stream, n, &h, &sig)).collect();
    let i = Instant::now();
    let tree = Tree::new(leaves.clone());
    println!("tree 1M {:?}", i.elapsed());
    let i = Instant::now();
    black_box(root(&leaves));
    println!("root 1M {:?} depth {}", i.elapsed(), tree.depth());
    let up = tree.upper(10);
    println!("upper {}", up.len());
    t("proof_from_tile h=10", 500, || {
        black_box(
            proof_from_tile(
                1_000_000,
                777_777,
                10,
                &leaves[777_777 >> 10 << 10..((777_777 >> 10) + 1) << 10],
                &up,
            )
            .unwrap(),
        );
    });
}
