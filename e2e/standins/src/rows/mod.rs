//! Rows as TiKV keeps them.

pub mod codec;
pub mod read;
pub mod records;
