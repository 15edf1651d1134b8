//! Logs and metrics, the same for the operator and the agent.

pub mod metrics;
pub mod trace;
