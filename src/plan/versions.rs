//! From which version on TiKV can do what is asked: before that it would not start.

use super::desired::{Blocker, Desired};
use super::detect::Layout;
use super::observed::Observed;
use crate::tikv::tikv_toml::MasterKeyConfig;
use crate::tikv::version::Version;

/// The client for the KMS must be in every store (facts, encryption at rest §1.2).
pub fn kms(observed: &Observed, desired: &Desired, tikv: &Layout<'_>) -> Result<(), Blocker> {
    let Some(encryption) = &desired.encryption else {
        return Ok(());
    };
    let (kind, since, lacking) = match &encryption.config.master_key {
        MasterKeyConfig::GcpKms {
            vendor: "gcp_v2", ..
        } => ("gcpKms with vendor gcp_v2", "8.5.7", Some("9.0.0-beta.1")),
        MasterKeyConfig::GcpKms { .. } => ("gcpKms", "8.0.0", None),
        MasterKeyConfig::AzureKeyVault { .. } => ("azureKeyVault", "7.2.0", None),
        MasterKeyConfig::AwsKms { .. } | MasterKeyConfig::File { .. } => return Ok(()),
    };
    let first = Version::parse(since);
    let (gap, end) = (
        Version::parse("9.0.0-alpha"),
        lacking.and_then(Version::parse),
    );
    let refused = |version: &Version| {
        Some(version) < first.as_ref()
            || (Some(version) >= gap.as_ref() && end.as_ref().is_some_and(|end| version <= end))
    };
    let found = running(observed, tikv);
    let Some((what, version)) = found.iter().find(|(_, version)| refused(version)) else {
        return Ok(());
    };
    let also = lacking.map_or(String::new(), |last| {
        format!(", and not yet 9.0.0 up to {last}")
    });
    Err(Blocker::new(
        "TikvTooOld",
        format!("{what} is TiKV {version}; {kind} works from {since} on{also}"),
        "Upgrade TiKV first, or name a master key of another kind.",
    ))
}

/// What PD says of the stores, and what the image's tag says of those to come. A tag that is no version says nothing.
fn running(observed: &Observed, tikv: &Layout<'_>) -> Vec<(String, Version)> {
    let stores = observed.pd_facts().into_iter().flat_map(|pd| &pd.stores);
    let stores = stores.filter_map(|store| {
        let version = Version::parse(&store.version)?;
        Some((format!("store {} ({})", store.id, store.address), version))
    });
    stores.chain(tagged(tikv)).collect()
}

fn tagged(tikv: &Layout<'_>) -> Option<(String, Version)> {
    let template = &tikv.stateful_set.spec.as_ref()?.template;
    let container = template.spec.as_ref()?.containers.get(tikv.container)?;
    let image = container.image.as_deref()?;
    let name = image.split('@').next()?;
    let (_, tag) = name.rsplit_once(':')?;
    let version = Version::parse(tag)?;
    Some((format!("the image {image}"), version))
}
