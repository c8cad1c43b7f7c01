//! Addresses of endpoints. One may hold a key, so none is ever quoted, and what an endpoint says is shortened.

use bowline_types::Secret;

/// Endpoints at most.
const ENDPOINTS_MAX: usize = 8;

/// Words and characters of what an endpoint says that are kept.
const TEXT_WORDS_MAX: usize = 60;
const TEXT_CHARS_MAX: usize = 300;

/// The address, if it is one that can be asked.
///
/// # Errors
/// What is wrong with it; secrets in it are not repeated.
pub fn parse_address(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text.trim()).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(format!("`{scheme}` is neither http nor https")),
    }
}

/// The addresses of a list with commas.
///
/// # Errors
/// What is wrong with one of them; none is quoted.
pub fn endpoint_addresses(list: &Secret) -> Result<Vec<Secret>, String> {
    let addresses: Vec<Secret> = list
        .reveal()
        .split(',')
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(Secret::new)
        .collect();
    if addresses.is_empty() || addresses.len() > ENDPOINTS_MAX {
        return Err(format!("{} addresses are given, 1 to {ENDPOINTS_MAX} are taken", addresses.len()));
    }
    for (index, address) in addresses.iter().enumerate() {
        parse_address(address.reveal()).map_err(|problem| format!("address {}: {problem}", index + 1))?;
    }
    Ok(addresses)
}

pub(crate) fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What an endpoint says, as far as a person reads it. A word with a long path in it may be an address with a key.
pub fn shortened(text: &str) -> String {
    let is_path = |word: &str| word.contains('/') && word.len() > 8;
    let words =
        text.split_whitespace().take(TEXT_WORDS_MAX).map(|word| if is_path(word) { "…" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(TEXT_CHARS_MAX).collect()
}
