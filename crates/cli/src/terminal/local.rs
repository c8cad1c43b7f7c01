//! What the command line keeps on this machine, under the data folder: the remembered stream in `cli.json`
//! and agents' secret keys in `agents/NAME.json`.
//!
//! A file is written whole and once: two processes that start together end up with the same content. It
//! refuses to change a file that is there, but for an agent's when its key rotates, and to let others than the
//! owner read a secret.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use bowline_types::{AgentId, StoreId, StreamId, TenantId};
use bowline_ves::SecretKey;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::terminal::args::StreamArgs;
use crate::terminal::exit::Failure;
use crate::terminal::output;

/// Bytes that a file of ours may have.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// What the file of a key that is to follow ends with.
const NEXT_KEY: &str = "next";
/// Characters of an agent's name: it becomes a file name.
const AGENT_NAME_CHARS_MAX: usize = 64;

/// The stream that commands use if none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) tenant_id: TenantId,
    pub(crate) store_id: StoreId,
}

impl Remembered {
    /// The remembered stream, if there is one.
    pub(crate) fn load(data: &Path) -> Result<Option<Self>, Failure> {
        load(&Self::path(data))
    }

    /// The remembered stream; a fresh one with the given ids is made on first use.
    pub(crate) fn load_or_create(data: &Path, args: StreamArgs) -> Result<Self, Failure> {
        load_or_create(&Self::path(data), || {
            let tenant_id = args.tenant.unwrap_or_else(TenantId::random);
            Ok(Self { tenant_id, store_id: args.store.unwrap_or_else(StoreId::random) })
        })
        .map(|(remembered, _)| remembered)
    }

    /// The remembered stream with what the flags replace.
    pub(crate) fn stream(self, args: StreamArgs) -> StreamId {
        StreamId::new(args.tenant.unwrap_or(self.tenant_id), args.store.unwrap_or(self.store_id))
    }

    fn path(data: &Path) -> PathBuf {
        data.join("cli.json")
    }
}

/// An agent that signs on this machine.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) agent_id: AgentId,
    pub(crate) key_id: u32,
    pub(crate) key: SecretKey,
}

/// The file of an agent.
#[derive(Serialize, Deserialize)]
struct AgentFile {
    agent_id: AgentId,
    key_id: u32,
    /// 32 bytes of hex.
    seed: String,
}

impl Agent {
    /// The agent of a file, made with a fresh id and key if the file is not there; and whether it was made.
    pub(crate) fn load_or_create(path: &Path) -> Result<(Self, bool), Failure> {
        let (file, made) = load_or_create(path, || {
            let key = SecretKey::random().map_err(|error| Failure::usage(error.to_string()))?;
            Ok(AgentFile { agent_id: AgentId::random(), key_id: 1, seed: hex::encode(key.seed()) })
        })?;
        warn_if_readable_by_others(path);
        let key = SecretKey::parse_hex(&file.seed)
            .map_err(|error| Failure::usage(format!("{}: seed: {error}", path.display())))?;
        Ok((Self { agent_id: file.agent_id, key_id: file.key_id, key }, made))
    }

    /// The agent of a file, if there is one.
    pub(crate) fn load(path: &Path) -> Result<Option<Self>, Failure> {
        let Some(file) = load::<AgentFile>(path)? else { return Ok(None) };
        let key = SecretKey::parse_hex(&file.seed)
            .map_err(|error| Failure::usage(format!("{}: seed: {error}", path.display())))?;
        Ok(Some(Self { agent_id: file.agent_id, key_id: file.key_id, key }))
    }

    /// The key that follows in a rotation. It is on the disk before the server hears of it, and an interrupted
    /// rotation finds it again.
    pub(crate) fn next_key(path: &Path, agent: &Self) -> Result<SecretKey, Failure> {
        let (next, _) = Self::load_or_create(&path.with_extension(NEXT_KEY))?;
        if next.key.public() == agent.key.public() {
            // The last rotation ended between its two steps on this disk: that key is in use already.
            remove(&path.with_extension(NEXT_KEY))?;
            return Self::load_or_create(&path.with_extension(NEXT_KEY)).map(|(fresh, _)| fresh.key);
        }
        Ok(next.key)
    }

    /// Puts this agent into its file, in one step, and forgets the key that was to follow.
    pub(crate) fn replace(&self, path: &Path) -> Result<(), Failure> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let content =
            AgentFile { agent_id: self.agent_id, key_id: self.key_id, seed: hex::encode(self.key.seed()) };
        let file = written(folder, path, &content)?;
        file.persist(path).map_err(|error| refused("write", path, &error.error))?;
        remove(&path.with_extension(NEXT_KEY))
    }

    /// Where the agent of that name is kept.
    pub(crate) fn path(data: &Path, name: &str) -> PathBuf {
        data.join("agents").join(format!("{name}.json"))
    }
}

