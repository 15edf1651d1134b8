//! What a file of a data directory is, by its path (facts, encryption at rest §5.1).

/// What TiKV does with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Encrypted when encryption is on.
    Data(Kind),
    /// Always in the clear, never with an entry that counts.
    Plain,
    /// Always in the clear, and points to another file: an entry from before v4.0.15 is resolved and dropped (facts §5.2).
    Current,
    /// A leftover that TiKV itself removes at its next start.
    Leftover,
    /// Our own temporary file.
    Ours,
    /// Nothing that this program knows: left alone and reported.
    Unknown,
}

/// What the content of a data file must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Block-based table.
    Table,
    /// RocksDB log format: write-ahead log or manifest.
    Log,
    /// RocksDB options.
    Options,
    /// RocksDB identity.
    Identity,
    /// Titan blob.
    Blob,
    /// raft-engine log.
    RaftLog,
    /// raft-engine spare: content is of no use to anybody.
    Spare,
    /// No fixed look.
    Opaque,
}

impl Kind {
    /// A word for people and for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Log => "log",
            Self::Options => "options",
            Self::Identity => "identity",
            Self::Blob => "blob",
            Self::RaftLog => "raft-log",
            Self::Spare => "raft-spare",
            Self::Opaque => "opaque",
        }
    }
}

impl Class {
    /// A word for people and for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Data(kind) => kind.name(),
            Self::Plain => "plain",
            Self::Current => "current",
            Self::Leftover => "leftover",
            Self::Ours => "temporary",
            Self::Unknown => "unknown",
        }
    }
}

/// Marks our temporary files; no TiKV component takes such a name for its own (facts, encryption at rest §6.5).
pub const TEMPORARY: &str = ".tsec-";
/// Our journal.
pub const JOURNAL: &str = "tikv-security.journal";
/// TiKV's panic mark, our guard.
pub const GUARD: &str = "panic_mark_file";

/// Classifies `path`, relative to the data directory, with `/` between its parts.
pub fn classify(path: &str) -> Class {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let top = path.split('/').next().unwrap_or(path);
    if name.contains(TEMPORARY) {
        return Class::Ours;
    }
    if dir.is_empty() {
        return root(name);
    }
    // Directories that TiKV throws away at its next start, renamed without a word to the dictionary.
    let trash = |part: &str| part.starts_with("TRASH-") || part.ends_with(".REMOVE");
    if dir.split('/').any(trash) || (top == "tablets" && dir.ends_with(".tmp")) {
        return Class::Leftover;
    }
    match top {
        "import" if dir == "import/.temp" || dir == "import/.clone" => Class::Leftover,
        "import" if extension(name) == "sst" => Class::Data(Kind::Table),
        "snap" => snapshot(name),
        "log-backup-temp" => Class::Data(Kind::Opaque),
        _ => engine(name),
    }
}

fn root(name: &str) -> Class {
    const PLAIN: [&str; 9] = [
        "key.dict",
        "file.dict",
        "LOCK",
        "last_tikv.toml",
        "tmp_tikv.toml",
        "space_placeholder_file",
        "MIGRATING-RAFT",
        JOURNAL,
        GUARD,
    ];
    if PLAIN.contains(&name)
        || name.starts_with("rocksdb.info")
        || name.starts_with("raftdb.info")
        || is_probe(name)
    {
        return Class::Plain;
    }
    // Left by an interrupted write of a dictionary; TiKV never cleans them (facts §2.1).
    let number = |prefix: &str, suffix: &str| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix(suffix))
            .is_some_and(|digits| {
                !digits.is_empty()
                    && digits
                        .bytes()
                        .all(|byte| byte.is_ascii_digit() || byte == b'.')
            })
    };
    if number("key.", ".tmp") || number("file.", ".tmp") {
        return Class::Leftover;
    }
    Class::Unknown
}

fn snapshot(name: &str) -> Class {
    if name.ends_with(".meta") || name.ends_with(".meta.tmp") {
        Class::Plain
    } else if name.ends_with(".tmp") || name.ends_with(".clone") {
        Class::Leftover
    } else if name.ends_with("_lock.sst") || name.contains("_lock_") {
        Class::Data(Kind::Opaque)
    } else if extension(name) == "sst" {
        Class::Data(Kind::Table)
    } else {
        Class::Unknown
    }
}

