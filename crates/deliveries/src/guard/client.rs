//! The HTTP client of all deliveries: it reaches public addresses and those that the operator allows, and no others.
//!
//! Names are resolved here, and connections go only to addresses that pass, so a name that changes its meaning between a
//! check and a connection gains nothing. Redirects are followed by this file, each hop checked again. Proxies of the
//! environment are ignored, since a proxy would resolve names itself. No message names an address' path, query or
//! account: they often hold a token.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bowline_types::Timestamp;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Client, ClientBuilder, Method, StatusCode, Url};

use super::addresses::AllowList;
use crate::outcome::{Failure, FailureCode, Fault, ReceiverAnswer, snippet};
use crate::retry::retry_after;

/// The time limit of connecting.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read at most.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Redirects of one request at most.
const REDIRECTS_MAX: usize = 3;

/// An address that may not be reached.
#[derive(Debug)]
struct Blocked(String);

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Blocked {}

/// Resolves names and leaves out the addresses that may not be reached.
#[derive(Debug)]
struct GuardedResolver(Arc<AllowList>);

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allowed = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str().to_owned();
            let found: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let mut why = "nothing";
            let passing: Vec<_> = found
                .into_iter()
                .filter(|address| {
                    let refused = allowed.refuses(address.ip());
                    why = refused.unwrap_or(why);
                    refused.is_none()
                })
                .collect();
            if passing.is_empty() {
                return Err(Blocked(format!("{host} is {why}")).into());
            }
            Ok(Box::new(passing.into_iter()) as Addrs)
        })
    }
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
    /// The time limit of request and answer together.
    pub(crate) time_max: Duration,
}

/// An answer, of which [`ANSWER_BYTES_MAX`] were read at most.
#[derive(Debug)]
pub(crate) struct HttpAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl HttpAnswer {
    pub(crate) fn answered(&self) -> ReceiverAnswer {
        ReceiverAnswer { http_status: Some(self.status.as_u16()), response: snippet(&self.body) }
    }

    /// The failure that an answer without success is.
    pub(crate) fn failure(&self, now: Timestamp) -> Failure {
        let after = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let fault = match self.status.as_u16() {
            408 | 425 | 429 | 500..=599 => {
                Fault::Passing { retry_after: after.and_then(|value| retry_after(value, now)) }
            }
            _ => Fault::Refused,
        };
        let message = match self.status.is_redirection() {
            true => format!("HTTP status {}: redirects are not followed here", self.status.as_u16()),
            false => format!("HTTP status {}", self.status.as_u16()),
        };
        let mut failure = Failure::new(FailureCode::HttpStatus, message, fault);
        failure.answered = self.answered();
        failure
    }
}

/// The client; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct GuardedClient {
    guarded: Client,
    /// For hosts that the operator allows by name, whatever they resolve to.
    open: Client,
    allowed: Arc<AllowList>,
}

impl GuardedClient {
    pub(crate) fn new(allowed: AllowList) -> Result<Self, String> {
        // TLS takes the process's provider; a second installation is refused and changes nothing.
        drop(rustls::crypto::ring::default_provider().install_default());
        let allowed = Arc::new(allowed);
        let guarded = guarded(&allowed)?;
        Ok(Self { guarded, open: built(builder())?, allowed })
    }

    /// A client that reaches other addresses. Connections to hosts that are allowed by name are shared: every request
    /// checks whether it may use one. Those to addresses are not shared: an open connection is checked no more.
    ///
    /// # Errors
    /// That there is no client, for people.
    pub(crate) fn reaching(&self, allowed: AllowList) -> Result<Self, String> {
        let allowed = Arc::new(allowed);
        Ok(Self { guarded: guarded(&allowed)?, open: self.open.clone(), allowed })
    }

    /// The client that may be used for an address. It follows no redirects.
    ///
    /// # Errors
    /// An address that may not be reached.
    pub(crate) fn client(&self, url: &Url) -> Result<&Client, Failure> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(blocked("only http and https are"));
        }
        if self.allowed.allows_host(url) {
            return Ok(&self.open);
        }
        if let Some(why) = literal(url).and_then(|address| self.allowed.refuses(address)) {
            return Err(blocked(&format!("its address is {why}; public addresses are")));
        }
        Ok(&self.guarded)
    }

    /// Sends a request; only a GET follows redirects.
    ///
    /// # Errors
    /// Why no answer came; an answer of any status is no error.
    pub(crate) async fn send(&self, request: HttpRequest) -> Result<HttpAnswer, Failure> {
        let time_max = request.time_max;
        match tokio::time::timeout(time_max, self.follow(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::passing(
                FailureCode::Timeout,
                format!("no answer within {} ms", time_max.as_millis()),
            )),
        }
    }

    async fn follow(&self, mut request: HttpRequest) -> Result<HttpAnswer, Failure> {
        for hop in 0.. {
            let answer = self.send_once(&request).await?;
            let Some(next) = redirected(&request, &answer)? else { return Ok(answer) };
            if hop == REDIRECTS_MAX {
                let problem = format!("more than {REDIRECTS_MAX} redirects");
                return Err(Failure::new(FailureCode::Redirects, problem, Fault::Refused));
            }
            if next.origin() != request.url.origin() {
                // Headers hold tokens of one receiver, which no other one may learn.
                request.headers.clear();
            }
            request.url = next;
        }
        Err(Failure::new(FailureCode::Redirects, "too many redirects", Fault::Refused))
    }

    async fn send_once(&self, request: &HttpRequest) -> Result<HttpAnswer, Failure> {
        let client = self.client(&request.url)?;
        let mut builder =
            client.request(request.method.clone(), request.url.clone()).headers(request.headers.clone());
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let mut response = builder.send().await.map_err(|error| not_sent(&error))?;
        let mut body = Vec::new();
        while body.len() < ANSWER_BYTES_MAX {
            let chunk = response.chunk().await.map_err(|error| not_sent(&error))?;
            let Some(chunk) = chunk else { break };
            let room = ANSWER_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        Ok(HttpAnswer { status: response.status(), headers: std::mem::take(response.headers_mut()), body })
    }
}

