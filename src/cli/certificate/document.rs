//! A certificate as it is shown to people and machines.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::CertificateError;
use crate::cli::store::output::{Output, span};
use crate::tls::parse::CertificateInfo;

/// What a certificate says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate {
    subject: String,
    issuer: String,
    serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
    dns_names: Vec<String>,
    ip_addresses: Vec<String>,
    authority: bool,
    server: bool,
    client: bool,
}

impl Certificate {
    pub(super) fn of(info: &CertificateInfo) -> Self {
        Self {
            subject: info.subject.clone(),
            issuer: info.issuer.clone(),
            serial: info.serial.clone(),
            not_before: info.not_before,
            not_after: info.not_after,
            dns_names: info.dns.iter().cloned().collect(),
            ip_addresses: info.ips.iter().map(ToString::to_string).collect(),
            authority: info.is_ca,
            server: info.server_auth,
            client: info.client_auth,
        }
    }

    /// A few lines for people.
    pub(super) fn text(&self, now: Timestamp) -> String {
        let kind = match (self.authority, self.server, self.client) {
            (true, ..) => "CA",
            (_, true, true) => "server and client",
            (_, true, false) => "server",
            (_, false, true) => "client",
            _ => "neither server nor client",
        };
        let mut text = format!(
            "{}\n  for      {kind}\n  issuer   {}\n  serial   {}\n",
            self.subject, self.issuer, self.serial
        );
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "  valid    {} to {} ({})",
            self.not_before,
            self.not_after,
            left(now, self.not_after)
        );
        let names = self.dns_names.iter().chain(&self.ip_addresses);
        let names: Vec<&str> = names.map(String::as_str).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "  names    {}", names.join("\n           "));
        }
        text
    }
}

fn left(now: Timestamp, end: Timestamp) -> String {
    let seconds = end.duration_since(now).as_secs();
    match u64::try_from(seconds) {
        Ok(seconds) => format!("{} left", span(seconds)),
        Err(_) => format!("over since {}", span(seconds.unsigned_abs())),
    }
}

/// Prints a document for machines.
pub(super) fn print(output: Output, document: &impl Serialize) -> Result<(), CertificateError> {
    crate::cli::store::output::document(output, document)
        .map_err(|error| CertificateError::Output(error.to_string()))
}
