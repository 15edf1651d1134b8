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
/// the restart reads that one too. In a rotation of the CA its age decides alone: somebody may have had the port read its files anew
/// (`ALTER INSTANCE RELOAD TLS`), and that tells nothing of the CAs that the process trusts.
pub fn unread(observed: &Observed, pod: &Pod, created: Timestamp) -> bool {
    let Some((certificate, issued)) = leaf(observed, Part::TidbServer) else {
        return false;
    };
    let older = mounts(pod) && created < issued;
    let rotates = || ca::memory(observed).is_some();
    let needed = older && (rotates() || serves_another(observed, pod, certificate));
    needed
        && [Part::Tidb, Part::TidbServer]
            .iter()
            .all(|part| ca::suits(observed, *part))
}

fn mounts(pod: &Pod) -> bool {
    let mut volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.any(|volume| volume.name == VOLUME_SERVER_TLS)
}

fn serves_another(observed: &Observed, pod: &Pod, certificate: &CertificateInfo) -> bool {
    let mut served = observed.served.iter();
    let port =
        served.find(|one| Some(&one.pod) == pod.metadata.name.as_ref() && one.port == MYSQL_PORT);
    port.and_then(|port| port.result.as_ref().ok())
        .is_some_and(|served| served.serial != certificate.serial)
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
