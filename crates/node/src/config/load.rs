//! Puts the tree together from a file and the environment, and says precisely what does not fit.
//!
//! Every value is checked against the shape of the defaults, so a misspelt key, a number where a word is
//! meant and `"false"` for a switch are all found here, with the path of the setting.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::Config;
use super::environment::{ENVIRONMENT, Process, UNSERVED};

/// Two keys are near if so much of them is alike (Jaro-Winkler).
const NEAR_MIN: f64 = 0.7;

/// The configuration can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {path}: {cause}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        cause: std::io::Error,
    },
    /// The file is not YAML or TOML, by its ending.
    #[error("{path}: {problem}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        problem: String,
    },
    /// A key that nobody knows.
    #[error("unknown setting `{path}`{}", .near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown {
        /// The key's path.
        path: String,
        /// The nearest key that is known.
        near: Option<String>,
    },
    /// A value that does not fit.
    #[error("setting `{path}`{from}: {problem}")]
    Value {
        /// The setting's path.
        path: String,
        /// Where it comes from, if not from the file.
        from: String,
        /// What is wrong.
        problem: String,
    },
    /// Values that don't fit together.
    #[error("{}", .0.join("; "))]
    Problems(Vec<String>),
}

/// Where variables come from.
pub(super) trait Source {
    fn get(&self, name: &str) -> Option<String>;
}

impl Config {
    /// Defaults, then the file, then the environment.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        Self::load_from(file, &Process)
    }

    /// The names of the original sequencer that are set and not served.
    pub fn unserved() -> Vec<&'static str> {
        UNSERVED.iter().copied().filter(|name| Process.get(name).is_some()).collect()
    }

    fn load_from(file: Option<&Path>, source: &dyn Source) -> Result<Self, ConfigError> {
        let defaults = serde_json::to_value(Self::default()).unwrap_or_default();
        let mut tree = file.map(parse).transpose()?.unwrap_or_else(|| Value::Object(Map::new()));
        fit(&mut tree, &defaults, "", source)?;
        for variable in ENVIRONMENT {
            if let Some(text) = source.get(variable.name) {
                let from = format!(" (from {})", variable.name);
                let value = coerce(text, lookup(&defaults, variable.path), variable.path, &from)?;
                let value = value.as_u64().map_or(value, |n| n.saturating_mul(variable.times).into());
                set(&mut tree, variable.path, value);
            }
        }
        let mut config: Self =
            serde_path_to_error::deserialize(tree).map_err(|error| ConfigError::Value {
                path: error.path().to_string(),
                from: String::new(),
                problem: error.inner().to_string(),
            })?;
        config.indexer.add_environment(&|name| source.get(name)).map_err(ConfigError::Problems)?;
        Ok(config)
    }
}

fn parse(path: &Path) -> Result<Value, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.to_owned(), cause })?;
    let syntax = |problem: String| ConfigError::Syntax { path: path.to_owned(), problem };
    let tree: Value = match path.extension().and_then(|ending| ending.to_str()) {
        Some("yaml" | "yml") if text.trim().is_empty() => Value::Null,
        Some("yaml" | "yml") => serde_saphyr::from_str(&text).map_err(|error| syntax(error.to_string()))?,
        Some("toml") => toml::from_str(&text).map_err(|error| syntax(error.to_string()))?,
        _ => return Err(syntax("the file's name ends in neither .yaml nor .toml".to_owned())),
    };
    match tree {
        Value::Object(_) => Ok(tree),
        Value::Null => Ok(Value::Object(Map::new())),
        _ => Err(syntax("the file is not a table of settings".to_owned())),
    }
}

