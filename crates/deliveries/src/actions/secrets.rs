//! Which parts of a configuration are secrets, and how they are taken out and put back.
//!
//! The readable part has a mask in each secret's place. A mask that a user sends back, after reading the settings and
//! changing another part of them, stands for the secret that is kept. Of headers every value is a secret
//! whose name is not known to be harmless; `url_secrets` finds those of an address.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::url_secrets;
use super::vault::Secrets;

/// What stands where a secret is.
pub(crate) const MASK: &str = "********";

/// Keys whose whole value is a secret.
const FIELDS: [&str; 2] = ["auth_token", "bot_token"];

/// Lists of secrets.
const LISTS: [&str; 1] = ["signing_secrets"];

/// Addresses, of which parts are secrets.
const ADDRESSES: [&str; 2] = ["url", "server_url"];

/// Headers that are no key to anything.
const HARMLESS_HEADERS: [&str; 11] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "cache-control",
    "content-encoding",
    "content-language",
    "content-type",
    "pragma",
    "prefer",
    "user-agent",
];

/// Called with the place and the text of each secret or mask; returns the text that replaces it, if any.
type Visit<'a> = dyn FnMut(String, &str) -> Option<String> + 'a;

/// Takes the secrets out of a configuration and leaves masks.
pub(crate) fn take_out(config: &mut Map<String, Value>) -> Secrets {
    let mut secrets = Secrets::new();
    for_each(config, &mut |place, text| {
        (text != MASK).then(|| {
            secrets.insert(place, Zeroizing::new(text.to_owned()));
            MASK.to_owned()
        })
    });
    secrets
}

/// Masks the secrets in the settings of an action as a user wrote them; returns whether there are any.
pub fn mask_secrets(config: &mut Map<String, Value>) -> bool {
    !take_out(config).is_empty()
}

/// Puts secrets where their masks are.
pub(crate) fn put_back(config: &mut Map<String, Value>, secrets: &Secrets) {
    for_each(config, &mut |place, text| {
        let secret = secrets.get(&place).filter(|_| text == MASK)?;
        Some(secret.to_string())
    });
}

/// Places of masks for which no secret is kept.
pub(crate) fn masks_left(config: &mut Map<String, Value>) -> Vec<String> {
    let mut places = Vec::new();
    for_each(config, &mut |place, text| {
        if text == MASK {
            places.push(place);
        }
        None
    });
    places
}

fn for_each(config: &mut Map<String, Value>, visit: &mut Visit<'_>) {
    let mut whole = |place: String, value: &mut Value| {
        if let Some(instead) = value.as_str().and_then(|text| visit(place, text)) {
            *value = Value::String(instead);
        }
    };
    for field in FIELDS {
        if let Some(value) = config.get_mut(field) {
            whole(field.to_owned(), value);
        }
    }
    for list in LISTS {
        for (index, value) in
            config.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten().enumerate()
        {
            whole(format!("{list}[{index}]"), value);
        }
    }
    for (name, value) in config.get_mut("headers").and_then(Value::as_object_mut).into_iter().flatten() {
        let lower = name.to_ascii_lowercase();
        if !HARMLESS_HEADERS.contains(&lower.as_str()) {
            whole(format!("headers.{lower}"), value);
        }
    }
    for field in ADDRESSES {
        let Some(value) = config.get_mut(field) else { continue };
        let Some(address) = value.as_str() else { continue };
        let instead = url_secrets::replaced(address, |part, text| visit(format!("{field}{part}"), text));
        *value = Value::String(instead);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_leave_and_come_back() {
        let given = json!({
            "url": "https://h/hooks/T0GpX5bLq8ZkWm2Nv7Rc?token=t0k&chain={{ chain_id }}", "auth_token": "t",
            "signing_secrets": ["a", "b"],
            "headers": {"Authorization": "Bearer x", "X-Api-Key": "k", "X-Auth": "plain", "Accept": "text/plain"},
        });
        let mut config = given.as_object().unwrap().clone();
        let secrets = take_out(&mut config);
        assert_eq!(secrets.len(), 8);
        assert_eq!(config["headers"]["Accept"], "text/plain");
        assert_eq!(config["headers"]["X-Auth"], MASK);
        assert_eq!(config["url"], format!("https://h/hooks/{MASK}?token={MASK}&chain={{{{ chain_id }}}}"));
        let shown = Value::Object(config.clone()).to_string();
        for secret in ["Bearer", "\"a\"", "\"t\"", "plain\"", "T0Gp", "t0k"] {
            assert!(!shown.replace("text/plain", "").contains(secret), "{secret} is in {shown}");
        }
        assert_eq!(take_out(&mut config), Secrets::new());
        assert_eq!(masks_left(&mut config).len(), 8);
        put_back(&mut config, &secrets);
        assert_eq!(Value::Object(config.clone()), given);
        assert!(masks_left(&mut config).is_empty());
    }
}
