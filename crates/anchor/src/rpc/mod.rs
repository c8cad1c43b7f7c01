//! An EVM chain as far as anchors need it, over several endpoints that stand for each other.
//!
//! Calls go to the endpoint that answered last. One that does not answer counts against its own circuit breaker,
//! and the next one is asked; what an endpoint *says*, also a refusal, is an answer. Nothing here knows anchors.

mod transport;
mod types;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use alloy_json_rpc::{ErrorPayload, RpcError as AlloyError, RpcRecv};
use alloy_primitives::{Address, B256, Bytes, U64, U128, U256};
use alloy_rpc_client::RpcClient;
use bowline_runtime::{BreakerPolicy, BreakerState, CircuitBreaker, Clock};
use bowline_types::{EvmAddress, EvmHash};
use serde_json::{Value, json};

use self::transport::BoundedHttp;
pub use self::types::{Block, Log, Receipt};

/// What a node answers if it has no opinion on tips: 1 gwei.
const TIP_DEFAULT: u128 = 1_000_000_000;

/// A call had no effect that is known of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// No endpoint answered.
    #[error("no endpoint of the chain answers: {causes}")]
    Away {
        /// Each endpoint with its cause.
        causes: String,
        /// Milliseconds until an endpoint's breaker lets a call pass, if all of them are open.
        retry_ms: Option<u64>,
    },
    /// An endpoint refused the call.
    #[error("{endpoint} refused: {message} (code {code})")]
    Refused {
        /// Who.
        endpoint: String,
        /// The JSON-RPC code.
        code: i64,
        /// Its words.
        message: String,
        /// What a contract reverted with, if that is why.
        revert: Option<Bytes>,
    },
}

/// How an endpoint is doing.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EndpointState {
    /// Host and port.
    pub name: String,
    /// `closed`, `half_open` or `open`.
    pub breaker: String,
}

/// The endpoints of one chain; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rpc(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    endpoints: Vec<Endpoint>,
    /// The one that answered last.
    preferred: AtomicUsize,
    call_time_max: Duration,
}

#[derive(Debug)]
struct Endpoint {
    name: String,
    client: RpcClient,
    breaker: CircuitBreaker,
}

