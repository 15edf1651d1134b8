//! Effects over Kubernetes: observe, apply what the planner decided, report.

mod agents;
mod apply;
mod controller;
pub mod error;
pub mod health;
pub mod lease;
mod master_key;
pub mod metrics;
mod objects;
mod observe;
mod probes;
mod reconcile;
mod report;
pub mod run;
