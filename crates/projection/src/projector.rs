//! Drives one projection through all streams, a page and a transaction at a time.
//!
//! The cursor moves in the transaction of the effects and only from where the page begins, under the lease: of two
//! processes with the same page one is refused. Streams take turns, a page each, and a stream that fails does not hold up
//! the others. When no stream has grown, one query says so.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::metrics::{counter, gauge};
use async_trait::async_trait;
use bowline_runtime::{Clock, Shutdown};
use bowline_store::{
    CursorLag, CursorStep, DeadLetter, Lease, LetterReason, LineStore, ReadQuery, RetryEnd, StoreError,
    StoredEvent, Tx, TxWork,
};
use bowline_types::StreamId;
use uuid::Uuid;

use crate::aside::{self, Aside};
use crate::leader::{Leader, Term};
use crate::metrics::{ERRORS, LAG, declare};

/// Events of a page at most.
const PAGE_EVENTS: usize = 500;

/// Payload bytes of a page; the event that exceeds them is its last.
const PAGE_BYTES: usize = 4 << 20;

/// Streams that are asked for at a time.
const STREAMS_MAX: usize = 1_000;

/// Writes of a projection, which commit with its cursor.
pub type Effects = Box<dyn for<'t, 'c> FnOnce(&'t mut Tx<'c>) -> TxWork<'t, ()> + Send>;

/// Boxes writes as [`Effects`].
pub fn effects<F>(write: F) -> Effects
where
    F: for<'t, 'c> FnOnce(&'t mut Tx<'c>) -> TxWork<'t, ()> + Send + 'static,
{
    Box::new(write)
}

/// What becomes of a projection's tables when they are lost.
#[derive(Clone, Copy)]
pub enum Kind {
    /// They are made anew from the line, so neither an audit nor a backup needs them. The function removes every row.
    Rebuildable(fn() -> Effects),
    /// They hold what the line does not, so audit and backup take them in.
    Original,
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rebuildable(_) => "Rebuildable",
            Self::Original => "Original",
        })
    }
}

/// A page could not be projected.
#[derive(Debug, thiserror::Error)]
pub enum ProjectError {
    /// The same page is tried again later.
    #[error("{0}")]
    Retry(String),
    /// One event of the page can never be projected. The page is tried again all the same, unless the projector was told
    /// to put such events aside.
    #[error("event {sequence_number} can't be projected: {problem}")]
    Poison {
        /// The event's number.
        sequence_number: u64,
        /// Why, for people.
        problem: String,
    },
}

impl From<StoreError> for ProjectError {
    fn from(error: StoreError) -> Self {
        Self::Retry(error.to_string())
    }
}

/// Turns events into writes.
#[async_trait]
pub trait Projection: Send + 'static {
    /// A stable name: the key of the durable cursors, and of the lease `projection/NAME`.
    fn name(&self) -> &'static str;

    /// Whether its tables can be made anew from the line.
    fn kind(&self) -> Kind;

    /// The writes for events of one stream, ascending and without a gap. It writes nothing itself: what it returns is
    /// committed together with the cursor, or dropped.
    async fn project(&mut self, stream: StreamId, events: &[StoredEvent]) -> Result<Effects, ProjectError>;
}

/// How a projector waits and leads.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Between two looks at the line, if no wake-up comes.
    pub poll: Duration,
    /// How long the lease lasts without a renewal.
    pub lease_ttl: Duration,
}

