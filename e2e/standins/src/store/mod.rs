//! A store: its keys, its engines, its rows.

pub mod cipher;
pub mod contact;
pub mod dictionary;
pub mod directory;
pub mod keys;
mod kms;
pub mod master;
mod raftfs;
pub mod raftlog;
pub mod status;
