//! PD's HTTP API, the part that a careful rolling restart needs (facts, TLS §4.1, §4.2, §9.7).

mod client;
pub mod etcd;
mod maintenance;
mod schedule;
pub mod types;

#[cfg(test)]
mod tests;

pub use client::{PdClient, PdError};
pub use maintenance::{Maintenance, Task};
