//! What every subsystem runs on: a clock, supervised tasks, one shutdown signal, logs, metrics, circuit breakers
//! and the words of health checks.
//!
//! It refuses to know any subsystem, and nothing in it touches the network or the disk.

mod breaker;
mod checks;
mod clock;
mod exposition;
mod json_lines;
mod tasks;
mod telemetry;

pub use breaker::{Admission, Breaker, BreakerPolicy, BreakerState, CircuitBreaker, Pass};
pub use checks::{Check, Checked, Evidence, Finding, Seen, Status};
pub use clock::{Clock, ManualClock, SystemClock};
pub use exposition::{Sample, Samples};
pub use tasks::{Shutdown, TaskError, Tasks};
pub use telemetry::{LogFormat, MetricsHandle, TelemetryError, install_logs, install_metrics};
