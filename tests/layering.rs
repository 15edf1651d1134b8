//! The rules of `src/ARCHITECTURE.md` that a compiler does not check.
//!
//! The table of layers is read from that document, so the two cannot part.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ARCHITECTURE: &str = "src/ARCHITECTURE.md";
const LINES_PER_FILE: usize = 600;
const MEDIAN_LINES: usize = 200;

/// Modules of the crate's root that are no layer: the map and the entry.
const ROOT: [&str; 2] = ["lib", "main"];

/// What a pure layer must not name: effects, clocks, chance.
const EFFECTS: [&str; 12] = [
    "async move",
    "async fn",
    "std::fs",
    "TcpStream",
    "std::process",
    "tokio::",
    "kube::Client",
    "kube::runtime",
    "Timestamp::now",
    "SystemTime::now",
    "Instant::now",
    "getrandom",
];

/// Layers whose functions only compute.
const PURE: [&str; 4] = ["api", "evidence", "format", "plan"];

/// Layers that may speak to Kubernetes.
const KUBERNETES: [&str; 2] = ["operator", "cli"];

struct Source {
    /// Path from the root of the repository.
    path: PathBuf,
    layer: String,
    /// The text without comments, strings and tests.
    code: String,
    lines: usize,
}

#[test]
fn no_layer_uses_one_that_its_row_does_not_list() {
    let table = table();
    let mut wrong = Vec::new();
    for source in sources() {
        if ROOT.contains(&source.layer.as_str()) {
            continue;
        }
        let Some(allowed) = table.get(&source.layer) else {
            wrong.push(format!(
                "{}: layer `{}` has no row in {ARCHITECTURE}; add one",
                source.path.display(),
                source.layer
            ));
            continue;
        };
        for used in uses(&source.code) {
            let layer = table.contains_key(&used);
            if layer && used != source.layer && !allowed.contains(&used) {
                wrong.push(format!(
                    "{}: `{}` uses `crate::{used}`, but its row allows only {allowed:?}. Move what is needed \
                     to a layer that both may use, or pass it as an argument",
                    source.path.display(),
                    source.layer
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn pure_layers_name_no_effect() {
    let mut wrong = Vec::new();
    for source in sources() {
        let pure = PURE.contains(&source.layer.as_str());
        let kubernetes = KUBERNETES.contains(&source.layer.as_str());
        for effect in EFFECTS {
            let client = effect.starts_with("kube::");
            if source.code.contains(effect) && (pure || (client && !kubernetes)) {
                wrong.push(format!(
                    "{}: `{effect}` in layer `{}`. Take the value as an argument, or do this in `operator`, \
                     `agent` or `cli`",
                    source.path.display(),
                    source.layer
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_the_kernel_is_unsafe() {
    let wrong: Vec<String> = sources()
        .iter()
        .filter(|source| !source.path.starts_with("src/crypto/kernel"))
        .filter(|source| words(&source.code).any(|word| word == "unsafe"))
        .map(|source| {
            format!(
                "{}: `unsafe` is allowed in src/crypto/kernel only; use the safe interface of a library",
                source.path.display()
            )
        })
        .collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn only_tests_unwrap() {
    let mut wrong = Vec::new();
    for source in sources() {
        for word in [".unwrap()", "panic!(", "todo!(", "unimplemented!("] {
            if source.code.contains(word) {
                wrong.push(format!(
                    "{}: `{word}` outside of a test; return an error, or `expect` with the invariant as text",
                    source.path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_are_small() {
    let mut sizes: Vec<(usize, PathBuf)> = rust_files("src")
        .into_iter()
        .chain(rust_files("tests"))
        .map(|path| (read(&path).lines().count(), path))
        .collect();
    sizes.sort();
    let long: Vec<String> = sizes
        .iter()
        .filter(|(lines, _)| *lines > LINES_PER_FILE)
        .map(|(lines, path)| {
            format!(
                "{}: {lines} lines, allowed are {LINES_PER_FILE}; split it by subject",
                path.display()
            )
        })
        .collect();
    assert!(long.is_empty(), "\n{}", long.join("\n"));

    let mut product: Vec<usize> = sources().iter().map(|source| source.lines).collect();
    product.sort_unstable();
    let median = product[product.len() / 2];
    println!("{} files in src, median {median} lines", product.len());
    assert!(
        median < MEDIAN_LINES,
        "median of {median} lines, wanted below {MEDIAN_LINES}"
    );
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let mut wrong = Vec::new();
    for path in rust_files("src").into_iter().chain(rust_files("tests")) {
        for (number, line) in read(&path).lines().enumerate() {
            if marks
                .iter()
                .any(|mark| words(line).any(|word| word == mark))
            {
                wrong.push(format!(
                    "{}:{}: finish it, or file an issue and say in the text what is not there",
                    path.display(),
                    number + 1
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Layer -> layers that it may use, from the document.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(Path::new(ARCHITECTURE));
    let rows: Vec<Vec<BTreeSet<String>>> = text
        .lines()
        .skip_while(|line| !line.starts_with("| layer |"))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.split('|').skip(1).take(2).map(quoted).collect())
        .collect();
    let all: BTreeSet<String> = rows.iter().flat_map(|row| row[0].clone()).collect();
    assert!(
        all.len() > 5,
        "no table of layers in {ARCHITECTURE}; it begins with `| layer | may use |`"
    );
    let mut table = BTreeMap::new();
    for row in rows {
        for layer in &row[0] {
            let unknown: Vec<_> = row[1].difference(&all).collect();
            assert!(
                unknown.is_empty(),
                "{ARCHITECTURE}: no such layer: {unknown:?}"
            );
            table.insert(layer.clone(), row[1].clone());
        }
    }
    table
}

/// Words between backticks.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// Modules named behind `crate::`, also in groups.
fn uses(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => found.extend(group_heads(group)),
            None => found.extend(words(rest).next().map(str::to_owned)),
        }
    }
    found
}

/// First segments of the paths in `a::b, c::{d, e}}`.
fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 0_usize;
    let mut heads = Vec::new();
    let mut part = String::new();
    for letter in group.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(std::mem::take(&mut part)),
            _ if depth == 0 => part.push(letter),
            _ => {}
        }
    }
    heads.push(part);
    heads
        .iter()
        .filter_map(|path| words(path).next().map(str::to_owned))
        .collect()
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .filter(|word| !word.is_empty())
}

/// What ships: no files of tests.
fn sources() -> Vec<Source> {
    rust_files("src")
        .into_iter()
        .filter(|path| {
            !path
                .iter()
                .any(|part| part == "tests" || part == "tests.rs")
        })
        .map(|path| {
            let text = read(&path);
            Source {
                layer: layer(&path),
                lines: text.lines().count(),
                code: shipped(&text),
                path,
            }
        })
        .collect()
}

fn layer(path: &Path) -> String {
    let name = path
        .iter()
        .nth(1)
        .expect("a path below src")
        .to_string_lossy();
    name.trim_end_matches(".rs").to_owned()
}

/// The text without items for tests, comments and string contents.
fn shipped(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            // Formatted code: the item ends where a line closes it at the margin.
            lines.find(|line| line.ends_with(';') && !line.starts_with(' ') || *line == "}");
            continue;
        }
        code.push_str(&without_strings(line));
        code.push('\n');
    }
    code
}

/// A line without its comment and without what is in its strings.
fn without_strings(line: &str) -> String {
    let mut code = String::new();
    let mut quoted = false;
    let mut escaped = false;
    let mut before = ' ';
    for letter in line.chars() {
        if quoted {
            quoted = letter != '"' || escaped;
            escaped = letter == '\\' && !escaped;
            continue;
        }
        if letter == '/' && before == '/' {
            code.pop();
            break;
        }
        quoted = letter == '"' && before != '\'';
        escaped = false;
        code.push(letter);
        before = letter;
    }
    code
}

fn rust_files(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![PathBuf::from(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("the tests run in the root of the repository")
        {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
