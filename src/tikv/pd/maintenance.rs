//! PD's mutex for maintenance of TiKV, where PD has one (facts, TLS §4.5, §9.7).

use std::fmt;

use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::client::{PdClient, PdError, succeed};

const KIND: &str = "tikv";

/// What became of asking for the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// It is ours.
    Held,
    /// Somebody else has it; what they say about themselves.
    Busy(String),
    /// This PD has no such lock.
    Unsupported,
}

/// A maintenance task that holds the lock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Task {
    /// What is maintained; `tikv` here.
    #[serde(rename = "type")]
    pub kind: String,
    /// Who holds it.
    pub id: String,
    /// What they say about themselves.
    pub description: String,
}

impl PdClient {
    /// The task that holds the lock; `None` also where PD has no such lock.
    pub async fn maintenance(&self) -> Result<Option<Task>, PdError> {
        let tasks: Option<Vec<Task>> = self.find("/pd/api/v2/maintenance").await?;
        Ok(tasks.unwrap_or_default().into_iter().next())
    }

    /// Takes the lock as `id`. A second PUT of the same id is refused as well, so after a restart the holder
    /// is compared with `id`.
    pub async fn take_maintenance(
        &self,
        id: &str,
        description: &str,
    ) -> Result<Maintenance, PdError> {
        let path = format!("/pd/api/v2/maintenance/{KIND}/{id}");
        let answer = self
            .ask(Method::PUT, &path, Some(description.into()))
            .await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(Maintenance::Unsupported),
            StatusCode::CONFLICT => self.maintenance_holder(id).await,
            _ => succeed(&Method::PUT, &path, &answer).map(|()| Maintenance::Held),
        }
    }

    /// Gives the lock back. Not held by us, or no such lock: nothing to do.
    pub async fn release_maintenance(&self, id: &str) -> Result<(), PdError> {
        let path = format!("/pd/api/v2/maintenance/{KIND}/{id}");
        let answer = self.ask(Method::DELETE, &path, None).await?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::CONFLICT => Ok(()),
            _ => succeed(&Method::DELETE, &path, &answer),
        }
    }

    async fn maintenance_holder(&self, id: &str) -> Result<Maintenance, PdError> {
        Ok(match self.maintenance().await? {
            Some(task) if task.is(id) => Maintenance::Held,
            Some(task) => Maintenance::Busy(task.to_string()),
            None => Maintenance::Busy("somebody who has ended just now".to_owned()),
        })
    }
}

impl Task {
    /// True when it is the maintenance of TiKV that took the lock as `id`.
    pub fn is(&self, id: &str) -> bool {
        self.kind == KIND && self.id == id
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} ({})", self.kind, self.id, self.description)
    }
}
