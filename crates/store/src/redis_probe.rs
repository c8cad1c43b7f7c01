//! Whether a Redis server answers, and how much memory it uses. Nothing here depends on the answer.

use std::time::Duration;

use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::Mutex;

/// Asks a Redis server whether it is there, over one connection that is made anew when it breaks.
pub struct RedisProbe {
    client: redis::Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl std::fmt::Debug for RedisProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client would show its password.
        f.write_str("RedisProbe")
    }
}

impl RedisProbe {
    /// A probe of the server at `redis://…`; connects when it is asked first.
    ///
    /// # Errors
    /// The URL can't be understood.
    pub fn new(url: &str) -> Result<Self, String> {
        let client = redis::Client::open(url).map_err(|error| error.to_string())?;
        Ok(Self { client, connection: Mutex::new(None) })
    }

    /// Whether the server answers `PING` within `time_max`.
    ///
    /// # Errors
    /// Why it does not count as there.
    pub async fn ping(&self, time_max: Duration) -> Result<(), String> {
        let asked = tokio::time::timeout(time_max, self.ask(time_max)).await;
        asked.unwrap_or_else(|_| Err(format!("no answer within {} ms", time_max.as_millis())))
    }

    /// Bytes of memory that the server uses, asked within `time_max` over a connection of its own.
    ///
    /// # Errors
    /// Why it can't be told.
    pub async fn memory_bytes(&self, time_max: Duration) -> Result<u64, String> {
        let told = async {
            let mut connection = self.connect(time_max).await?;
            let answer: Result<String, _> =
                redis::cmd("INFO").arg("memory").query_async(&mut connection).await;
            let text = answer.map_err(|error| error.to_string())?;
            let used = text.lines().find_map(|line| line.strip_prefix("used_memory:"));
            used.and_then(|used| used.trim().parse().ok())
                .ok_or_else(|| "it does not tell its memory".to_owned())
        };
        let told = tokio::time::timeout(time_max, told).await;
        told.unwrap_or_else(|_| Err(format!("no answer within {} ms", time_max.as_millis())))
    }

    async fn ask(&self, time_max: Duration) -> Result<(), String> {
        let mut kept = self.connection.lock().await;
        // What is taken out comes back only after it answered: a call that is given up leaves nothing half used.
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect(time_max).await?,
        };
        let answered = match ping(&mut connection).await {
            // The server may have been restarted since the last time.
            Err(_) => {
                connection = self.connect(time_max).await?;
                ping(&mut connection).await
            }
            answered => answered,
        };
        if answered.is_ok() {
            *kept = Some(connection);
        }
        answered
    }

    async fn connect(&self, time_max: Duration) -> Result<MultiplexedConnection, String> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(time_max))
            .set_response_timeout(Some(time_max));
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        connected.map_err(|error| error.to_string())
    }
}

async fn ping(connection: &mut MultiplexedConnection) -> Result<(), String> {
    let answer: Result<String, _> = redis::cmd("PING").query_async(connection).await;
    answer.map(drop).map_err(|error| error.to_string())
}
