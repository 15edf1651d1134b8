//! A rotation as the status shows it.

use super::Course;
use crate::api::v1alpha1::{CaPhase, CaRotation, CaStep, CertificateAuthorityStatus};
use crate::plan::observed::Observed;

/// What an emergency costs.
pub(super) const COSTS: &str = "clients that have not read the Secret of the client certificate anew are refused within minutes; channels between stores that were opened before may fail for half a minute; each PD member restarts twice, each store once";

/// For the status.
pub(super) fn told(
    course: &Course<'_>,
    memory: &CaRotation,
    observed: &Observed,
    waits_for: String,
) -> CertificateAuthorityStatus {
    let next = course.rotation.as_ref().map(|rotation| rotation.next);
    let to = next.map(|next| next.anchor.serial.clone());
    let from = Some(course.present.anchor.serial.clone()).filter(|from| Some(from) != to.as_ref());
    let point_of_no_return = match (&from, &memory.request, &memory.emergency) {
        (None, ..) => "reached: the CA before is gone".to_owned(),
        (Some(from), ..) if memory.cuts => format!(
            "not reached, and not turned around, because a revoked certificate is to be refused; reached when the CA with serial {from} is replaced"
        ),
        (Some(from), None, None)
            if next.is_some_and(|next| next.issuer != course.present.issuer) =>
        {
            format!(
                "not reached: naming the issuer before in tls.issuer turns it around; reached when the CA with serial {from} is replaced"
            )
        }
        (Some(from), None, None) => format!(
            "not reached: rollout.paused holds it; reached when the CA with serial {from} is replaced"
        ),
        (Some(from), request, _) => {
            let field = if request.is_some() {
                "rotate.ca"
            } else {
                "rotate.caEmergency"
            };
            format!(
                "not reached: taking back the word in {field} turns it around; reached when the CA with serial {from} is replaced"
            )
        }
    };
    CertificateAuthorityStatus {
        phase: match memory.step {
            _ if observed.resource.spec.rollout.paused => CaPhase::Paused,
            CaStep::Bundle => CaPhase::Bundle,
            CaStep::Leaves => CaPhase::Leaves,
            CaStep::Drop => CaPhase::Drop,
            CaStep::Return | CaStep::Withdraw => CaPhase::Abandoning,
        },
        from,
        to,
        waits_for,
        point_of_no_return,
        costs: memory.hurried().then(|| COSTS.to_owned()),
        started_at: Some(memory.started_at),
        published_at: memory.published_at,
        by: memory.by.clone(),
    }
}
