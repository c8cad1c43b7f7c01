//! What an operator installs and watches with: the compose file, the units, the alerts and the dashboard.
//!
//! Alerts and dashboards may ask for nothing that no node measures, and tell nobody to type what does not exist. The
//! compose file and the units start the binary with words and settings that it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;

use crate::node::{bowline, bowline_in};
use crate::site::{Site, from_xtask, until};

/// How the names of our own metrics begin.
const OURS: [&str; 8] = [
    "event_processor_",
    "api_gateway_",
    "action_worker_",
    "bowline_",
    "db_pool_",
    "process_",
    "sequencer_",
    "cache_",
];
/// Of the exporters that stand beside us.
const EXPORTERS: [&str; 3] = ["node_", "pg_", "redis_"];
/// Words of PromQL with an underscore.
const FUNCTIONS: [&str; 1] = ["histogram_quantile"];
/// Labels that are no metrics.
const LABELS: [&str; 1] = ["action_type"];

/// The services of the runbook, and the role of those that are ours.
const SERVICES: [(&str, Option<&str>); 6] = [
    ("action-workers", Some("worker")),
    ("api-gateway", Some("gateway")),
    ("event-processor", Some("triggers")),
    ("ponder-indexers", Some("indexer")),
    ("postgres", None),
    ("redis", None),
];
const PORTS: [(&str, &str); 4] =
    [("api-gateway", "8080"), ("ponder-indexers", "42069"), ("postgres", "5432"), ("redis", "6379")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn promtool(words: &[&str]) -> Output {
    let mut command = Command::new(from_xtask("BOWLINE_TEST_PROMTOOL"));
    command.args(words).current_dir(root().join("config")).output().unwrap()
}

pub(crate) async fn alerts_fire_when_they_should_and_only_then(_: Arc<Site>) {
    for words in [
        ["check", "rules", "alerts.yaml"],
        ["check", "config", "prometheus.yaml"],
        ["test", "rules", "alerts_test.yaml"],
    ] {
        let output = promtool(&words);
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
        assert!(output.status.success(), "{words:?}\n{}", said.concat());
    }
    let played = text("config/alerts_test.yaml");
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap();
        assert!(played.contains(&format!("alertname=\"{name}\"")), "no test plays {name}");
        let severity = rule["labels"]["severity"].as_str().unwrap();
        assert!(["P0", "P1", "P2", "P3"].contains(&severity), "{name} is {severity}");
        for what in ["summary", "cause", "fix"] {
            let text = rule["annotations"][what].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "{name} has no {what}");
        }
    }
}

