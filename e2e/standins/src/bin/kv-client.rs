//! Writes rows and reads them again and again, and tells what it saw. See e2e/README.md, "The client".

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tikv_security_standins::net::client::Client;
use tikv_security_standins::net::tls::Files;
use tikv_security_standins::options::Options;
use tikv_security_standins::pd::state::Appointments;
use tikv_security_standins::store::dictionary::replace;
use tikv_security_standins::store::service::{Answer, Ask};
use tikv_security_standins::{Result, log, region_of};

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
}

struct Run {
    endpoints: Vec<String>,
    files: Files,
    secure: bool,
    client: Client,
    route: Option<Appointments>,
    report: Report,
    report_file: String,
    told: Instant,
    // Values that a row may have: the last acknowledged one, and such with an unknown outcome.
    expected: BTreeMap<String, Vec<String>>,
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
    let get = |name: &str, default: &str| options.get(name, "").unwrap_or_else(|| default.to_owned());
    let directory = get("tls", "/var/lib/client-tls");
    let file = |name: &str| format!("{directory}/{name}");
    let rows: usize = get("rows", "1000").parse().map_err(|e| format!("--rows: {e}"))?;
    let prefix = get("value-prefix", "value-");
    let mut run = Run {
        endpoints: get("pd", "127.0.0.1:2379").split(',').map(str::to_owned).collect(),
        files: Files { ca: file("ca.crt"), cert: file("tls.crt"), key: file("tls.key") },
        secure: false,
        client: Client::new(None),
        route: None,
        report: Report::default(),
        report_file: get("report", "/tmp/report.json"),
        told: Instant::now(),
        expected: BTreeMap::new(),
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
        run.report.verifications += 1;
    }
    Ok(())
}

impl Run {
    // Until it is acknowledged. What failed may have happened all the same.
    async fn write(&mut self, key: &str, value: &str) {
        self.expected.entry(key.to_owned()).or_default().push(value.to_owned());
        while self.call(key, &Ask::Put { key: key.to_owned(), value: value.to_owned() }).await.is_none() {}
        self.expected.insert(key.to_owned(), vec![value.to_owned()]);
        self.report.rows = self.expected.len();
    }

    async fn check(&mut self, key: &str) {
        let answer = loop {
            if let Some(answer) = self.call(key, &Ask::Get { key: key.to_owned() }).await {
                break answer;
            }
        };
        let expected = self.expected.get(key).cloned().unwrap_or_default();
        match answer.value {
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

    async fn call(&mut self, key: &str, ask: &Ask) -> Option<Answer> {
        self.report.requests += 1;
        let outcome = match self.leader(key).await {
            Ok(address) => self.client.grpc(&address, "Ask", ask).await,
            Err(error) => Err(error),
        };
        self.tell();
        match outcome {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.report.failed += 1;
                if self.report.failed.is_power_of_two() {
                    log(&format!("request {} failed ({} so far): {error}", self.report.requests, self.report.failed));
                }
                self.route = None;
                self.choose_scheme();
                tokio::time::sleep(PAUSE).await;
                None
            }
        }
    }

    async fn leader(&mut self, key: &str) -> Result<String> {
        if self.route.is_none() {
            let mut problem = String::new();
            for endpoint in &self.endpoints {
                match self.client.json(endpoint, "/standin/regions", &()).await {
                    Ok(route) => {
                        self.route = Some(route);
                        break;
                    }
                    Err(error) => problem = error,
                }
            }
            if self.route.is_none() {
                return Err(problem);
            }
        }
        let route = self.route.as_ref().ok_or("no route")?;
        let leader = route.regions.get(region_of(key)).map_or(0, |region| region.leader);
        route.stores.get(&leader).cloned().ok_or_else(|| "the region has no leader".to_owned())
    }

    // The cluster changes from plaintext to TLS while we run: after a failure the other way is tried when it is possible.
    fn choose_scheme(&mut self) {
        let possible = Path::new(&self.files.cert).exists();
        self.secure = possible && !self.secure;
        self.client = Client::new(self.secure.then(|| self.files.clone()));
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

fn key(number: usize) -> String {
    format!("demo/row-{number:08}")
}

// Long enough to be worth encrypting, and different for each row and pass.
fn value(prefix: &str, number: usize, pass: usize) -> String {
    format!("{prefix}{number:08}-{pass:08}-{}", "abcdefghij".repeat(10))
}
