//! What a service said, said again with something broken: how damage of an answer is tried at every place of it.

use std::sync::{Arc, Mutex};

use super::Said;

/// What happens to an answer on its way.
#[derive(Clone, Copy, Debug)]
pub enum Damage {
    /// Only so many bytes arrive.
    Cut(usize),
    /// One bit is the other one.
    Flip(usize),
}

/// The answers of a service, in the order in which they were given.
#[derive(Clone, Default)]
pub struct Tape(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    recorded: Vec<Said>,
    /// The next answer, and what happens to which.
    playing: Option<(usize, Option<(usize, Damage)>)>,
}

impl Tape {
    /// Answers that were known before.
    pub fn of(recorded: Vec<Said>) -> Self {
        let playing = None;
        Self(Arc::new(Mutex::new(State { recorded, playing })))
    }

    /// Forgets what was said.
    pub fn forget(&self) {
        *self.0.lock().unwrap() = State::default();
    }

    /// Forgets all but one answer.
    pub fn keep(&self, answer: usize) {
        let mut state = self.0.lock().unwrap();
        state.recorded = vec![state.recorded.swap_remove(answer)];
    }

    /// How long each answer is that was said, in bytes.
    pub fn lengths(&self) -> Vec<usize> {
        let state = self.0.lock().unwrap();
        state.recorded.iter().map(|said| said.body.len()).collect()
    }

    /// From now on what was said is said again, from its beginning, with this damage of one answer.
    pub fn play(&self, damage: Option<(usize, Damage)>) {
        self.0.lock().unwrap().playing = Some((0, damage));
    }

    /// What is said to a request: the tape, or the service and the tape hears it.
    pub(super) fn or_else(&self, live: impl FnOnce() -> Said) -> Said {
        let mut state = self.0.lock().unwrap();
        let Some((next, damage)) = state.playing else {
            let said = live();
            state.recorded.push(said.clone());
            return said;
        };
        state.playing = Some((next + 1, damage));
        let mut said = state.recorded[next].clone();
        match damage {
            Some((answer, Damage::Cut(length))) if answer == next => said.body.truncate(length),
            Some((answer, Damage::Flip(bit))) if answer == next => {
                said.body[bit / 8] ^= 1 << (bit % 8);
            }
            _ => {}
        }
        said
    }
}
