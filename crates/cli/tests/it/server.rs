//! A PostgreSQL server of one test's own, which the test may stop and start.
//!
//! It uses the programs and the account that `cargo xtask test` names, and never touches a server that others use.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::PathBuf;

use tokio::process::Command;

use crate::site::{Site, from_xtask, soon};

/// A server; stopped when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    programs: PathBuf,
    /// Who runs it; empty: whoever runs the test.
    account: String,
    folder: PathBuf,
    port: u16,
}

impl Server {
    /// Makes a server in the site's folder, and starts it.
    pub(crate) async fn start_in(site: &Site) -> Self {
        Self::start_at(site.shared_folder("postgres")).await
    }

    /// Makes a server in an empty folder that others may reach, and starts it.
    pub(crate) async fn start_at(folder: PathBuf) -> Self {
        let programs = PathBuf::from(from_xtask("BOWLINE_TEST_PG_BINDIR"));
        let account = from_xtask("BOWLINE_TEST_PG_USER");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if !account.is_empty() {
            let owned = Command::new("chown").arg(&account).arg(&folder).status().await.unwrap();
            assert!(owned.success());
        }
        let server = Self { programs, account, folder, port };
        let data = server.folder.join("data");
        let how = ["-A", "trust", "-U", "bowline", "--no-sync", "-E", "UTF8", "--locale=C"];
        server
            .run("initdb", [OsStr::new("-D"), data.as_os_str()].into_iter().chain(how.map(OsStr::new)))
            .await;
        server.start().await;
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://bowline@127.0.0.1:{}/postgres", self.port)
    }

    pub(crate) async fn start(&self) {
        let folder = self.folder.display();
        let options = format!("-p {} -k {folder} -c listen_addresses=127.0.0.1", self.port);
        let log = format!("{folder}/log");
        self.control(&["start", "-w", "-o", &options, "-l", &log]).await;
    }

    /// Stops it as a crash would.
    pub(crate) async fn crash(&self) {
        self.control(&["stop", "-m", "immediate"]).await;
    }

    async fn control(&self, arguments: &[&str]) {
        let data = self.folder.join("data");
        let whole = arguments.iter().map(OsStr::new).chain([OsStr::new("-D"), data.as_os_str()]);
        self.run("pg_ctl", whole).await;
    }

    async fn run<'a>(&self, program: &str, arguments: impl Iterator<Item = &'a OsStr>) {
        let mut command = Command::from(self.command(program));
        // The server would keep a pipe of ours open.
        let status =
            soon(command.args(arguments).stdout(std::process::Stdio::null()).status()).await.unwrap();
        assert!(status.success(), "{program}: {status}");
    }

    fn command(&self, program: &str) -> std::process::Command {
        let program = self.programs.join(program);
        let mut command = if self.account.is_empty() {
            std::process::Command::new(program)
        } else {
            let mut command = std::process::Command::new("runuser");
            command.args(["-u", &self.account, "--"]).arg(program);
            command
        };
        command.current_dir(&self.folder).stderr(std::process::Stdio::null());
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut stop = self.command("pg_ctl");
        stop.args(["stop", "-m", "immediate", "-D"]).arg(self.folder.join("data"));
        // Fails when it is stopped already, which is as good.
        drop(stop.stdout(std::process::Stdio::null()).status());
    }
}
