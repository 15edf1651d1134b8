//! Copies of a client's certificate outside of the Kubernetes cluster.

use jiff::Timestamp;

use super::{ClientContent, ClientObserved, Decision, is_revoked, own, request};
use crate::api::v1alpha1::{Export, reason};
use crate::plan::desired::Blocker;
use crate::plan::export::{Exports, Nothing, Source, Wanted, exports};

/// Decides. `decided` is what was decided about the certificate; `None` while the object is being deleted.
pub(super) fn decide(
    observed: &ClientObserved,
    decided: Option<Result<&Decision, &Blocker>>,
    now: Timestamp,
) -> Exports {
    let resource = &observed.resource;
    // Nobody is to go on with what was taken from this client.
    let wanted = resource.spec.export.iter();
    let wanted = wanted.filter(|_| resource.spec.revoked.is_none());
    let wanted: Vec<Wanted> = wanted
        .map(|to| Wanted {
            to: to.clone(),
            from: lent(to).and_then(|()| source(observed, decided)),
        })
        .collect();
    let status = resource.status.as_ref();
    let before = status.map(|status| status.exports.as_slice());
    exports(
        &wanted,
        before.unwrap_or_default(),
        &observed.exports,
        None,
        resource.metadata.deletion_timestamp.is_some(),
        now,
    )
}

/// Whoever may write such an object must not borrow the operator's identity by it: with that one could write into what others may write alone.
fn lent(to: &Export) -> Result<(), Nothing> {
    let refused = |text: &str| Err(("InvalidSpec", text.to_owned()));
    let kubernetes = to
        .vault
        .as_ref()
        .is_some_and(|vault| vault.auth.kubernetes.is_some());
    if kubernetes {
        return refused(
            "vault.auth.kubernetes would be the operator's own identity, which is lent to nobody. Write auth.appRole or auth.token",
        );
    }
    let ambient = to
        .aws_secrets_manager
        .as_ref()
        .is_some_and(|aws| aws.credentials_secret.is_none());
    if ambient {
        return refused(
            "awsSecretsManager without credentialsSecret would be the operator's own identity, which is lent to nobody. Name a Secret of this namespace in credentialsSecret",
        );
    }
    Ok(())
}

/// The set in the Secret, when it is this client's, valid and not revoked.
fn source(
    observed: &ClientObserved,
    decided: Option<Result<&Decision, &Blocker>>,
) -> Result<Source, Nothing> {
    let nothing = |why: &str| {
        let text = format!("there is nothing to copy: {why}");
        Err((reason::IN_PROGRESS, text))
    };
    let decision = match decided {
        Some(Ok(decision)) => Some(decision),
        Some(Err(_)) | None => None,
    };
    // What is refused now may have been issued before, and is valid until its end.
    let ours =
        request::parse(&observed.resource).is_ok_and(|request| own(observed, &request).is_ok());
    if !ours {
        return nothing("the Secret is not that of this object");
    }
    // A new one is about to be there.
    if decision.is_some_and(|decision| decision.action.is_some()) {
        return nothing("the Secret is about to be written");
    }
    match observed.secret.as_ref() {
        Some(secret) => match &secret.content {
            ClientContent::Valid { certificate, .. } if !is_revoked(observed) => Ok(Source {
                secret: request::secret_name(&observed.resource),
                version: secret.metadata.resource_version.clone().unwrap_or_default(),
                serial: certificate.serial.clone(),
            }),
            _ => nothing("no valid certificate is in the Secret"),
        },
        None => nothing("no certificate was issued yet"),
    }
}
