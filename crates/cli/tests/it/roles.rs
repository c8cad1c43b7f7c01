//! Roles: a process runs what it is told to, alone or with others; and what every process tells of itself.
//! Processes that share a store need PostgreSQL, so those tests run there alone.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Row as _};

use crate::author::Author;
use crate::site::{Site, from_xtask, soon, until};

/// Every role, and what the database shows of a process that has it alone.
const ROLES: [(&str, &str); 4] = [
    ("gateway", "api-gateway"),
    ("indexer", "ponder-indexers"),
    ("triggers", "event-processor"),
    ("worker", "action-workers"),
];

/// A Redis server of a test's own; killed when dropped.
#[derive(Debug)]
pub(crate) struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    pub(crate) async fn start() -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        Self::on(port).await
    }

    /// On the port where another one was.
    pub(crate) async fn on(port: u16) -> Self {
        let mut command = Command::new(from_xtask("BOWLINE_TEST_REDIS"));
        command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        until(async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
        Self { child, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) async fn each_role_runs_in_a_process_of_its_own(site: Arc<Site>) {
    let key = "ab".repeat(32);
    let mut nodes = Vec::new();
    for (role, _) in ROLES {
        let spec = site.node(role).env("BOWLINE_ROLES", role).env("BOWLINE_SECRETS_KEY", &key);
        nodes.push((role, spec.start().await));
    }
    for (role, node) in &nodes {
        let status = node.api().without_key().get("/status").await.json();
        assert_eq!(status["roles"], json!([role]));
        for path in ["/health", "/api/v1/health", "/ready", "/metrics"] {
            assert_eq!(node.api().without_key().get(path).await.status, 200, "{role} {path}");
        }
        let streams = node.api().get("/api/v1/ves/streams").await;
        match *role {
            "gateway" => assert_eq!(streams.status, 200),
            _ => assert!(streams.refused(404, "RESOURCE_NOT_FOUND").contains("gateway"), "{role}"),
        }
    }
    let shown = applications(&site).await;
    for (_, name) in ROLES {
        assert!(shown.iter().any(|shown| shown == name), "{name} is not in {shown:?}");
    }
    for (role, node) in &mut nodes {
        node.terminate();
        assert_eq!(node.ended().await.code(), Some(0), "{role}: {}", node.said());
    }
    // The server needs a moment to see that a connection is closed.
    until(async || {
        let left = applications(&site).await;
        ROLES.iter().all(|(_, name)| !left.iter().any(|shown| shown == name))
    })
    .await;
}

pub(crate) async fn any_role_may_be_left_out(site: Arc<Site>) {
    for (left_out, _) in ROLES {
        let others: Vec<&str> =
            ROLES.iter().map(|(role, _)| *role).filter(|role| *role != left_out).collect();
        let mut node = site.node("data").env("BOWLINE_ROLES", &others.join(",")).start().await;
        assert_eq!(node.api().get("/status").await.json()["roles"], json!(others));
        node.terminate();
        assert_eq!(node.ended().await.code(), Some(0), "without {left_out}: {}", node.said());
    }
    let node = site.node("data").start().await;
    let all: Vec<&str> = ROLES.iter().map(|(role, _)| *role).collect();
    assert_eq!(node.api().get("/status").await.json()["roles"], json!(all));
}

pub(crate) async fn gateways_alone_commit_by_themselves(site: Arc<Site>) {
    let settings = "line:\n  poll_ms: 100\n  commitments:\n    auto: unclaimed\n    events: 1\n";
    let worker = site.node("worker").config(settings).env("BOWLINE_ROLES", "worker").start().await;
    let gateway = site.node("gateway").start().await;
    let author = Author::known_to(&gateway.api()).await;
    author.grow(&gateway.api(), 3).await;
    // It has looked at every stream, and has left them as they are.
    let lag = "bowline_follower_lag_events{follower=\"commitments\"} 3";
    until(async || worker.api().get("/metrics").await.text.contains(lag)).await;
    assert_eq!(author.head(&gateway.api()).await["committed_sequence"], 0);
    let other = site.node("other").config(settings).env("BOWLINE_ROLES", "gateway").start().await;
    until(async || author.head(&other.api()).await["committed_sequence"] == 3).await;
}

pub(crate) async fn an_embedded_database_belongs_to_one_process(site: Arc<Site>) {
    let _gateway = site.node("data").env("BOWLINE_ROLES", "gateway").start().await;
    let worker = site.node("data").env("BOWLINE_ROLES", "worker").refused().await;
    let said = &worker.must(2).stderr;
    assert!(said.contains("PostgreSQL") && said.contains("DATABASE_URL"), "{said}");
    let unknown = site.node("other").env("BOWLINE_ROLES", "workers").refused().await;
    let said = &unknown.must(2).stderr;
    assert!(said.contains("did you mean `worker`?"), "{said}");
    let short = site.node("other").env("BOWLINE_SECRETS_KEY", "abcd").refused().await;
    let said = &short.must(2).stderr;
    assert!(said.contains("BOWLINE_SECRETS_KEY") && said.contains("2 bytes"), "{said}");
}

pub(crate) async fn health_tells_of_the_database_and_of_redis(site: Arc<Site>) {
    let without = site.node("without").start().await;
    let health = without.api().without_key().get("/api/v1/health").await.json();
    assert_eq!((&health["status"], &health["redis"]), (&json!("healthy"), &json!("not configured")));
    let redis = Redis::start().await;
    let node = site.node("with").env("REDIS_URL", &redis.url()).start().await;
    let api = node.api().without_key();
    let health = api.get("/api/v1/health").await.json();
    assert_eq!((&health["status"], &health["version"]), (&json!("healthy"), &json!("0.1.1")));
    assert_eq!((&health["database"], &health["redis"]), (&json!("connected"), &json!("connected")));
    assert!(health["timestamp"].as_str().unwrap().ends_with('Z'), "{health}");
    let port = redis.port();
    drop(redis);
    until(async || api.get("/api/v1/health").await.status == 503).await;
    let away = api.get("/api/v1/health").await.body();
    assert_eq!((&away["status"], &away["redis"]), (&json!("unhealthy"), &json!("disconnected")));
    assert_eq!(away["database"], "connected");
    // The node itself lives, and serves what needs no Redis.
    assert_eq!(api.get("/ready").await.status, 200);
    let _again = Redis::on(port).await;
    until(async || api.get("/api/v1/health").await.status == 200).await;
}

pub(crate) async fn logs_are_json_lines_with_small_levels(site: Arc<Site>) {
    let mut node = site.node("data").env("LOG_FORMAT", "json").env("GRPC_PORT", "1").start().await;
    node.terminate();
    assert_eq!(node.ended().await.code(), Some(0));
    let said = node.said();
    let lines: Vec<Value> = said
        .lines()
        .filter(|line| !line.starts_with("bowline "))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    let of = |level: &str| lines.iter().filter(|line| line["level"] == level).count();
    assert!(of("info") > 0 && of("warn") > 0, "{said}");
    assert_eq!(of("info") + of("warn") + of("error"), lines.len(), "{said}");
    assert!(said.contains(r#""level":"warn""#), "{said}");
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["target"].is_string() && line["message"].is_string());
        assert!(line["component"].is_string(), "{line}");
    }
}

pub(crate) async fn an_exhausted_pool_is_told_and_answered(site: Arc<Site>) {
    let node = site.node("data").env("MAX_DB_CONNECTIONS", "2").env("DB_ACQUIRE_TIMEOUT_MS", "200");
    let node = node.env("DB_LOCK_TIMEOUT_MS", "4000").start().await;
    let mut holder = PgConnection::connect(&site.database_url().unwrap()).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE api_keys IN ACCESS EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    let api = node.api().with_key("ss_a_key_that_must_be_looked_up");
    // More than there are connections: the first ones hold them and wait for the lock.
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let api = api.clone();
            tokio::spawn(async move { api.get("/api/v1/ves/streams").await })
        })
        .collect();
    let mut refused = 0;
    for asked in asking {
        let answer = soon(asked).await.unwrap();
        if answer.status == 503 {
            assert!(!answer.header("retry-after").is_empty());
            refused += 1;
        }
    }
    assert!(refused > 0);
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    let said = node.said();
    let told = said.lines().find(|line| line.contains("Failed to acquire connection from pool"));
    assert!(told.is_some_and(|line| line.contains("ERROR")), "{said}");
    until(async || node.api().get("/ready").await.status == 200).await;
}

/// What `pg_stat_activity` shows of the site's database.
async fn applications(site: &Site) -> Vec<String> {
    let mut connection = PgConnection::connect(&site.database_url().unwrap()).await.unwrap();
    let sql = "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()";
    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}
