//! A report in Markdown.

use std::fmt::Write as _;

use super::Report;
use super::document::{Block, document};

/// The report in Markdown.
pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    for block in document(report) {
        // Writing to a string does not fail.
        let _ = match block {
            Block::Heading(level, words) => {
                writeln!(text, "{} {}\n", "#".repeat(level.into()), escaped(&words))
            }
            Block::Text(words) => writeln!(text, "{}\n", escaped(&words)),
            Block::Table(head, rows) => {
                line(&mut text, head.iter().map(|cell| (*cell).to_owned()));
                line(&mut text, head.iter().map(|_| "---".to_owned()));
                for row in rows {
                    line(&mut text, row.iter().map(|cell| escaped(cell)));
                }
                writeln!(text)
            }
        };
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn line(text: &mut String, cells: impl Iterator<Item = String>) {
    text.push('|');
    for cell in cells {
        let _ = write!(text, " {cell} |");
    }
    text.push('\n');
}

/// Messages can hold anything; none may end a cell or begin a tag.
fn escaped(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for one in words.chars() {
        match one {
            '|' | '<' | '>' | '`' | '*' | '[' | ']' | '\\' => {
                text.push('\\');
                text.push(one);
            }
            '\n' | '\r' => text.push(' '),
            _ => text.push(one),
        }
    }
    text
}
