//! The certificate authority: when it is rotated, and where a rotation stands.

use jiff::Timestamp;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;

/// How the certificate authority is rotated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaRotationPolicy {
    /// How long both certificate authorities are trusted before certificates of the new one are served, and again before the
    /// old one is trusted no more: time for clients outside to fetch the Secret of the client certificate anew. At most a twentieth
    /// of the CA's validity is waited. An emergency does not wait.
    #[serde(default = "overlap")]
    #[x_kube(validation = Rule::new("duration(self) <= duration('2160h')").message("overlap must be at most 2160h; 24h is usual"))]
    pub overlap: GoDuration,
    /// How long before its end the CA is rotated by itself; half of its validity at most. Absent: early enough that no
    /// certificate is cut short, that is `duration`, `renewBefore` and twice `overlap` together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('10m')").message("renewBefore of the CA must be at least 10m; leave it out to have it calculated"))]
    pub renew_before: Option<GoDuration>,
}

impl Default for CaRotationPolicy {
    fn default() -> Self {
        Self {
            overlap: overlap(),
            renew_before: None,
        }
    }
}

fn overlap() -> GoDuration {
    GoDuration::hours(24)
}

/// What a rotation of the CA must remember. It is an annotation of the Secret of the next CA, so that the two can not be
/// parted; everything else is derived from what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CaRotation {
    /// Which step was begun.
    pub step: CaStep,
    /// When the rotation began.
    pub started_at: Timestamp,
    /// Who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The word in `rotate.ca` that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The word in `rotate.caEmergency` that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
    /// Since when every port has served certificates that came with both CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Timestamp>,
    /// Since when every port has served what this step made; absent until then. Processes that read trust at their start
    /// only must be younger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Timestamp>,
    /// When it was turned around.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandoned_at: Option<Timestamp>,
    /// True when a revoked certificate is to be refused by it: nobody is waited for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cuts: bool,
}

impl CaRotation {
    /// Whether the old CA goes at once, without time for clients.
    pub const fn hurried(&self) -> bool {
        self.emergency.is_some() || self.cuts
    }
}

/// Step of a rotation of the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaStep {
    /// The present CA signs, both are trusted.
    Bundle,
    /// The next CA signs, both are trusted.
    Leaves,
    /// The next CA has taken the place of the present one, and it alone is trusted.
    Drop,
    /// Turned around after the next CA had signed: the present one signs again, both are trusted.
    Return,
    /// Turned around: the present CA signs, and it alone is trusted.
    Withdraw,
}

/// Where a rotation of the CA stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CaPhase {
    /// Asked for; nothing was changed.
    Asked,
    /// Both CAs are made known everywhere; the present one signs.
    Bundle,
    /// Certificates of the new CA are served; both are trusted.
    Leaves,
    /// The old CA is gone from every trust bundle; what still trusts it in memory restarts.
    Drop,
    /// Turned around: back to the CA from before.
    Abandoning,
    /// Under way, and nothing goes on because of `rollout.paused`.
    Paused,
}

impl CaPhase {
    /// The word in status and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Asked => "Asked",
            Self::Bundle => "Bundle",
            Self::Leaves => "Leaves",
            Self::Drop => "Drop",
            Self::Abandoning => "Abandoning",
            Self::Paused => "Paused",
        }
    }
}

/// The rotation of the certificate authority that is asked for or under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAuthorityStatus {
    /// Where it stands.
    pub phase: CaPhase,
    /// Serial number of the CA before, hexadecimal; absent when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Serial number of the next CA; absent while there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What is awaited before the next step.
    pub waits_for: String,
    /// From when on there is no way back but another rotation.
    pub point_of_no_return: String,
    /// What an emergency costs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub costs: Option<String>,
    /// When it began; absent when it did not.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Since when both CAs have been in the Secret of the client certificate and everywhere else.
    #[schemars(with = "Option<String>", extend("format" = "date-time"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Timestamp>,
    /// Who asked: the field manager that wrote the spec, or `schedule`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}
