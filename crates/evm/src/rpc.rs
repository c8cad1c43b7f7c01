//! The endpoints of a chain, and which of them a call goes to.
//!
//! Each call goes to the first endpoint that answers. One that does not counts against its own circuit breaker, and
//! the next one is asked; what an endpoint *says*, also a refusal, is an answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use alloy_json_rpc::{ErrorPayload, RpcError as AlloyError, RpcRecv};
use alloy_primitives::U64;
use alloy_rpc_client::RpcClient;
use alloy_transport::TransportErrorKind;
use bowline_runtime::{CircuitBreaker, Clock, SystemClock};
use bowline_types::Secret;
use serde_json::{Value, json};

use crate::address::{endpoint_addresses, is_loopback, parse_address, shortened};
use crate::error::RpcError;
use crate::pace::Pace;
use crate::patience::{Bounds, EndpointState, Patience};
use crate::refusals::{is_overload, is_too_wide};
use crate::transport::{BoundedHttp, TooLong};

/// The method that a range of blocks can be too large for.
pub(crate) const GET_LOGS: &str = "eth_getLogs";

/// The endpoints of one chain; cheap to clone.
#[derive(Debug, Clone)]
pub struct Rpc {
    endpoints: Arc<[Arc<Endpoint>]>,
    /// The chain that each of them must be of, if that is known.
    chain_id: Option<u64>,
    call_time_max: Duration,
}

#[derive(Debug)]
struct Endpoint {
    name: String,
    client: RpcClient,
    breaker: CircuitBreaker,
    pace: Pace,
    /// Whether it was found to be of the right chain since it last failed.
    is_right: AtomicBool,
}

/// Why an endpoint gave no answer that counts.
enum Silence {
    /// It is away, or does not serve now.
    Away(String),
    /// It is of another chain.
    OtherChain(u64),
}

impl Rpc {
    /// Endpoints by their addresses, in the order in which they are asked, each with its breaker and metrics, which
    /// are named after `purpose`. With
    /// a chain's id, what an endpoint of another chain says does not count.
    ///
    /// # Errors
    /// What is wrong with an address, or with the machine's TLS; no address is quoted.
    pub fn new(
        purpose: &str,
        addresses: &[Secret],
        patience: Patience,
        chain_id: Option<u64>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, String> {
        Self::bounded(purpose, addresses, patience, Bounds::default(), chain_id, clock)
    }

    /// The same with bounds of one's own.
    ///
    /// # Errors
    /// What is wrong with an address, or with the machine's TLS; no address is quoted.
    pub fn bounded(
        purpose: &str,
        addresses: &[Secret],
        patience: Patience,
        bounds: Bounds,
        chain_id: Option<u64>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, String> {
        let (call_time_max, policy) = (patience.call_time_max(), patience.breaker());
        // The client takes its cryptography from here; an error means that it is there already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = |is_local: bool| {
            let builder =
                reqwest::Client::builder().timeout(call_time_max).redirect(reqwest::redirect::Policy::none());
            // A proxy can't reach what is on this machine.
            let builder = if is_local { builder.no_proxy() } else { builder };
            builder.build().map_err(|error| format!("no HTTP client: {error}"))
        };
        let (local, remote) = (client(true)?, client(false)?);
        let mut endpoints: Vec<Arc<Endpoint>> = Vec::new();
        for (index, address) in addresses.iter().enumerate() {
            let url = parse_address(address.reveal())
                .map_err(|problem| format!("address {}: {problem}", index + 1))?;
            let host = url.host_str().unwrap_or_default();
            let mut name = match url.port_or_known_default() {
                Some(port) => format!("{host}:{port}"),
                None => host.to_owned(),
            };
            if endpoints.iter().any(|known| known.name == name) {
                name = format!("{name}#{}", index + 1);
            }
            let breaker = CircuitBreaker::new(format!("{purpose}:{name}"), policy, Arc::clone(clock));
            let client = if is_loopback(&url) { local.clone() } else { remote.clone() };
            let client = RpcClient::new(BoundedHttp::new(client, url, bounds.answer_bytes_max), false);
            let (pace, is_right) = (Pace::new(bounds.requests_per_sec), AtomicBool::new(false));
            endpoints.push(Arc::new(Endpoint { name, client, breaker, pace, is_right }));
        }
        if endpoints.is_empty() {
            return Err("no address is given".to_owned());
        }
        Ok(Self { endpoints: endpoints.into(), chain_id, call_time_max })
    }

    /// Endpoints for a person or a program that asks for a while and then ends, with the settings' usual patience.
    ///
    /// # Errors
    /// What is wrong with an address, or with the machine's TLS; no address is quoted.
    pub fn connect(list: &Secret) -> Result<Self, String> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Self::new("client", &endpoint_addresses(list)?, Patience::default(), None, &clock)
    }

    /// The same endpoints, whichever chain they are of: for whoever wants to say what is wrong with them.
    #[must_use]
    pub fn of_any_chain(&self) -> Self {
        Self { chain_id: None, ..self.clone() }
    }

    /// Each endpoint by itself, in their order; breakers and paces are shared with this one.
    pub fn each(&self) -> Vec<Self> {
        let alone =
            |endpoint: &Arc<Endpoint>| Self { endpoints: [Arc::clone(endpoint)].into(), ..self.clone() };
        self.endpoints.iter().map(alone).collect()
    }