impl Rpc {
    /// Endpoints by their addresses, in the order in which they are asked, each with its breaker and metrics.
    ///
    /// # Errors
    /// What is wrong with an address, or with the machine's TLS; no address is quoted.
    pub fn new(
        addresses: &[String],
        call_time_max: Duration,
        policy: BreakerPolicy,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, String> {
        // The client takes its cryptography from here; an error means that it is there already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = reqwest::Client::builder()
            .timeout(call_time_max)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("no HTTP client: {error}"))?;
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            let url =
                parse_address(address).map_err(|problem| format!("address {}: {problem}", index + 1))?;
            let host = url.host_str().unwrap_or_default();
            let mut name = match url.port_or_known_default() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            };
            if endpoints.iter().any(|known| known.name == name) {
                name = format!("{name}#{}", index + 1);
            }
            let breaker = CircuitBreaker::new(format!("anchor:{name}"), policy, Arc::clone(clock));
            let client = RpcClient::new(BoundedHttp::new(client.clone(), url), false);
            endpoints.push(Endpoint { name, client, breaker });
        }
        if endpoints.is_empty() {
            return Err("no address is given".to_owned());
        }
        Ok(Self(Arc::new(Shared { endpoints, preferred: AtomicUsize::new(0), call_time_max })))
    }

    /// How each endpoint is doing.
    pub fn endpoints(&self) -> Vec<EndpointState> {
        let state = |endpoint: &Endpoint| EndpointState {
            name: endpoint.name.clone(),
            breaker: endpoint.breaker.state().as_str().to_owned(),
        };
        self.0.endpoints.iter().map(state).collect()
    }

    /// Whether some endpoint's breaker is not open.
    pub fn passes(&self) -> bool {
        self.0.endpoints.iter().any(|endpoint| endpoint.breaker.state() != BreakerState::Open)
    }

    async fn ask<R: RpcRecv>(&self, method: &'static str, params: Value) -> Result<R, RpcError> {
        let endpoints = &self.0.endpoints;
        let first = self.0.preferred.load(Ordering::Relaxed);
        let (mut causes, mut retry_ms) = (Vec::new(), None::<u64>);
        for index in (0..endpoints.len()).map(|step| (first + step) % endpoints.len()) {
            let endpoint = &endpoints[index];
            let pass = match endpoint.breaker.try_pass() {
                Ok(pass) => pass,
                Err(wait_ms) => {
                    retry_ms = Some(retry_ms.map_or(wait_ms, |other| other.min(wait_ms)));
                    causes.push(format!("{}: circuit breaker is open", endpoint.name));
                    continue;
                }
            };
            let call = endpoint.client.request::<Value, R>(Cow::Borrowed(method), params.clone());
            let cause = match tokio::time::timeout(self.0.call_time_max, call).await {
                Ok(Ok(answer)) => {
                    pass.succeed();
                    self.0.preferred.store(index, Ordering::Relaxed);
                    return Ok(answer);
                }
                Ok(Err(AlloyError::ErrorResp(refusal))) if !is_overload(&refusal) => {
                    pass.succeed();
                    self.0.preferred.store(index, Ordering::Relaxed);
                    return Err(refused(&endpoint.name, &refusal));
                }
                Ok(Err(error)) => cause_of(&error),
                Err(_) => format!("no answer within {} s", self.0.call_time_max.as_secs()),
            };
            pass.fail();
            tracing::debug!(component = "anchor", endpoint = endpoint.name, method, cause, "Endpoint failed");
            causes.push(format!("{}: {cause}", endpoint.name));
        }
        // If an endpoint was asked, it may be asked again at once.
        let all_open = causes.iter().all(|cause| cause.ends_with("circuit breaker is open"));
        Err(RpcError::Away { causes: causes.join("; "), retry_ms: retry_ms.filter(|_| all_open) })
    }

    /// The chain's id.
    pub async fn chain_id(&self) -> Result<u64, RpcError> {
        self.ask::<U64>("eth_chainId", json!([])).await.map(|id| id.to())
    }

    /// The last block.
    pub async fn latest(&self) -> Result<Block, RpcError> {
        self.ask("eth_getBlockByNumber", json!(["latest", false])).await
    }

    /// The block of that number; none if the chain has not got there.
    pub async fn block(&self, number: u64) -> Result<Option<Block>, RpcError> {
        self.ask("eth_getBlockByNumber", json!([U64::from(number), false])).await
    }

    /// How many transactions of an account are in blocks: the nonce of its next one.
    pub async fn nonce(&self, account: EvmAddress) -> Result<u64, RpcError> {
        let params = json!([address(account), "latest"]);
        self.ask::<U64>("eth_getTransactionCount", params).await.map(|nonce| nonce.to())
    }

    /// What an account has, wei.
    pub async fn balance(&self, account: EvmAddress) -> Result<U256, RpcError> {
        self.ask("eth_getBalance", json!([address(account), "latest"])).await
    }

    /// A contract's code; empty if there is none.
    pub async fn code(&self, contract: EvmAddress) -> Result<Bytes, RpcError> {
        self.ask("eth_getCode", json!([address(contract), "latest"])).await
    }

    /// What a call of a contract would return now.
    pub async fn call(&self, contract: EvmAddress, data: Vec<u8>) -> Result<Bytes, RpcError> {
        let call = json!({"to": address(contract), "data": Bytes::from(data)});
        self.ask("eth_call", json!([call, "latest"])).await
    }

    /// The gas that a transaction would use; without a contract it makes one.
    pub async fn estimate_gas(
        &self,
        from: EvmAddress,
        to: Option<EvmAddress>,
        data: &[u8],
    ) -> Result<u64, RpcError> {
        let mut call = json!({"from": address(from), "data": Bytes::copy_from_slice(data)});
        if let Some(to) = to {
            call["to"] = json!(address(to));
        }
        self.ask::<U64>("eth_estimateGas", json!([call])).await.map(|gas| gas.to())
    }

    /// The tip that the endpoint advises, wei a unit of gas.
    pub async fn tip(&self) -> Result<u128, RpcError> {
        match self.ask::<U128>("eth_maxPriorityFeePerGas", json!([])).await {
            Ok(tip) => Ok(tip.to()),
            Err(RpcError::Refused { .. }) => Ok(TIP_DEFAULT),
            Err(error) => Err(error),
        }
    }

    /// Hands a signed transaction to the chain.
    pub async fn broadcast(&self, raw: &[u8]) -> Result<(), RpcError> {
        let params = json!([Bytes::copy_from_slice(raw)]);
        self.ask::<B256>("eth_sendRawTransaction", params).await.map(drop)
    }

    /// Whether the endpoint knows a transaction, in a block or waiting for one.
    pub async fn knows(&self, tx_hash: EvmHash) -> Result<bool, RpcError> {
        let params = json!([B256::from(*tx_hash.as_bytes())]);
        self.ask::<Option<serde::de::IgnoredAny>>("eth_getTransactionByHash", params)
            .await
            .map(|found| found.is_some())
    }

    /// How a transaction ended; none as long as it is in no block.
    pub async fn receipt(&self, tx_hash: EvmHash) -> Result<Option<Receipt>, RpcError> {
        self.ask("eth_getTransactionReceipt", json!([B256::from(*tx_hash.as_bytes())])).await
    }

    /// What a contract logged in one block, of that event and with that first indexed value.
    pub async fn logs(
        &self,
        contract: EvmAddress,
        block: u64,
        topics: &[Vec<B256>],
    ) -> Result<Vec<Log>, RpcError> {
        let block = U64::from(block);
        let filter =
            json!({"address": address(contract), "fromBlock": block, "toBlock": block, "topics": topics});
        self.ask("eth_getLogs", json!([filter])).await
    }
}

/// The address, if it is one that can be asked; secrets in it are not repeated.
pub(crate) fn parse_address(text: &str) -> Result<reqwest::Url, String> {
    let url = reqwest::Url::parse(text.trim()).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" if url.has_host() => Ok(url),
        scheme => Err(format!("`{scheme}` is neither http nor https")),
    }
}

fn address(address: EvmAddress) -> Address {
    Address::from(*address.as_bytes())
}

/// "Too many requests" in the words of several providers: another endpoint may have time.
fn is_overload(refusal: &ErrorPayload) -> bool {
    refusal.code == 429 || refusal.code == -32005 || refusal.is_retry_err()
}

fn refused(endpoint: &str, refusal: &ErrorPayload) -> RpcError {
    RpcError::Refused {
        endpoint: endpoint.to_owned(),
        code: refusal.code,
        message: refusal.message.chars().take(300).collect(),
        revert: refusal.as_revert_data(),
    }
}

fn cause_of(error: &alloy_transport::TransportError) -> String {
    match error {
        AlloyError::DeserError { err, .. } => format!("the answer can't be read: {err}"),
        AlloyError::NullResp => "the answer is empty".to_owned(),
        AlloyError::ErrorResp(refusal) => format!("overloaded: {}", refusal.message),
        error => error.to_string(),
    }
}
