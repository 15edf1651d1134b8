//! The agent beside TiKV: what it does with a data directory, and the process that does it.
//!
//! ```text
//! directory --inventory--> Inventory --plan (pure)--> Work --engine--> new files, dictionaries
//! ```
//! All modules but `service` are synchronous and know nothing of Kubernetes.

pub mod batch;
pub mod class;
pub mod compaction;
pub mod content;
pub mod coverage;
pub mod dictionaries;
pub mod engine;
pub mod error;
pub mod flush;
pub mod guard;
pub mod inventory;
pub mod journal;
pub mod limits;
pub mod look;
pub mod master_key;
pub mod names;
pub mod observer;
pub mod open_run;
pub mod peek;
pub mod plan;
pub mod pool;
pub mod recover;
pub mod rewrite;
pub mod service;
pub mod space;
pub mod store;
pub mod verify;
pub mod wrapped;

#[cfg(test)]
mod tests;
