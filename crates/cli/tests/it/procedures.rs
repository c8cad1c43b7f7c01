//! The runbooks of `docs/runbooks`, pasted block by block into a shell and into `psql` beside a live node.
//!
//! The blocks run in their order, so that one may use what another made. What an incident needs to be there (a refused
//! event, a damaged commitment) is brought about before the first block under its heading. A block that is not run
//! says why, and there may be few of them.

mod anchoring;
mod page;
mod triggering;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::author::{Author, INGEST};
use crate::chain::Chain;
use crate::node::{ADMIN_KEY, BINARY, Node, Spec};
use crate::site::{Engine, Site, from_xtask, soon, until};
use page::{Block, Kind};

pub(crate) use anchoring::every_block_of_the_anchors_page_runs;
pub(crate) use triggering::every_block_of_the_triggers_page_runs;

/// A page of the runbooks.
struct Page {
    text: &'static str,
    /// Blocks that may say that they are not run.
    not_run_max: usize,
    /// Blocks that are run on each store at least.
    run_min: usize,
    /// Headings whose incident is brought about.
    incidents: &'static [&'static str],
}

const SEQUENCER: Page = Page {
    text: include_str!("../../../../docs/runbooks/sequencer.md"),
    not_run_max: 2,
    run_min: 35,
    incidents: &[
        "Rate limit exceeded",
        "Events rejected for their signature",
        "Dead letters",
        "A wrong commitment",
    ],
};

pub(crate) async fn every_block_of_the_runbook_runs(site: Arc<Site>) {
    Shift::begin_with(&site, site.node("data")).await.work_through(&SEQUENCER).await;
}