fn builder() -> ClientBuilder {
    Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(CONNECT_TIME_MAX)
        .pool_idle_timeout(Duration::from_secs(30))
        .pool_max_idle_per_host(64)
        .tcp_nodelay(true)
        .user_agent(concat!("bowline/", env!("CARGO_PKG_VERSION")))
}

fn built(builder: ClientBuilder) -> Result<Client, String> {
    builder.build().map_err(|error| format!("no HTTP client for deliveries: {error}"))
}

fn guarded(allowed: &Arc<AllowList>) -> Result<Client, String> {
    built(builder().dns_resolver(Arc::new(GuardedResolver(Arc::clone(allowed)))))
}

/// The address, if the URL's host is one.
fn literal(url: &Url) -> Option<std::net::IpAddr> {
    // The parser normalises all spellings: `0x7f.1` and `2130706433` are `127.0.0.1` here.
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The next address of a GET, if the answer redirects it.
fn redirected(request: &HttpRequest, answer: &HttpAnswer) -> Result<Option<Url>, Failure> {
    let is_followed =
        request.method == Method::GET && matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = answer.headers.get(LOCATION).filter(|_| is_followed);
    let Some(location) = location.and_then(|value| value.to_str().ok()) else { return Ok(None) };
    let next = request.url.join(location);
    let next =
        next.map_err(|_| Failure::new(FailureCode::Redirects, "a redirect to no address", Fault::Refused))?;
    if request.url.scheme() == "https" && next.scheme() != "https" {
        return Err(Failure::new(FailureCode::Redirects, "a redirect from https to less", Fault::Refused));
    }
    Ok(Some(next))
}

fn blocked(why: &str) -> Failure {
    Failure::of_action(FailureCode::AddressBlocked, format!("the address may not be reached: {why} allowed"))
}

/// Why a request got no answer.
pub(crate) fn not_sent(error: &reqwest::Error) -> Failure {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        if let Some(Blocked(why)) = source.downcast_ref() {
            return Failure::of_action(
                FailureCode::AddressBlocked,
                format!("the address may not be reached: {why}"),
            );
        }
        cause = source;
    }
    let code = match error {
        error if error.is_timeout() => FailureCode::Timeout,
        error if error.is_connect() => FailureCode::Connect,
        error if error.is_builder() => {
            return Failure::of_action(FailureCode::Request, "no request can be made of the action");
        }
        _ => FailureCode::ConnectionLost,
    };
    // The outer errors name the address.
    let text = match error.source() {
        Some(_) => cause.to_string(),
        None => "the request failed".to_owned(),
    };
    Failure::passing(code, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_private_address_is_refused() {
        let http = GuardedClient::new(AllowList::default()).unwrap();
        for bad in [
            "http://127.0.0.1/",
            "http://0x7f.1/",
            "http://2130706433/",
            "http://017700000001/",
            "http://[::1]/",
            "http://[::ffff:10.0.0.1]/",
            "http://169.254.169.254/latest",
            "ftp://example.com/",
            "file:///etc/passwd",
        ] {
            let failure = http.client(&bad.parse().unwrap()).unwrap_err();
            assert_eq!((failure.code, failure.fault), (FailureCode::AddressBlocked, Fault::Action), "{bad}");
        }
        assert!(http.client(&"https://1.1.1.1/".parse().unwrap()).is_ok());
    }

    #[tokio::test]
    async fn a_name_is_judged_by_what_it_resolves_to() {
        let http = GuardedClient::new(AllowList::default()).unwrap();
        let request = HttpRequest {
            method: Method::POST,
            url: "http://localhost:9/secret?token=abc".parse().unwrap(),
            headers: HeaderMap::new(),
            body: None,
            time_max: Duration::from_secs(5),
        };
        let failure = http.send(request).await.unwrap_err();
        assert_eq!(
            (failure.code, failure.fault),
            (FailureCode::AddressBlocked, Fault::Action),
            "{failure:?}"
        );
        assert!(!failure.message.contains("secret") && !failure.message.contains("abc"), "{failure:?}");
    }
}
