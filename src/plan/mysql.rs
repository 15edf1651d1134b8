//! TiDB's port for MySQL clients. TiDB reads that certificate once, at its start (facts, TLS §2): whoever serves another one than its Secret
//! has must restart, and has then read everything else anew as well, the CAs that it trusts included. So in a rotation of the CA, each step
//! of which issues every leaf anew, TiDB restarts for this alone.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;

use super::ca;
use super::names::{MYSQL_PORT, Part, VOLUME_SERVER_TLS};
use super::objects::annotation;
use super::observed::{Observed, SecretContent};
use crate::api::ANNOTATION_ISSUED;
use crate::tls::parse::CertificateInfo;

/// Why such a pod restarts.
pub const RESTART: &str =
    "its MySQL port serves an earlier certificate: TiDB reads that one at its start only";
/// Certificates that were issued together are not further apart.
const TOGETHER: SignedDuration = SignedDuration::from_mins(1);
/// A certificate of which less than this part of its life is left can not wait for others any more.
const PRESSING: i32 = 6;

/// Whether the pod serves an earlier certificate, which a restart would help. Not before the other set of TiDB is as it should be, because
/// the restart reads that one too.
pub fn unread(observed: &Observed, pod: &Pod, created: Timestamp) -> bool {
    earlier(observed, pod, created).is_some() && ca::suits(observed, Part::Tidb)
}

/// Whether what it serves is so near its end that it can not wait until TiKV and PD are well.
pub fn is_pressing(observed: &Observed, pod: &str, now: Timestamp) -> bool {
    let Some((certificate, _)) = leaf(observed, Part::TidbServer) else {
        return false;
    };
    let life = certificate.not_after.duration_since(certificate.not_before);
    let mut served = observed.served.iter();
    let served = served.find(|one| one.pod == pod && one.port == MYSQL_PORT);
    let served = served.and_then(|one| one.result.as_ref().ok());
    served.is_some_and(|one| one.not_after.duration_since(now) < life / PRESSING)
}

/// Since when its Secret has another certificate than the pod serves; `None` when it serves that one, or a restart would not help.
fn earlier(observed: &Observed, pod: &Pod, created: Timestamp) -> Option<Timestamp> {
    let volumes = pod.spec.as_ref()?.volumes.iter().flatten();
    let mut volumes = volumes.filter(|volume| volume.name == VOLUME_SERVER_TLS);
    volumes.next()?;
    let (certificate, issued) = leaf(observed, Part::TidbServer)?;
    let name = pod.metadata.name.as_deref()?;
    let mut served = observed.served.iter();
    let served = served.find(|one| one.pod == name && one.port == MYSQL_PORT)?;
    let served = served.result.as_ref().ok()?;
    (served.serial != certificate.serial && created < issued).then_some(issued)
}

/// Whether one of TiDB's two certificates is to be renewed because the other is. Connections that TiDB has to TiKV show what it had when they
/// were made, until it restarts (facts, TLS §2): so the one whose renewal restarts it is never older than the other, and both are renewed
/// at the same time.
pub fn follows(observed: &Observed, part: Part, due: impl Fn(&CertificateInfo) -> bool) -> bool {
    let cluster = leaf(observed, Part::Tidb).map(|leaf| leaf.0);
    let server = leaf(observed, Part::TidbServer).map(|leaf| leaf.0);
    let Some((cluster, server)) = cluster.zip(server) else {
        return false;
    };
    let ahead = cluster.not_before.duration_since(server.not_before);
    match part {
        Part::TidbServer => ahead > TOGETHER || due(cluster),
        Part::Tidb => due(server) && ahead <= TOGETHER,
        _ => false,
    }
}

/// The leaf of a part, and since when it is in its Secret.
fn leaf(observed: &Observed, part: Part) -> Option<(&CertificateInfo, Timestamp)> {
    let secret = observed.secrets.get(&part.secret(observed.name()))?;
    let SecretContent::Leaf { certificate, .. } = &secret.content else {
        return None;
    };
    let issued = annotation(&secret.metadata, ANNOTATION_ISSUED);
    let issued = issued.and_then(|text| text.parse().ok());
    Some((certificate, issued.unwrap_or(certificate.not_before)))
}