    /// Host and port of the first endpoint.
    pub fn name(&self) -> &str {
        self.endpoints.first().map_or("", |endpoint| &endpoint.name)
    }

    /// How each endpoint is doing.
    pub fn endpoints(&self) -> Vec<EndpointState> {
        let state = |endpoint: &Arc<Endpoint>| EndpointState {
            name: endpoint.name.clone(),
            breaker: endpoint.breaker.state().as_str().to_owned(),
        };
        self.endpoints.iter().map(state).collect()
    }

    /// What the first endpoint says that answers.
    pub(crate) async fn ask<R: RpcRecv>(&self, method: &'static str, params: Value) -> Result<R, RpcError> {
        let (mut causes, mut retry_ms, mut other_chain) = (Vec::new(), None::<u64>, None);
        let mut all_open = true;
        for endpoint in self.endpoints.iter() {
            let pass = match endpoint.breaker.try_pass() {
                Ok(pass) => pass,
                Err(wait_ms) => {
                    retry_ms = Some(retry_ms.map_or(wait_ms, |other| other.min(wait_ms)));
                    causes.push(format!("{}: circuit breaker is open", endpoint.name));
                    continue;
                }
            };
            all_open = false;
            let silence = match self.ask_one(endpoint, method, &params).await {
                Ok(answer) => {
                    pass.succeed();
                    return answer;
                }
                Err(silence) => silence,
            };
            endpoint.is_right.store(false, Ordering::Relaxed);
            let cause = match silence {
                Silence::Away(cause) => {
                    pass.fail();
                    cause
                }
                // It is there; what is wrong is a setting.
                Silence::OtherChain(found) => {
                    pass.succeed();
                    other_chain = Some(found);
                    format!("its chain is {found}")
                }
            };
            tracing::debug!(
                component = "evm",
                endpoint = endpoint.name,
                method,
                cause,
                "Endpoint gave no answer"
            );
            causes.push(format!("{}: {cause}", endpoint.name));
        }
        match (self.chain_id, other_chain) {
            (Some(expected), Some(found)) => Err(RpcError::OtherChain { expected, found }),
            _ => Err(RpcError::Away { causes: causes.join("; "), retry_ms: retry_ms.filter(|_| all_open) }),
        }
    }

    /// What one endpoint says to a call, also if it refuses.
    async fn ask_one<R: RpcRecv>(
        &self,
        endpoint: &Endpoint,
        method: &'static str,
        params: &Value,
    ) -> Result<Result<R, RpcError>, Silence> {
        if let Some(expected) = self.chain_id.filter(|_| !endpoint.is_right.load(Ordering::Relaxed)) {
            let found: U64 = match self.call_one(endpoint, "eth_chainId", json!([])).await? {
                Ok(found) => found,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if found != U64::from(expected) {
                return Err(Silence::OtherChain(found.to()));
            }
            endpoint.is_right.store(true, Ordering::Relaxed);
        }
        self.call_one(endpoint, method, params.clone()).await
    }

    async fn call_one<R: RpcRecv>(
        &self,
        endpoint: &Endpoint,
        method: &'static str,
        params: Value,
    ) -> Result<Result<R, RpcError>, Silence> {
        endpoint.pace.turn().await;
        let call = endpoint.client.request::<Value, R>(Cow::Borrowed(method), params);
        match tokio::time::timeout(self.call_time_max, call).await {
            Ok(Ok(answer)) => Ok(Ok(answer)),
            Ok(Err(AlloyError::ErrorResp(refusal)))
                if method == GET_LOGS && is_too_wide(refusal.code, &refusal.message) =>
            {
                Ok(Err(RpcError::TooWide {
                    endpoint: endpoint.name.clone(),
                    message: shortened(&refusal.message),
                }))
            }
            Ok(Err(AlloyError::ErrorResp(refusal))) if !is_overload(&refusal) => {
                Ok(Err(refused(&endpoint.name, &refusal)))
            }
            Ok(Err(error)) => match too_long(&error).filter(|_| method == GET_LOGS) {
                Some(message) => Ok(Err(RpcError::TooWide { endpoint: endpoint.name.clone(), message })),
                None => Err(Silence::Away(cause_of(&error))),
            },
            Err(_) => {
                let secs = self.call_time_max.as_secs();
                Err(Silence::Away(format!("no answer within {secs} s")))
            }
        }
    }
}

fn refused(endpoint: &str, refusal: &ErrorPayload) -> RpcError {
    RpcError::Refused {
        endpoint: endpoint.to_owned(),
        code: refusal.code,
        message: shortened(&refusal.message),
        revert: refusal.as_revert_data(),
    }
}

/// What there is to say if an answer was too long.
fn too_long(error: &alloy_transport::TransportError) -> Option<String> {
    match error {
        AlloyError::Transport(TransportErrorKind::Custom(cause)) => {
            cause.downcast_ref::<TooLong>().map(ToString::to_string)
        }
        _ => None,
    }
}

fn cause_of(error: &alloy_transport::TransportError) -> String {
    match error {
        AlloyError::DeserError { err, .. } => {
            format!("the answer can't be read: {}", shortened(&err.to_string()))
        }
        AlloyError::NullResp => "the answer is empty".to_owned(),
        AlloyError::ErrorResp(refusal) => format!("overloaded: {}", shortened(&refusal.message)),
        error => shortened(&error.to_string()),
    }
}
