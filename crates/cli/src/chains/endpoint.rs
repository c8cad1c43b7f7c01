//! An EVM chain from the command line: its address, and what its errors mean for whoever typed the command.
//!
//! An address often holds the key to an account at a provider, so none is ever printed whole.

use bowline_evm::{Rpc, RpcError};
use bowline_types::Secret;
use reqwest::Url;

use crate::terminal::exit::{Exit, Failure};

/// The endpoints of a list with commas.
pub(crate) fn connect(list: Option<&str>) -> Result<Rpc, Failure> {
    let next = "give the address of a JSON-RPC endpoint with --rpc-url, or set L2_RPC_URL";
    let list = list.filter(|list| !list.trim().is_empty());
    let list = list.ok_or_else(|| Failure::usage("no chain is named").next(next))?;
    Rpc::connect(&Secret::new(list))
        .map_err(|problem| Failure::usage(format!("--rpc-url: {problem}")).next(next))
}

/// A chain that does not answer, or refuses to.
pub(crate) fn failed(error: &RpcError) -> Failure {
    let next = match error {
        RpcError::Away { .. } => "check --rpc-url (L2_RPC_URL) and the node behind it, then try again",
        RpcError::OtherChain { .. } => "give an endpoint of that chain with --rpc-url (L2_RPC_URL)",
        RpcError::Refused { .. } | RpcError::TooWide { .. } => {
            "try again, or another endpoint: it refused an ordinary call"
        }
    };
    Failure::new(Exit::Unreachable, error.to_string()).next(next)
}

/// The addresses without what may be a key: user, path and query.
pub(crate) fn shown(list: &str) -> String {
    let one = |address: &str| match Url::parse(address.trim()) {
        Ok(url) => {
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
            let is_bare =
                url.username().is_empty() && matches!(url.path(), "" | "/") && url.query().is_none();
            let rest = if is_bare { "" } else { "/…" };
            format!("{}://{host}{port}{rest}", url.scheme())
        }
        Err(_) => "…".to_owned(),
    };
    list.split(',').filter(|address| !address.trim().is_empty()).map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_addresses_are_not_shown() {
        let list = "http://127.0.0.1:8545, https://u:p@rpc.example/v2/secret?k=1,https://rpc.example:444/";
        assert_eq!(shown(list), "http://127.0.0.1:8545,https://rpc.example/…,https://rpc.example:444");
        let failure = connect(Some("ws://h/secret")).unwrap_err();
        assert!(failure.exit == Exit::Usage && !failure.cause.contains("secret"), "{failure:?}");
        assert!(connect(Some(" ")).unwrap_err().next.unwrap().contains("L2_RPC_URL"));
    }
}
