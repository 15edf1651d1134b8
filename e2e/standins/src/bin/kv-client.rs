//! Writes rows and reads them again and again, and tells what it saw. See e2e/README.md, "The client".

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tikv_security_standins::net::client::Client;
use tikv_security_standins::net::tls::Files;
use tikv_security_standins::options::Options;
use tikv_security_standins::route::{Place, Route};
use tikv_security_standins::rows::codec::{decode, encode};
use tikv_security_standins::store::dictionary::replace;
use tikv_security_standins::wire::errors::Error;
use tikv_security_standins::wire::kv::{KvPair, ScanRequest, ScanResponse};
use tikv_security_standins::wire::raw::{
    RawBatchGetRequest, RawBatchPutRequest, RawDone, RawPairs,
};
use tikv_security_standins::{Result, log};

const PAUSE: Duration = Duration::from_millis(200);
// How many of the rows are overwritten in each pass.
const OVERWRITE_EVERY: usize = 10;
// Rows in one request, and the rest after it: the servers need the processors too.
const BATCH: usize = 64;
const REST: Duration = Duration::from_millis(10);
// TiKV reserves memory for as many rows as a scan asks for.
const PAGE: u32 = 256;

#[derive(Clone, Default, Serialize)]
struct Report {
    rows: usize,
    requests: u64,
    failed: u64,
    lost: u64,
    wrong: u64,
    verifications: u64,
    // Rows that lay in the stores before, as the last pass found them.
    stored: usize,
}

struct Run {
    endpoints: Vec<String>,
    files: Files,
    secure: bool,
    client: Client,
    route: Option<Route>,
    report: Report,
    report_file: String,
    told: Instant,
    // Values that a row may have: the last acknowledged one, and such with an unknown outcome.
    expected: BTreeMap<String, Vec<String>>,
    // Prefixes of rows that lay in the stores before, how many there are of each, and how their values begin.
    stored: Vec<(String, usize)>,
    marker: String,
}

// Why a request failed.
enum Failure {
    // Nobody answered as hoped: perhaps the cluster speaks TLS by now.
    Unreachable(String),
    // A store answered that it is not its row, or not now.
    Refused(String),
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self::Unreachable(error)
    }
}

type Attempt<T> = std::result::Result<T, Failure>;
type Row = (String, String);

#[tokio::main]
async fn main() {
    if let Err(error) = run().await {
        log(&format!("[FATAL] {error}"));
        std::process::exit(1);
    }
}

async fn run() -> Result<()> {
    let options = Options::read()?;
    let get =
        |name: &str, default: &str| options.get(name, "").unwrap_or_else(|| default.to_owned());
    let directory = get("tls", "/var/lib/client-tls");
    let file = |name: &str| format!("{directory}/{name}");
    let rows: usize = get("rows", "1000")
        .parse()
        .map_err(|e| format!("--rows: {e}"))?;
    let prefix = get("value-prefix", "value-");
    let stored = get("stored", "");
    let stored = stored.split(',').filter_map(|one| one.split_once(':'));
    let mut run = Run {
        endpoints: get("pd", "127.0.0.1:2379")
            .split(',')
            .map(str::to_owned)
            .collect(),
        files: Files {
            ca: file("ca.crt"),
            cert: file("tls.crt"),
            key: file("tls.key"),
        },
        secure: false,
        client: Client::fresh(None),
        route: None,
        report: Report::default(),
        report_file: get("report", "/tmp/report.json"),
        told: Instant::now(),
        expected: BTreeMap::new(),
        stored: stored
            .filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?)))
            .collect(),
        marker: prefix.clone(),
    };
    let batches = || {
        (0..rows)
            .step_by(BATCH)
            .map(|from| from..rows.min(from + BATCH))
    };
    for batch in batches() {
        let rows: Vec<Row> = batch.map(|number| row(&prefix, number, 0)).collect();
        run.write(&rows).await;
    }
    for pass in 1.. {
        for batch in batches() {
            let keys: Vec<String> = batch.clone().map(key).collect();
            run.check(&keys).await;
            let turn = |number: &usize| number % OVERWRITE_EVERY == pass % OVERWRITE_EVERY;
            let changed: Vec<Row> = batch.filter(turn).map(|n| row(&prefix, n, pass)).collect();
            run.write(&changed).await;
            tokio::time::sleep(REST).await;
        }
        run.check_stored().await;
        run.report.verifications += 1;
    }
    Ok(())
}

