//! What is to be done by the clock: new data keys for old files, and full verifications.

use std::num::NonZeroU64;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;

use super::desired::Blocker;
use super::objects::annotation;
use super::schedule::Schedule;
use crate::api::desired::{ProofDesired, VERIFICATION_RATE};
use crate::api::v1alpha1::{ReencryptionPolicy, TikvSecuritySpec};
use crate::api::{ANNOTATION_SCHEDULE, ANNOTATION_VERIFICATION};

/// What the spec asks for by the clock.
#[derive(Clone, Debug)]
pub struct Clock {
    /// When every file gets a new data key.
    pub reencryption: Option<Schedule>,
    /// When every store is verified.
    pub verification: Option<Schedule>,
    /// How fast a verification reads.
    pub rate: NonZeroU64,
}

/// Parses the schedules of the spec.
pub fn parse(spec: &TikvSecuritySpec) -> Result<Clock, Blocker> {
    let rate = spec.verification.as_ref();
    let rate = rate.map_or(VERIFICATION_RATE, |wanted| wanted.bytes_per_second);
    let rate = u64::try_from(rate).ok().and_then(NonZeroU64::new);
    let rate = rate.ok_or_else(|| {
        Blocker::new(
            "InvalidSpec",
            "spec.verification.bytesPerSecond is not a positive number",
            "Write verification.bytesPerSecond: 33554432, or leave it out.",
        )
    })?;
    let verification = spec.verification.as_ref().map(|wanted| {
        Schedule::parse(
            "verification",
            &wanted.schedule,
            wanted.time_zone.as_deref(),
        )
    });
    let reencryption = spec.encryption.as_ref().map(|one| &one.reencryption);
    let scheduled = reencryption.and_then(|one| Some((one, one.schedule.as_ref()?)));
    let reencryption = scheduled.map(|(wanted, cron)| {
        if wanted.policy == ReencryptionPolicy::Never {
            return Err(Blocker::new(
                "InvalidSpec",
                "spec.encryption.reencryption.schedule asks for what policy Never forbids",
                "Write reencryption.policy: OnRotation, or no schedule.",
            ));
        }
        Schedule::parse("encryption.reencryption", cron, wanted.time_zone.as_deref())
    });
    Ok(Clock {
        reencryption: reencryption.transpose()?,
        verification: verification.transpose()?,
        rate,
    })
}

/// Without encryption there are no agents, so nobody could verify.
pub fn refuse_without_encryption(spec: &TikvSecuritySpec) -> Result<(), Blocker> {
    if spec.verification.is_none() {
        return Ok(());
    }
    Err(Blocker::new(
        "InvalidSpec",
        "spec.verification asks for what only the agents can do, and without spec.encryption there are none",
        "Write encryption, or no verification.",
    ))
}

impl Clock {
    /// Since when the schedule of re-encryption is this one, as the agents' ConfigMap says: moments before it was asked for
    /// ask for nothing.
    fn since(&self, map: Option<&ConfigMap>, now: Timestamp) -> Option<Timestamp> {
        let schedule = self.reencryption.as_ref()?;
        let known = map.and_then(|map| annotation(&map.metadata, ANNOTATION_SCHEDULE));
        let known = known.and_then(|text| text.split_once(' '));
        let same = known.filter(|(_, text)| *text == schedule.text());
        let since = same.and_then(|(since, _)| since.parse().ok());
        Some(since.unwrap_or(now))
    }

    /// What the annotation `ANNOTATION_SCHEDULE` must say; empty without a schedule.
    pub fn note(&self, map: Option<&ConfigMap>, now: Timestamp) -> String {
        let since = self.since(map, now);
        match (&self.reencryption, since) {
            (Some(schedule), Some(since)) => format!("{since} {}", schedule.text()),
            _ => String::new(),
        }
    }

    /// True when the schedule has come round since `base`, when every file last was to get a new data key.
    pub fn reencrypts(&self, map: Option<&ConfigMap>, base: Timestamp, now: Timestamp) -> bool {
        let (Some(schedule), Some(since)) = (&self.reencryption, self.since(map, now)) else {
            return false;
        };
        schedule.last(now).is_some_and(|at| at > base.max(since))
    }

    /// Which verification the agents must have done: the youngest that the schedule or a request asks for.
    pub fn proof(
        &self,
        before: Option<ProofDesired>,
        map: Option<&ConfigMap>,
        request: &str,
        now: Timestamp,
    ) -> Option<ProofDesired> {
        let answered = map.and_then(|map| annotation(&map.metadata, ANNOTATION_VERIFICATION));
        let asked = !request.is_empty() && answered.unwrap_or_default() != request;
        let scheduled = self.verification.as_ref().and_then(|one| one.last(now));
        let not_before = [
            before.map(|before| before.not_before),
            scheduled,
            asked.then_some(now),
        ];
        let not_before = not_before.into_iter().flatten().max()?;
        Some(ProofDesired {
            not_before,
            bytes_per_second: self.rate,
        })
    }
}
