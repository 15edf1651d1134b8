//! The agent beside TiKV: what it does with a data directory, and the process that does it.

pub mod master_key;
pub mod service;
