//! What every subsystem runs on: a clock, supervised tasks, one shutdown signal, logs and metrics.
//!
//! It refuses to know any subsystem, and nothing in it touches the network or the disk.

mod clock;
mod tasks;
mod telemetry;

pub use clock::{Clock, ManualClock, SystemClock};
pub use tasks::{Shutdown, TaskError, Tasks};
pub use telemetry::{LogFormat, MetricsHandle, TelemetryError, install_logs, install_metrics};
