//! A report as one HTML page without scripts or other files, made to be printed.

use std::fmt::Write as _;

use super::Report;
use super::document::{Block, document};

const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Security of a TiKV cluster</title>
<style>
@page { size: A4; margin: 15mm; }
body { font: 10pt/1.4 sans-serif; color: #111; max-width: 70em; margin: auto; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1em; }
th, td { border: 1px solid #bbb; padding: 3px 6px; text-align: left; vertical-align: top; overflow-wrap: anywhere; }
tr { break-inside: avoid; }
h2 { break-after: avoid; }
</style>
</head>
<body>
"#;

/// The report as a page.
pub fn html(report: &Report) -> String {
    let mut text = HEAD.to_owned();
    for block in document(report) {
        // Writing to a string does not fail.
        let _ = match block {
            Block::Heading(level, words) => {
                writeln!(text, "<h{level}>{}</h{level}>", escaped(&words))
            }
            Block::Text(words) => writeln!(text, "<p>{}</p>", escaped(&words)),
            Block::Table(head, rows) => {
                text.push_str("<table>\n");
                if head.iter().any(|cell| !cell.is_empty()) {
                    row(&mut text, "th", head.iter().copied());
                }
                for cells in &rows {
                    row(&mut text, "td", cells.iter().map(String::as_str));
                }
                writeln!(text, "</table>")
            }
        };
    }
    text.push_str("</body>\n</html>\n");
    text
}

fn row<'a>(text: &mut String, tag: &str, cells: impl Iterator<Item = &'a str>) {
    text.push_str("<tr>");
    for cell in cells {
        let _ = write!(text, "<{tag}>{}</{tag}>", escaped(cell));
    }
    text.push_str("</tr>\n");
}

/// Messages can hold anything.
fn escaped(words: &str) -> String {
    let mut text = String::with_capacity(words.len());
    for one in words.chars() {
        match one {
            '&' => text.push_str("&amp;"),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '"' => text.push_str("&quot;"),
            _ => text.push(one),
        }
    }
    text
}
