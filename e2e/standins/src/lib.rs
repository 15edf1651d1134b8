//! Stand-ins for TiKV, PD and TiDB: what they share. See README.md for what they do as the real ones and what they do not.

pub mod date;
pub mod engine;
pub mod kv;
pub mod net;
pub mod options;
pub mod pd;
pub mod replica;
pub mod route;
pub mod rows;
pub mod sql;
pub mod store;
pub mod wire;

/// A failure that ends a program or is answered to a caller: told in words, no kinds needed.
pub type Result<T> = std::result::Result<T, String>;

/// Seconds since 1970.
pub fn now() -> u64 {
    now_ms() / 1000
}

/// Milliseconds since 1970.
pub fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// One line to standard error, as a log.
pub fn log(text: &str) {
    eprintln!("[{}] {text}", now());
}