/// Files of RocksDB, Titan and raft-engine, wherever their directory is.
fn engine(name: &str) -> Class {
    if name == "LOCK"
        || name == "LOG"
        || name.starts_with("LOG.old.")
        || name.ends_with(".dbtmp.plain")
        || is_probe(name)
    {
        return Class::Plain;
    }
    if name == "CURRENT" {
        return Class::Current;
    }
    if name == "IDENTITY" {
        return Class::Data(Kind::Identity);
    }
    if numbered(name, "MANIFEST-") {
        return Class::Data(Kind::Log);
    }
    if numbered(name, "OPTIONS-") {
        return Class::Data(Kind::Options);
    }
    let stem = name.split('.').next().unwrap_or(name);
    let digits = !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_digit());
    match (digits, name[stem.len()..].trim_start_matches('.')) {
        (true, "sst" | "ldb") => Class::Data(Kind::Table),
        (true, "log") => Class::Data(Kind::Log),
        (true, "blob") => Class::Data(Kind::Blob),
        (true, "raftlog" | "rewrite") if stem.len() == 16 => Class::Data(Kind::RaftLog),
        (true, "raftlog.reserved" | "rewrite.reserved") if stem.len() == 16 => {
            Class::Data(Kind::Spare)
        }
        (true, "dbtmp") => Class::Data(Kind::Opaque),
        _ if name.ends_with(".dbtmp") || name.ends_with(".trash") => Class::Data(Kind::Opaque),
        _ => Class::Unknown,
    }
}

fn numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|digits| {
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_probe(name: &str) -> bool {
    name == ".kv_disk_fail_fast_probe.tmp" || name == ".raft_disk_fail_fast_probe.tmp"
}

fn extension(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

#[cfg(test)]
mod tests {
    use super::{Class, Kind, classify};

    #[test]
    fn paths_of_the_facts_table() {
        let cases = [
            ("key.dict", Class::Plain),
            ("file.11400714819323198485.tmp", Class::Leftover),
            ("panic_mark_file", Class::Plain),
            ("rocksdb.info.2024-01-01T00-00-00.000", Class::Plain),
            ("db/000010.sst", Class::Data(Kind::Table)),
            ("db/000004.log", Class::Data(Kind::Log)),
            ("db/MANIFEST-000005", Class::Data(Kind::Log)),
            ("db/OPTIONS-000013", Class::Data(Kind::Options)),
            ("db/OPTIONS-000013.dbtmp", Class::Data(Kind::Opaque)),
            ("db/IDENTITY", Class::Data(Kind::Identity)),
            ("db/CURRENT", Class::Current),
            ("db/LOCK", Class::Plain),
            ("db/titandb/000003.blob", Class::Data(Kind::Blob)),
            ("db/titandb/MANIFEST-000001", Class::Data(Kind::Log)),
            ("db/titandb/CURRENT", Class::Current),
            (
                "raft-engine/0000000000000001.raftlog",
                Class::Data(Kind::RaftLog),
            ),
            (
                "raft-engine/0000000000000001.rewrite",
                Class::Data(Kind::RaftLog),
            ),
            (
                "raft-engine/0000000000000004.raftlog.reserved",
                Class::Data(Kind::Spare),
            ),
            ("raft-engine/.raft_disk_fail_fast_probe.tmp", Class::Plain),
            ("snap/gen_1_6_8_default.sst", Class::Data(Kind::Table)),
            ("snap/gen_1_6_8_lock.sst", Class::Data(Kind::Opaque)),
            ("snap/rev_1_6_8_write.sst.tmp", Class::Leftover),
            ("snap/gen_1_6_8.meta", Class::Plain),
            ("import/0a_1_2_3_default.sst", Class::Data(Kind::Table)),
            ("import/.clone/0a_1_2_3_default.sst", Class::Leftover),
            ("tablets/12_7/000010.sst", Class::Data(Kind::Table)),
            ("tablets/13_8.tmp/000010.sst", Class::Leftover),
            ("tablet_snap/TRASH-gen_1_2/000010.sst", Class::Leftover),
            (
                "raft-engine.REMOVE/0000000000000001.raftlog",
                Class::Leftover,
            ),
            ("db/000010.sst.tsec-00ff", Class::Ours),
            ("db/notes.txt", Class::Unknown),
            ("readme", Class::Unknown),
        ];
        for (path, class) in cases {
            assert_eq!(classify(path), class, "{path}");
        }
    }
}
