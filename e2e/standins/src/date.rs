//! Times as people and AWS write them, in UTC.

/// `2026-11-23T14:00:00Z`.
pub fn rfc3339(seconds: u64) -> String {
    let (year, month, day, rest) = parts(seconds);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// `20261123` and `20261123T140000Z`.
pub fn basic(seconds: u64) -> (String, String) {
    let (year, month, day, rest) = parts(seconds);
    let date = format!("{year:04}{month:02}{day:02}");
    let time = format!(
        "{date}T{:02}{:02}{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    );
    (date, time)
}

// Year, month, day, and the seconds of the day.
fn parts(seconds: u64) -> (u64, u64, u64, u64) {
    // Years begin in March, so that the leap day is the last one.
    let shifted = seconds / 86400 + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1460 + day / 36524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (year + era * 400 + carry, month, day, seconds % 86400)
}

#[cfg(test)]
mod tests {
    use super::{basic, rfc3339};

    #[test]
    fn days_are_found() {
        assert_eq!(
            basic(951_827_696),
            ("20000229".into(), "20000229T123456Z".into())
        );
        assert_eq!(rfc3339(1_798_761_599), "2026-12-31T23:59:59Z");
    }
}