/// Checks the keys of `tree` against those of `defaults` and expands variables in its values.
fn fit(tree: &mut Value, defaults: &Value, path: &str, source: &dyn Source) -> Result<(), ConfigError> {
    if let (Value::Object(map), Value::Object(known)) = (&mut *tree, defaults) {
        for (key, value) in map.iter_mut() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let Some(default) = known.get(key) else {
                return Err(ConfigError::Unknown { near: nearest(key, known, &path), path });
            };
            fit(value, default, &path, source)?;
        }
    } else if let Value::Array(list) = &mut *tree {
        for (index, value) in list.iter_mut().enumerate() {
            expand_within(value, &format!("{path}[{index}]"), source)?;
        }
    } else if let Value::String(text) = &*tree
        && text.contains("${")
    {
        *tree = coerce(expand(text, path, source)?, defaults, path, "")?;
    }
    Ok(())
}

/// Expands variables in what a list holds; its keys are checked when it is read.
fn expand_within(value: &mut Value, path: &str, source: &dyn Source) -> Result<(), ConfigError> {
    match value {
        Value::String(text) if text.contains("${") => *text = expand(text, path, source)?,
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                expand_within(value, &format!("{path}.{key}"), source)?;
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter_mut().enumerate() {
                expand_within(value, &format!("{path}[{index}]"), source)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn nearest(key: &str, known: &Map<String, Value>, path: &str) -> Option<String> {
    let scored = known.keys().map(|candidate| (strsim::jaro_winkler(key, candidate), candidate));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(score, _)| *score >= NEAR_MIN)?.1;
    let parent = path.strip_suffix(key).unwrap_or_default();
    Some(format!("{parent}{best}"))
}

/// `${NAME}` and `${NAME:-default}` in a value.
fn expand(text: &str, path: &str, source: &dyn Source) -> Result<String, ConfigError> {
    let refuse = |problem: String| ConfigError::Value { path: path.to_owned(), from: String::new(), problem };
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (inner, behind) = after.split_once('}').ok_or_else(|| refuse("`${` without `}`".to_owned()))?;
        let (name, default) =
            inner.split_once(":-").map_or((inner, None), |(name, default)| (name, Some(default)));
        let value = source.get(name).or_else(|| default.map(str::to_owned));
        let missing = || refuse(format!("the variable {name} is not set; `${{{name}:-…}}` gives a default"));
        expanded.push_str(before);
        expanded.push_str(&value.ok_or_else(missing)?);
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// A text as the kind of value that the default is. Switches are `true` or `false` and nothing else.
fn coerce(text: String, default: &Value, path: &str, from: &str) -> Result<Value, ConfigError> {
    let refuse =
        |problem: String| ConfigError::Value { path: path.to_owned(), from: from.to_owned(), problem };
    match default {
        Value::Bool(_) => match text.as_str() {
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            _ => Err(refuse(format!("`{text}` is neither `true` nor `false`"))),
        },
        Value::Number(_) => text
            .parse::<u64>()
            .map(Value::from)
            .map_err(|_| refuse(format!("`{text}` is not a whole number"))),
        _ => Ok(Value::String(text)),
    }
}

fn lookup<'a>(tree: &'a Value, path: &str) -> &'a Value {
    path.split('.').try_fold(tree, |value, key| value.get(key)).unwrap_or(&Value::Null)
}

fn set(tree: &mut Value, path: &str, value: Value) {
    let mut place = tree;
    for key in path.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[key];
    }
    *place = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(&'static [(&'static str, &'static str)]);

    impl Source for Fixed {
        fn get(&self, name: &str) -> Option<String> {
            self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        }
    }

    fn load(
        ending: &str,
        text: &str,
        variables: &'static [(&'static str, &'static str)],
    ) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(format!("config.{ending}"));
        std::fs::write(&file, text).unwrap();
        Config::load_from(Some(&file), &Fixed(variables))
    }

    #[test]
    fn every_environment_name_stands_for_a_setting_that_exists() {
        let defaults = serde_json::to_value(Config::default()).unwrap();
        for variable in ENVIRONMENT {
            let (parent, key) = variable.path.rsplit_once('.').unwrap_or(("", variable.path));
            let parent = if parent.is_empty() { &defaults } else { lookup(&defaults, parent) };
            assert!(parent.get(key).is_some(), "{}", variable.path);
        }
    }

    #[test]
    fn the_environment_goes_before_the_file_and_both_formats_are_read() {
        let yaml = load("yaml", "api:\n  port: 9000\nstore:\n  readers: 2\n", &[("PORT", "9001")]).unwrap();
        assert_eq!((yaml.api.port, yaml.store.readers), (9001, 2));
        let toml = load("toml", "[line.commitments]\nauto = \"unclaimed\"\nevents = 5\n", &[]).unwrap();
        assert_eq!(toml.line.commitments.events, 5);
    }

    #[test]
    fn chains_come_from_a_file_or_from_well_known_names() {
        let text = "indexer:\n  chains:\n    - chain_id: 7\n      rpc_urls: http://${RPC_HOST}/x\n";
        let config = load("yaml", text, &[("RPC_HOST", "there")]).unwrap();
        assert_eq!(config.indexer.chains[0].rpc_urls.reveal(), "http://there/x");
        let config = load("yaml", "", &[("BASE_SEPOLIA_RPC_URL", "http://base")]).unwrap();
        assert_eq!(config.indexer.chains[0].chain_id, 84_532);
        let refused = load("yaml", "indexer:\n  chains:\n    - chainid: 7\n", &[]).unwrap_err().to_string();
        assert!(refused.contains("indexer.chains[0]") && refused.contains("chainid"), "{refused}");
    }

    #[test]
    fn of_two_names_of_a_setting_our_own_wins_and_units_are_kept() {
        let foreign: &[_] =
            &[("DB_ACQUIRE_TIMEOUT", "5"), ("SERVER_PORT", "8081"), ("DB_MAX_CONNECTIONS", "50")];
        let config = load("yaml", "", foreign).unwrap();
        assert_eq!(
            (config.store.acquire_ms_max, config.api.port, config.store.connections_max),
            (5_000, 8081, 50)
        );
        let both: &[_] = &[("DB_ACQUIRE_TIMEOUT", "5"), ("DB_ACQUIRE_TIMEOUT_MS", "700"), ("PORT", "1")];
        let config = load("yaml", "", both).unwrap();
        assert_eq!((config.store.acquire_ms_max, config.api.port), (700, 1));
    }

    #[test]
    fn roles_are_one_or_several_and_an_unknown_one_names_the_nearest() {
        let config = load("yaml", "roles: [worker, indexer]\n", &[]).unwrap();
        assert_eq!(config.roles.words(), ["indexer", "worker"]);
        let config = load("yaml", "", &[("BOWLINE_ROLES", "triggers")]).unwrap();
        assert_eq!(config.application_name(), "event-processor");
        let named = load("yaml", "store:\n  application_name: mine\n", &[]).unwrap();
        assert_eq!(named.application_name(), "mine");
        let refused = load("yaml", "roles: gatway\n", &[]).unwrap_err().to_string();
        assert!(refused.contains("roles") && refused.contains("`gateway`"), "{refused}");
    }

    #[test]
    fn variables_expand_to_the_kind_of_value_that_is_meant() {
        let text = "api:\n  port: ${MY_PORT:-7000}\nstore:\n  url: postgres://${DB_HOST}/x\n";
        let config = load("yaml", text, &[("DB_HOST", "db")]).unwrap();
        assert_eq!(config.api.port, 7000);
        assert_eq!(config.store.url.unwrap().reveal(), "postgres://db/x");
        let missing = load("yaml", text, &[]).unwrap_err().to_string();
        assert!(missing.contains("store.url") && missing.contains("DB_HOST"), "{missing}");
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_path() {
        let message = |text: &str| load("yaml", text, &[]).unwrap_err().to_string();
        assert_eq!(message("api:\n  prot: 1\n"), "unknown setting `api.prot`; did you mean `api.port`?");
        assert!(message("api:\n  port: yes\n").contains("api.port"));
        let strict = load("yaml", "", &[("DB_MIGRATE_ON_STARTUP", "False")]).unwrap_err().to_string();
        assert!(strict.contains("DB_MIGRATE_ON_STARTUP") && strict.contains("neither"), "{strict}");
        assert!(message("api: [").contains("config.yaml"));
    }
}
