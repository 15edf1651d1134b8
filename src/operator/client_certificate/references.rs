//! Which client certificates refer to which `TikvSecurity`, so that a change there is a reconcile here.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::plan::client_certificate::request::Reference;

/// By namespace and name. Filled by the first reconcile of each, which a start brings; nothing is lost with it.
#[derive(Debug, Default)]
pub(in crate::operator) struct References(Mutex<HashMap<(String, String), Reference>>);

impl References {
    /// What a client certificate refers to.
    pub fn note(&self, namespace: &str, name: &str, to: &Reference) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert((namespace.to_owned(), name.to_owned()), to.clone());
    }

    /// It is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Namespaces and names of those that refer to it.
    pub fn to(&self, namespace: &str, name: &str) -> Vec<(String, String)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|(_, to)| to.namespace == namespace && to.name == name)
            .map(|(who, _)| who.clone())
            .collect()
    }
}