impl Run {
    // Until all are acknowledged. What failed may have happened all the same.
    async fn write(&mut self, mut rows: &[Row]) {
        for (key, value) in rows {
            let expected = self.expected.entry(key.clone()).or_default();
            expected.push(value.clone());
        }
        while !rows.is_empty() {
            let done = self.put(rows).await;
            let Some(count) = self.counted(done).await else {
                continue;
            };
            for (key, value) in &rows[..count] {
                self.expected.insert(key.clone(), vec![value.clone()]);
            }
            rows = &rows[count..];
        }
        self.report.rows = self.expected.len();
    }

    async fn check(&mut self, mut keys: &[String]) {
        while !keys.is_empty() {
            let done = self.get(keys).await;
            let Some(found) = self.counted(done).await else {
                continue;
            };
            for (key, value) in keys.iter().zip(&found) {
                self.judge(key, value.as_ref());
            }
            keys = &keys[found.len()..];
        }
    }

    fn judge(&mut self, key: &str, found: Option<&String>) {
        let expected = self
            .expected
            .get(key)
            .map(Vec::as_slice)
            .unwrap_or_default();
        match found {
            None => {
                self.report.lost += 1;
                log(&format!("LOST {key}"));
            }
            Some(value) if !expected.contains(value) => {
                log(&format!("WRONG {key}: {value}, expected {expected:?}"));
                self.report.wrong += 1;
            }
            Some(_) => {}
        }
    }

    // Rows that others wrote in transactions.
    async fn check_stored(&mut self) {
        let mut total = 0;
        for (name, expected) in self.stored.clone() {
            let (mut found, mut from, end) = (0, name.clone().into_bytes(), format!("{name}:"));
            loop {
                let done = self.scan(&from, end.as_bytes()).await;
                let Some((pairs, next)) = self.counted(done).await else {
                    continue;
                };
                let good = |pair: &&KvPair| pair.value.starts_with(self.marker.as_bytes());
                found += pairs.iter().filter(good).count();
                match next {
                    Some(next) => from = next,
                    None => break,
                }
            }
            if found < expected {
                self.report.lost += (expected - found) as u64;
                log(&format!("LOST {} rows {name}…", expected - found));
            }
            total += found;
        }
        self.report.stored = total;
    }

    // Writes the first rows, as many as lie in one region, and answers how many they are.
    async fn put(&mut self, rows: &[Row]) -> Attempt<usize> {
        let first = rows.first().map_or("", |(key, _)| key);
        let place = self.place(first.as_bytes()).await?;
        let count = place.share(rows.iter().map(|(key, _)| key.as_bytes()));
        let pairs = rows[..count].iter().map(|(key, value)| KvPair {
            error: None,
            key: key.as_bytes().to_vec(),
            value: value.as_bytes().to_vec(),
        });
        let request = RawBatchPutRequest {
            context: Some(place.context),
            pairs: pairs.collect(),
            cf: String::new(),
        };
        let path = "/tikvpb.Tikv/RawBatchPut";
        let answer: RawDone = self.client.grpc(&place.address, path, &request).await?;
        good(answer.region_error.as_ref(), &answer.error)?;
        Ok(count)
    }

    // The values of the first keys, as many as lie in one region.
    async fn get(&mut self, keys: &[String]) -> Attempt<Vec<Option<String>>> {
        let first = keys.first().map_or("", String::as_str);
        let place = self.place(first.as_bytes()).await?;
        let asked = &keys[..place.share(keys.iter().map(String::as_bytes))];
        let request = RawBatchGetRequest {
            context: Some(place.context),
            keys: asked.iter().map(|key| key.as_bytes().to_vec()).collect(),
            cf: String::new(),
        };
        let path = "/tikvpb.Tikv/RawBatchGet";
        let answer: RawPairs = self.client.grpc(&place.address, path, &request).await?;
        let failed = answer.pairs.iter().find_map(|pair| pair.error.as_ref());
        let failed = failed.map(|error| format!("{error:?}")).unwrap_or_default();
        good(answer.region_error.as_ref(), &failed)?;
        // Rows that are not there are left out.
        let pairs = answer.pairs.into_iter();
        let mut found: BTreeMap<_, _> = pairs.map(|pair| (pair.key, pair.value)).collect();
        let mut value = |key: &String| found.remove(key.as_bytes());
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(asked.iter().map(|key| value(key).map(text)).collect())
    }

