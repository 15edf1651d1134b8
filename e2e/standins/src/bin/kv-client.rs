//! Writes rows and reads them again and again, and tells what it saw. See e2e/README.md, "The client".

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tikv_security_standins::net::client::Client;
use tikv_security_standins::net::tls::Files;
use tikv_security_standins::options::Options;
use tikv_security_standins::rows::codec::{decode, encode};
use tikv_security_standins::store::dictionary::replace;
use tikv_security_standins::wire::errors::Error;
use tikv_security_standins::wire::kv::{Context, KvPair, ScanRequest, ScanResponse};
use tikv_security_standins::wire::pd::{
    GetAllStoresResponse, GetMembersResponse, HeaderOnly, LedRegion, ScanRegionsRequest,
    ScanRegionsResponse,
};
use tikv_security_standins::wire::raw::{RawDone, RawGetRequest, RawGetResponse, RawPutRequest};
use tikv_security_standins::wire::region::{Peer, Region};
use tikv_security_standins::{Result, log};

const PAUSE: Duration = Duration::from_millis(200);
// How many of the rows are overwritten in each pass.
const OVERWRITE_EVERY: usize = 10;

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

// Where regions are led.
struct Route {
    regions: Vec<LedRegion>,
    stores: BTreeMap<u64, String>,
}

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
    for number in 0..rows {
        run.write(&key(number), &value(&prefix, number, 0)).await;
    }
    for pass in 1.. {
        for number in 0..rows {
            run.check(&key(number)).await;
            if number % OVERWRITE_EVERY == pass % OVERWRITE_EVERY {
                run.write(&key(number), &value(&prefix, number, pass)).await;
            }
        }
        run.check_stored().await;
        run.report.verifications += 1;
    }
    Ok(())
}

impl Run {
    // Until it is acknowledged. What failed may have happened all the same.
    async fn write(&mut self, key: &str, value: &str) {
        self.expected
            .entry(key.to_owned())
            .or_default()
            .push(value.to_owned());
        loop {
            let done = self.put(key, value).await;
            if self.counted(done).await.is_some() {
                break;
            }
        }
        self.expected.insert(key.to_owned(), vec![value.to_owned()]);
        self.report.rows = self.expected.len();
    }