/// An agent's name as clap parses it: safe as a file name.
pub(crate) fn parse_agent_name(text: &str) -> Result<String, String> {
    let plain = text.chars().all(|char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.'));
    if plain && !text.is_empty() && !text.starts_with('.') && text.len() <= AGENT_NAME_CHARS_MAX {
        return Ok(text.to_owned());
    }
    Err(format!("expected at most {AGENT_NAME_CHARS_MAX} letters, digits, `-`, `_` and `.`"))
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    let text = match fs::metadata(path).and_then(|found| {
        if found.len() > FILE_BYTES_MAX {
            Err(ErrorKind::FileTooLarge.into())
        } else {
            fs::read_to_string(path)
        }
    }) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused("read", path, &error)),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        Failure::usage(format!("{} is damaged: {error}", path.display()))
            .next("mend it, or move it away and a new one is made")
    })
}

fn load_or_create<T: DeserializeOwned + Serialize>(
    path: &Path,
    make: impl FnOnce() -> Result<T, Failure>,
) -> Result<(T, bool), Failure> {
    if let Some(found) = load(path)? {
        return Ok((found, false));
    }
    let made = make()?;
    if create(path, &made)? {
        return Ok((made, true));
    }
    // Another process was faster; its file counts.
    let found = load(path)?;
    found.map(|found| (found, false)).ok_or_else(|| Failure::usage(format!("{} vanished", path.display())))
}

/// Writes a new file that only the owner can read; `false` if one is there already.
fn create<T: Serialize>(path: &Path, content: &T) -> Result<bool, Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_folder(folder).map_err(|error| refused("make", folder, &error))?;
    match written(folder, path, content)?.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(refused("write", path, &error.error)),
    }
}

/// The content in a new file beside its place, on the disk.
fn written<T: Serialize>(
    folder: &Path,
    path: &Path,
    content: &T,
) -> Result<tempfile::NamedTempFile, Failure> {
    let mut text = serde_json::to_vec_pretty(content).map_err(|error| Failure::usage(error.to_string()))?;
    text.push(b'\n');
    let mut file =
        tempfile::NamedTempFile::new_in(folder).map_err(|error| refused("write to", folder, &error))?;
    file.write_all(&text)
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| refused("write", path, &error))?;
    Ok(file)
}

fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(refused("remove", path, &error)),
        _ => Ok(()),
    }
}

#[cfg(unix)]
fn make_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn make_folder(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn warn_if_readable_by_others(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    if fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
        output::talk(&format!("warning: others can read the secret key; run `chmod 600 {}`", path.display()));
    }
}

#[cfg(not(unix))]
fn warn_if_readable_by_others(_path: &Path) {}

fn refused(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot {what} {}: {error}", path.display()))
        .next("choose a folder that you may write to with --data or BOWLINE_DATA")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_once_is_found_again() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Remembered::load(data.path()).unwrap(), None);
        let made = Remembered::load_or_create(data.path(), StreamArgs::default()).unwrap();
        let again = Remembered::load_or_create(data.path(), StreamArgs::default()).unwrap();
        assert_eq!((Remembered::load(data.path()).unwrap(), again), (Some(made), made));

        let path = Agent::path(&data.path().join("deep"), "default");
        let (agent, fresh) = Agent::load_or_create(&path).unwrap();
        let (found, made_again) = Agent::load_or_create(&path).unwrap();
        assert!(fresh && !made_again);
        assert_eq!((agent.agent_id, agent.key.public()), (found.agent_id, found.key.public()));
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let data = tempfile::tempdir().unwrap();
        let path = Agent::path(&data.path().join("data"), "a");
        Agent::load_or_create(&path).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    }

    #[test]
    fn a_rotation_that_was_interrupted_goes_on_with_its_key() {
        let data = tempfile::tempdir().unwrap();
        let path = Agent::path(data.path(), "till.north");
        let (agent, _) = Agent::load_or_create(&path).unwrap();
        let next = Agent::next_key(&path, &agent).unwrap();
        assert_eq!(Agent::next_key(&path, &agent).unwrap().public(), next.public());
        assert_ne!(next.public(), agent.key.public());
        let rotated = Agent { key_id: 2, key: next.clone(), ..agent };
        rotated.replace(&path).unwrap();
        let found = Agent::load(&path).unwrap().unwrap();
        assert_eq!((found.agent_id, found.key_id, found.key.public()), (rotated.agent_id, 2, next.public()));
        assert_ne!(Agent::next_key(&path, &found).unwrap().public(), next.public());
    }

    #[test]
    fn a_damaged_file_is_named_and_left_alone() {
        let data = tempfile::tempdir().unwrap();
        fs::write(data.path().join("cli.json"), "{\"tenant_id\":1}").unwrap();
        let failure = Remembered::load_or_create(data.path(), StreamArgs::default()).unwrap_err();
        assert!(failure.cause.contains("cli.json is damaged"), "{}", failure.cause);
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        assert!(parse_agent_name("till-2.north").is_ok());
        for bad in ["", "../x", "a/b", ".hidden", &"x".repeat(65)] {
            assert!(parse_agent_name(bad).is_err(), "{bad}");
        }
    }
}
