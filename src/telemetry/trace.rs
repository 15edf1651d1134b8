//! Logs: one JSON object a line on standard error.

use tracing_subscriber::EnvFilter;

/// Environment variable with the filter, such as `debug` or `tikv_security=debug`.
pub const FILTER: &str = "TIKV_SECURITY_LOG";

/// Starts logging; a second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| EnvFilter::new("info"));
    // Fails only when a subscriber is there already, which is then as good.
    let _ = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .try_init();
}
