//! What a person should do about what was found. Pure.

use jiff::{SignedDuration, Timestamp};

use super::{Admission, Survey, Trust};
use crate::api::report::{Finding, Severity};

/// What is wrong with the port, the worst first. A certificate that ends within `soon` is told.
pub fn findings(survey: &Survey, now: Timestamp, soon: SignedDuration) -> Vec<Finding> {
    let mut found = Vec::new();
    for certificate in &survey.chain {
        let end = certificate.not_after;
        let subject = &certificate.subject;
        if end < now {
            found.push(finding(
                "CertificateExpired",
                Severity::Error,
                format!("the certificate of {subject} expired at {end}"),
                "Renew it. Under a TikvSecurity: kubectl describe it, the condition CertificatesReady says why it was not renewed.",
            ));
        } else if end.duration_since(now) < soon {
            found.push(finding(
                "CertificateEndsSoon",
                Severity::Warning,
                format!("the certificate of {subject} expires at {end}"),
                "Renew it in time: spec.rotate.certificates renews at once.",
            ));
        }
    }
    if let Trust::Untrusted(why) = &survey.trust {
        found.push(finding(
            "CertificateUntrusted",
            Severity::Error,
            format!("the certificate is not trusted: {why}"),
            "Compare the issuer with the CA that was given, and the names with the address; --name asks for another name.",
        ));
    }
    for crude in survey.crude.iter().filter(|crude| crude.accepted) {
        found.push(finding(
            "WeakAccepted",
            Severity::Error,
            format!("the port accepts {}", crude.what),
            "Configure TLS on this port, at least TLS 1.2 with AES-GCM or ChaCha20.",
        ));
    }
    let agreed = survey.versions.iter().filter_map(|attempt| {
        let agreed = attempt.outcome.as_ref().ok()?;
        Some((attempt.version, agreed))
    });
    for (version, agreed) in agreed {
        if let Admission::Refused(why) = &agreed.admission {
            found.push(finding(
                "Refused",
                Severity::Warning,
                format!("after a handshake in {version} the port did not answer: {why}"),
                "Show a certificate that it admits: --cert and --key, of the same CA; gRPC ports need --protocol grpc.",
            ));
        } else if !agreed.asked {
            found.push(finding(
                "NoClientCertificate",
                Severity::Warning,
                format!("the port asks for no client certificate in {version}: whoever can connect may speak"),
                "Set cert-allowed-cn, which makes TiKV's status port ask for one; the operator does.",
            ));
        }
    }
    found.sort_by_key(|finding| finding.severity);
    found
}

fn finding(code: &str, severity: Severity, message: String, remedy: &str) -> Finding {
    Finding {
        code: code.to_owned(),
        severity,
        message,
        remedy: remedy.to_owned(),
        path: None,
    }
}