/// A projection can't be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the projection `{0}` holds what the line does not, so it can't be rebuilt; restore it from a backup"
)]
pub struct NotRebuildable(pub &'static str);

/// A rebuild did not begin.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// The tables are original.
    #[error(transparent)]
    Original(#[from] NotRebuildable),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Drives one projection.
#[derive(Debug)]
pub struct Projector<P> {
    projection: P,
    store: Arc<dyn LineStore>,
    clock: Arc<dyn Clock>,
    settings: Settings,
    aside: Option<Aside>,
}

impl<P: Projection> Projector<P> {
    /// A projection of everything in `store`.
    pub fn new(projection: P, store: Arc<dyn LineStore>, clock: Arc<dyn Clock>, settings: Settings) -> Self {
        declare(projection.name());
        Self { projection, store, clock, settings, aside: None }
    }

    /// Events that the projection calls poison become dead letters instead of holding it up for ever.
    #[must_use]
    pub fn putting_aside(self, aside: Aside) -> Self {
        Self { aside: Some(aside), ..self }
    }

    /// Removes the projection's rows and cursors in one transaction; the running projector then reads the line from its
    /// beginning.
    ///
    /// # Errors
    /// The tables are original, or the store failed and nothing is changed.
    pub async fn rebuild(store: &dyn LineStore, projection: &P) -> Result<(), RebuildError> {
        let name = projection.name();
        let Kind::Rebuildable(clear) = projection.kind() else { return Err(NotRebuildable(name).into()) };
        let clear = clear();
        let engine = store.engine();
        let forget = engine.transact(move |tx| {
            Box::pin(async move {
                tx.forget_cursors(name).await?;
                clear(tx).await
            })
        });
        Ok(forget.await?)
    }

    /// Projects until the shutdown begins.
    pub async fn run(mut self, shutdown: Shutdown) {
        let lease = format!("projection/{}", self.projection.name());
        let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
        Leader::new(store, clock, lease, Uuid::new_v4(), self.settings.lease_ttl)
            .run(&mut self, &shutdown)
            .await;
    }

    /// Projects a page of every stream that has grown, each in turn, under a lease that the caller holds. Returns how many
    /// events are left.
    ///
    /// # Errors
    /// The last failure of a stream; the other streams have had their page.
    pub async fn pass(&mut self, lease: &Lease) -> Result<u64, ProjectError> {
        let name = self.projection.name();
        let mut failure = self.take_back(lease).await.err();
        let (mut lag, mut after) = (0, None);
        loop {
            let page = self.store.lagging(name, after, STREAMS_MAX).await?;
            for stream in &page {
                match self.take_page(lease, *stream).await {
                    Ok(reached) => lag += stream.head.saturating_sub(reached),
                    Err(error) => {
                        lag += stream.head.saturating_sub(stream.cursor);
                        failure = Some(error);
                    }
                }
            }
            match page.last() {
                Some(last) if page.len() == STREAMS_MAX => after = Some(last.stream),
                _ => break,
            }
        }
        gauge!(LAG, "follower" => name).set(lag as f64);
        failure.map_or(Ok(lag), Err)
    }

    /// Projects anew what somebody retries of the events that were put aside.
    async fn take_back(&mut self, lease: &Lease) -> Result<(), ProjectError> {
        if self.aside.is_none() {
            return Ok(());
        }
        for letter in aside::retried(self.projection.name(), self.store.as_ref()).await? {
            let end = self.project_again(lease, &letter).await?;
            self.store.end_retries(vec![(letter.id, end)]).await?;
        }
        Ok(())
    }

    async fn project_again(&mut self, lease: &Lease, letter: &DeadLetter) -> Result<RetryEnd, ProjectError> {
        let (stream, event_id) = (letter.letter.stream, letter.letter.event_id);
        let Some(event) = self.store.event(stream, event_id).await? else {
            let problem = format!("stream {stream} has no event {event_id}");
            return Ok(RetryEnd::Refused(LetterReason::HandlerError, problem));
        };
        let effects = match self.projection.project(stream, &[event]).await {
            Ok(effects) => effects,
            Err(ProjectError::Poison { problem, .. }) => {
                let problem = problem.replace('\0', "\u{fffd}");
                return Ok(RetryEnd::Refused(LetterReason::HandlerError, problem));
            }
            Err(error @ ProjectError::Retry(_)) => return Err(error),
        };
        let lease = lease.clone();
        let engine = self.store.engine();
        let written = engine.transact(move |tx| {
            Box::pin(async move {
                tx.hold(&lease).await?;
                effects(tx).await
            })
        });
        written.await?;
        Ok(RetryEnd::Taken)
    }

    /// Projects a stream's next page; returns where its cursor is then.
    async fn take_page(&mut self, lease: &Lease, lag: CursorLag) -> Result<u64, ProjectError> {
        let events = self.read(lag.stream, lag.cursor, None).await?;
        let Some(last) = events.last().map(|event| event.receipt.sequence_number) else {
            let (stream, cursor) = (lag.stream, lag.cursor);
            let problem = format!("stream {stream} has a head beyond {cursor} and no event after it");
            return Err(ProjectError::Retry(problem));
        };
        match self.projection.project(lag.stream, &events).await {
            Ok(effects) => self.write(lease, lag, last, effects).await,
            Err(error) => self.put_aside(lease, lag, error).await,
        }
    }

    async fn read(
        &mut self,
        stream: StreamId,
        cursor: u64,
        to: Option<u64>,
    ) -> Result<Vec<StoredEvent>, ProjectError> {
        let mut query = ReadQuery::from(stream, cursor + 1, PAGE_EVENTS);
        (query.to, query.bytes_max) = (to, PAGE_BYTES);
        let events = self.store.read(query).await?.events;
        let numbers = events.iter().map(|event| event.receipt.sequence_number);
        match (cursor..).zip(numbers).find(|(before, found)| *found != before + 1) {
            Some((before, found)) => Err(ProjectError::Retry(format!(
                "stream {stream} has a gap after {before}: the next event is {found}"
            ))),
            None => Ok(events),
        }
    }

    /// Commits effects with the cursor.
    async fn write(
        &mut self,
        lease: &Lease,
        lag: CursorLag,
        to: u64,
        effects: Effects,
    ) -> Result<u64, ProjectError> {
        let step = CursorStep { follower: self.projection.name(), stream: lag.stream, from: lag.cursor, to };
        let lease = lease.clone();
        let engine = self.store.engine();
        let written = engine.transact(move |tx| {
            Box::pin(async move {
                tx.hold(&lease).await?;
                tx.move_cursor(&step).await?;
                effects(tx).await
            })
        });
        written.await?;
        Ok(to)
    }

    /// Puts the event aside that a page failed on, if that is asked for and due; gives the error back if not. What lies
    /// before the event is projected first.
    async fn put_aside(
        &mut self,
        lease: &Lease,
        lag: CursorLag,
        error: ProjectError,
    ) -> Result<u64, ProjectError> {
        let ProjectError::Poison { sequence_number, problem } = &error else { return Err(error) };
        let number = *sequence_number;
        let due = self.aside.as_mut().is_some_and(|aside| aside.is_due(lag.stream, number));
        if !due || number <= lag.cursor {
            return Err(error);
        }
        let mut events = self.read(lag.stream, lag.cursor, Some(number)).await?;
        // An event that is not on the page was not given to the projection, whatever it says.
        let Some(poison) = events.pop_if(|event| event.receipt.sequence_number == number) else {
            return Err(error);
        };
        let mut lag = lag;
        if let Some(last) = events.last().map(|event| event.receipt.sequence_number) {
            let effects = self.projection.project(lag.stream, &events).await?;
            lag.cursor = self.write(lease, lag, last, effects).await?;
        }
        if let Some(aside) = &mut self.aside {
            aside
                .keep(self.projection.name(), &poison, problem, self.store.as_ref(), self.clock.now())
                .await?;
        }
        // Only now, when the letter is durable.
        self.write(lease, lag, number, effects(|_| Box::pin(async { Ok(()) }))).await
    }
}

#[async_trait]
impl<P: Projection> Term for Projector<P> {
    async fn lead(&mut self, lease: &Lease) {
        let name = self.projection.name();
        let mut grown = self.store.tail().watch_any();
        loop {
            grown.borrow_and_update();
            match self.pass(lease).await {
                Ok(lag) if lag > 0 => {}
                Ok(_) => {
                    drop(tokio::time::timeout(self.settings.poll, grown.changed()).await);
                }
                Err(error) => {
                    counter!(ERRORS, "follower" => name).increment(1);
                    tracing::warn!(component = "projection", follower = name, %error, "Follower fell back, retrying");
                    // The failing page would be ready at once; the timer spaces the tries.
                    tokio::time::sleep(self.settings.poll).await;
                }
            }
        }
    }

    fn failed(&mut self, error: &StoreError) {
        if !error.is_known_absence() {
            let name = self.projection.name();
            tracing::warn!(component = "projection", follower = name, %error, "Lease can't be taken");
        }
    }
}
