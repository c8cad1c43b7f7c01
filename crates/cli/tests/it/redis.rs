//! A private Redis for one test, which a test kills and starts again.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::site::{from_xtask, until};

/// A running `redis-server`; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Redis {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Redis {
    /// Starts an empty one that keeps an append-only file.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Free a moment ago; whoever else takes it makes the test fail, and says so.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = launch(folder.path().to_path_buf(), port);
        let redis = Self { folder, port, child };
        redis.until_there().await;
        redis
    }

    /// Such as `redis://127.0.0.1:40000`.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` says to these words.
    pub(crate) fn say(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it anew on its files.
    pub(crate) async fn again(&mut self) {
        self.child = launch(self.folder.path().to_path_buf(), self.port);
        self.until_there().await;
    }

    async fn until_there(&self) {
        until(async || self.say(&["PING"]) == "PONG").await;
    }
}

fn launch(folder: PathBuf, port: u16) -> Child {
    let mut command = Command::new(from_xtask("BOWLINE_TEST_REDIS"));
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--appendonly", "yes", "--save", ""]);
    command.args(["--appendfsync", "always"]).arg("--dir").arg(&folder).current_dir(&folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
