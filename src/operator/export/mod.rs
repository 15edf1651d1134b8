//! Copies of sets outside of the cluster: each is looked at before anything is done to it, and what came of it is remembered for the next plan.
//! Nothing of it is needed to go on: a failure is told, and tried again later.

mod memory;
mod reach;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::Resource;
use zeroize::Zeroizing;

pub use self::memory::Memory;
use super::error::Error;
use super::objects::Objects;
use super::observe::secrets::{CA, CERTIFICATE, KEY, field};
use super::reconcile::Context;
use super::report;
use crate::export::{Content, ExportClass, ExportError, Step, Target, step};
use crate::plan::action::Note;
use crate::plan::export::{Job, Source, place};

/// Whose copies they are.
pub(super) struct Owner<'a, K> {
    /// The object.
    pub resource: &'a K,
    /// Objects of its namespace.
    pub objects: &'a Objects,
}

impl<K: Resource<DynamicType = ()>> Owner<'_, K> {
    fn uid(&self) -> &str {
        self.resource.meta().uid.as_deref().unwrap_or_default()
    }

    /// What is written beside a copy, so that it is known again.
    fn mark(&self) -> String {
        let metadata = self.resource.meta();
        let of = |text: &Option<String>| text.clone().unwrap_or_default();
        format!(
            "{}/{}/{}/{}",
            K::kind(&()),
            of(&metadata.namespace),
            of(&metadata.name),
            self.uid()
        )
    }
}

/// Does what is to be done, all at the same time. True when something came of it that is not told yet.
pub(super) async fn carry_out<K: Resource<DynamicType = ()>>(
    context: &Context,
    owner: &Owner<'_, K>,
    jobs: &[Job],
) -> bool {
    let done = jobs.iter().map(async |job| {
        let Some(place) = place(&job.to) else {
            return false;
        };
        let done = one(context, owner, &place, job).await;
        tell(context, owner, &place, job, done).await
    });
    join_all(done).await.into_iter().any(|news| news)
}

/// What was done; `None`: what was decided on is not there any more.
async fn one<K: Resource<DynamicType = ()>>(
    context: &Context,
    owner: &Owner<'_, K>,
    place: &str,
    job: &Job,
) -> Result<Option<Step>, ExportError> {
    let kube = |error: Error| ExportError {
        target: place.to_owned(),
        class: ExportClass::Unavailable,
        message: error.to_string(),
        remedy: "It is tried again by itself.".to_owned(),
    };
    let content = match &job.from {
        None => None,
        Some(source) => match read(owner.objects, source).await.map_err(kube)? {
            Some(content) => Some(content),
            None => return Ok(None),
        },
    };
    let target = reach::reach(context, owner.objects, place, &job.to).await;
    let target = target.map_err(kube)??;
    act(&*target, content.as_ref(), &owner.mark())
        .await
        .map(Some)
}

/// Looks, decides, and does it.
async fn act(
    target: &dyn Target,
    content: Option<&Content>,
    mark: &str,
) -> Result<Step, ExportError> {
    let found = target.look(content, mark).await?;
    let step = step(&found, content.is_some());
    match (step, content) {
        (Step::Rest, _) => {}
        (Step::Create | Step::Replace, Some(content)) => {
            target.write(content, mark, &found).await?;
        }
        (Step::Mark, _) => target.mark(mark, &found).await?,
        (Step::Delete, _) => target.delete().await?,
        (Step::Refuse | Step::Create | Step::Replace, _) => {
            return Err(ExportError::foreign(target.name(), &found, mark));
        }
    }
    Ok(step)
}

/// The set, if it is the one that was decided on.
async fn read(objects: &Objects, source: &Source) -> Result<Option<Content>, Error> {
    let secret: Option<Secret> = objects.get(&source.secret).await?;
    let same = |secret: &Secret| secret.metadata.resource_version.as_ref() == Some(&source.version);
    let Some(secret) = secret.filter(same) else {
        return Ok(None);
    };
    let part = |key: &str| {
        let bytes = field(&secret, key).map(|bytes| Zeroizing::new(bytes.to_vec()));
        let name = &source.secret;
        bytes.map_err(|why| Error::Malformed(format!("Secret {name}: {why}")))
    };
    Ok(Content::new(&part(CA)?, &part(CERTIFICATE)?, &part(KEY)?))
}

/// Remembers and tells what came of a job. True when the status does not tell it yet.
async fn tell<K: Resource<DynamicType = ()>>(
    context: &Context,
    owner: &Owner<'_, K>,
    place: &str,
    job: &Job,
    done: Result<Option<Step>, ExportError>,
) -> bool {
    let (namespace, name) = (owner.objects.namespace(), owner.objects.owner());
    let note = |warning: bool, reason: &str, message: String| Note {
        warning,
        reason: reason.to_owned(),
        message,
    };
    match done {
        Ok(None) => true,
        Ok(Some(step)) => {
            let before = context.exports.held(owner.uid(), place);
            let news = context.exports.done(owner.uid(), place, job);
            let serial = job.from.as_ref().map(|source| source.serial.as_str());
            let told = match step {
                Step::Create | Step::Mark => Some(note(
                    false,
                    "Exported",
                    format!("Certificate {} to {place}", serial.unwrap_or_default()),
                )),
                // The Secret is as it was, so the copy is not.
                Step::Replace if before.is_some() && before == job.from => Some(note(
                    true,
                    "ExportPutBack",
                    format!("{place} was changed or deleted by somebody else, and is as before"),
                )),
                Step::Replace => Some(note(
                    false,
                    "Exported",
                    format!("Certificate {} to {place}", serial.unwrap_or_default()),
                )),
                Step::Delete => Some(note(false, "ExportDeleted", place.to_owned())),
                Step::Rest | Step::Refuse => None,
            };
            if let Some(told) = told {
                tracing::info!(namespace, name, place, reason = told.reason, "exported");
                context.metrics.exported(namespace, name, &told.reason);
                report::events(&context.recorder, owner.resource, &[told]).await;
            }
            news
        }
        Err(error) => {
            tracing::warn!(namespace, name, place, %error, "not exported");
            context
                .metrics
                .export_failed(namespace, name, error.class.reason());
            let message = format!("{error}. {}", error.remedy);
            if context.exports.failed(owner.uid(), place, &job.to, &error) {
                let told = note(true, error.class.reason(), message);
                report::events(&context.recorder, owner.resource, &[told]).await;
            }
            true
        }
    }
}

/// For a condition of what a place is to be reached by.
fn unusable(place: &str, message: String, remedy: String) -> ExportError {
    ExportError {
        target: place.to_owned(),
        class: ExportClass::Malformed,
        message,
        remedy,
    }
}
