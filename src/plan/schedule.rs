//! Schedules: five fields of cron in a time zone, parsed once, asked for the last moment that has come.

use cronexpr::{Crontab, FallbackTimezoneOption, ParseOptions, parse_crontab_with};
use jiff::{SignedDuration, Timestamp};

use super::desired::Blocker;
use crate::api::v1alpha1::Cron;

/// When something happens by the clock.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// As it was written, with its time zone: another text is another schedule.
    text: String,
    crontab: Crontab,
}

/// Spans in which the last moment is looked for, the shortest first: four years hold every leap day.
const SPANS: [SignedDuration; 4] = [
    SignedDuration::from_hours(1),
    SignedDuration::from_hours(24),
    SignedDuration::from_hours(32 * 24),
    SignedDuration::from_hours(1462 * 24),
];

impl Schedule {
    /// Parses what stands at `path` in the spec; `zone` is an IANA name, UTC without it.
    pub fn parse(path: &str, cron: &Cron, zone: Option<&str>) -> Result<Self, Blocker> {
        let (text, zone) = (cron.0.trim(), zone.unwrap_or("UTC"));
        let invalid = |why: &str| {
            Blocker::new(
                "InvalidSpec",
                format!("spec.{path}.schedule is {text:?} in the time zone {zone:?}: {why}"),
                format!(
                    "Write five fields (minute, hour, day of the month, month, day of the week), as in {path}.schedule: \"0 3 * * 0\" for Sundays at three, and a time zone like Europe/Berlin or none."
                ),
            )
        };
        if text.split_whitespace().count() != 5 {
            return Err(invalid("it has not five fields"));
        }
        let whole = format!("{text} {zone}");
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::None;
        let crontab = parse_crontab_with(&whole, options).map_err(|error| {
            let why = error.to_string();
            let why: Vec<&str> = why.split_whitespace().collect();
            invalid(&why.join(" "))
        })?;
        // The 30th of February is five good fields.
        let sometime = crontab.find_next("2024-01-01T00:00:00Z");
        sometime.map_err(|_| invalid("such a moment never comes"))?;
        Ok(Self {
            text: whole,
            crontab,
        })
    }

    /// As it was written, with its time zone.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The last moment of the schedule that is not after `now`.
    pub fn last(&self, now: Timestamp) -> Option<Timestamp> {
        SPANS.iter().find_map(|span| {
            let mut from = now.checked_sub(*span).ok()?;
            let mut found = None;
            while let Some(next) = self.next(from).filter(|next| *next <= now) {
                found = Some(next);
                from = next;
            }
            found
        })
    }

    /// The first moment of the schedule after `now`.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let next = self.crontab.find_next(now);
        next.ok().map(|next| next.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::Schedule;
    use crate::api::v1alpha1::Cron;

    fn schedule(cron: &str, zone: Option<&str>) -> Schedule {
        Schedule::parse("verification", &Cron(cron.into()), zone).unwrap()
    }

    fn last(cron: &str, zone: Option<&str>, now: &str) -> String {
        let last = schedule(cron, zone).last(now.parse().unwrap());
        last.unwrap().to_string()
    }

    #[test]
    fn the_last_moment_that_came_counts_also_in_the_very_second() {
        let sunday = "2026-01-04T03:00:00Z";
        for now in [sunday, "2026-01-04T03:00:01Z", "2026-01-11T02:59:59Z"] {
            assert_eq!(last("0 3 * * 0", None, now), sunday, "{now}");
        }
        assert_eq!(
            last("*/5 * * * *", None, "2026-01-04T03:07:00Z"),
            "2026-01-04T03:05:00Z"
        );
        assert_eq!(
            last("0 0 29 2 *", None, "2027-12-31T00:00:00Z"),
            "2024-02-29T00:00:00Z"
        );
    }

    #[test]
    fn a_time_zone_moves_with_its_summer() {
        let berlin = Some("Europe/Berlin");
        assert_eq!(
            last("0 3 * * *", berlin, "2026-01-15T12:00:00Z"),
            "2026-01-15T02:00:00Z"
        );
        assert_eq!(
            last("0 3 * * *", berlin, "2026-07-15T12:00:00Z"),
            "2026-07-15T01:00:00Z"
        );
        // In the night in which 02:30 does not exist something must still come, and once.
        let schedule = schedule("30 2 * * *", berlin);
        let from = "2026-03-28T12:00:00Z".parse().unwrap();
        let next = schedule.next(from).unwrap();
        assert!(next <= "2026-03-30T01:00:00Z".parse().unwrap(), "{next}");
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_path_and_example() {
        for (cron, zone) in [
            ("61 * * * *", None),
            ("* * * *", None),
            ("@daily * * * *", None),
            ("0 3 * * 0", Some("Europe/Atlantis")),
            ("0 0 30 2 *", None),
            ("0 3 * * 0 UTC", None),
        ] {
            let refused = Schedule::parse("verification", &Cron(cron.into()), zone).unwrap_err();
            let text = refused.text();
            for word in ["spec.verification.schedule", cron, "0 3 * * 0"] {
                assert!(text.contains(word), "{word}: {text}");
            }
            assert!(!text.contains('\n'), "{text}");
        }
    }
}
