//! Which addresses a delivery may go to: public ones, and those that the operator allows.
//!
//! A check is about a resolved address, never about a name: a name may resolve to another address a moment later. An IPv6
//! address that embeds an IPv4 address is checked as the IPv4 address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use reqwest::Url;

/// Why an address may not be reached; none if it may.
pub(crate) fn reserved(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => reserved_v4(address),
        IpAddr::V6(address) => reserved_v6(address),
    }
}

/// The registries of special-purpose addresses of IANA (RFC 6890 and its updates).
fn reserved_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (0, ..) => Some("this network"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("a private network"),
        (100, 64..=127, _) => Some("a carrier's private network"),
        (127, ..) => Some("this machine"),
        (169, 254, _) => Some("the local link"),
        (192, 0, 0) => Some("protocol assignments"),
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Some("documentation"),
        (192, 88, 99) => Some("6to4 relays"),
        (198, 18..=19, _) => Some("benchmarks"),
        // Public by its number, and the metadata service of one cloud.
        (168, 63, 129) => Some("a cloud's metadata"),
        (224..=239, ..) => Some("multicast"),
        (240..=255, ..) => Some("reserved or broadcast"),
        _ => None,
    }
}

fn reserved_v6(address: Ipv6Addr) -> Option<&'static str> {
    let s = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        reserved_v4(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => Some("no address"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Some("this machine"),
        // ::ffff:0:0/96, mapped; and ::ffff:0:0:0/96, translated.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => embedded(high, low),
        [0, 0, 0, 0, 0, 0, _, _] => Some("a deprecated form of an IPv4 address"),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, 1, ..] => Some("a translated private network"),
        [0x100, 0, 0, 0, ..] => Some("a discarded range"),
        [0x2001, 0, ..] => Some("Teredo"),
        [0x2001, 1..=0x1ff, ..] => Some("protocol assignments"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Some("documentation"),
        [0x2002, ..] => Some("6to4"),
        [0xfc00..=0xfdff, ..] => Some("a private network"),
        [0xfe80..=0xfebf, ..] => Some("the local link"),
        [0xfec0..=0xfeff, ..] => Some("a site's private network"),
        [0xff00..=0xffff, ..] => Some("multicast"),
        [0x2000..=0x3fff, ..] => None,
        _ => Some("a range that is not in use"),
    }
}

/// The addresses and hosts that an operator allows beside public addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AllowList {
    networks: Vec<IpNet>,
    /// Host and port as a URL names them.
    hosts: Vec<(String, u16)>,
}

impl AllowList {
    /// Reads entries such as `127.0.0.1/32`, `10.1.2.3` and `hooks.internal:8443`.
    ///
    /// # Errors
    /// The first entry that is none of these.
    pub(crate) fn parse(entries: &[String]) -> Result<Self, String> {
        let mut allowed = Self::default();
        for entry in entries {
            let entry = entry.trim();
            if let Ok(network) = entry.parse::<IpNet>() {
                allowed.networks.push(network);
            } else if let Ok(address) = entry.parse::<IpAddr>() {
                allowed.networks.push(IpNet::from(address));
            } else {
                let host = entry.rsplit_once(':').and_then(|(host, port)| {
                    let is_name = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
                    let port = port.parse().ok().filter(|port| *port > 0 && is_name)?;
                    Some((host.to_ascii_lowercase(), port))
                });
                let host = host.ok_or_else(|| {
                    format!("`{entry}` is neither a network (`10.0.0.0/8`), an address nor `host:port`")
                })?;
                allowed.hosts.push(host);
            }
        }
        Ok(allowed)
    }

    /// Why an address may not be reached; none if it may.
    pub(crate) fn refuses(&self, address: IpAddr) -> Option<&'static str> {
        let is_allowed = self.networks.iter().any(|network| network.contains(&address));
        if is_allowed { None } else { reserved(address) }
    }

    /// Whether a URL's host is allowed by its name, whatever it resolves to.
    pub(crate) fn allows_host(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else { return false };
        self.hosts.iter().any(|(name, allowed)| name == host && *allowed == port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_not_public_is_refused() {
        for bad in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "100::1",
            "3fff::1",
            "4000::1",
        ] {
            assert!(reserved(bad.parse().unwrap()).is_some(), "{bad}");
        }
        for good in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::808:808",
            "::ffff:8.8.8.8",
        ] {
            assert_eq!(reserved(good.parse().unwrap()), None, "{good}");
        }
    }

    #[test]
    fn an_operator_may_allow_networks_and_places() {
        let entries = ["127.0.0.1/32", "10.1.2.3", "Hooks.internal:8443"].map(str::to_owned);
        let allowed = AllowList::parse(&entries).unwrap();
        assert_eq!(allowed.refuses("127.0.0.1".parse().unwrap()), None);
        assert_eq!(allowed.refuses("10.1.2.3".parse().unwrap()), None);
        assert!(allowed.refuses("127.0.0.2".parse().unwrap()).is_some());
        assert!(allowed.allows_host(&"https://hooks.internal:8443/x".parse().unwrap()));
        assert!(!allowed.allows_host(&"https://hooks.internal/x".parse().unwrap()));
        for bad in ["", "hooks.internal", "host:0", "host:99999", "10.0.0.0/40", "http://h:80"] {
            assert!(AllowList::parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }
}
