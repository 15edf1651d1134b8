//! The report as metrics.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::api::report::{AgentPhase, AgentReport, Severity};
use crate::telemetry::metrics::{registry, render};

/// Everything that the report says in figures.
pub(super) fn text(report: &AgentReport) -> String {
    let mut registry = registry();
    let flag = |yes: bool| u64::from(yes);
    let held = report.phase == AgentPhase::Held;
    for (name, help, value) in [
        (
            "agent_gate_open",
            "1 when TiKV may start",
            flag(report.gate_open),
        ),
        (
            "agent_journal_open",
            "1 while the data directory is between two states",
            flag(report.journal_open),
        ),
        (
            "agent_held",
            "1 while TiKV is held back and the agent can not go on",
            flag(held),
        ),
        (
            "agent_satisfied",
            "1 when every file is as desired",
            flag(report.satisfied),
        ),
        (
            "agent_error",
            "1 when the agent could not do what is desired",
            flag(report.error.is_some()),
        ),
        (
            "agent_findings_error",
            "Findings of severity Error",
            findings(report, Severity::Error),
        ),
        (
            "agent_findings_warning",
            "Findings of severity Warning",
            findings(report, Severity::Warning),
        ),
    ] {
        add(&mut registry, name, help, value);
    }
    if let Some(coverage) = &report.coverage {
        for (name, help, value) in [
            (
                "store_files",
                "Files that TiKV encrypts when encryption is on",
                coverage.files,
            ),
            ("store_bytes", "Their bytes", coverage.bytes),
            (
                "store_encrypted_bytes",
                "Bytes proven to be encrypted",
                coverage.encrypted_bytes,
            ),
            (
                "store_plaintext_bytes",
                "Bytes in the clear",
                coverage.plaintext_bytes,
            ),
            (
                "store_data_keys_in_use",
                "Data keys that protect a file",
                coverage.by_key.len() as u64,
            ),
        ] {
            add(&mut registry, name, help, value);
        }
    }
    old_keys(report, &mut registry);
    proofs(report, &mut registry);
    if let Some(progress) = &report.progress {
        for (name, help, value) in [
            ("run_files", "Files to rewrite", progress.files_total),
            ("run_files_done", "Files rewritten", progress.files_done),
            ("run_bytes", "Bytes to rewrite", progress.bytes_total),
            ("run_bytes_done", "Bytes rewritten", progress.bytes_done),
            (
                "run_bytes_per_second",
                "Bytes a second, averaged over the run",
                progress.bytes_per_second,
            ),
        ] {
            add(&mut registry, name, help, value);
        }
    }
    render(&registry)
}

/// What the agent asks by itself: the master key, and full verifications.
fn proofs(report: &AgentReport, registry: &mut Registry) {
    if let Some(check) = &report.master_key {
        let seconds = |at: jiff::Timestamp| u64::try_from(at.as_second()).unwrap_or(0);
        for (name, help, value) in [
            (
                "agent_master_key_opens",
                "1 when the master key opened this store when it was asked last",
                u64::from(check.error.is_none()),
            ),
            (
                "agent_master_key_success_timestamp_seconds",
                "When the master key last opened this store, Unix time; 0: never",
                check.last_success.map_or(0, seconds),
            ),
            (
                "agent_master_key_latency_milliseconds",
                "How long that took",
                check.latency_milliseconds.unwrap_or(0),
            ),
        ] {
            add(registry, name, help, value);
        }
    }
    if let Some(verification) = &report.last_verification {
        let end = verification
            .finished_at
            .map_or(0, jiff::Timestamp::as_second);
        for (name, help, value) in [
            (
                "store_verified_timestamp_seconds",
                "End of the last full verification, Unix time",
                u64::try_from(end).unwrap_or(0),
            ),
            (
                "store_verified_files",
                "Files that it found sound",
                verification.files,
            ),
            (
                "store_verified_bytes",
                "Bytes that it read",
                verification.bytes,
            ),
            (
                "store_verification_failed_files",
                "Files that it found unreadable or not what their entry says",
                verification.failed,
            ),
        ] {
            add(registry, name, help, value);
        }
    }
}

fn old_keys(report: &AgentReport, registry: &mut Registry) {
    let coverage = report.coverage.as_ref();
    let Some(old) = coverage.and_then(|coverage| coverage.old_keys.as_ref()) else {
        return;
    };
    for (name, help, value) in [
        (
            "store_old_key_table_bytes",
            "Bytes of tables under data keys that are to be given up",
            old.tables.bytes,
        ),
        (
            "store_old_key_bytes_until_restart",
            "Bytes of other files under such keys, until the store restarts",
            old.left().bytes,
        ),
    ] {
        add(registry, name, help, value);
    }
}

fn findings(report: &AgentReport, severity: Severity) -> u64 {
    let all = report.findings.iter();
    all.filter(|finding| finding.severity == severity).count() as u64
}

fn add(registry: &mut Registry, name: &str, help: &str, value: u64) {
    let gauge = Gauge::<u64, AtomicU64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}
