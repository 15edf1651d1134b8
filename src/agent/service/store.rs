//! What the process needs of the engine. Blocking.

use crate::api::desired::DesiredState;
use crate::api::key_dict::KeyDictReport;
use crate::api::report::{AgentPhase, Coverage, Finding, Progress, VerificationReport};

/// Why something could not be done: what, and what to do next.
pub type Problem = Box<Finding>;

/// A data directory and who may work on it.
pub trait Store: Send {
    /// True for a directory in which no TiKV ever wrote: nothing to protect, nothing to wait for.
    fn is_new(&mut self) -> Result<bool, Problem>;

    /// Takes TiKV's lock, or sees that TiKV has it.
    fn lock(&mut self) -> Result<Locked, Problem>;

    /// Gives the lock back.
    fn unlock(&mut self);

    /// Whether a run was cut: the directory is between two states.
    fn journal_open(&mut self) -> Result<bool, Problem>;

    /// Finishes the run that was cut.
    fn recover(&mut self, watch: &dyn Watch) -> Result<Outcome, Problem>;

    /// Seals `key.dict` under the present master key, if it is under the previous one; also if the KMS-made key that it is
    /// under is one of `not`, by fingerprint. Tells what it is under now.
    fn rewrap(&mut self, not: &[String]) -> Result<KeyDictReport, Problem>;

    /// After [`Store::rewrap`] failed: what `key.dict` is under, and whether TiKV may start on it.
    fn sealed(&mut self) -> Sealed;

    /// Checks everything that can be checked before the first change: master key, space, layout.
    fn preflight(&mut self, desired: &DesiredState) -> Result<Need, Problem>;

    /// Makes every file as desired.
    fn reencrypt(&mut self, desired: &DesiredState, watch: &dyn Watch) -> Result<Outcome, Problem>;

    /// Looks at every file; read-only, also while TiKV runs. Without a desired state nothing is satisfied.
    fn measure(&mut self, desired: Option<&DesiredState>) -> Result<Measurement, Problem>;

    /// Goes on with a full verification, or begins one, and reads about `budget` bytes. The report when it is over.
    fn verify(&mut self, budget: u64) -> Result<Option<VerificationReport>, Problem>;

    /// What asks whether the master key opens this store from here, for a thread of its own: a KMS may take its time.
    fn prover(&self) -> Prover;
}

/// What a failed [`Store::rewrap`] left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sealed {
    /// What `key.dict` is under; `None` when it could not be opened.
    pub key_dict: Option<KeyDictReport>,
    /// TiKV must not start: a previous master key is configured, and `key.dict` is not proven to be under the present one.
    pub awaits_rewrap: bool,
}

/// Asks whether the master key opens the store; `None` when there is nothing that it protects.
pub type Prover = Box<dyn FnMut() -> Option<Result<(), Problem>> + Send>;

/// Who has the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// We.
    Ours,
    /// TiKV, so it runs.
    ByTikv,
}

/// What a pre-flight check found to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Everything is as desired.
    Nothing,
    /// Something must be rewritten.
    Work,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything done.
    Done,
    /// Stopped at a safe point, because [`Watch::stop`] said so.
    Stopped,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measurement {
    /// Files and bytes.
    pub coverage: Coverage,
    /// Anomalies, most severe first.
    pub findings: Vec<Finding>,
    /// Every file is as desired.
    pub satisfied: bool,
    /// What `key.dict` is under.
    pub key_dict: KeyDictReport,
}

/// Sees a run, and can stop it.
pub trait Watch: Sync {
    /// Another phase began.
    fn phase(&self, phase: AgentPhase);
    /// How far it is.
    fn progress(&self, progress: &Progress);
    /// Asked between files: whether to stop.
    fn stop(&self) -> bool;
}
