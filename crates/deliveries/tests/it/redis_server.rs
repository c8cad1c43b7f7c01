//! A private Redis on a free port, which can be killed and started anew.
//!
//! It never skips: without a `redis-server` its tests fail and say so.

use std::process::Stdio;
use std::time::Duration;

use bowline_deliveries::{RedisConfig, RedisQueue};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::rig::until_true as until;

pub(crate) struct RedisServer {
    folder: TempDir,
    port: u16,
    log: bool,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts one, with or without an append-only file that is synced after every write.
    pub(crate) async fn start(log: bool) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { folder: tempfile::tempdir().unwrap(), port, log, process: None };
        server.resume().await;
        server
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Settings under which a worker without a sign of life soon counts as dead.
    pub(crate) fn config(&self) -> RedisConfig {
        RedisConfig { timeout_ms_max: 1_000, heartbeat_ms_max: 300, ..RedisConfig::at(self.url()) }
    }

    /// The queue as a node has it.
    pub(crate) async fn patient_queue(&self) -> RedisQueue {
        RedisQueue::connect(RedisConfig::at(self.url())).await.unwrap()
    }

    pub(crate) async fn queue(&self) -> RedisQueue {
        RedisQueue::connect(self.config()).await.unwrap()
    }

    /// Starts it again on what it has on its disk.
    pub(crate) async fn resume(&mut self) {
        let program = std::env::var("BOWLINE_TEST_REDIS").unwrap_or_else(|_| "redis-server".to_owned());
        let log = if self.log { "yes" } else { "no" };
        let process = Command::new(&program)
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--loglevel",
                "warning",
            ])
            .args(["--appendonly", log, "--appendfsync", "always"])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{program} does not start ({error}): install redis-server"));
        self.process = Some(process);
        until(async || self.try_ask("PING").await.is_ok()).await;
    }

    /// Kills it as a crash would.
    pub(crate) async fn kill(&mut self) {
        self.process.take().unwrap().kill().await.unwrap();
    }

    async fn try_ask(&self, command: &str) -> redis::RedisResult<redis::Value> {
        let client = redis::Client::open(self.url()).unwrap();
        let config = redis::AsyncConnectionConfig::new().set_connection_timeout(Some(Duration::from_secs(5)));
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        for word in words {
            asked.arg(word);
        }
        asked.query_async(&mut connection).await
    }

    /// What `redis-cli` would show.
    pub(crate) async fn ask<T: redis::FromRedisValue>(&self, command: &str) -> T {
        redis::from_redis_value(self.try_ask(command).await.unwrap()).unwrap()
    }
}
