//! Puts load on a server: a closed loop over keep-alive HTTP/1.1, one outstanding request a connection.
//!
//! It speaks to hyper's connection directly, because client and server share the machine and what the client
//! burns is missing from the result. What counts is an answer within the window; what fails is counted, and
//! the first failure is kept for a person to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use bowline_client::answers::Ingested;
use bytes::Bytes;
use hdrhistogram::Histogram;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::bodies::Pool;

/// How long after the window a request may still be under way.
const LAST_ANSWER: Duration = Duration::from_secs(30);
/// Failures in a row after which a connection gives up.
const FAILURES_MAX: u32 = 50;
const FAILURE_PAUSE: Duration = Duration::from_millis(50);
/// Cores that one thread of the load leaves to the server.
const CORES_PER_THREAD: usize = 4;
/// Latencies are kept in µs up to a minute, with 3 digits.
const LATENCY_US_MAX: u64 = 60_000_000;
const ERROR_CHARS_MAX: usize = 400;

/// Where requests go.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// `HOST:PORT`.
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) api_key: Option<String>,
}

/// How one run is timed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) connections: usize,
    pub(super) warmup: Duration,
    pub(super) measure: Duration,
    /// Between two requests of the whole load; none for a closed loop.
    pub(super) pace: Option<Duration>,
}

/// When the next request is due, for all connections together.
#[derive(Debug)]
struct Schedule {
    start: Instant,
    pace: Duration,
    given: AtomicU32,
}

impl Schedule {
    fn next(&self) -> Instant {
        self.start + self.pace * self.given.fetch_add(1, Ordering::Relaxed)
    }
}

/// When answers count.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Instant,
    until: Instant,
}

/// What a run came to.
#[derive(Debug)]
pub(super) struct Measured {
    /// Answered with success, within the window.
    pub(super) requests: u64,
    pub(super) events: u64,
    /// At any time of the run.
    pub(super) errors: u64,
    pub(super) first_error: Option<String>,
    /// Of those requests, in µs.
    pub(super) latency: Histogram<u64>,
    /// Of the window, or less if the bodies ran out.
    pub(super) seconds: f64,
    pub(super) exhausted: bool,
    last_answer: Option<Instant>,
}

impl Measured {
    fn new() -> Result<Self> {
        let latency = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)?;
        Ok(Self {
            requests: 0,
            events: 0,
            errors: 0,
            first_error: None,
            latency,
            seconds: 0.0,
            exhausted: false,
            last_answer: None,
        })
    }

    fn fail(&mut self, problem: String) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| problem.chars().take(ERROR_CHARS_MAX).collect());
    }

    fn merge(&mut self, other: Self) {
        self.requests += other.requests;
        self.events += other.events;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.exhausted |= other.exhausted;
        self.last_answer = self.last_answer.max(other.last_answer);
        // Equal bounds always merge.
        let _ = self.latency.add(&other.latency);
    }
}

/// Runs the load until its time is over or the bodies run out.
pub(super) fn run(target: &Target, pool: Pool, load: Load) -> Result<(Measured, Pool)> {
    let threads = thread::available_parallelism().map_or(1, usize::from) / CORES_PER_THREAD;
    let threads = threads.clamp(1, load.connections.max(1));
    let pool = Arc::new(pool);
    let from = Instant::now() + load.warmup;
    let window = Window { from, until: from + load.measure };
    let schedule = |pace| Arc::new(Schedule { start: Instant::now(), pace, given: AtomicU32::new(0) });
    let schedule = load.pace.map(schedule);
    let parts: Vec<Result<Measured>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let connections = (load.connections + threads - 1 - thread) / threads;
                let work = Work { target, pool: Arc::clone(&pool), window, schedule: schedule.clone() };
                scope.spawn(move || run_thread(&work, connections))
            })
            .collect();
        let lost = || Err(anyhow!("a thread of the load generator ended unexpectedly"));
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| lost())).collect()
    });
    let mut measured = Measured::new()?;
    for part in parts {
        measured.merge(part?);
    }
    let end = match measured.exhausted {
        true => measured.last_answer.unwrap_or(window.from).clamp(window.from, window.until),
        false => window.until,
    };
    measured.seconds = (end - window.from).as_secs_f64();
    let pool = Arc::try_unwrap(pool).unwrap_or_default();
    Ok((measured, pool))
}

/// What each thread of the load works on.
struct Work<'a> {
    target: &'a Target,
    pool: Arc<Pool>,
    window: Window,
    schedule: Option<Arc<Schedule>>,
}

