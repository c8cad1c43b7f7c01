//! The inputs that fuzzing begins with and those that it has found, each under its law; and the laws under inputs
//! that proptest makes up around them.
//!
//! A seed is a file in `fuzz/seeds/LAW`. None is ever removed.

use std::path::PathBuf;

use proptest::prelude::*;

use crate::laws;

/// The seeds of one law; there are some.
fn seeds(law: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(law);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let seeds: Vec<_> = paths.into_iter().map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty());
    seeds
}

#[test]
fn every_seed_obeys_its_law() {
    seeds("canonical").iter().for_each(|seed| laws::canonical(seed));
    seeds("envelope").iter().for_each(|seed| laws::envelope(seed));
    seeds("evidence").iter().for_each(|seed| laws::evidence(seed));
    // A law that nothing reaches is none: the seeds of envelopes are envelopes, some at least.
    let parsed = |seed: &Vec<u8>| {
        std::str::from_utf8(seed).is_ok_and(|text| bowline_ves::Envelope::parse(text).is_ok())
    };
    assert!(seeds("envelope").iter().filter(|seed| parsed(seed)).count() >= 2);
    let verified = |seed: &Vec<u8>| {
        bowline_ves::verify_export(seed.as_slice(), &bowline_ves::TrustedKeys::default(), |_| {}).is_ok()
    };
    assert!(seeds("evidence").iter().any(verified));
}

/// One seed, changed in a few places: a byte replaced, dropped or doubled, or a piece moved.
fn changed(law: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    (any::<prop::sample::Index>(), prop::collection::vec(change, 1..6)).prop_map(move |(which, changes)| {
        let mut bytes = which.get(&seeds(law)).clone();
        for (at, from, byte, kind) in changes {
            if bytes.is_empty() {
                break;
            }
            let (at, from) = (at.index(bytes.len()), from.index(bytes.len()));
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, bytes[from]),
                _ => {
                    let piece = bytes[from..bytes.len().min(from + 16)].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        bytes
    })
}

/// JSON as people and machines spell it: blanks, escapes, numbers in every form, keys twice.
fn spelled() -> impl Strategy<Value = String> {
    let number = "-?(0|[1-9][0-9]{0,18})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
    let string = r#""([ -!#-\[\]-~é-Ͽﭏ😀-🙏]|\\["\\/bfnrt]|\\u[0-9a-d][0-9a-f]{3}){0,8}""#;
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        number.prop_map(|text: String| text),
        string.prop_map(|text: String| text),
    ];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let member = (string.prop_map(|text: String| text), "[ \t\n\r]{0,2}", inner.clone());
        prop_oneof![
            (prop::collection::vec(inner, 0..5), "[ \t\n\r]{0,2}").prop_map(|(items, blank)| format!(
                "[{blank}{}{blank}]",
                items.join(&format!("{blank},{blank}"))
            )),
            prop::collection::vec(member, 0..5).prop_map(|members| {
                let members: Vec<_> = members
                    .into_iter()
                    .map(|(key, blank, value)| format!("{key}{blank}:{blank}{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn the_canonical_form_of_any_spelling_is_what_others_compute(text in spelled()) {
        laws::canonical(text.as_bytes());
    }

    #[test]
    fn hashes_are_equal_exactly_if_values_are(left in spelled(), right in spelled()) {
        laws::equality(&left, &right);
        // The same value in another spelling.
        if let Ok(canonical) = bowline_ves::canonicalize(&left) {
            laws::equality(&left, std::str::from_utf8(&canonical).unwrap());
        }
    }

    #[test]
    fn changed_seeds_obey_the_laws(
        text in changed("canonical"),
        event in changed("envelope"),
        evidence in changed("evidence"),
    ) {
        laws::canonical(&text);
        laws::envelope(&event);
        laws::evidence(&evidence);
    }
}
