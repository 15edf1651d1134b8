//! When a certificate is renewed.

use jiff::{SignedDuration, Timestamp};

use crate::tls::parse::CertificateInfo;
use crate::tls::request::CLOCK_SKEW;

/// `before` its end, and up to a tenth of that earlier, by its own random serial number: certificates that were issued together are not
/// renewed together. One that lives no longer than `before`, because its CA ends or grants no more, is renewed at half of its life.
pub fn renewal(certificate: &CertificateInfo, before: SignedDuration) -> Timestamp {
    let issued = certificate
        .not_before
        .saturating_add(CLOCK_SKEW)
        .unwrap_or(certificate.not_before);
    let life = certificate.not_after.duration_since(issued);
    let before = if before < life { before } else { life / 2 };
    let room = (before.min(life - before) / 10).as_secs().max(0);
    let digits = certificate
        .serial
        .get(certificate.serial.len().saturating_sub(8)..);
    let dice = digits.and_then(|digits| i64::from_str_radix(digits, 16).ok());
    let earlier = dice.unwrap_or_default() % (room + 1);
    let before = before.saturating_add(SignedDuration::from_secs(earlier));
    certificate
        .not_after
        .checked_sub(before)
        .unwrap_or(certificate.not_before)
}
