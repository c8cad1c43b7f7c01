//! Logs on stderr, one line an event, and the recorder behind `/metrics`.
//!
//! Both are installed once a process, by the binary. Metrics are named, described and set to zero where
//! they are used; this file only knows how they are kept.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::TryInitError;

use crate::json_lines::JsonLines;

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Telemetry could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one that `tracing` takes.
    #[error("`{given}` is not a log filter: {cause}")]
    Filter {
        /// What was given.
        given: String,
        /// Why it was refused.
        cause: String,
    },
    /// Another recorder is in place.
    #[error("metrics are installed already: {0}")]
    Metrics(#[from] BuildError),
}

/// Renders what `/metrics` answers.
#[derive(Clone)]
pub struct MetricsHandle(PrometheusHandle);

impl std::fmt::Debug for MetricsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MetricsHandle")
    }
}

impl MetricsHandle {
    /// Every metric in the Prometheus text format.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds the samples of histograms, so that they do not grow without bound between two scrapes.
    pub fn upkeep(&self) {
        self.0.run_upkeep();
    }
}

/// Sends logs to stderr; a second call in one process changes nothing.
///
/// # Errors
/// A filter that can't be parsed.
pub fn install_logs(filter: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let refuse =
        |e: &dyn std::fmt::Display| TelemetryError::Filter { given: filter.to_owned(), cause: e.to_string() };
    let filter = EnvFilter::try_new(filter).map_err(|e| refuse(&e))?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let installed: Result<(), TryInitError> = match format {
        LogFormat::Text => {
            tracing_subscriber::util::SubscriberInitExt::try_init(builder.with_ansi(false).finish())
        }
        LogFormat::Json => {
            tracing_subscriber::util::SubscriberInitExt::try_init(builder.event_format(JsonLines).finish())
        }
    };
    // In tests several nodes share one process; the first one's subscriber serves all.
    drop(installed);
    Ok(())
}

/// Installs the process's metrics recorder, or returns the one that is there.
///
/// # Errors
/// A foreign recorder is installed.
pub fn install_metrics() -> Result<MetricsHandle, TelemetryError> {
    static HANDLE: OnceLock<MetricsHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    // From 100 µs to 30 s: the span between one batch on an idle machine and the request time limit.
    let buckets = [
        0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
        10.0, 30.0,
    ];
    let sizes = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0];
    let built = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &buckets)?
        .set_buckets_for_metric(Matcher::Suffix("_events".to_owned()), &sizes)?
        .install_recorder();
    match built {
        Ok(handle) => Ok(HANDLE.get_or_init(|| MetricsHandle(handle)).clone()),
        Err(error) => HANDLE.get().cloned().ok_or_else(|| error.into()),
    }
}
