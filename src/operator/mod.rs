//! Effects over Kubernetes: observe, apply what the planner decided, report.

pub mod error;
pub mod health;
pub mod lease;
pub mod metrics;