/// An operator's shift: a node, what was written to it, and the words that stand for both in the runbook.
struct Shift {
    site: Arc<Site>,
    spec: Spec,
    node: Option<Node>,
    author: Author,
    words: Vec<(&'static str, String)>,
    environment: Vec<(&'static str, String)>,
    chain: Option<Arc<Chain>>,
    beside: Option<Arc<triggering::Beside>>,
    /// What did not go as the runbook says: all of it is told at the end.
    faults: Vec<String>,
}

impl Shift {
    /// Runs every block of a page in its order.
    async fn work_through(mut self, page: &Page) {
        let blocks = page::blocks(page.text);
        let not_run = blocks.iter().filter(|block| block.kind == Kind::NotRun).count();
        assert!(not_run <= page.not_run_max, "{not_run} blocks are not run");
        for incident in page.incidents {
            assert!(blocks.iter().any(|block| block.heading == *incident), "no block is under {incident}");
        }
        let engine = if self.site.database_url().is_some() { Engine::Postgres } else { Engine::Sqlite };
        let mine = blocks.iter().filter(|block| block.engine.is_none_or(|only| only == engine));
        let (mut heading, mut answer, mut run) = ("", String::new(), 0);
        for block in mine.filter(|block| block.kind != Kind::NotRun) {
            if heading != block.heading {
                heading = &block.heading;
                self.come_upon(heading, page.incidents).await;
            }
            answer = self.paste(block, &answer).await;
            run += 1;
        }
        assert!(self.faults.is_empty(), "{} faults\n{}", self.faults.len(), self.faults.join("\n\n"));
        assert!(run >= page.run_min, "{run} blocks were run");
        self.node().await;
        self.stop().await;
    }

    async fn begin_with(site: &Arc<Site>, spec: Spec) -> Self {
        let node = spec.start().await;
        let api = node.api();
        let author = Author::known_to(&api).await;
        author.grow(&api, 12).await;
        for end in [4, 9] {
            author.commit(&api, None, Some(end)).await.json();
        }
        let event = author.read(&api, 10).await[1].event_id.to_string();
        let shown = |path: &str| site.path(path).to_str().unwrap().to_owned();
        for folder in ["backups", "programs"] {
            std::fs::create_dir(site.path(folder)).unwrap();
        }
        for program in ["bowline", "stateset-sequencer-admin"] {
            symlink(Path::new(BINARY), site.path("programs").join(program)).unwrap();
        }
        symlink(Path::new(BINARY), site.path("stateset-sequencer-admin")).unwrap();
        let words = vec![
            ("<tenant>", author.stream.tenant_id.to_string()),
            ("<store>", author.stream.store_id.to_string()),
            ("<agent-id>", author.agent_id.to_string()),
            ("<event-id>", event),
            ("<start>", "1".to_owned()),
            ("<end>", "9".to_owned()),
            ("/var/lib/bowline", shown("data")),
            ("/var/backups/bowline", shown("backups")),
        ];
        let environment = vec![
            ("ADMIN_KEY", ADMIN_KEY.to_owned()),
            ("BOWLINE_API_KEY", ADMIN_KEY.to_owned()),
            ("BOWLINE_DATA", shown("data")),
            ("BOWLINE_BACKUP_DESTINATION", shown("backups")),
        ];
        let mut shift = Self {
            site: Arc::clone(site),
            spec,
            node: Some(node),
            author,
            words,
            environment,
            chain: None,
            beside: None,
            faults: Vec::new(),
        };
        if let Some(url) = site.database_url() {
            shift.knows_the_database(&url);
        }
        shift
    }

    fn knows_the_database(&mut self, url: &str) {
        let options: PgConnectOptions = url.parse().unwrap();
        let name = options.get_database().unwrap().to_owned();
        let restored = format!("{name}_restored");
        self.environment.extend([
            ("RESTORED_URL", url.replacen(&name, &restored, 1)),
            ("DATABASE_URL", url.to_owned()),
            ("PGHOST", options.get_host().to_owned()),
            ("PGPORT", options.get_port().to_string()),
            ("PGUSER", options.get_username().to_owned()),
            ("PGDATABASE", name.clone()),
        ]);
        self.words.extend([("stateset_sequencer", name), ("stateset_restored", restored)]);
    }

    /// Brings about what the procedure under a heading is for.
    async fn come_upon(&mut self, heading: &str, incidents: &[&str]) {
        let node = self.node().await.address().to_owned();
        let api = crate::client::Api::new(&node).with_key(ADMIN_KEY);
        if self.chain.is_some() {
            return self.come_upon_anchors(heading, &api).await;
        }
        if self.beside.is_some() {
            return self.come_upon_triggers(heading, &api).await;
        }
        match heading {
            "Rate limit exceeded" => {
                let key = json!({"tenantId": self.author.stream.tenant_id, "rateLimit": 5});
                let path = format!("/api/v1/agents/{}/api-keys", self.author.agent_id);
                let made = api.post(&path, key.to_string()).await.json();
                self.knows("<key-prefix>", made["keyHashPrefix"].as_str().unwrap());
                let narrow = api.with_key(made["apiKey"].as_str().unwrap());
                let body = |count| self.author.body(&self.author.events(count));
                assert_eq!(narrow.post(INGEST, body(5)).await.status, 200);
                narrow.post(INGEST, body(1)).await.refused(429, "RATE_LIMIT_EXCEEDED");
            }
            "Events rejected for their signature" => {
                let forger = Author { key: bowline_ves::SecretKey::random().unwrap(), ..self.author.clone() };
                let forged = forger.ingest(&api, &forger.events(1)).await;
                assert_eq!(forged.reason(), "invalid_signature");
            }
            "Dead letters" => {
                let unknown = Author::of(self.author.stream);
                assert_eq!(unknown.ingest(&api, &unknown.events(2)).await.events_rejected, 2);
                let letters = async || api.get("/api/v1/dead-letters").await.json();
                until(async || letters().await["total"] == 2).await;
                let metrics = async || api.get("/metrics").await.text;
                until(async || metrics().await.contains("\nsequencer_dlq_depth 2\n")).await;
                let letter: Value = letters().await["dead_letters"][0].clone();
                self.knows("<letter-id>", letter["id"].as_str().unwrap());
                self.knows("<agent-id>", &unknown.agent_id.to_string());
                self.knows("<public-key>", &unknown.key.public().to_string());
            }
            "A wrong commitment" => {
                let path = self.author.path("commitments", "&all=true");
                let bad = api.get(&path).await.json()["commitments"][0]["batch_id"].clone();
                self.knows("<batch-id>", bad.as_str().unwrap());
                self.site.damage_commitment(1, "merkle_root").await;
            }
            other => assert!(!incidents.contains(&other), "nobody brings about {other}"),
        }
    }

    fn knows(&mut self, word: &'static str, meaning: &str) {
        self.words.retain(|(known, _)| *known != word);
        self.words.push((word, meaning.to_owned()));
    }

    async fn node(&mut self) -> &Node {
        if self.node.is_none() {
            let node = self.spec.start().await;
            until(async || node.api().get("/ready").await.status == 200).await;
            self.node = Some(node);
        }
        self.node.as_ref().unwrap()
    }

    async fn stop(&mut self) {
        if let Some(mut node) = self.node.take() {
            node.terminate();
            assert!(node.ended().await.success());
        }
    }

    /// Runs one block; what it answered.
    async fn paste(&mut self, block: &Block, above: &str) -> String {
        if block.is_stopped {
            self.stop().await;
        } else {
            self.node().await;
        }
        let (text, line) = (self.meant(&block.text), block.line);
        match block.kind {
            Kind::Console => self.type_in(block).await,
            Kind::Sql => {
                self.expect(line, is_meant(&text), &text, "a word without a meaning");
                let psql = "psql \"$DATABASE_URL\" -X -v ON_ERROR_STOP=1";
                let (code, answer) = self.shell(&["-c", psql], &text).await;
                self.expect(line, code == Some(0), &text, &answer);
                return answer;
            }
            Kind::Shape => {
                let shape: Vec<String> = text.lines().map(str::to_owned).collect();
                self.expect(line, page::fits(&shape, above), &text, above);
            }
            Kind::Settings => self.set(&text, line).await,
            Kind::NotRun => unreachable!("it was left out"),
        }
        String::new()
    }

    /// Runs the commands of a console.
    async fn type_in(&mut self, block: &Block) {
        self.write_log();
        let typed = block.typed();
        for (index, one) in typed.iter().enumerate() {
            let command = self.meant(&one.command);
            self.expect(block.line, is_meant(&command), &command, "a word without a meaning");
            let (code, answer) = self.shell(&["-o", "pipefail", "-c", &command], "").await;
            let shape: Vec<String> = one.shape.iter().map(|line| self.meant(line)).collect();
            let exit = if index + 1 == typed.len() { block.exit } else { 0 };
            let is_right = code == Some(exit) && page::fits(&shape, &answer);
            self.expect(block.line, is_right, &command, &format!("{code:?}, in place of {exit}\n{answer}"));
        }
    }

    fn expect(&mut self, line: usize, is_right: bool, pasted: &str, got: &str) {
        if !is_right {
            self.faults.push(format!("line {line}: {pasted}\ngave {got}"));
        }
    }

    /// The text with the words of this shift.
    fn meant(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (word, meaning) in &self.words {
            text = text.replace(word, meaning);
        }
        match &self.node {
            Some(node) => text.replace("http://localhost:8080", node.address()),
            None => text,
        }
    }

    /// Restarts the node with settings, each of which must be one.
    async fn set(&mut self, text: &str, line: usize) {
        for setting in text.lines().filter(|line| !line.starts_with('#')) {
            let pair = setting.strip_prefix("export ").and_then(|pair| pair.split_once('='));
            let (name, value) = pair.unwrap_or_else(|| panic!("line {line}: {setting} sets nothing"));
            assert!(bowline_node::ENVIRONMENT.iter().any(|known| known.name == name), "line {line}: {name}");
            self.spec = self.spec.clone().env(name, value);
        }
        self.stop().await;
        self.node().await;
        if self.chain.is_some() {
            self.until_it_anchors().await;
        }
    }

    async fn shell(&self, words: &[&str], stdin: &str) -> (Option<i32>, String) {
        let programs = self.site.path("programs");
        let mut path = std::ffi::OsString::from(programs);
        if self.site.database_url().is_some() {
            path.push(":");
            path.push(from_xtask("BOWLINE_TEST_PG_BINDIR"));
        }
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new("bash");
        // As on a terminal, both outputs come as one.
        command.args(["-c", "exec \"$@\" 2>&1", "bash", "bash"]).args(words);
        command.current_dir(self.site.path("")).env_clear().env("PATH", path).kill_on_drop(true);
        command.envs(self.environment.iter().map(|(name, value)| (*name, value)));
        if let Some(node) = &self.node {
            command.env("BOWLINE_URL", node.address());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // A command that does not read has closed the pipe already.
        drop(input.write_all(stdin.as_bytes()).await);
        drop(input);
        let output = soon(child.wait_with_output()).await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }
}

/// Whether no `<word>` is left.
fn is_meant(text: &str) -> bool {
    let mut rests = text.split('<').skip(1);
    !rests.any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()) && rest.contains('>'))
}
