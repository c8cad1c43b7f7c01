//! The thread that writes and the connections that read.
//!
//! A call's future may be dropped at any time: the work it handed over is then finished anyway, whole.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use metrics::gauge;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::metrics::{DB_POOL_CONNECTIONS, DB_POOL_IDLE, DB_POOL_MAX, count_error};
use crate::{Room, StoreError, WriteGate};

/// Writes that wait for the writer's thread; one more makes its caller wait.
const WRITES_QUEUED_MAX: usize = 64;

/// Connections that read at most: each costs a few file handles and megabytes.
const READERS_MAX: u32 = 256;

/// Why a statement did not go through: the database's own error, or ours.
#[derive(Debug)]
pub enum Failure {
    /// SQLite's error.
    Sqlite(rusqlite::Error),
    /// The store's.
    Store(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Sqlite(error) => refuse(&error),
            Failure::Store(error) => error,
        }
    }
}

/// The store's word for an error of SQLite.
pub(crate) fn refuse(error: &rusqlite::Error) -> StoreError {
    // A full disk can't hold a larger index of the log either, which SQLite calls an I/O error.
    let code = error.sqlite_error().map(|failed| failed.extended_code);
    if code == Some(ffi::SQLITE_IOERR_SHMSIZE) {
        return StoreError::Full(error.to_string());
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreError::Full(error.to_string()),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::CannotOpen) => {
            StoreError::Unavailable(error.to_string())
        }
        _ => StoreError::Internal(error.to_string()),
    }
}

/// The store's word for what stopped a write. Where the disk failed, nobody here knows what it holds: the commit
/// may have reached it all the same.
fn refuse_write(failure: Failure) -> StoreError {
    match failure {
        Failure::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) => {
            match refuse(&error) {
                StoreError::Internal(text) => StoreError::OutcomeUnknown(text),
                other => other,
            }
        }
        other => other.into(),
    }
}

type Work = Box<dyn FnOnce(&mut Connection) + Send>;

/// The only connection that writes, on a thread of its own.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    gate: WriteGate,
    /// Whether the disk failed the last write that it was asked for.
    failing: Arc<AtomicBool>,
}

enum Message {
    Work(Work),
    Stop(oneshot::Sender<()>),
}

impl Writer {
    pub(crate) fn start(mut connection: Connection, gate: WriteGate) -> Result<Self, StoreError> {
        let (queue, mut inbox) = mpsc::channel(WRITES_QUEUED_MAX);
        let serve = move || {
            let mut stopped = None;
            while let Some(message) = inbox.blocking_recv() {
                match message {
                    Message::Work(work) => work(&mut connection),
                    Message::Stop(done) => {
                        stopped = Some(done);
                        break;
                    }
                }
            }
            // A closed database has its log folded in, so a copy of the one file is whole.
            if let Err((_, error)) = connection.close() {
                tracing::warn!(component = "store", %error, "Database closed uncleanly, its log is replayed next time");
            }
            stopped.map(|done: oneshot::Sender<()>| done.send(()))
        };
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(serve)
            .map_err(|e| StoreError::Internal(format!("the writer's thread did not start: {e}")))?;
        Ok(Self { queue, gate, failing: Arc::default() })
    }

    /// Runs `work` after all that was handed over before it.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let (gate, failing) = (self.gate.clone(), Arc::clone(&self.failing));
        let work: Work = Box::new(move |connection| {
            let result = work(connection).map_err(refuse_write);
            if let Err(StoreError::Full(problem)) = &result
                && gate.set(Room::Full)
            {
                tracing::error!(component = "store", %problem, "Disk full, no events are taken until there is room");
            }
            failing.store(matches!(result, Err(StoreError::OutcomeUnknown(_))), Ordering::Relaxed);
            drop(reply.send(result));
        });
        let gone = || count_error(StoreError::Unavailable("it is closed".to_owned()));
        self.queue.send(Message::Work(work)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(count_error)
    }

    /// Answers if writes reach the disk: at once, unless the last one did not; then one is tried that changes nothing.
    pub(crate) async fn ping(&self) -> Result<(), StoreError> {
        if !self.failing.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.run(|connection| Ok(connection.pragma_update(None, "user_version", 0)?)).await
    }

    /// Finishes what was handed over, then closes the file.
    pub(crate) async fn stop(&self) {
        let (done, stopped) = oneshot::channel();
        if self.queue.send(Message::Stop(done)).await.is_ok() {
            drop(stopped.await);
        }
    }
}

/// Connections that read, opened when they are first needed.
#[derive(Debug, Clone)]
pub(crate) struct Readers {
    path: PathBuf,
    count: u32,
    permits: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(crate) fn new(path: PathBuf, count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX).clamp(1, READERS_MAX);
        gauge!(DB_POOL_MAX).set(f64::from(count) + 1.0);
        gauge!(DB_POOL_CONNECTIONS).set(1.0);
        Self { path, count, permits: Arc::new(Semaphore::new(count as usize)), idle: Arc::default() }
    }

    /// Runs `work` on a connection of its own for that time.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        let closed = |_| count_error(StoreError::Unavailable("it is closed".to_owned()));
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(closed)?;
        let (path, idle) = (self.path.clone(), Arc::clone(&self.idle));
        let read = move || {
            let taken = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = match taken {
                Some(connection) => connection,
                None => open_reader(&path)?,
            };
            let result = work(&mut connection);
            let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.push(connection);
            gauge!(DB_POOL_IDLE).set(idle.len() as f64);
            drop(idle);
            drop(permit);
            result.map_err(StoreError::from)
        };
        let joined = tokio::task::spawn_blocking(read).await;
        joined.map_err(|e| StoreError::Internal(e.to_string())).and_then(|result| result).map_err(count_error)
    }

    /// Finishes the reads under way, then closes every connection.
    pub(crate) async fn close(&self) {
        let all = self.permits.acquire_many(self.count).await;
        self.permits.close();
        drop(all);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

fn open_reader(path: &std::path::Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| refuse(&e))?;
    connection
        .execute_batch("PRAGMA query_only = ON; PRAGMA busy_timeout = 10000; PRAGMA cache_size = -4096;")
        .map_err(|e| refuse(&e))?;
    connection.set_prepared_statement_cache_capacity(64);
    gauge!(DB_POOL_CONNECTIONS).increment(1.0);
    Ok(connection)
}
