//! Copies of the sets of a cluster.

use jiff::Timestamp;

use super::{Exports, Nothing, Source, Wanted, exports};
use crate::api::ANNOTATION_APPLIED;
use crate::api::v1alpha1::{Environment, ExportedSet, SetExport, reason};
use crate::plan::names::Part;
use crate::plan::objects::annotation;
use crate::plan::observed::{Observed, SecretContent};
use crate::plan::policy;

/// Decides about those of a `TikvSecurity`.
pub fn of_cluster(observed: &Observed, now: Timestamp) -> Exports {
    let resource = &observed.resource;
    let tls = resource.spec.tls.as_ref();
    let wanted: Vec<Wanted> = tls
        .into_iter()
        .flat_map(|tls| &tls.export)
        .map(|export| Wanted {
            to: export.into(),
            from: permitted(observed, export).and_then(|()| source(observed, export.set)),
        })
        .collect();
    let status = resource.status.as_ref();
    let before = status.map(|status| status.exports.as_slice());
    let forbidden = policy::satisfied(observed).err();
    exports(
        &wanted,
        before.unwrap_or_default(),
        &observed.exports,
        forbidden.map(|blocker| blocker.text()).as_deref(),
        resource.metadata.deletion_timestamp.is_some(),
        now,
    )
}

fn permitted(observed: &Observed, export: &SetExport) -> Result<(), Nothing> {
    let token = export
        .vault
        .as_ref()
        .is_some_and(|vault| vault.auth.token.is_some());
    if token && observed.resource.spec.environment == Environment::Production {
        let text = "production forbids to log in to Vault by a token, because whoever has it needs nothing else. Write auth.kubernetes or auth.appRole, or environment: staging";
        return Err(("ForbiddenInProduction", text.to_owned()));
    }
    Ok(())
}

/// The set as it is now, when it is the one that was made.
fn source(observed: &Observed, set: ExportedSet) -> Result<Source, Nothing> {
    let part = match set {
        ExportedSet::Client => Part::Client,
        ExportedSet::Tikv => Part::Tikv,
        ExportedSet::Pd => Part::Pd,
    };
    let secret = part.secret(observed.name());
    let nothing = || {
        let text = format!("there is no usable certificate in Secret {secret} yet");
        (reason::IN_PROGRESS, text)
    };
    let facts = observed.secrets.get(&secret).ok_or_else(nothing)?;
    let SecretContent::Leaf { certificate, .. } = &facts.content else {
        return Err(nothing());
    };
    let made = annotation(&facts.metadata, ANNOTATION_APPLIED);
    if made.is_some_and(|made| made != certificate.serial) {
        return Err(nothing());
    }
    Ok(Source {
        version: facts.metadata.resource_version.clone().unwrap_or_default(),
        serial: certificate.serial.clone(),
        secret,
    })
}
