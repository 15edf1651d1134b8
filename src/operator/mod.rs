//! Effects over Kubernetes: observe, apply what the planner decided, report.

mod agents;
mod apply;
mod client_certificate;
mod controller;
pub mod error;
mod export;
pub mod health;
mod issuer;
mod latency;
pub mod lease;
mod master_key;
pub mod metrics;
mod missing;
mod named;
mod objects;
mod observe;
mod probes;
mod queue;
mod reconcile;
mod report;
mod revocation;
pub mod run;
mod vault;
