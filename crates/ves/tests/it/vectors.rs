//! Byte-exact vectors: published ones, and ones computed by an independent program from the written rules.
//!
//! A change here is a change of the protocol: whatever has been signed or committed would no longer verify.

use bowline_types::{EventId, StoreId, StreamId, TenantId};
use bowline_ves::{
    Commitment, EncryptedPayload, Envelope, Hash, Payload, Placement, Receipt, Signature, Tree,
    attestation_hash, canonicalize, event_signing_hash, key_possession_challenge, leaf_hash, pad_leaf,
    payload_aad, payload_plain_hash, receipt_hash, root, sign_envelope, state_root, stream_hash,
};

use crate::samples::{self, id};

fn hash(hex: &str) -> Hash {
    Hash::parse_hex(hex).unwrap()
}

fn plain(json: &str, salt: Option<&[u8; 16]>) -> String {
    payload_plain_hash(&canonicalize(json).unwrap(), salt).to_string()
}

const SALT: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

#[test]
fn payload_hashes() {
    assert_eq!(
        plain(r#"{"delta":100}"#, None),
        "9ac51a331894a0b6d3c0563f28384afd86115d5c9379370989044dfab89f3e5a"
    );
    assert_eq!(
        plain(r#"{"delta":100,"reason":"shipment_receive","location_bin":"A-12"}"#, None),
        "8ddca36cba5e298a087cadff58906633ef78d185529454290a05771ea5df2944"
    );
    assert_eq!(
        plain(r#"{"delta":100,"reason":"test"}"#, Some(&SALT)),
        "d9faf01d51a58f57acafb13ef03a055a9753350868c856795d4eb83ef42a32b7"
    );
}

/// The event of the published signing hash.
fn order_created() -> Envelope {
    let stream = StreamId::new(
        id::<TenantId>("64527dd3-a654-4410-9327-e58a1492ce77"),
        id::<StoreId>("91def158-819a-4461-b5c9-7759750ad157"),
    );
    Envelope {
        stream,
        event_id: id("861910c9-7a1d-4b6f-83d6-51bbf4ae2849"),
        source_agent_id: id("80441726-74e2-430a-95ae-97ce21c6351b"),
        entity_type: "order".to_owned(),
        entity_id: "ORD-001".to_owned(),
        event_type: "order.created".to_owned(),
        created_at: "2025-12-20T17:51:10.243Z".to_owned(),
        payload_plain_hash: hash("7777c3fef466a0e9df7e07ea4ff13dc8ffbb9e487098f1b65530cdce7b6bbbe7"),
        agent_signature: Signature::new([0; 64]),
        ..samples::envelope()
    }
}

#[test]
fn signing_hash_receipt_stream_and_state_root_of_the_published_event() {
    let event = order_created();
    let signing_hash = event_signing_hash(&event);
    assert_eq!(signing_hash.to_string(), "e970dfc9ffc285c2c0ba59be5d9c653eee2d1ae4db9b7a02ea3cd62b8e7cf92b");
    assert_eq!(
        receipt_hash(event.stream, event.event_id, 42, &signing_hash).to_string(),
        "16c2e63e213cd29b87452f9e302798c044355c4a9ae917595e80539318940c56"
    );
    assert_eq!(
        stream_hash(event.stream).to_string(),
        "4d40d17f96bcd030441655dd9aba4656ffdfe3d5d873182568f57ed813dfcfa6"
    );
    let merkle_root = hash(&"abcdef0123456789".repeat(4));
    assert_eq!(
        state_root(event.stream, &Hash::ZERO, &merkle_root, 1, 10, 10).to_string(),
        "fc4837409dddd72697d00548300ce8d9ab2e130b5743c73d8342a3aff45adee3"
    );
}

#[test]
fn the_full_signing_test_from_seed_to_state_root() {
    let event = samples::envelope();
    let stream = event.stream;
    assert_eq!(
        event.payload_plain_hash.to_string(),
        "815ab060b3f26dacf429ce062f8befb81f52938e692010255f86d12c3e4c2cda"
    );
    let signing_hash = event_signing_hash(&event);
    assert_eq!(signing_hash.to_string(), "4dd87d2bff38574cdc3e61e9aea0cbc4109eaf2962f3894f3d82431082343ff6");
    assert_eq!(
        event.agent_signature.to_string(),
        "a0478a20df91042a3a3cf4388553875e6ef488aaae9726cffb9968e352cbd1214fd6b13d77b19fd29b4584743984aa96a90183a41f89e09ddfbfbcc837f9b00a"
    );
    let receipt = receipt_hash(stream, event.event_id, 1, &signing_hash);
    assert_eq!(receipt.to_string(), "17d005448b9588871be3beecbb5b6858ffe6fa63d6aa7675d0acb02e15bd2ca1");
    let leaf = leaf_hash(stream, 1, &signing_hash, &event.agent_signature);
    assert_eq!(leaf.to_string(), "c052fa751455e5b36e85c2cae15b143bcce91f9db9c2c30aaf7397fddef8d53b");
    let tree = Tree::new(vec![leaf]);
    let commitment = Commitment::seal(
        id("44444444-4444-4444-4444-444444444444"),
        stream,
        &tree,
        1,
        1,
        Hash::ZERO,
        samples::moment(),
    );
    assert_eq!(
        commitment.unwrap().new_state_root.to_string(),
        "162b688879b3d2d4324bd43f14b0a705139eb3918e0e98291cf9ee2642e6a848"
    );
    // Ours: the attestation also covers time, sequencer and key version.
    let sequencer = samples::sequencer();
    assert_eq!(
        attestation_hash(&receipt, samples::moment(), sequencer.sequencer_id, sequencer.key_version)
            .to_string(),
        "719bc171935c037aa2b54d3c5caedafcf82535b0f15cff8abcce64d698b4179a"
    );
}

#[test]
fn merkle_pads_and_three_leaves() {
    assert_eq!(pad_leaf().to_string(), "d9dd0e003ba5370a698013c48ed69c6c41d9ebc1236d44b280c52ceacfdad524");
    let leaves = [1, 2, 3].map(|byte| Hash::new([byte; 32]));
    assert_eq!(root(&leaves).to_string(), "b273075c5260995967a3e717440e9e12c103e1e500da892e0e100c629314bcbe");
}

const NONCE: &str = "AAECAwQFBgcICQoL";
const CIPHERTEXT: &str = "EBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8";
const TAG: &str = "qqqqqqqqqqqqqqqqqqqqqg";
/// 32 times 1, 48 times 2, 32 times 3, 48 times 4.
const RECIPIENTS: [&str; 4] = [
    "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE",
    "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC",
    "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM",
    "BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE",
];

pub(crate) fn encrypted_json() -> String {
    let [enc1, ct1, enc7, ct7] = RECIPIENTS;
    format!(
        r#"{{"enc_version":1,"aead":"AES-256-GCM","nonce_b64u":"{NONCE}","ciphertext_b64u":"{CIPHERTEXT}","tag_b64u":"{TAG}",
        "hpke":{{"mode":"base","kem":"X25519-HKDF-SHA256","kdf":"HKDF-SHA256","aead":"AES-256-GCM"}},
        "recipients":[{{"recipient_kid":1,"enc_b64u":"{enc1}","ct_b64u":"{ct1}"}},
        {{"recipient_kid":7,"enc_b64u":"{enc7}","ct_b64u":"{ct7}"}}]}}"#
    )
}

/// The event of the encryption vectors, its cipher hash the right one, signed.
pub(crate) fn encrypted_envelope() -> Envelope {
    let draft = bowline_ves::Draft { event_type: "InventoryAdjusted".to_owned(), ..samples::draft() };
    let salted = r#"{"delta":100,"reason":"shipment_receive","location_bin":"A-12"}"#;
    let mut event = sign_envelope(draft, &samples::agent_key()).unwrap();
    event.payload_plain_hash = hash(&plain(salted, Some(&SALT)));
    event.payload_cipher_hash = hash("8d49612dd0bf996a0e97146c5b5ab2450ee5fce4f70ad776ff35f7b33ada73f3");
    event.payload = Payload::Encrypted(encrypted_json().into());
    event.agent_signature = samples::agent_key().sign(event_signing_hash(&event).as_bytes());
    event
}

#[test]
fn associated_data_recipients_and_cipher_hash() {
    let event = encrypted_envelope();
    let aad = payload_aad(&event);
    assert_eq!(aad.to_string(), "f7092a50f8f9ec82a0e45778c154fdb0256720e9cf6e3115f8b88c571098f9b1");
    let encrypted = EncryptedPayload::parse(event.payload.text()).unwrap();
    assert_eq!(
        encrypted.recipients_hash().to_string(),
        "22d6e5959376bdc45960c2b58f3526f7d44509eb1881215dfa8e647ee39f3ab9"
    );
    assert_eq!(encrypted.cipher_hash(&aad), event.payload_cipher_hash);
}

#[test]
fn encrypted_payloads_of_another_shape_are_refused() {
    let good = encrypted_json();
    assert!(EncryptedPayload::parse(&good.replace(TAG, &format!("{TAG}=="))).is_ok());
    let cases = [
        ("\"enc_version\":1", "\"enc_version\":2", "enc_version 2 is not supported"),
        ("\"mode\":\"base\"", "\"mode\":\"hybrid-base\"", "hpke.mode must be base"),
        (NONCE, "AAEC", "nonce_b64u: expected 12 bytes, found 3"),
        (CIPHERTEXT, "", "ciphertext_b64u: expected at least 1 byte"),
        (TAG, "not/base64url", "tag_b64u: not base64url"),
        ("\"recipient_kid\":7", "\"recipient_kid\":1", "recipient_kid must ascend strictly"),
        (RECIPIENTS[3], RECIPIENTS[2], "ct_b64u: expected 48 bytes, found 32"),
        ("\"hpke\"", "\"other\"", "missing field `hpke`"),
    ];
    for (from, to, expected) in cases {
        assert!(good.contains(from));
        let problem = EncryptedPayload::parse(&good.replace(from, to)).unwrap_err().to_string();
        assert!(problem.contains(expected), "{problem}");
    }
    let start = good.find("\"recipients\"").unwrap();
    let nobody = format!("{}\"recipients\":[]}}", &good[..start]);
    assert!(EncryptedPayload::parse(&nobody).unwrap_err().to_string().contains("at least one"));
}

#[test]
fn receipts_survive_their_json_and_bind_every_field() {
    let event = samples::envelope();
    let signing_hash = event_signing_hash(&event);
    let sequencer = samples::sequencer();
    let receipt = sequencer.seal(event.stream, event.event_id, &signing_hash, 5, samples::moment());
    let key = sequencer.key.public();
    receipt.verify(Some(&signing_hash), &key).unwrap();
    let placement = |sequence_number| Placement {
        stream: event.stream,
        event_id: event.event_id,
        signing_hash: &signing_hash,
        sequence_number,
        sequenced_at: samples::moment(),
    };
    let together = sequencer.seal_all(&[placement(4), placement(5), placement(6)]);
    assert_eq!(together[1], receipt);
    let all = together.iter().all(|receipt| receipt.verify(Some(&signing_hash), &key).is_ok());
    assert!(all && sequencer.seal_all(&[]).is_empty());
    let json = receipt.to_json();
    assert_eq!(json["sequencedAt"], "2025-01-01T00:00:00.123+00:00");
    assert_eq!(json["receiptHash"], receipt.receipt_hash.to_string());
    assert_eq!(
        (json["signatureAlg"].as_str(), json["receiptSignatureScheme"].as_u64()),
        (Some("ed25519"), Some(1))
    );
    assert_eq!(json["attestation"]["version"], 2);
    assert_eq!(Receipt::parse(&json.to_string()).unwrap(), receipt);

    let changed = [
        Receipt { sequencer_id: id("33333333-3333-3333-3333-333333333334"), ..receipt.clone() },
        Receipt { sequence_number: 6, ..receipt.clone() },
        Receipt { event_id: EventId::from_bytes([1; 16]), ..receipt.clone() },
        Receipt { sequenced_at: bowline_types::Timestamp::from_micros(0), ..receipt.clone() },
        Receipt { receipt_hash: Hash::ZERO, ..receipt.clone() },
        Receipt { key_version: 4, ..receipt.clone() },
        Receipt { signature: receipt.attestation, ..receipt.clone() },
        Receipt { attestation: receipt.signature, ..receipt },
    ];
    for receipt in changed {
        assert!(receipt.verify(Some(&signing_hash), &key).is_err(), "{receipt:?}");
        // What only the attestation covers is caught without the event as well.
        if receipt.sequenced_at != samples::moment() {
            assert_eq!(receipt.verify(None, &key), Err(bowline_ves::ReceiptError::Attestation));
        }
    }
    assert!(receipt.verify(Some(&signing_hash), &samples::agent_key().public()).is_err());
}

#[test]
fn commitments_chain_and_survive_their_json() {
    let stream = samples::stream();
    let leaves: Vec<Hash> = (1..=5).map(|byte| Hash::new([byte; 32])).collect();
    let seal = |start, end, leaves: &[Hash], prev| {
        let batch_id = id("44444444-4444-4444-4444-444444444444");
        Commitment::seal(batch_id, stream, &Tree::new(leaves.to_vec()), start, end, prev, samples::moment())
    };
    let first = seal(1, 3, &leaves[..3], Hash::ZERO).unwrap();
    let second = seal(4, 5, &leaves[3..], first.new_state_root).unwrap();
    assert_eq!((first.tree_depth, first.leaf_count, first.padded_leaf_count), (2, 3, 4));
    assert_eq!((first.check(), first.follows(None)), (Ok(()), Ok(())));
    assert_eq!((second.check(), second.follows(Some(&first))), (Ok(()), Ok(())));
    assert_eq!(Commitment::from_json(&second.to_json().to_string()), Ok(second.clone()));
    assert_eq!(second.to_json()["merkle_root"], second.merkle_root.to_string());

    assert!(second.follows(None).is_err() && first.follows(Some(&second)).is_err());
    assert!(seal(1, 4, &leaves[..3], Hash::ZERO).is_err() && seal(2, 1, &[], Hash::ZERO).is_err());
    let changed = [
        Commitment { ves_version: 2, ..first.clone() },
        Commitment { sequence_end: 4, ..first.clone() },
        Commitment { tree_depth: 3, ..first.clone() },
        Commitment { padded_leaf_count: 8, ..first.clone() },
        Commitment { merkle_root: leaves[0], ..first.clone() },
        Commitment { prev_state_root: leaves[0], ..first },
    ];
    assert!(changed.iter().all(|commitment| commitment.check().is_err()));
}

#[test]
fn the_possession_challenge_is_the_domain_and_the_key() {
    assert_eq!(key_possession_challenge(&[7, 8]), b"VES_POP_V1\x07\x08");
}

#[test]
fn hex_is_read_leniently_and_written_in_one_way() {
    let value = Hash::new([0xAB; 32]);
    for text in [
        value.to_string(),
        value.prefixed(),
        value.to_string().to_uppercase(),
        format!("0x{}", "AB".repeat(32)),
    ] {
        assert_eq!(Hash::parse_hex(&text), Ok(value));
    }
    for bad in
        ["", "0x", &"ab".repeat(31), &"ab".repeat(33), &"zz".repeat(32), &format!("0X{}", "ab".repeat(32))]
    {
        assert!(Hash::parse_hex(bad).is_err(), "{bad}");
    }
    assert_eq!(serde_json::to_string(&value).unwrap(), format!("\"0x{}\"", "ab".repeat(32)));
    assert_eq!(serde_json::from_str::<Hash>(&format!("\"{value}\"")).unwrap(), value);
}
