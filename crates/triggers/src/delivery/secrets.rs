//! Which parts of a configuration are secrets, and how they are taken out and put back.
//!
//! What is kept in the open has a mask in each secret's place. A mask that comes back, from somebody who read the
//! configuration and changed something else, stands for the secret that is kept.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::vault::Secrets;

/// What stands where a secret is.
pub(crate) const MASK: &str = "********";

/// Keys whose whole value is a secret.
const FIELDS: [&str; 2] = ["auth_token", "bot_token"];

/// Lists of secrets.
const LISTS: [&str; 1] = ["signing_secrets"];

/// What in a header's name says that its value is one.
const WORDS: [&str; 9] =
    ["authorization", "token", "secret", "key", "cookie", "password", "signature", "credential", "session"];

/// Takes the secrets out of a configuration and leaves masks.
pub(crate) fn take_out(config: &mut Map<String, Value>) -> Secrets {
    let mut secrets = Secrets::new();
    for_each(config, &mut |place, value| {
        if let Value::String(text) = value
            && text != MASK
        {
            secrets.insert(place, Zeroizing::new(std::mem::replace(text, MASK.to_owned())));
        }
    });
    secrets
}

/// Puts secrets where their masks are.
pub(crate) fn put_back(config: &mut Map<String, Value>, secrets: &Secrets) {
    for_each(config, &mut |place, value| {
        if value.as_str() == Some(MASK)
            && let Some(secret) = secrets.get(&place)
        {
            *value = Value::String(secret.to_string());
        }
    });
}

/// Places whose mask stands for nothing.
pub(crate) fn masks_left(config: &mut Map<String, Value>) -> Vec<String> {
    let mut places = Vec::new();
    for_each(config, &mut |place, value| {
        if value.as_str() == Some(MASK) {
            places.push(place);
        }
    });
    places
}

fn for_each(config: &mut Map<String, Value>, visit: &mut dyn FnMut(String, &mut Value)) {
    for field in FIELDS {
        if let Some(value) = config.get_mut(field) {
            visit(field.to_owned(), value);
        }
    }
    for list in LISTS {
        for (index, value) in
            config.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().enumerate()
        {
            visit(format!("{list}[{index}]"), value);
        }
    }
    for (name, value) in config.get_mut("headers").and_then(Value::as_object_mut).into_iter().flatten() {
        let lower = name.to_ascii_lowercase();
        if WORDS.iter().any(|word| lower.contains(word)) {
            visit(format!("headers.{lower}"), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_leave_and_come_back() {
        let given = json!({
            "url": "https://h/", "auth_token": "t", "signing_secrets": ["a", "b"],
            "headers": {"Authorization": "Bearer x", "X-Api-Key": "k", "Accept": "text/plain"},
        });
        let mut config = given.as_object().unwrap().clone();
        let secrets = take_out(&mut config);
        assert_eq!(secrets.len(), 5);
        assert_eq!(config["headers"]["Accept"], "text/plain");
        let shown = Value::Object(config.clone()).to_string();
        assert!(!shown.contains("Bearer") && !shown.contains("\"a\"") && !shown.contains("\"t\""), "{shown}");
        assert_eq!(take_out(&mut config), Secrets::new());
        put_back(&mut config, &secrets);
        assert_eq!(Value::Object(config.clone()), given);
        assert!(masks_left(&mut config).is_empty());
    }
}
