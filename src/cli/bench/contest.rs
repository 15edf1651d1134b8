//! Contestants take turns; medians count.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Output;
use super::scratch::Took;

/// Somebody who can do the work.
pub struct Contestant<'a> {
    /// Name in the table.
    pub name: &'static str,
    /// True for this program, whose ratios to all others are of interest.
    pub ours: bool,
    /// Bytes of the store that it works on.
    pub bytes: u64,
    /// One turn.
    pub turn: Box<dyn FnMut() -> Result<Took, String> + 'a>,
}

/// What came out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Which measurement.
    pub bench: &'static str,
    /// Files of the store.
    pub files: u64,
    /// Bytes of the store.
    pub bytes: u64,
    /// Turns of each.
    pub rounds: u32,
    /// In order of the table.
    pub results: Vec<Line>,
    /// Who could not take part, and why.
    pub not_run: BTreeMap<&'static str, String>,
}

/// One contestant's medians.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Name.
    pub name: Cow<'static, str>,
    /// 10^9 bytes of the store a second.
    pub gb_per_second: f64,
    /// Time that passed; `None` where only processors work, whose time is what counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Time on processors.
    pub cpu_seconds: f64,
    /// Speed in terms of each other contestant's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ratio_to: BTreeMap<&'static str, f64>,
    /// Time on processors a byte in terms of each other contestant's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub cpu_ratio_to: BTreeMap<&'static str, f64>,
}

/// Lets everybody have `rounds` turns, in changing order.
pub fn hold(contestants: &mut [Contestant<'_>], rounds: u32) -> Result<Vec<Line>, String> {
    let mut turns: Vec<Vec<Took>> = contestants.iter().map(|_| Vec::new()).collect();
    let count = contestants.len();
    for round in 0..rounds as usize {
        for turn in 0..count {
            let at = (turn + round) % count;
            let contestant = &mut contestants[at];
            eprintln!("round {} of {rounds}: {}", round + 1, contestant.name);
            turns[at].push((contestant.turn)()?);
        }
    }
    let medians: Vec<(f64, f64)> = turns
        .iter()
        .map(|turns| {
            (
                median(turns.iter().map(|took| took.wall)),
                median(turns.iter().map(|took| took.cpu)),
            )
        })
        .collect();
    let per_gb = |at: usize| {
        let gigabytes = gigabytes(contestants[at].bytes);
        (medians[at].0 / gigabytes, medians[at].1 / gigabytes)
    };
    Ok((0..count)
        .map(|at| {
            let others =
                || (0..count).filter(|other| contestants[at].ours && !contestants[*other].ours);
            Line {
                name: contestants[at].name.into(),
                gb_per_second: 1.0 / per_gb(at).0,
                seconds: Some(medians[at].0),
                cpu_seconds: medians[at].1,
                ratio_to: others()
                    .map(|other| (contestants[other].name, per_gb(other).0 / per_gb(at).0))
                    .collect(),
                cpu_ratio_to: others()
                    .map(|other| (contestants[other].name, per_gb(at).1 / per_gb(other).1))
                    .collect(),
            }
        })
        .collect())
}

fn median(times: impl Iterator<Item = Duration>) -> f64 {
    // Some clocks go in steps of 10 ms; nothing takes no time.
    middle(times.map(|time| time.as_secs_f64()).collect()).max(0.005)
}

/// The median.
pub fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn gigabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e9
}

impl Report {
    /// Prints it.
    pub fn print(&self, output: Output) -> Result<(), String> {
        if output == Output::Json {
            let text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
            println!("{text}");
            return Ok(());
        }
        if self.files == 0 {
            println!(
                "one thread, by the time that it was on a processor; medians of {} rounds; CPU S for 1 GB",
                self.rounds
            );
        } else {
            println!(
                "{} files, {:.2} GB; medians of {} rounds; nothing cached at the beginning, everything durable at the end",
                self.files,
                gigabytes(self.bytes),
                self.rounds
            );
        }
        let names = self.results.iter().map(|line| line.name.len());
        let width = names.max().unwrap_or(0);
        let heads = ["", "GB/S", "SECONDS", "CPU S"];
        println!(
            "{:<width$} {:>7} {:>9} {:>9}  SPEED{} IN TERMS OF THE OTHERS",
            heads[0],
            heads[1],
            heads[2],
            heads[3],
            if self.files == 0 { "" } else { " (PROCESSOR)" }
        );
        for line in &self.results {
            let ratios: Vec<String> = line
                .ratio_to
                .iter()
                .map(|(name, ratio)| match line.cpu_ratio_to.get(name) {
                    Some(cpu) => format!("{ratio:.2} ({cpu:.2}) {name}"),
                    None => format!("{ratio:.2} {name}"),
                })
                .collect();
            println!(
                "{:<width$} {:>7.2} {:>9} {:>9.2}  {}",
                line.name,
                line.gb_per_second,
                line.seconds
                    .map_or_else(String::new, |seconds| format!("{seconds:.2}")),
                line.cpu_seconds,
                ratios.join(", ")
            );
        }
        for (name, why) in &self.not_run {
            println!("{name:<width$} not run: {why}");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Contestant, hold};
    use crate::cli::bench::scratch::Took;

    #[test]
    fn medians_and_ratios_are_by_byte() {
        let taking = |name, ours, bytes, seconds: [u64; 3]| {
            let mut seconds = seconds.into_iter();
            Contestant {
                name,
                ours,
                bytes,
                turn: Box::new(move || {
                    let wall = Duration::from_secs(seconds.next().unwrap());
                    Ok(Took {
                        wall,
                        cpu: wall / 2,
                    })
                }),
            }
        };
        let mut contestants = [
            taking("this", true, 4_000_000_000, [9, 2, 1]),
            taking("other", false, 1_000_000_000, [1, 1, 5]),
        ];
        let lines = hold(&mut contestants, 3).unwrap();
        assert!((lines[0].gb_per_second - 2.0).abs() < 1e-9);
        assert!((lines[0].cpu_seconds - 1.0).abs() < 1e-9);
        assert!((lines[0].ratio_to["other"] - 2.0).abs() < 1e-9);
        assert!((lines[0].cpu_ratio_to["other"] - 0.5).abs() < 1e-9);
        assert!(lines[1].ratio_to.is_empty());
    }
}