pub(crate) async fn alerts_and_dashboards_ask_for_what_is_measured(site: Arc<Site>) {
    // A chain has its figures once it is set up, and requests once one was answered.
    let node = site.node("data").env("BASE_SEPOLIA_RPC_URL", "http://127.0.0.1:9").start().await;
    let mut measured = String::new();
    until(async || {
        measured = node.api().get("/metrics").await.text;
        ["bowline_indexer_lag_blocks", "api_gateway_http_requests_total"]
            .iter()
            .all(|name| measured.contains(name))
    })
    .await;
    let types = measured.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let measured: BTreeMap<&str, &str> = types.collect();
    let dashboard: Value = serde_json::from_str(&text("config/grafana/bowline-triggers.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let drawn: Vec<String> = targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect();
    assert!(drawn.len() > 20, "{} graphs", drawn.len());
    let watched = rules().into_iter().map(|rule| rule["expr"].as_str().unwrap().to_owned());
    let mut missing = BTreeSet::new();
    for expression in watched.chain(drawn) {
        let names = names(&expression);
        assert!(!names.is_empty(), "{expression} asks for nothing");
        for name in names {
            let bucket = name.strip_suffix("_bucket");
            let is_there = match bucket {
                Some(name) => measured.get(name) == Some(&"histogram"),
                None => measured.contains_key(name.as_str()),
            };
            let ours = OURS.iter().any(|start| name.starts_with(start));
            let theirs = name == "up" || EXPORTERS.iter().any(|start| name.starts_with(start));
            if !(theirs || (ours && is_there)) {
                missing.insert(name);
            }
        }
    }
    assert!(missing.is_empty(), "nobody measures {missing:?}");
}

pub(crate) async fn what_alerts_count_is_there_at_zero(site: Arc<Site>) {
    // A rate of what is not there yet is nothing, and its first increase is never seen.
    let node = site.node("data").env("BASE_SEPOLIA_RPC_URL", "http://127.0.0.1:9").start().await;
    let mut measured = Vec::new();
    until(async || {
        let text = node.api().get("/metrics").await.text;
        measured = text.lines().filter_map(Series::of).collect();
        measured.iter().any(|series| series.name.starts_with("api_gateway_"))
    })
    .await;
    let mut looked_at = 0;
    for rule in rules() {
        let expression = rule["expr"].as_str().unwrap();
        for (name, matchers) in selectors(expression) {
            let ours = OURS.iter().any(|start| name.starts_with(start));
            // Of requests each status comes with the first answer of it. A store in the same process has no breaker.
            let comes_later = name.starts_with("api_gateway_") || name == "bowline_circuit_breaker_state";
            if ours && !comes_later {
                looked_at += 1;
                let is_there = measured.iter().any(|series| series.is(&name, &matchers));
                assert!(is_there, "{name} {matchers:?} of {} is not there", rule["alert"]);
            }
        }
    }
    assert!(looked_at > 15, "{looked_at} selectors");
    let failed = ["failed", "success"];
    for status in failed {
        let zero = measured.iter().filter(|series| {
            series.is("action_worker_jobs_processed_total", &[("status".to_owned(), status.to_owned())])
        });
        assert_eq!(zero.map(|series| series.value.as_str()).collect::<Vec<_>>(), ["0"; 3], "{status}");
    }
}

/// A line of `/metrics`.
struct Series {
    name: String,
    labels: Vec<(String, String)>,
    value: String,
}

impl Series {
    fn of(line: &str) -> Option<Self> {
        let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        Some(Self { name: name.to_owned(), labels: labels_of(labels, "="), value: value.to_owned() })
    }

    fn is(&self, name: &str, labels: &[(String, String)]) -> bool {
        self.name == name && labels.iter().all(|label| self.labels.contains(label))
    }
}

/// What stands between braces, of labels with that operator.
fn labels_of(text: &str, operator: &str) -> Vec<(String, String)> {
    let pairs = text.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once(operator));
    pairs.map(|(name, value)| (name.trim().to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// The metrics that an expression asks for, with the labels that must be just so.
fn selectors(expression: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found = Vec::new();
    for name in names(expression) {
        for (at, _) in expression.match_indices(&name) {
            let rest = &expression[at + name.len()..];
            let labels =
                rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |part| part.0);
            found.push((name.clone(), labels_of(labels, "=")));
        }
    }
    found
}

pub(crate) async fn what_alerts_say_to_type_exists(site: Arc<Site>) {
    let folder = site.path("");
    let mut typed = 0;
    for rule in rules() {
        let fix = rule["annotations"]["fix"].as_str().unwrap();
        for command in fix.split(';').map(|part| part.trim().trim_start_matches("then ")) {
            let Some(words) = command.strip_prefix("bowline ") else { continue };
            let mut words: Vec<&str> = words.split_whitespace().collect();
            // With `--help` every word before it must be one that is known.
            words.push("--help");
            bowline(&folder, &words).await.must(0);
            typed += 1;
        }
    }
    assert!(typed > 10, "{typed} commands");
}

pub(crate) async fn the_compose_file_starts_what_there_is(site: Arc<Site>) {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().unwrap();
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, SERVICES.map(|(name, _)| name));
    for (name, service) in services {
        assert!(service.get("container_name").is_none(), "{name} can't be scaled");
        assert_eq!(service["restart"], "unless-stopped", "{name}");
        assert!(service["healthcheck"]["test"].is_array(), "{name}");
        let ports = service["ports"].as_array().into_iter().flatten().map(|port| port.as_str().unwrap());
        let ports: Vec<&str> = ports.map(|port| port.rsplit(':').next().unwrap()).collect();
        let known = PORTS.iter().filter(|(service, _)| service == name).map(|(_, port)| *port);
        assert_eq!(ports, known.collect::<Vec<_>>(), "{name}");
    }
    let environment = made_environment(&site);
    for (name, role) in SERVICES {
        let Some(role) = role else { continue };
        let service = &services[name];
        for neighbour in service["depends_on"].as_object().unwrap().values() {
            assert_eq!(neighbour["condition"], "service_healthy", "{name}");
        }
        let words: Vec<&str> =
            service["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert_eq!(words, ["serve", "--config", "/etc/bowline/runbook.yaml", "--role", role]);
        let of_service = service["environment"].as_object().unwrap().keys();
        let known = bowline_node::ENVIRONMENT;
        for variable in of_service {
            assert!(known.iter().any(|one| one.name == variable), "{name}: {variable} is not read");
        }
        is_usable(&site, &environment, role).await;
    }
    let redis: Vec<&str> =
        services["redis"]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert!(
        redis.windows(2).any(|pair| pair == ["--appendonly", "yes"]) && !redis.contains(&"--requirepass")
    );
    assert_eq!(services["postgres"]["environment"]["POSTGRES_DB"], "erc8004_backend");
}

pub(crate) async fn the_units_start_what_there_is(site: Arc<Site>) {
    let environment = made_environment(&site);
    let mut roles = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("deploy/systemd")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "service") {
            continue;
        }
        let unit = std::fs::read_to_string(&path).unwrap();
        let setting = |name: &str| {
            let line = unit.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
            line.unwrap_or_else(|| panic!("{}: no {name}", path.display())).to_owned()
        };
        assert_eq!((setting("User").as_str(), setting("Restart").as_str()), ("bowline", "always"));
        let stop_secs: u64 = setting("TimeoutStopSec").parse().unwrap();
        assert!(stop_secs > bowline_node::Config::default().drain_secs_max, "{}", path.display());
        let start = setting("ExecStart");
        let words: Vec<&str> = start.split(' ').collect();
        let [
            "/usr/bin/bowline",
            "serve",
            "--config",
            "/etc/bowline/runbook.yaml",
            "--role",
            role,
            "--port",
            port,
        ] = words[..]
        else {
            panic!("{start}")
        };
        is_usable(&site, &environment, role).await;
        roles.insert(role.to_owned());
        if role != "all" {
            assert!(ports.insert(port.to_owned()), "{port} is taken twice");
        }
    }
    assert_eq!(roles.into_iter().collect::<Vec<_>>(), ["all", "gateway", "indexer", "triggers", "worker"]);
}

/// What `scripts/make-env.sh` makes.
fn made_environment(site: &Site) -> Vec<(String, String)> {
    let folder = site.path("installed");
    std::fs::create_dir_all(folder.join("scripts")).unwrap();
    for path in [".env.example", "scripts/make-env.sh"] {
        std::fs::copy(root().join(path), folder.join(path)).unwrap();
    }
    let make = || Command::new("bash").arg(folder.join("scripts/make-env.sh")).output().unwrap();
    assert!(make().status.success());
    assert!(!make().status.success(), "a second run would replace the secrets");
    let made = std::fs::read_to_string(folder.join(".env")).unwrap();
    let pairs = made.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A process with that role takes these settings, and every secret is set.
async fn is_usable(site: &Site, environment: &[(String, String)], role: &str) {
    let mut environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let empty = environment.iter().find(|(_, value)| value.is_empty());
    assert!(empty.is_none(), "{empty:?} is not set");
    environment.push(("BOWLINE_ROLES", role));
    let settings = root().join("config/runbook.yaml");
    let words = ["config", "check", "--config", settings.to_str().unwrap()];
    bowline_in(&site.path(""), &environment, &words, "").await.must(0);
}

fn rules() -> Vec<Value> {
    let alerts = yaml("config/alerts.yaml");
    let groups = alerts["groups"].as_array().unwrap().iter();
    let rules: Vec<Value> =
        groups.flat_map(|group| group["rules"].as_array().unwrap().iter().cloned()).collect();
    assert!(rules.len() >= 25, "{} alerts", rules.len());
    rules
}

/// The names of metrics in an expression: `up`, and every word with an underscore that is outside of quotes.
fn names(expression: &str) -> Vec<String> {
    let bare: String = expression.split('"').step_by(2).collect();
    let words = bare.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words = words.filter(|word| *word == "up" || word.contains('_'));
    words.filter(|word| !FUNCTIONS.contains(word) && !LABELS.contains(word)).map(str::to_owned).collect()
}
