//! What a run that did not end was about, and how far it came. Read-only.

use std::path::Path;

use serde::Serialize;

use super::class::Class;
use super::dictionaries::State;
use super::error::StoreError;
use super::guard::{self, Mark};
use super::inventory::Inventory;
use super::journal;
use super::plan::{self, Target};
use crate::api::method::Method;
use crate::fs::Fs;

/// An open run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenRun {
    /// Method that all files get; `None` when only the guard is there: nothing was begun, or all is done.
    pub method: Option<Method>,
    /// Files that are rewritten.
    pub files_done: u64,
    /// All files that the run concerns.
    pub files_total: u64,
    /// Bytes that are rewritten.
    pub bytes_done: u64,
    /// All bytes that the run concerns.
    pub bytes_total: u64,
}

/// Looks for an open run of the store in `dir`.
pub fn look(
    fs: &dyn Fs,
    dir: &Path,
    state: &State,
    inventory: &Inventory,
) -> Result<Option<OpenRun>, StoreError> {
    let guarded = guard::look(fs, dir)? == Mark::Ours;
    let State::Has(dictionaries) = state else {
        let open = guarded || journal::is_open(fs, dir)?;
        return Ok(open.then(OpenRun::default));
    };
    let Some(run) = journal::read(fs, dir, &dictionaries.keys)? else {
        return Ok(guarded.then(OpenRun::default));
    };
    let target = Target {
        method: run.method,
        not_before: run.not_before,
        key_id: Some(run.key_id),
        decrypt: !run.method.encrypts(),
    };
    let mut open = OpenRun {
        method: Some(run.method),
        ..OpenRun::default()
    };
    let data = inventory.iter();
    for file in data.filter(|file| matches!(file.class, Class::Data(_))) {
        let size = file.meta.size;
        open.files_total += 1;
        open.bytes_total += size;
        if plan::as_desired(file, &dictionaries.keys, &target) {
            open.files_done += 1;
            open.bytes_done += size;
        }
    }
    Ok(Some(open))
}
