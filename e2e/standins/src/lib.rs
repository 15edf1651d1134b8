//! Stand-ins for TiKV and PD: what they share. See README.md for what they do as the real ones and what they do not.

pub mod net;
pub mod options;
pub mod pd;
pub mod store;

/// A failure that ends a program or is answered to a caller: told in words, no kinds needed.
pub type Result<T> = std::result::Result<T, String>;

/// Number of regions; keys are spread over them by hash.
pub const REGIONS: usize = 12;

/// The region of a key.
pub fn region_of(key: &str) -> usize {
    crc32fast::hash(key.as_bytes()) as usize % REGIONS
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// One line to standard error, as a log.
pub fn log(text: &str) {
    eprintln!("[{}] {text}", now());
}
