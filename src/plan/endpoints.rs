//! Where clients find PD.

use super::observed::Observed;

/// The addresses that PD's members tell clients; those that were told last while PD can not be asked.
pub fn of_pd(observed: &Observed) -> Vec<String> {
    let told: Option<Vec<String>> = observed.pd_facts().map(|facts| {
        let members = facts.members.iter();
        members.flat_map(|one| one.client_urls.clone()).collect()
    });
    let before = || {
        let status = observed.resource.status.as_ref();
        status.map(|status| status.pd_endpoints.clone())
    };
    let mut all = told
        .filter(|all| !all.is_empty())
        .or_else(before)
        .unwrap_or_default();
    all.sort();
    all.dedup();
    all
}
