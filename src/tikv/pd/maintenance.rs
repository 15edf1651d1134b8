//! PD's mutex for maintenance of TiKV, where PD has one (facts, TLS §4.5, §9.7).

use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::client::{PdClient, PdError, parse, succeed};

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

#[derive(Default, Deserialize)]
#[serde(default)]
struct Task {
    id: String,
    description: String,
}

impl PdClient {
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
        let path = format!("/pd/api/v2/maintenance/{KIND}");
        let answer = self.ask(Method::GET, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(Maintenance::Busy("another kind of maintenance".to_owned()));
        }
        succeed(&Method::GET, &path, &answer)?;
        let task: Task = parse(&path, &answer)?;
        if task.id == id {
            return Ok(Maintenance::Held);
        }
        Ok(Maintenance::Busy(format!(
            "{} ({})",
            task.id, task.description
        )))
    }
}
