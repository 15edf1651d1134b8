//! What is printed: documents for machines, tables for people. Never a key.

use clap::ValueEnum;
use jiff::Timestamp;
use serde::Serialize;

use crate::agent::error::StoreError;
use crate::api::report::{Finding, Severity};

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Table,
    /// One JSON document
    Json,
    /// One YAML document
    Yaml,
}

/// Prints a document for machines.
pub fn document(output: Output, document: &impl Serialize) -> Result<(), StoreError> {
    let text = match output {
        Output::Yaml => serde_yaml_ng::to_string(document).map_err(|error| error.to_string()),
        Output::Json | Output::Table => serde_json::to_string_pretty(document)
            .map(|text| text + "\n")
            .map_err(|error| error.to_string()),
    };
    print!("{}", text.map_err(StoreError::Config)?);
    Ok(())
}

/// A failure as a document, so that whoever parses standard output gets one in any case.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    code: &'a str,
    message: String,
    remedy: String,
    exit_code: u8,
}

/// Tells a failure: people read standard error, machines standard output.
pub fn failure(output: Output, error: &StoreError, exit_code: u8) {
    eprintln!("error: {error}");
    eprintln!("  next: {}", error.remedy());
    if output != Output::Table {
        let failure = Failure {
            code: error.code(),
            message: error.to_string(),
            remedy: error.remedy(),
            exit_code,
        };
        // There is nobody left to tell a second failure to.
        let _ = document(output, &serde_json::json!({ "error": failure }));
    }
}

/// Columns of equal width; those in `right` are aligned to the right, the last one is not padded.
pub fn table(head: &[&str], rows: &[Vec<String>], right: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max();
        widest.unwrap_or(0).max(head[column].len())
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().enumerate().map(|(column, cell)| {
            if right.contains(&column) {
                format!("{cell:>width$}", width = widths[column])
            } else {
                format!("{cell:<width$}", width = widths[column])
            }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(head.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

/// Prints findings for people, the worst first.
pub fn findings(findings: &[Finding]) -> String {
    findings.iter().fold(String::new(), |text, finding| {
        let severity = match finding.severity {
            Severity::Error => "ERROR",
            Severity::Warning => "warning",
            Severity::Info => "note",
        };
        text + &format!(
            "{severity}: {}\n  next: {}\n",
            finding.message, finding.remedy
        )
    })
}

/// Bytes as people read them.
pub fn human(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A time span as people read it: its largest two units.
pub fn span(seconds: u64) -> String {
    let parts = [
        (seconds / 86400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
    let shown = parts[first..].iter().take(2);
    let shown = shown.filter(|(count, unit)| *count > 0 || *unit == "s" && seconds == 0);
    shown
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect::<Vec<_>>()
        .join(" ")
}

/// Seconds since `then`; none for a moment that is still to come.
pub fn age(now: Timestamp, then: Option<Timestamp>) -> Option<u64> {
    u64::try_from(now.as_second() - then?.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::{span, table};

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["aes".to_owned(), "7".to_owned(), "x".to_owned()]];
        assert_eq!(
            table(&["METHOD", "FILES", "PATH"], &rows, &[1]),
            "METHOD  FILES  PATH\naes         7  x\n"
        );
    }

    #[test]
    fn spans_are_short() {
        assert_eq!(span(0), "0s");
        assert_eq!(span(61), "1m 1s");
        assert_eq!(span(3 * 86400 + 7200 + 59), "3d 2h");
    }
}
