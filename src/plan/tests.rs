//! Whole journeys on a small world: actions are applied to it, then Kubernetes, PD and the agents do their part.
#![allow(
    clippy::too_many_lines,
    clippy::needless_pass_by_value,
    clippy::format_collect,
    clippy::default_trait_access
)]

mod acme;
mod ca;
mod compaction;
mod drift;
mod issuers;
mod journeys;
mod limits;
mod pkcs11;
mod policy;
mod random;
mod reach;
mod refusals;
mod revocation;
mod rotation;
mod tidb;
mod truth;
mod verifications;
mod world;
mod wrapped;
