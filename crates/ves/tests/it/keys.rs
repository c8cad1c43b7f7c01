//! Signatures: RFC 8032 vectors, the strict rules, and that a prepared key decides as a plain one does.
//!
//! The last is checked on signatures that lax verifiers accept: R of small order, keys and Rs with a torsion
//! component, scalars beyond the group order.

use bowline_ves::{AgentPublicKey, KeyError, PreparedKey, SecretKey, Signature, Verification};
use curve25519_dalek::EdwardsPoint;
use curve25519_dalek::constants::{ED25519_BASEPOINT_POINT, EIGHT_TORSION};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Verifier, VerifyingKey};
use proptest::prelude::*;
use sha2::{Digest, Sha512};

/// The order of the base point, little-endian.
const L: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// What both kinds of key say, which must be the same.
fn decide(key: &AgentPublicKey, message: &[u8], signature: &Signature) -> bool {
    let plain = key.verify(message, signature);
    let strict = VerifyingKey::from_bytes(&key.to_bytes())
        .unwrap()
        .verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature.as_bytes()));
    assert_eq!(plain, strict.is_ok());
    for prepared in [PreparedKey::new(*key), PreparedKey::wide(*key)] {
        assert_eq!(plain, prepared.verify(message, signature), "{key} {signature:?}");
        let good = SecretKey::from_seed([1; 32]);
        let neighbour = PreparedKey::wide(good.public()).begin(b"n", &good.sign(b"n"));
        let begun = [neighbour, prepared.begin(message, signature), neighbour, Verification::decided(false)];
        assert_eq!(Verification::settle(&begun), [true, plain, true, false], "{key} {signature:?}");
    }
    plain
}

fn joined(r: [u8; 32], s: [u8; 32]) -> Signature {
    Signature::from_slice(&[r, s].concat()).unwrap()
}

fn challenge(r: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
    let digest = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
    Scalar::from_bytes_mod_order_wide(&digest.into())
}

/// `s` plus the group order: the same scalar in a spelling that is not canonical.
fn plus_order(s: &[u8]) -> [u8; 32] {
    let mut carry = 0;
    std::array::from_fn(|i| {
        let sum = u16::from(s[i]) + u16::from(L[i]) + carry;
        carry = sum >> 8;
        sum as u8
    })
}

#[test]
fn the_vectors_of_rfc_8032() {
    let cases = [
        (
            super::samples::SEED,
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
    ];
    for (seed, public, message, signature) in cases {
        let key = SecretKey::parse_hex(seed).unwrap();
        let message = hex::decode(message).unwrap();
        assert_eq!(key.public().to_string(), public);
        assert_eq!(key.sign(&message).to_string(), signature);
        assert!(decide(&key.public(), &message, &key.sign(&message)));
        assert_eq!(hex::encode(key.seed()), seed);
        assert!(!format!("{key:?}").contains(seed));
    }
}

#[test]
fn unusable_public_keys_are_refused() {
    for torsion in EIGHT_TORSION {
        let bytes = torsion.compress().to_bytes();
        assert_eq!(AgentPublicKey::from_bytes(&bytes), Err(KeyError::Weak));
    }
    // y = 2 is on no point; y = p + 1 is the identity and y = p + 3 a full-order point, both spelled twice.
    let mut bytes = [0; 32];
    bytes[0] = 2;
    assert_eq!(AgentPublicKey::from_bytes(&bytes), Err(KeyError::NotAPoint));
    for low in 0..19_u8 {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed + low.min(18);
        bytes[31] = 0x7f;
        assert!(AgentPublicKey::from_bytes(&bytes).is_err(), "{low}");
    }
    assert!(matches!(AgentPublicKey::parse_hex("0x12"), Err(KeyError::Hex(_))));
}

#[test]
fn small_order_r_is_refused_where_a_lax_verifier_would_accept() {
    let secret = SecretKey::from_seed([5; 32]);
    let key = secret.public();
    let a = ed25519_dalek::hazmat::ExpandedSecretKey::from(&secret.seed()).scalar;
    // R is the identity and s = h·a, so s·B - h·A is the identity as well.
    let r = EdwardsPoint::default().compress().to_bytes();
    let message = b"anything";
    let s = challenge(&r, &key.to_bytes(), message) * a;
    let signature = joined(r, s.to_bytes());
    let lax = VerifyingKey::from_bytes(&key.to_bytes()).unwrap();
    assert!(lax.verify(message, &ed25519_dalek::Signature::from_bytes(signature.as_bytes())).is_ok());
    assert!(!decide(&key, message, &signature));
    // The identity spelled with y = p + 1, and every other point of small order.
    let mut twice = [0xff; 32];
    (twice[0], twice[31]) = (0xee, 0x7f);
    let small = EIGHT_TORSION.map(|point| point.compress().to_bytes());
    for r in small.into_iter().chain([twice]) {
        let s = challenge(&r, &key.to_bytes(), message) * a;
        assert!(!decide(&key, message, &joined(r, s.to_bytes())));
    }
}

#[test]
fn both_agree_on_keys_and_rs_with_a_torsion_component() {
    let (a, r) = (Scalar::from(0x1234_5678_9abc_u64).invert(), Scalar::from(77_u64).invert());
    let mut accepted = 0;
    for key_torsion in EIGHT_TORSION {
        let public = (ED25519_BASEPOINT_POINT * a + key_torsion).compress().to_bytes();
        let key = AgentPublicKey::from_bytes(&public).unwrap();
        for r_torsion in EIGHT_TORSION {
            let r_bytes = (ED25519_BASEPOINT_POINT * r + r_torsion).compress().to_bytes();
            for n in 0..8_u8 {
                let s = r + challenge(&r_bytes, &public, &[n]) * a;
                accepted += u32::from(decide(&key, &[n], &joined(r_bytes, s.to_bytes())));
            }
        }
    }
    // The equation without cofactor holds for about one in eight of them.
    assert!((20..200).contains(&accepted), "{accepted}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_agree_on_valid_flipped_and_stretched_signatures(
        seed in any::<[u8; 32]>(),
        message in prop::collection::vec(any::<u8>(), 0..80),
        bit in 0..512_usize,
        noise in any::<[u8; 32]>(),
    ) {
        let secret = SecretKey::from_seed(seed);
        let key = secret.public();
        let signature = secret.sign(&message);
        prop_assert!(decide(&key, &message, &signature));
        prop_assert!(!decide(&SecretKey::from_seed(noise).public(), &message, &signature));

        let mut flipped = *signature.as_bytes();
        flipped[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(!decide(&key, &message, &Signature::new(flipped)));

        let (r, s) = signature.as_bytes().split_at(32);
        let r: [u8; 32] = r.try_into().unwrap();
        prop_assert!(!decide(&key, &message, &joined(r, plus_order(s))));
        prop_assert!(!decide(&key, &message, &joined(r, L)));
        prop_assert!(!decide(&key, &message, &joined(noise, s.try_into().unwrap())));
        prop_assert!(!decide(&key, &message, &joined(r, noise)));
        prop_assert!(!decide(&key, &[&message[..], b"x"].concat(), &signature));
    }
}