fn run_thread(work: &Work<'_>, connections: usize) -> Result<Measured> {
    let window = work.window;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut running = JoinSet::new();
        for _ in 0..connections {
            let connection = Connection {
                target: work.target.clone(),
                pool: Arc::clone(&work.pool),
                window,
                schedule: work.schedule.clone(),
            };
            let run = connection.run(Measured::new()?);
            running.spawn(tokio::time::timeout_at((window.until + LAST_ANSWER).into(), run));
        }
        let mut measured = Measured::new()?;
        while let Some(ended) = running.join_next().await {
            match ended {
                Ok(Ok(part)) => measured.merge(part),
                Ok(Err(_)) => measured.fail(format!("no answer within {LAST_ANSWER:?} after the end")),
                Err(error) => measured.fail(format!("a connection's task ended: {error}")),
            }
        }
        Ok(measured)
    })
}

struct Connection {
    target: Target,
    pool: Arc<Pool>,
    window: Window,
    schedule: Option<Arc<Schedule>>,
}

impl Connection {
    /// One connection's loop; connects again after a failure.
    async fn run(self, mut measured: Measured) -> Measured {
        let Self { target, pool, window, schedule } = self;
        let mut failures = 0;
        let mut sender = None;
        while failures < FAILURES_MAX && Instant::now() < window.until {
            let mut open = match sender.take() {
                Some(open) => open,
                None => match connect(&target.authority).await {
                    Ok(open) => open,
                    Err(problem) => {
                        measured.fail(problem);
                        failures += 1;
                        tokio::time::sleep(FAILURE_PAUSE).await;
                        continue;
                    }
                },
            };
            let Some(body) = pool.take() else {
                measured.exhausted = true;
                break;
            };
            // A request that is due waits for its connection, and that time is part of its latency.
            let sent = match &schedule {
                Some(schedule) => {
                    let due = schedule.next();
                    tokio::time::sleep_until(due.into()).await;
                    due
                }
                None => Instant::now(),
            };
            match exchange(&target, &mut open, body).await {
                Ok(Answer::Taken { events }) => {
                    let answered = Instant::now();
                    failures = 0;
                    sender = Some(open);
                    measured.last_answer = Some(answered);
                    if answered >= window.from && answered <= window.until {
                        measured.requests += 1;
                        measured.events += events;
                        let micros = u64::try_from((answered - sent).as_micros()).unwrap_or(LATENCY_US_MAX);
                        measured.latency.saturating_record(micros);
                    }
                }
                Ok(Answer::Refused { problem }) => {
                    measured.fail(problem);
                    failures += 1;
                    sender = Some(open);
                    tokio::time::sleep(FAILURE_PAUSE).await;
                }
                Err(error) => {
                    measured.fail(format!("the connection broke: {error}"));
                    failures += 1;
                }
            }
        }
        measured
    }
}

async fn connect(authority: &str) -> Result<SendRequest<Full<Bytes>>, String> {
    let broke = |error: &dyn std::fmt::Display| format!("cannot connect to {authority}: {error}");
    let socket = TcpStream::connect(authority).await.map_err(|error| broke(&error))?;
    socket.set_nodelay(true).map_err(|error| broke(&error))?;
    let (sender, connection) = handshake(TokioIo::new(socket)).await.map_err(|error| broke(&error))?;
    // Its error reaches us through the sender.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

enum Answer {
    Taken { events: u64 },
    Refused { problem: String },
}

async fn exchange(
    target: &Target,
    sender: &mut SendRequest<Full<Bytes>>,
    body: Bytes,
) -> Result<Answer, hyper::Error> {
    sender.ready().await?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .header(HOST, &target.authority)
        .header(CONTENT_TYPE, "application/json");
    if let Some(key) = &target.api_key {
        request = request.header(AUTHORIZATION, format!("ApiKey {key}"));
    }
    let request = match request.body(Full::new(body)) {
        Ok(request) => request,
        Err(error) => {
            return Ok(Answer::Refused { problem: format!("the request cannot be built: {error}") });
        }
    };
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status != StatusCode::OK {
        let problem = format!("{status}: {}", String::from_utf8_lossy(&body));
        return Ok(Answer::Refused { problem });
    }
    Ok(match serde_json::from_slice::<Ingested>(&body) {
        Ok(answer) if answer.events_rejected == 0 => Answer::Taken { events: answer.events_accepted },
        Ok(answer) => {
            let first = answer.rejections.unwrap_or_default().into_iter().next();
            let why = first.map(|first| format!("{}: {}", first.reason, first.message)).unwrap_or_default();
            Answer::Refused { problem: format!("{} events rejected; {why}", answer.events_rejected) }
        }
        Err(error) => Answer::Refused { problem: format!("the answer can't be read: {error}") },
    })
}
