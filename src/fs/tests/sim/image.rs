//! What a machine finds after a crash: the durable state, and of the changes since whatever a file system may keep.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::Arc;

use super::state::{Dir, Inode, Op, State};

/// Which of the changes that were not durable survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// The program was killed, the machine goes on: programs see everything, and what was not durable is not yet.
    Killed,
    /// All of them.
    Everything,
    /// None of them.
    Nothing,
    /// All names and lengths, no content: zeros where content was.
    NamesOnly,
    /// The first of them, in their order.
    Prefix(usize),
    /// All contents, and of names and lengths the first: a log of metadata that is cut.
    Ordered(usize),
    /// All but one.
    Without(usize),
    /// All but two.
    WithoutTwo(usize, usize),
    /// Those whose bit is set.
    Exactly(u64),
    /// Any, drawn from this seed.
    Any(u64),
}

impl State {
    /// The state after a crash with this survival.
    #[must_use]
    pub fn image(&self, survival: Survival) -> Self {
        if survival == Survival::Killed {
            return self.clone();
        }
        let mut draw = Draw::new(match survival {
            Survival::Any(seed) => seed,
            _ => 1,
        });
        let mut metadata = 0;
        let mut names: BTreeMap<_, BTreeMap<Arc<str>, u64>> = BTreeMap::new();
        let mut contents: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
        let mut sectors = Vec::new();
        for (at, op) in self.pending.iter().enumerate() {
            metadata += usize::from(op.is_metadata());
            let survives = match survival {
                Survival::Killed | Survival::Everything => true,
                Survival::Nothing => false,
                Survival::NamesOnly => op.is_metadata(),
                Survival::Prefix(first) => at < first,
                Survival::Ordered(first) => !op.is_metadata() || metadata <= first,
                Survival::Without(one) => at != one,
                Survival::WithoutTwo(one, other) => at != one && at != other,
                Survival::Exactly(bits) => at < 64 && bits >> at & 1 == 1,
                Survival::Any(_) => draw.coin(),
            };
            if !survives {
                continue;
            }
            match op {
                Op::Name(dir, change) => {
                    let durable = || (*self.dirs[dir].durable).clone();
                    change.apply(names.entry(dir.clone()).or_insert_with(durable));
                }
                Op::Size(inode, len) => {
                    let bytes = contents
                        .entry(*inode)
                        .or_insert_with(|| (*self.inodes[inode].durable).clone());
                    if bytes.len() < *len {
                        bytes.resize(*len, 0);
                    }
                }
                Op::Sector(inode, offset, bytes) => sectors.push((*inode, *offset, bytes)),
            }
        }
        // Content beyond the length that survived is not seen.
        for (inode, offset, bytes) in sectors {
            let content = contents
                .entry(inode)
                .or_insert_with(|| (*self.inodes[&inode].durable).clone());
            let end = (offset + bytes.len()).min(content.len());
            if offset < end {
                content[offset..end].copy_from_slice(&bytes[..end - offset]);
            }
        }
        self.settled(
            |path, dir| match names.get(path) {
                Some(names) => Arc::new(names.clone()),
                None => dir.durable.clone(),
            },
            |id, inode| match contents.get(&id) {
                Some(content) => Arc::new(content.clone()),
                None => inode.durable.clone(),
            },
        )
    }

    fn settled(
        &self,
        names: impl Fn(&Arc<std::path::Path>, &Dir) -> Arc<BTreeMap<Arc<str>, u64>>,
        content: impl Fn(u64, &Inode) -> Arc<Vec<u8>>,
    ) -> Self {
        let dirs: BTreeMap<_, _> = self
            .dirs
            .iter()
            .map(|(path, dir)| {
                let names = names(path, dir);
                let dir = Dir {
                    now: names.clone(),
                    durable: names,
                };
                (path.clone(), dir)
            })
            .collect();
        let mut inodes = BTreeMap::new();
        for id in dirs.values().flat_map(|dir| dir.now.values()) {
            let bytes = content(*id, &self.inodes[id]);
            let inode = Inode {
                now: bytes.clone(),
                durable: bytes,
            };
            inodes.insert(*id, inode);
        }
        Self {
            dirs,
            inodes,
            pending: Vec::new(),
            next: self.next,
            free: self.free,
        }
    }

    /// Equal for states in which programs see the same and the same is durable.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, dir) in &self.dirs {
            path.hash(&mut hasher);
            dir.now.hash(&mut hasher);
            if !Arc::ptr_eq(&dir.now, &dir.durable) {
                dir.durable.hash(&mut hasher);
            }
        }
        for (id, inode) in &self.inodes {
            id.hash(&mut hasher);
            inode.now.hash(&mut hasher);
            if !Arc::ptr_eq(&inode.now, &inode.durable) {
                inode.durable.hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

/// xorshift64*.
pub struct Draw(u64);

impl Draw {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds shall differ in more than their last bits; zero would stay zero.
        Self(seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn coin(&mut self) -> bool {
        self.number() >> 63 == 1
    }
}
