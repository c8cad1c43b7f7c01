//! A Redis server for one test, with a log of its own as in the compose file; gone when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::site::{from_xtask, until};

#[derive(Debug)]
pub(crate) struct Redis {
    child: Child,
    port: u16,
    folder: PathBuf,
}

impl Redis {
    /// Starts one that keeps its files in that folder, and waits until it answers.
    pub(crate) async fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let redis = Self { child: launch(folder, port), port, folder: folder.to_owned() };
        redis.until_there().await;
        redis
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it anew on its files.
    pub(crate) async fn again(&mut self) {
        self.child = launch(&self.folder, self.port);
        self.until_there().await;
    }

    async fn until_there(&self) {
        until(async || self.says(&["PING"]) == "PONG").await;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` prints.
    pub(crate) fn says(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let output = command.args(["-p", &self.port.to_string()]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

fn launch(folder: &Path, port: u16) -> Child {
    let mut command = Command::new(from_xtask("BOWLINE_TEST_REDIS"));
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--appendonly", "yes"]);
    command.arg("--dir").arg(folder).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().unwrap()
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