    async fn check(&mut self, key: &str) {
        let found = loop {
            let done = self.get(key).await;
            if let Some(found) = self.counted(done).await {
                break found;
            }
        };
        let expected = self.expected.get(key).cloned().unwrap_or_default();
        match found {
            None => {
                self.report.lost += 1;
                log(&format!("LOST {key}"));
            }
            Some(value) if !expected.contains(&value) => {
                self.report.wrong += 1;
                log(&format!("WRONG {key}: {value}, expected {expected:?}"));
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

    async fn put(&mut self, key: &str, value: &str) -> Result<()> {
        let (address, context) = self.place(key.as_bytes()).await?;
        let (key, value) = (key.as_bytes().to_vec(), value.as_bytes().to_vec());
        let request = RawPutRequest {
            context: Some(context),
            key,
            value,
            cf: String::new(),
        };
        let answer: RawDone = self
            .client
            .grpc(&address, "/tikvpb.Tikv/RawPut", &request)
            .await?;
        good(answer.region_error.as_ref(), &answer.error)
    }

    async fn get(&mut self, key: &str) -> Result<Option<String>> {
        let (address, context) = self.place(key.as_bytes()).await?;
        let request = RawGetRequest {
            context: Some(context),
            key: key.as_bytes().to_vec(),
            cf: String::new(),
        };
        let answer: RawGetResponse = self
            .client
            .grpc(&address, "/tikvpb.Tikv/RawGet", &request)
            .await?;
        good(answer.region_error.as_ref(), &answer.error)?;
        Ok((!answer.not_found).then(|| String::from_utf8_lossy(&answer.value).into_owned()))
    }

    // The rows of one region, and where to go on.
    async fn scan(&mut self, from: &[u8], end: &[u8]) -> Result<(Vec<KvPair>, Option<Vec<u8>>)> {
        let (address, context) = self.place(&encode(from)).await?;
        let border = self
            .region(&encode(from))
            .map(|(region, _)| region.end_key.clone())
            .unwrap_or_default();
        let request = ScanRequest {
            context: Some(context),
            start_key: from.to_vec(),
            end_key: end.to_vec(),
            limit: u32::MAX,
            version: u64::MAX,
            ..ScanRequest::default()
        };
        let answer: ScanResponse = self
            .client
            .grpc(&address, "/tikvpb.Tikv/KvScan", &request)
            .await?;
        let error = answer
            .error
            .as_ref()
            .or_else(|| answer.pairs.iter().find_map(|pair| pair.error.as_ref()));
        good(
            answer.region_error.as_ref(),
            &error.map(|error| format!("{error:?}")).unwrap_or_default(),
        )?;
        let next = if border.is_empty() {
            None
        } else {
            Some(decode(&border)?.0)
        };
        Ok((answer.pairs, next.filter(|next| next.as_slice() < end)))
    }

    // What failed is counted, and looked for elsewhere after a pause.
    async fn counted<T>(&mut self, done: Result<T>) -> Option<T> {
        self.report.requests += 1;
        self.tell();
        match done {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.report.failed += 1;
                if self.report.failed.is_power_of_two() {
                    log(&format!(
                        "request {} failed ({} so far): {error}",
                        self.report.requests, self.report.failed
                    ));
                }
                self.route = None;
                self.choose_scheme();
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    async fn place(&mut self, key: &[u8]) -> Result<(String, Context)> {
        if self.route.is_none() {
            self.route = Some(self.find_route().await?);
        }
        let stores = self
            .route
            .as_ref()
            .map(|route| route.stores.clone())
            .unwrap_or_default();
        let (region, leader) = self.region(key).ok_or("the region has no leader")?;
        let context = Context {
            region_id: region.id,
            region_epoch: region.region_epoch,
            peer: Some(leader),
            term: 0,
        };
        let address = stores
            .get(&leader.store_id)
            .cloned()
            .ok_or("the leader's store is unknown")?;
        Ok((address, context))
    }

    fn region(&self, key: &[u8]) -> Option<(&Region, Peer)> {
        let regions = self.route.as_ref()?.regions.iter();
        let mut regions = regions.filter_map(|one| Some((one.region.as_ref()?, one.leader?)));
        regions.find(|(region, _)| {
            key >= region.start_key.as_slice()
                && (region.end_key.is_empty() || key < region.end_key.as_slice())
        })
    }

    async fn find_route(&self) -> Result<Route> {
        let mut problem = String::new();
        for endpoint in &self.endpoints {
            match self.ask(endpoint).await {
                Ok(route) => return Ok(route),
                Err(error) => problem = error,
            }
        }
        Err(problem)
    }

    async fn ask(&self, endpoint: &str) -> Result<Route> {
        let any = HeaderOnly::default();
        let members: GetMembersResponse = self
            .client
            .grpc(endpoint, "/pdpb.PD/GetMembers", &any)
            .await?;
        let leader = members
            .leader
            .and_then(|leader| leader.client_urls.first().cloned())
            .ok_or("PD has no leader")?;
        let leader = leader.rsplit('/').next().unwrap_or_default();
        let request = ScanRegionsRequest::default();
        let regions: ScanRegionsResponse = self
            .client
            .grpc(leader, "/pdpb.PD/ScanRegions", &request)
            .await?;
        let stores: GetAllStoresResponse = self
            .client
            .grpc(leader, "/pdpb.PD/GetAllStores", &any)
            .await?;
        let stores = stores
            .stores
            .into_iter()
            .map(|store| (store.id, store.address))
            .collect();
        Ok(Route {
            regions: regions.regions,
            stores,
        })
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

fn good(region: Option<&Error>, error: &str) -> Result<()> {
    match region {
        Some(region) => Err(region.message.clone()),
        None if error.is_empty() => Ok(()),
        None => Err(error.to_owned()),
    }
}

// They differ in their first eight bytes, so that they lie in several regions.
fn key(number: usize) -> String {
    format!("row-{number:06}")
}

// Long enough to be worth encrypting, and different for each row and pass.
fn value(prefix: &str, number: usize, pass: usize) -> String {
    format!("{prefix}{number:08}-{pass:08}-{}", "abcdefghij".repeat(10))
}
