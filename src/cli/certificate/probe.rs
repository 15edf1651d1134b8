//! `tikv-security certificate probe`: what a port does with callers, shown to a person.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use rustls::pki_types::ServerName;

use super::document::{Certificate, print};
use super::{CertificateError, Outcome, read};
use crate::api::v1alpha1::GoDuration;
use crate::cli::store::output::{Output, findings, table};
use crate::tls::bundle::TlsSet;
use crate::tls::client::roots;
use crate::tls::private::PrivatePem;
use crate::tls::probe::{ProbeError, Protocol};
use crate::tls::survey::{self, Admission, Attempt, Identity, Question, Survey, Trust};

/// See what a port serves: chain, versions, suites, whether it asks for a client certificate, and what it must refuse
#[derive(Args, Debug)]
pub(super) struct ProbeArgs {
    /// HOST:PORT
    #[arg(value_name = "HOST:PORT")]
    address: String,
    /// Name that the certificate must carry; HOST when absent
    #[arg(long)]
    name: Option<String>,
    /// What is on the port; `grpc` for port 20160, otherwise `http`
    #[arg(long)]
    protocol: Option<Spoken>,
    /// CA certificates that must have signed what is served
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Client certificate to be shown when the port asks for one
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Tell of certificates that end within this time
    #[arg(long, value_name = "DURATION", default_value = "168h")]
    warn_within: GoDuration,
    /// How long a single connection may take
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    timeout: GoDuration,
    /// Form of the output
    #[arg(long, default_value = "table")]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Spoken {
    /// HTTP/2 with ALPN
    Grpc,
    /// HTTP/1.1
    Http,
    /// `MySQL`, as TiDB on its port 4000
    Mysql,
}

pub(super) fn run(args: &ProbeArgs) -> Outcome {
    let now = Timestamp::now();
    let (host, port) = split(&args.address)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CertificateError::Output(error.to_string()))?;
    let (address, survey) = runtime.block_on(async {
        let address = resolve(&args.address, host, port).await?;
        let question = question(args, address, host)?;
        let survey = survey::survey(&question, now).await?;
        Ok::<_, CertificateError>((address, survey))
    })?;
    let found = survey::findings(&survey, now, args.warn_within.get());
    match args.output {
        Output::Table => print!("{}{}", text(&survey, now), findings(&found)),
        output => print(output, &document::of(address, &survey, &found))?,
    }
    Ok(found)
}

fn split(address: &str) -> Result<(&str, u16), CertificateError> {
    let wrong = |why: &str| CertificateError::Address(address.to_owned(), why.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong("no port"))?;
    let port = port
        .parse()
        .map_err(|_| wrong("the port is no number from 1 to 65535"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(wrong("no host"));
    }
    Ok((host, port))
}

async fn resolve(whole: &str, host: &str, port: u16) -> Result<SocketAddr, CertificateError> {
    let failed = |why: String| CertificateError::Address(whole.to_owned(), why);
    let mut found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| failed(error.to_string()))?;
    found
        .next()
        .ok_or_else(|| failed("the name has no address".to_owned()))
}

fn question(
    args: &ProbeArgs,
    address: SocketAddr,
    host: &str,
) -> Result<Question, CertificateError> {
    let name = args.name.as_deref().unwrap_or(host).to_owned();
    let protocol = match args.protocol {
        Some(Spoken::Grpc) => Protocol::Grpc,
        Some(Spoken::Http) => Protocol::Http,
        Some(Spoken::Mysql) => Protocol::Mysql,
        None if address.port() == 20160 => Protocol::Grpc,
        None if address.port() == 4000 => Protocol::Mysql,
        None => Protocol::Http,
    };
    let ca = args.ca.as_deref().map(read).transpose()?;
    let identity = match (&args.cert, &args.key) {
        (Some(cert), Some(key)) => Some(Identity::new(&TlsSet {
            ca: Vec::new(),
            certificate: read(cert)?,
            key: PrivatePem::new(read(key)?),
        })?),
        _ => None,
    };
    Ok(Question {
        address,
        name: ServerName::try_from(name.clone()).map_err(|_| ProbeError::Name(name))?,
        protocol,
        roots: ca.as_deref().map(roots).transpose()?,
        identity,
        patience: Duration::try_from(args.timeout.get()).unwrap_or(Duration::from_secs(5)),
    })
}

