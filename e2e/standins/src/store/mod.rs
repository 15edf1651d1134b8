//! The stand-in for TiKV.

pub mod cipher;
pub mod dictionary;
pub mod directory;
pub mod files;
pub mod master;
pub mod service;
pub mod status;
pub mod wal;
