//! Cuts a run at every step, looks at everything that a crash there may leave behind, lets the next run repair it, and
//! cuts that run too.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::check::{self, Violation};
use super::journey::{Journey, Task, recover, run};
use crate::fs::Fs;
use crate::fs::tests::sim::{Draw, SimFs, State, Survival};

/// How much of what is possible is tried.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Up to so many changes that are not durable, every subset of them is tried.
    pub exhaustive: usize,
    /// Draws for each step beyond that.
    pub draws: u64,
    /// Of the steps of a run that repairs a first crash, one in so many is cut again.
    pub second: u64,
    /// The same after a second crash.
    pub third: u64,
    /// Crashes in a row.
    pub depth: u32,
    /// Threads.
    pub threads: usize,
    /// What is drawn depends on it alone.
    pub seed: u64,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Different images.
    pub images: u64,
    /// How the first violations came about.
    pub violations: Vec<String>,
}

/// The disk of a run: the simulator itself, or with a planted bug in front of it.
pub type Door = dyn Fn(&SimFs) -> Box<dyn Fs> + Sync;

/// A search that ends early once there are so many violations.
const ENOUGH: usize = 5;

struct Search<'a> {
    journey: &'a Journey,
    effort: &'a Effort,
    door: &'a Door,
    found: Mutex<Found>,
}

/// Explores one journey.
pub fn explore(journey: &Journey, effort: &Effort, door: &Door) -> Found {
    let search = Search {
        journey,
        effort,
        door,
        found: Mutex::default(),
    };
    let steps = match search.run(&journey.start, &journey.first, true) {
        Ok((steps, _)) => steps,
        Err(why) => {
            search.violation("without any crash", &why);
            return search.found.into_inner().unwrap();
        }
    };
    let images = search.images(journey.name, &steps, 1, 1);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..effort.threads {
            scope.spawn(|| {
                while let Some((path, image)) = images.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if search.over() {
                        return;
                    }
                    search.descend(image, 1, path);
                }
            });
        }
    });
    search.found.into_inner().unwrap()
}

impl Search<'_> {
    /// Looks at one image, repairs it, looks again, and cuts the repair.
    fn descend(&self, image: &State, depth: u32, path: &str) {
        self.found.lock().unwrap().images += 1;
        if let Err(why) = check::image(self.journey, image) {
            return self.violation(path, &why);
        }
        let last = depth == self.effort.depth;
        if (!last || depth == 1)
            && let Err(why) = self.recover(image)
        {
            return self.violation(path, &format!("after the recovery: {why}"));
        }
        let (steps, end) = match self.run(image, &self.journey.then, !last) {
            Ok(run) => run,
            Err(why) => return self.violation(path, &why),
        };
        if let Err(why) = check::recovered(self.journey, &end.image(Survival::Nothing)) {
            return self.violation(path, &format!("after the repair: {why}"));
        }
        if last {
            return;
        }
        let every = if depth == 1 {
            self.effort.second
        } else {
            self.effort.third
        };
        for (inner, image) in self.images(path, &steps, depth + 1, every) {
            if self.over() {
                return;
            }
            self.descend(&image, depth + 1, &format!("{path}; {inner}"));
        }
    }

    /// Only what a start does first, and then the machine crashes: TiKV reads what it wrote, or may not start.
    fn recover(&self, image: &State) -> Result<(), Violation> {
        let fs = SimFs::of(image.clone());
        recover((self.door)(&fs).as_ref(), &self.journey.then)
            .map_err(|error| error.to_string())?;
        check::image(self.journey, &fs.state().image(Survival::Nothing))
    }

    /// One run to its end: the state after each step, if that is wanted, and in the end.
    fn run(
        &self,
        start: &State,
        task: &Task,
        record: bool,
    ) -> Result<(Vec<State>, State), Violation> {
        let fs = SimFs::of(start.clone());
        if record {
            fs.record();
        }
        run((self.door)(&fs).as_ref(), task, self.journey.limits)
            .map_err(|error| format!("the run fails: {error}"))?;
        Ok((fs.recorded(), fs.state()))
    }

    /// All different images of crashes after each of `steps`, or after one in `every` of them.
    fn images(&self, path: &str, steps: &[State], depth: u32, every: u64) -> Vec<(String, State)> {
        let mut seen = HashSet::new();
        let mut images = Vec::new();
        // Which steps are left out differs from run to run, so that all of them have their turn.
        let mut hasher = DefaultHasher::new();
        (self.effort.seed, path).hash(&mut hasher);
        let mut draw = Draw::new(hasher.finish());
        for (at, step) in steps.iter().enumerate() {
            if !draw.number().is_multiple_of(every) {
                continue;
            }
            for survival in self.survivals(step, depth, draw.number()) {
                let image = step.image(survival);
                if seen.insert(image.fingerprint()) {
                    images.push((format!("crash after step {at}, {survival:?}"), image));
                }
            }
        }
        images
    }

    /// Process kill, ordered metadata, prefix, and any subset: the four models of what a crash leaves.
    fn survivals(&self, step: &State, depth: u32, seed: u64) -> Vec<Survival> {
        let pending = step.pending.len();
        let mut all = vec![
            Survival::Killed,
            Survival::Nothing,
            Survival::Everything,
            Survival::NamesOnly,
        ];
        if depth > 2 {
            all.push(Survival::Any(seed));
            return all;
        }
        all.extend((0..pending).map(Survival::Prefix));
        let metadata = step.pending.iter().filter(|op| op.is_metadata()).count();
        all.extend((0..metadata).map(Survival::Ordered));
        if depth > 1 {
            all.extend((0..2).map(|draw| Survival::Any(seed ^ draw)));
            return all;
        }
        if pending <= self.effort.exhaustive {
            all.extend((0..1_u64 << pending).map(Survival::Exactly));
        } else {
            all.extend((0..pending).map(Survival::Without));
            for one in 0..pending {
                all.extend((one + 1..pending).map(|other| Survival::WithoutTwo(one, other)));
            }
            all.extend((0..self.effort.draws).map(|draw| Survival::Any(seed ^ draw)));
        }
        all
    }

    fn violation(&self, path: &str, why: &str) {
        let mut found = self.found.lock().unwrap();
        if found.violations.len() < ENOUGH {
            let (name, seed) = (self.journey.name, self.effort.seed);
            found
                .violations
                .push(format!("{name}: {path}: {why} (seed {seed})"));
        }
    }

    fn over(&self) -> bool {
        self.found.lock().unwrap().violations.len() >= ENOUGH
    }
}
