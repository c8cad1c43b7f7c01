//! Keeps callers from waiting for a database that is away: while it is, every call is refused at once, and one
//! background task finds out when it is back.
//!
//! A call that fails only raises a suspicion, for it may have failed by a lock or a long statement of its own.
//! What decides is a fresh connection, made by the task alone: that a server answers on it, even with a refusal
//! that is not about the server itself, means that it is there.

use std::sync::Arc;
use std::time::Duration;

use bowline_runtime::{BreakerPolicy, BreakerState, CircuitBreaker, SystemClock};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::sync::Notify;

use crate::StoreError;
use crate::error::KNOWN_AWAY;

/// The breaker's name in the metrics.
pub(crate) const BREAKER: &str = "store";

/// What a fresh connection gets to be made and to answer.
const PROBE_TIME_MAX: Duration = Duration::from_secs(1);

/// Between two suspicions that are looked after.
const SUSPICION_PAUSE: Duration = Duration::from_millis(100);

/// Two fresh connections in a row must fail; what comes back is served within a second or so.
const POLICY: BreakerPolicy = BreakerPolicy {
    failures_max: 2,
    failures_ms: u64::MAX,
    open_ms: 200,
    open_ms_max: 1_000,
    jitter_percent: 20,
    successes_min: 1,
    probe_ms_max: 5_000,
};

/// Whether the database is there; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    breaker: CircuitBreaker,
    suspicion: Arc<Notify>,
}

impl Guard {
    pub(crate) fn new() -> Self {
        let breaker = CircuitBreaker::new(BREAKER, POLICY, Arc::new(SystemClock));
        Self { breaker, suspicion: Arc::default() }
    }

    /// Refuses at once while the database is away.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        match self.breaker.passes() {
            true => Ok(()),
            false => Err(StoreError::Unavailable(KNOWN_AWAY.to_owned())),
        }
    }

    /// Something went wrong that the database's absence would explain.
    pub(crate) fn suspect(&self) {
        self.suspicion.notify_one();
    }

    /// Looks after every suspicion, and probes until the database answers.
    pub(crate) async fn watch(self, options: PgConnectOptions) {
        loop {
            self.suspicion.notified().await;
            self.settle(&options).await;
            // Under a load that the pool can't bear every call may raise one.
            tokio::time::sleep(SUSPICION_PAUSE).await;
        }
    }

    /// Probes until the database answers and the breaker is closed.
    async fn settle(&self, options: &PgConnectOptions) {
        loop {
            let pass = match self.breaker.try_pass() {
                Ok(pass) => pass,
                Err(wait_ms) => {
                    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                    continue;
                }
            };
            match probe(options).await {
                Ok(()) => pass.succeed(),
                Err(cause) => {
                    let was_closed = self.breaker.state() == BreakerState::Closed;
                    pass.fail();
                    if was_closed && self.breaker.state() == BreakerState::Open {
                        tracing::warn!(component = "store", %cause, "Database does not answer, calls are refused until it does");
                    }
                    continue;
                }
            }
            if self.breaker.state() == BreakerState::Closed {
                return;
            }
        }
    }
}

async fn probe(options: &PgConnectOptions) -> Result<(), String> {
    let ask = async {
        let mut connection = PgConnection::connect_with(options).await?;
        sqlx::query("SELECT 1").execute(&mut connection).await?;
        connection.close().await
    };
    match tokio::time::timeout(PROBE_TIME_MAX, ask).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(sqlx::Error::Database(answer))) => {
            // Class 57P: it shuts down, has crashed, or starts and takes nobody yet.
            let away = answer.code().is_some_and(|code| code.starts_with("57P"));
            if away { Err(answer.to_string()) } else { Ok(()) }
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PROBE_TIME_MAX.as_secs())),
    }
}
