//! Where a request comes from, and whether an administrator may come from there.
//!
//! `X-Forwarded-For` is a claim of whoever sends it: it is believed from the proxies that the operator names
//! and from nobody else, and only as far as the last address that is not such a proxy. An origin that can't
//! be told is on no list.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Addresses and networks: a list, or one text with commas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Whether it names nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether that address is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        words.map(str::trim).filter(|word| !word.is_empty()).map(network).collect::<Result<_, _>>().map(Self)
    }
}

fn network(word: &str) -> Result<IpNet, String> {
    if let Ok(network) = word.parse::<IpNet>() {
        return Ok(network.trunc());
    }
    if let Ok(address) = word.parse::<IpAddr>() {
        return Ok(IpNet::from(address.to_canonical()));
    }
    let address = word.split_once('/').and_then(|(address, _)| address.parse::<IpAddr>().ok());
    let problem = match address {
        Some(IpAddr::V4(_)) => "what follows the `/` of an IPv4 network is 0 to 32",
        Some(IpAddr::V6(_)) => "what follows the `/` of an IPv6 network is 0 to 128",
        None if word == "*" => "everybody is `0.0.0.0/0,::/0`",
        None if word.parse::<SocketAddr>().is_ok() => "an address stands here without a port",
        None if word.chars().any(|char| char.is_ascii_alphabetic()) && !word.contains(':') => {
            "names are not looked up; write the address"
        }
        None => {
            "write addresses such as 10.0.0.7 and networks such as 10.0.0.0/8 or fd00::/8, with commas between them"
        }
    };
    Err(format!("`{word}` is no address and no network: {problem}"))
}

impl Serialize for Networks {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(ToString::to_string))
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            List(Vec<String>),
        }
        let parsed = match Form::deserialize(deserializer)? {
            Form::Text(text) => Self::parse(text.split(',')),
            Form::List(words) => Self::parse(words.iter().map(String::as_str)),
        };
        parsed.map_err(D::Error::custom)
    }
}

/// Who may administrate from where.
#[derive(Debug)]
pub(crate) struct Origins {
    administrators: Networks,
    proxies: Networks,
}

impl Origins {
    /// Of the proxies what they forward is believed.
    pub(crate) fn new(administrators: Networks, proxies: Networks) -> Self {
        Self { administrators, proxies }
    }

    /// Why an administrator must not come from there; none if they may.
    pub(crate) fn denies_admin(&self, extensions: &Extensions, headers: &HeaderMap) -> Option<String> {
        if self.administrators.is_empty() {
            return None;
        }
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
        match peer.and_then(|peer| self.client(peer, headers)) {
            Some(client) if self.administrators.contains(client) => None,
            Some(client) => Some(format!("administrators may not come from {client}")),
            None => Some("administrators may not come from an address that can't be told".to_owned()),
        }
    }

    /// The client's address: the peer's, or what trusted proxies say. None if what they say can't be read.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer;
        let claims = headers.get_all("x-forwarded-for").iter().rev();
        let hops = claims.flat_map(|value| value.to_str().unwrap_or("?").rsplit(','));
        for hop in hops {
            if !self.proxies.contains(client) {
                return Some(client);
            }
            client = address(hop.trim())?;
        }
        Some(client)
    }
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let found = bare.or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()));
    found.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(text: &str) -> Networks {
        serde_json::from_value(serde_json::json!(text)).unwrap()
    }

    fn client(proxies: &str, peer: &str, claims: &[&str]) -> Option<String> {
        let origins = Origins { administrators: Networks::default(), proxies: networks(proxies) };
        let mut headers = HeaderMap::new();
        for claim in claims {
            headers.append("x-forwarded-for", claim.parse().unwrap());
        }
        origins.client(peer.parse().unwrap(), &headers).map(|address| address.to_string())
    }

    #[test]
    fn lists_and_texts_name_the_same_networks() {
        let list: Networks = serde_json::from_str(r#"["10.1.2.3/8", "::1", "192.0.2.7"]"#).unwrap();
        assert_eq!(networks(" 10.0.0.0/8, ::1 ,192.0.2.7,"), list);
        assert_eq!(serde_json::to_string(&list).unwrap(), r#"["10.0.0.0/8","::1/128","192.0.2.7/32"]"#);
        let contains = |text: &str| list.contains(text.parse().unwrap());
        assert!(contains("10.255.0.1") && contains("::1") && !contains("192.0.2.8") && !contains("11.0.0.1"));
        assert!(networks("").is_empty());
    }

    #[test]
    fn a_bad_word_is_named_with_the_nearest_explanation() {
        for (word, said) in [
            ("10.0.0.0/33", "0 to 32"),
            ("fd00::/129", "0 to 128"),
            ("*", "0.0.0.0/0,::/0"),
            ("10.0.0.1:80", "without a port"),
            ("office.example", "not looked up"),
            ("10.0.0", "such as 10.0.0.7"),
        ] {
            let error = serde_json::from_value::<Networks>(serde_json::json!(word)).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains(word), "{error}");
        }
    }

    #[test]
    fn only_named_proxies_are_believed_and_only_as_far_as_they_go() {
        let is = |found: Option<String>, wanted: &str| assert_eq!(found.as_deref(), Some(wanted));
        is(client("", "192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
        is(client("10.0.0.0/8", "192.0.2.1", &["10.0.0.1"]), "192.0.2.1");
        is(client("10.0.0.0/8", "10.0.0.1", &["192.0.2.9"]), "192.0.2.9");
        // The client wrote the first one itself.
        is(client("10.0.0.0/8", "10.0.0.1", &["127.0.0.1, 192.0.2.9"]), "192.0.2.9");
        is(client("10.0.0.0/8", "10.0.0.1", &["127.0.0.1", "192.0.2.9, 10.0.0.2"]), "192.0.2.9");
        is(client("10.0.0.0/8", "10.0.0.1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        is(client("10.0.0.0/8", "10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.0/8", "10.0.0.1", &["192.0.2.9, unknown"]), None);
    }
}
