//! Effects of revocation: the record, the CRLs, the port that serves them, and the trials.

mod cache;
pub(super) mod port;
mod publish;
pub(super) mod record;
pub(super) mod trial;

pub use cache::Cache;
pub(super) use publish::publish;
