//! Prometheus' text format.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

/// Content type of [`render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry whose metrics all begin with `tikv_security_`.
pub fn registry() -> Registry {
    Registry::with_prefix("tikv_security")
}

/// The present values.
pub fn render(registry: &Registry) -> String {
    let mut text = String::new();
    // Writing to a string can not fail; a metric that can not be written is left out.
    let _ = encode(&mut text, registry);
    text
}
