//! How fast a run may go, and for how long.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use clap::Args;

use crate::agent::limits::Limits;
use crate::api::v1alpha1::GoDuration;

/// Bounds of a run.
#[derive(Args, Clone, Copy, Debug)]
pub struct LimitArgs {
    /// Most bytes of content a second, as in 200MiB: each is read, written, and read again to prove it
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    rate: Option<NonZeroU64>,
    /// Most reads and writes of content a second, of at most 1 MiB each
    #[arg(long, value_name = "N")]
    iops: Option<NonZeroU64>,
    /// Files that are worked on at the same time; without it as many as there are processors, from 2 to 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// After this time, as in 90m, begin nothing more and leave a store with which TiKV can start; exit code 5 then, and the
    /// printed command does the rest
    #[arg(long, value_name = "DURATION")]
    time_limit: Option<GoDuration>,
}

impl LimitArgs {
    /// From now on.
    pub fn limits(self) -> Limits {
        let mut limits = Limits::of_this_machine();
        if let Some(threads) = self.threads {
            limits.threads = usize::from(threads);
        }
        limits.bytes_per_second = self.rate;
        limits.requests_per_second = self.iops;
        limits.until = self.time_limit.map(|most| {
            let seconds = u64::try_from(most.get().as_secs()).unwrap_or(0);
            Instant::now() + Duration::from_secs(seconds)
        });
        limits
    }
}

/// Bytes as people write them: `1048576`, `512KiB`, `200MiB`, `1GiB`.
fn bytes(text: &str) -> Result<NonZeroU64, String> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("K", 1 << 10),
        ("M", 1 << 20),
        ("G", 1 << 30),
        ("", 1),
    ];
    let unit = UNITS
        .iter()
        .find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
    unit.and_then(|(digits, size)| digits.trim().parse::<u64>().ok()?.checked_mul(*size))
        .and_then(NonZeroU64::new)
        .ok_or_else(|| "write a number of bytes above 0, as in 200MiB".to_owned())
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_as_people_write_them() {
        let parsed = |text: &str| bytes(text).ok().map(u64::from);
        assert_eq!(parsed("200MiB"), Some(200 << 20));
        assert_eq!(parsed("1 G"), Some(1 << 30));
        assert_eq!(parsed("4096"), Some(4096));
        assert_eq!(
            (parsed("0"), parsed("fast"), parsed("-1")),
            (None, None, None)
        );
    }
}