fn text(survey: &Survey, now: Timestamp) -> String {
    let mut text = String::new();
    for info in &survey.chain {
        text += &Certificate::of(info).text(now);
    }
    text += &match &survey.trust {
        Trust::NotAsked => "  trust    not asked; --ca FILE tells\n\n".to_owned(),
        Trust::Trusted => {
            "  trust    signed by the CA that was given, valid, good for the name\n\n".to_owned()
        }
        Trust::Untrusted(why) => format!("  trust    NOT trusted: {why}\n\n"),
    };
    let rows: Vec<Vec<String>> = survey.versions.iter().map(row).collect();
    let head = [
        "VERSION",
        "SUITE",
        "GROUP",
        "CLIENT CERT",
        "ANSWERS",
        "FULL",
        "RESUMED",
    ];
    text += &table(&head, &rows, &[5, 6]);
    text += &format!("\naccepts  {}\n", survey.suites.join("\n         "));
    for crude in &survey.crude {
        let verdict = if crude.accepted {
            "ACCEPTED"
        } else {
            "refused"
        };
        text += &format!("{verdict:<9}{}\n", crude.what);
    }
    text
}

fn row(attempt: &Attempt) -> Vec<String> {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let time = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    match &attempt.outcome {
        Err(why) => vec![attempt.version.to_owned(), format!("refused: {why}")],
        Ok(agreed) => vec![
            attempt.version.to_owned(),
            agreed.suite.clone(),
            agreed.group.clone().unwrap_or_default(),
            if agreed.asked {
                "asked for"
            } else {
                "not asked for"
            }
            .to_owned(),
            yes(agreed.admission == Admission::Answered),
            time(agreed.full),
            agreed.resumed.map_or("-".to_owned(), time),
        ],
    }
}

/// The same for machines.
mod document {
    use std::net::SocketAddr;
    use std::time::Duration;

    use serde::Serialize;

    use super::super::document::Certificate;
    use crate::api::report::Finding;
    use crate::tls::survey::{Admission, Attempt, Survey, Trust};

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    pub(super) struct Document<'a> {
        address: SocketAddr,
        chain: Vec<Certificate>,
        trust: &'a Trust,
        versions: Vec<Handshake>,
        suites: &'a [String],
        must_be_refused: Vec<Refusal>,
        findings: &'a [Finding],
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Handshake {
        version: &'static str,
        accepted: bool,
        refusal: Option<String>,
        suite: Option<String>,
        group: Option<String>,
        asks_for_certificate: bool,
        answers: bool,
        full_microseconds: Option<u64>,
        resumed_microseconds: Option<u64>,
    }

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Refusal {
        what: &'static str,
        accepted: bool,
    }

    pub(super) fn of<'a>(
        address: SocketAddr,
        survey: &'a Survey,
        findings: &'a [Finding],
    ) -> Document<'a> {
        let refusals = survey.crude.iter().map(|crude| Refusal {
            what: crude.what,
            accepted: crude.accepted,
        });
        Document {
            address,
            chain: survey.chain.iter().map(Certificate::of).collect(),
            trust: &survey.trust,
            versions: survey.versions.iter().map(version).collect(),
            suites: &survey.suites,
            must_be_refused: refusals.collect(),
            findings,
        }
    }

    fn version(attempt: &Attempt) -> Handshake {
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let agreed = attempt.outcome.as_ref().ok();
        Handshake {
            version: attempt.version,
            accepted: agreed.is_some(),
            refusal: attempt.outcome.as_ref().err().cloned(),
            suite: agreed.map(|agreed| agreed.suite.clone()),
            group: agreed.and_then(|agreed| agreed.group.clone()),
            asks_for_certificate: agreed.is_some_and(|agreed| agreed.asked),
            answers: agreed.is_some_and(|agreed| agreed.admission == Admission::Answered),
            full_microseconds: agreed.map(|agreed| microseconds(agreed.full)),
            resumed_microseconds: agreed.and_then(|agreed| agreed.resumed.map(microseconds)),
        }
    }
}
