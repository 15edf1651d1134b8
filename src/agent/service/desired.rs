//! The file with the desired state: a ConfigMap volume, whose links are swapped when it changes.

use std::path::PathBuf;

use super::store::Problem;
use crate::api::desired::DesiredState;
use crate::api::report::{Finding, Severity};

/// Read anew each time: it is small, and its links may be swapped at any moment.
#[derive(Clone, Debug)]
pub struct DesiredFile(PathBuf);

impl DesiredFile {
    /// Nothing is read yet.
    pub fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The desired state now.
    pub fn read(&self) -> Result<DesiredState, Problem> {
        let path = self.0.display();
        let text = std::fs::read(&self.0).map_err(|error| {
            problem(format!("the desired state {path} can not be read: {error}"))
        })?;
        serde_json::from_slice(&text)
            .map_err(|error| problem(format!("the desired state {path} is not valid: {error}")))
    }
}

fn problem(message: String) -> Problem {
    Box::new(Finding {
        code: "DesiredStateUnreadable".to_owned(),
        severity: Severity::Error,
        message,
        remedy: "The operator writes it: check that operator and agent have the same version and that the ConfigMap is mounted.".to_owned(),
        path: None,
    })
}
