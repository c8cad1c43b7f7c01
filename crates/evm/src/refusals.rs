//! What an endpoint means when it refuses: providers use the same codes for different things, so words decide.
//!
//! A range that is too large must be asked for in parts, by whoever asked. An endpoint that is overloaded gives way
//! to the next one. Any other refusal is an answer.

use alloy_json_rpc::ErrorPayload;

/// The words for too many blocks or too many logs in one question.
const TOO_WIDE: [&str; 29] = [
    "query returned more than",
    "block range",
    "range too large",
    "range is too",
    "range too wide",
    "is limited to a",
    "max range",
    "maximum rpc range",
    "exceeds the range",
    "exceed the range",
    "range limit",
    "ranges over",
    "too many blocks",
    "too many logs",
    "too many results",
    "too much logs",
    "max results",
    "max logs",
    "max block",
    "maximum block",
    "response size",
    "response too large",
    "response is too large",
    "response body too large",
    "query timeout",
    "execution timeout",
    "context deadline exceeded",
    "query exceeds",
    "limit of results",
];

/// The words for too many requests, which some of the above stand beside.
const OVERLOADED: [&str; 6] =
    ["rate limit", "too many requests", "requests per second", "request limit", "compute units", "capacity"];

/// Whether a question for logs covers more than the endpoint answers at once.
pub(crate) fn is_too_wide(code: i64, message: &str) -> bool {
    let message = message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    code != 429 && says(&TOO_WIDE) && !says(&OVERLOADED)
}

/// "Too many requests" in the words of several providers: another endpoint may have time.
pub(crate) fn is_overload(refusal: &ErrorPayload) -> bool {
    refusal.code == 429 || refusal.code == -32005 || refusal.is_retry_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_is_too_large_is_told_from_too_many_requests() {
        let too_wide = [
            (-32005, "query returned more than 10000 results. Try with this block range [0x1, 0x2]."),
            (
                -32602,
                "Log response size exceeded. You can make eth_getLogs requests with up to a 2K block range",
            ),
            (
                -32600,
                "Under the Free tier plan, you can make eth_getLogs requests with up to a 10 block range.",
            ),
            (-32614, "eth_getLogs is limited to a 10,000 range"),
            (-32062, "Block range is too large"),
            (-32701, "exceed maximum block range: 50000"),
            (-32602, "query exceeds max block range 100000"),
            (-32602, "query exceeds max results 20000, retry with the range 1-2"),
            (-32005, "Requested range exceeds maximum RPC range limit"),
            (-32047, "Invalid eth_getLogs request. 'fromBlock'-'toBlock' range too large. Max range: 800"),
            (-32000, "requested too many blocks from 1 to 9000, maximum is set to 2048"),
            (-32000, "backend response too large"),
            (35, "ranges over 10000 blocks are not supported on freetier"),
            (-32000, "query timeout exceeded"),
        ];
        for (code, message) in too_wide {
            assert!(is_too_wide(code, message), "{message}");
        }
        let other = [
            (-32005, "daily request count exceeded, request rate limited"),
            (-32005, "limit exceeded"),
            (429, "Your app has exceeded its compute units per second capacity"),
            (-32000, "unknown block"),
            (-32602, "invalid argument 0: hex string without 0x prefix"),
            (-32001, "Rate limit reached for block range requests"),
        ];
        for (code, message) in other {
            assert!(!is_too_wide(code, message), "{message}");
        }
    }
}
