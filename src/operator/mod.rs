//! Effects over Kubernetes: observe, apply what the planner decided, report.

mod agents;
mod controller;
pub mod error;
pub mod health;
pub mod lease;
pub mod metrics;
mod objects;
mod probes;
mod reconcile;
pub mod run;
