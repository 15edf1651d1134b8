//! Rows as TiKV keeps them.

pub mod codec;
pub mod commands;
pub mod read;
pub mod records;