    // A page of the rows of one region, and where to go on.
    async fn scan(&mut self, from: &[u8], end: &[u8]) -> Attempt<(Vec<KvPair>, Option<Vec<u8>>)> {
        let place = self.place(&encode(from)).await?;
        let request = ScanRequest {
            context: Some(place.context),
            start_key: from.to_vec(),
            end_key: end.to_vec(),
            limit: PAGE,
            version: u64::MAX,
            ..ScanRequest::default()
        };
        let path = "/tikvpb.Tikv/KvScan";
        let answer: ScanResponse = self.client.grpc(&place.address, path, &request).await?;
        let failed = answer.pairs.iter().find_map(|pair| pair.error.as_ref());
        let failed = answer.error.as_ref().or(failed);
        let failed = failed.map(|error| format!("{error:?}")).unwrap_or_default();
        good(answer.region_error.as_ref(), &failed)?;
        let next = match answer.pairs.last() {
            Some(last) if answer.pairs.len() == PAGE as usize => {
                Some([&last.key[..], &[0]].concat())
            }
            _ if place.end.is_empty() => None,
            _ => Some(decode(&place.end)?.0),
        };
        Ok((answer.pairs, next.filter(|next| next.as_slice() < end)))
    }

    // What failed is counted, and looked for elsewhere after a pause.
    async fn counted<T>(&mut self, done: Attempt<T>) -> Option<T> {
        self.report.requests += 1;
        self.tell();
        match done {
            Ok(answer) => Some(answer),
            Err(failure) => {
                self.report.failed += 1;
                let (Failure::Unreachable(error) | Failure::Refused(error)) = &failure;
                if self.report.failed.is_power_of_two() {
                    log(&format!(
                        "request {} failed ({} so far): {error}",
                        self.report.requests, self.report.failed
                    ));
                }
                self.route = None;
                if matches!(failure, Failure::Unreachable(_)) {
                    self.choose_scheme();
                }
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    async fn place(&mut self, key: &[u8]) -> Result<Place> {
        if self.route.is_none() {
            self.route = Some(Route::find(&self.client, &self.endpoints).await?);
        }
        let route = self.route.as_ref().ok_or("no region is known")?;
        route.place(key)
    }

    // The cluster changes from plaintext to TLS while we run: after a failure the other way is tried when it is possible.
    fn choose_scheme(&mut self) {
        let possible = Path::new(&self.files.cert).exists();
        self.secure = possible && !self.secure;
        self.client = Client::fresh(self.secure.then(|| self.files.clone()));
    }

    fn tell(&mut self) {
        if self.told.elapsed() > Duration::from_secs(1) {
            self.told = Instant::now();
            let bytes = serde_json::to_vec(&self.report).unwrap_or_default();
            if let Err(error) = replace(Path::new(&self.report_file), &bytes) {
                log(&error);
            }
        }
    }
}

fn good(region: Option<&Error>, error: &str) -> Attempt<()> {
    match region {
        Some(region) => Err(Failure::Refused(region.message.clone())),
        None if error.is_empty() => Ok(()),
        None => Err(Failure::Refused(error.to_owned())),
    }
}

fn row(prefix: &str, number: usize, pass: usize) -> Row {
    (key(number), value(prefix, number, pass))
}

// They differ in their first eight bytes, so that they lie in several regions.
fn key(number: usize) -> String {
    format!("row-{number:06}")
}

// Long enough to be worth encrypting, and different for each row and pass.
fn value(prefix: &str, number: usize, pass: usize) -> String {
    format!("{prefix}{number:08}-{pass:08}-{}", "abcdefghij".repeat(10))
}
