//! What the suite adds to the conformance kit: a look at what a target logs.

use std::fmt;
use std::sync::{Arc, Mutex, Once};

pub(crate) use bowline_conformance::{Engine, Place, run, soon, until};
use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Metadata, Subscriber, span};

/// Lets the server's clock move on so many seconds, as far as leases of jobs are concerned. SQLite's are judged by the
/// moment that a call names.
pub(crate) async fn leases_age(place: &Place, seconds: u32) {
    if place.engine() == Engine::Postgres {
        let sql = format!("UPDATE action_jobs SET lease_until = lease_until - interval '{seconds} seconds'");
        place.execute(&sql).await;
    }
}

/// Collects what one target logs while a future runs under it.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    target: &'static str,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Log {
    pub(crate) fn of(target: &'static str) -> Self {
        // Without a global subscriber, a place of the code that another test's thread reaches first is taken
        // for never logged by anybody. This one sees to that and collects nothing.
        static BYSTANDER: Once = Once::new();
        BYSTANDER.call_once(|| {
            let nothing = Self { target: "", lines: Arc::default() };
            tracing::subscriber::set_global_default(nothing).unwrap();
        });
        Self { target, lines: Arc::default() }
    }

    /// One line an event: all its fields.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Subscriber for Log {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == self.target
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.lines.lock().unwrap().push(line.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}
