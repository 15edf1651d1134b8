//! The key manager: which data key a file has, under TiKV's rules for boot, entries and rotation (facts, encryption at
//! rest §2.4 to §2.6, §3.4).

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use prost::Message;

use super::cipher::{self, FileCipher, PLAINTEXT};
use super::dictionary::{
    self, Damage, DataKey, EncryptedContent, FileDictionary, FileInfo, KeyDictionary,
};
use super::master::{Master, OpenError};
use crate::options::Options;
use crate::{Result, log, now};

/// `[security.encryption]` without the master keys.
#[derive(Clone)]
pub struct Settings {
    pub method: i32,
    pub rotation: Duration,
    /// `file.dict` as a log (version 2).
    pub log: bool,
    /// Removals after which the log is written anew.
    pub threshold: u64,
    /// How many times as fast data keys age, so that a test need not wait for ten minutes.
    pub pace: u32,
}

/// The environment variable for `pace`.
const PACE: &str = "STANDIN_KEY_PACE";

impl Settings {
    /// By the configuration, with TiKV's defaults.
    pub fn configured(options: &Options) -> Result<Self> {
        let path = |name: &str| format!("security.encryption.{name}");
        let period = options
            .text(&path("data-key-rotation-period"))
            .unwrap_or_else(|| "7d".to_owned());
        Ok(Self {
            method: cipher::method(
                &options
                    .text(&path("data-encryption-method"))
                    .unwrap_or_default(),
            )?,
            rotation: crate::options::duration(&period)?,
            log: options
                .flag(&path("enable-file-dictionary-log"))
                .unwrap_or(true),
            threshold: options
                .number(&path("file-dictionary-rewrite-threshold"))
                .unwrap_or(1_000_000),
            pace: std::env::var(PACE)
                .ok()
                .and_then(|pace| pace.parse().ok())
                .unwrap_or(1)
                .max(1),
        })
    }
}

/// What `/metrics` tells.
#[derive(Clone, Default)]
pub struct Figures {
    pub initialized: bool,
    pub keys: usize,
    pub files: usize,
    /// Size of `file.dict` and of `key.dict`.
    pub sizes: [u64; 2],
    /// Number and seconds of reads and writes, by dictionary.
    pub durations: [(&'static str, &'static str, u64, f64); 4],
}

struct State {
    enabled: bool,
    keys: KeyDictionary,
    files: FileDictionary,
    // Kept open: whoever replaces the file under a running store loses what is added later (facts, §3.2).
    file: Option<fs::File>,
    removed: u64,
    figures: Figures,
}

/// Both dictionaries, or none when encryption was never on.
pub struct KeyManager {
    directory: PathBuf,
    settings: Settings,
    master: Master,
    state: Mutex<State>,
}

impl KeyManager {
    /// TiKV's boot. `previous` is asked for only when the master key does not fit.
    pub fn open(
        directory: &Path,
        settings: Settings,
        master: Master,
        previous: impl FnOnce() -> Result<Master>,
    ) -> Result<Arc<Self>> {
        if settings.method != PLAINTEXT && !master.secure() {
            return Err(
                "encryption is to enable but master key is either absent or insecure.".into(),
            );
        }
        let state = State {
            enabled: false,
            keys: KeyDictionary::default(),
            files: FileDictionary::default(),
            file: None,
            removed: 0,
            figures: Figures {
                durations: [
                    ("file.dict", "read", 0, 0.0),
                    ("file.dict", "write", 0, 0.0),
                    ("key.dict", "read", 0, 0.0),
                    ("key.dict", "write", 0, 0.0),
                ],
                ..Figures::default()
            },
        };
        let manager = Self {
            directory: directory.to_owned(),
            settings,
            master,
            state: Mutex::new(state),
        };
        manager.boot(previous)?;
        Ok(Arc::new(manager))
    }

    /// Whether there are dictionaries.
    pub fn enabled(&self) -> bool {
        self.state().enabled
    }

    /// How often to look whether a new data key is due.
    pub fn rotation_interval(&self) -> Duration {
        self.settings
            .rotation
            .clamp(Duration::from_secs(1), Duration::from_secs(600))
            / self.settings.pace
    }

    /// The cipher of a file. No entry is plaintext; an entry without its key is an error.
    pub fn cipher(&self, path: &Path) -> Result<Option<FileCipher>> {
        self.state().cipher(&name(path))
    }

    /// Makes a new entry under the current key; it is durable when this returns.
    pub fn create(&self, path: &Path) -> Result<Option<FileCipher>> {
        let mut state = self.state();
        if state.enabled {
            let current = state.keys.current_key_id;
            let method = state
                .keys
                .keys
                .get(&current)
                .map_or(PLAINTEXT, |key| key.method);
            let mut iv = vec![0; if method == PLAINTEXT { 0 } else { 16 }];
            openssl::rand::rand_bytes(&mut iv).map_err(|e| e.to_string())?;
            self.insert(
                &mut state,
                name(path),
                FileInfo {
                    key_id: current,
                    iv,
                    method,
                },
            )?;
        }
        state.cipher(&name(path))
    }

    /// Forgets a file that is gone.
    pub fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.state();
        if state.files.files.remove(&name(path)).is_none() {
            return Ok(());
        }
        state.removed += 1;
        if !self.settings.log || state.removed > self.settings.threshold {
            return self.save_files(&mut state);
        }
        self.append(&mut state, &name(path), None)
    }

    /// A second name for a file has the same entry.
    pub fn link(&self, from: &Path, to: &Path) -> Result<()> {
        let Some(info) = self.state().files.files.get(&name(from)).cloned() else {
            return Ok(());
        };
        if self.state().files.files.contains_key(&name(to)) {
            if to.exists() {
                return Err(format!("{} has an entry already", to.display()));
            }
            self.remove(to)?;
        }
        self.insert(&mut self.state(), name(to), info)
    }

    /// Whether a file has an entry.
    pub fn has_entry(&self, path: &Path) -> bool {
        self.state().files.files.contains_key(&name(path))
    }

    /// Makes a new data key when one is due.
    pub fn rotate(&self) -> Result<()> {
        let mut state = self.state();
        if !state.enabled || !self.due(&state)? {
            return Ok(());
        }
        let mut id = [0; 8];
        let mut key = vec![0; cipher::key_length(self.settings.method)];
        let made =
            openssl::rand::rand_bytes(&mut id).and_then(|()| openssl::rand::rand_bytes(&mut key));
        made.map_err(|e| e.to_string())?;
        let id = u64::from_be_bytes(id).max(1);
        let data_key = DataKey {
            key,
            method: self.settings.method,
            creation_time: now(),
            was_exposed: false,
        };
        let mut keys = state.keys.clone();
        keys.keys.insert(id, data_key);
        keys.current_key_id = id;
        self.save_keys(&mut state, keys)?;
        log(&format!("encryption: rotate data key. key_id={id}"));
        Ok(())
    }

    /// For `/metrics`.
    pub fn figures(&self) -> Figures {
        let state = self.state();
        let size =
            |name: &str| fs::metadata(self.directory.join(name)).map_or(0, |data| data.len());
        Figures {
            initialized: state.enabled,
            keys: state.keys.keys.len(),
            files: state.files.files.len(),
            sizes: [size("file.dict"), size("key.dict")],
            ..state.figures.clone()
        }
    }

    fn boot(&self, previous: impl FnOnce() -> Result<Master>) -> Result<()> {
        let mut state = self.state();
        let files = match self.read("file.dict")? {
            None => None,
            Some(bytes) => {
                Some(dictionary::parse_files(&bytes).map_err(|damage| self.mark(damage))?)
            }
        };
        // Written anew before, and whether or not, the keys can be read.
        if let Some(files) = &files {
            state.files = files.clone();
            self.save_files(&mut state)?;
        }
        let sealed = self
            .read("key.dict")?
            .map(|bytes| dictionary::parse_sealed(&bytes))
            .transpose()?;
        state.enabled = true;
        match (files, sealed) {
            (Some(_), Some(sealed)) => {
                log("encryption: found both of key dictionary and file dictionary.");
                self.unseal(&mut state, &sealed, previous)?;
            }
            (Some(files), None) if files.files.is_empty() => {
                log("encryption: file dict is empty and none of key dictionary are found.");
                fs::remove_file(self.directory.join("file.dict")).map_err(|e| e.to_string())?;
                self.bootstrap(&mut state)?;
            }
            (None, None) => {
                log("encryption: none of key dictionary and file dictionary are found.");
                self.bootstrap(&mut state)?;
            }
            (Some(_), None) => return Err("file.dict without key.dict".into()),
            (None, Some(_)) => return Err("key.dict without file.dict".into()),
        }
        drop(state);
        self.rotate()
    }

    fn bootstrap(&self, state: &mut State) -> Result<()> {
        state.enabled = self.settings.method != PLAINTEXT;
        if state.enabled {
            log(&format!(
                "encryption is being enabled. method = {}",
                cipher::shown(self.settings.method)
            ));
            return self.save_files(state);
        }
        log("encryption is disabled.");
        Ok(())
    }

    fn unseal(
        &self,
        state: &mut State,
        sealed: &EncryptedContent,
        previous: impl FnOnce() -> Result<Master>,
    ) -> Result<()> {
        let decode = |plain: Vec<u8>| {
            KeyDictionary::decode(plain.as_slice()).map_err(|error| format!("key.dict: {error}"))
        };
        match self.master.open(sealed) {
            Ok(plain) => state.keys = decode(plain)?,
            Err(OpenError::Hard(error)) => return Err(error),
            Err(OpenError::Wrong(error)) => {
                log(&format!(
                    "[WARN] failed to open encryption metadata using master key. could be master key being rotated. {error}"
                ));
                let both =
                    |second: String| format!("BothMasterKeyFail: {error}; previous: {second}");
                let plain = previous().and_then(|previous| {
                    previous.open(sealed).map_err(|error| match error {
                        OpenError::Wrong(text) | OpenError::Hard(text) => text,
                    })
                });
                let keys = decode(plain.map_err(both)?)?;
                self.save_keys(state, keys)?;
                log("encryption: persisted result after replace master key.");
            }
        }
        log(&format!(
            "encryption is enabled. method = {}",
            cipher::shown(self.settings.method)
        ));
        Ok(())
    }

    fn due(&self, state: &State) -> Result<bool> {
        let current = state.keys.current_key_id;
        if current == 0 {
            return Ok(true);
        }
        let key = state
            .keys
            .keys
            .get(&current)
            .ok_or("current data key not found!")?;
        let age = now().checked_sub(key.creation_time);
        Ok(key.method != self.settings.method
            || (key.was_exposed && self.master.secure())
            || age.is_none_or(|age| {
                age.saturating_mul(self.settings.pace.into()) >= self.settings.rotation.as_secs()
            }))
    }

    fn insert(&self, state: &mut State, name: String, info: FileInfo) -> Result<()> {
        if self.settings.log {
            self.append(state, &name, Some(&info))?;
        }
        state.files.files.insert(name, info);
        if self.settings.log {
            Ok(())
        } else {
            self.save_files(state)
        }
    }

    fn append(&self, state: &mut State, name: &str, info: Option<&FileInfo>) -> Result<()> {
        let started = Instant::now();
        let file = state.file.as_mut().ok_or("file.dict is not open")?;
        let done = file
            .write_all(&dictionary::record(name, info))
            .and_then(|()| file.sync_data());
        count(state, 1, started);
        done.map_err(|error| format!("file.dict: {error}"))
    }

    fn save_files(&self, state: &mut State) -> Result<()> {
        let started = Instant::now();
        let path = self.directory.join("file.dict");
        dictionary::write_files(&path, &state.files, self.settings.log)?;
        state.removed = 0;
        state.file = Some(
            fs::File::options()
                .append(true)
                .open(&path)
                .map_err(|e| e.to_string())?,
        );
        count(state, 1, started);
        Ok(())
    }

    fn save_keys(&self, state: &mut State, mut keys: KeyDictionary) -> Result<()> {
        let started = Instant::now();
        if !self.master.secure() {
            keys.keys
                .values_mut()
                .for_each(|key| key.was_exposed = true);
        }
        let sealed = self.master.seal(&keys.encode_to_vec())?;
        dictionary::write_sealed(&self.directory.join("key.dict"), &sealed)?;
        state.keys = keys;
        count(state, 3, started);
        Ok(())
    }

    // A record that is damaged in the middle makes TiKV leave its mark.
    fn mark(&self, damage: Damage) -> String {
        if damage.mark {
            _ = fs::write(self.directory.join("panic_mark_file"), b"");
        }
        damage.text
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.directory.join(name);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}

impl State {
    fn cipher(&self, name: &str) -> Result<Option<FileCipher>> {
        let Some(info) = self
            .files
            .files
            .get(name)
            .filter(|info| info.method != PLAINTEXT)
        else {
            return Ok(None);
        };
        let key = self.keys.keys.get(&info.key_id);
        let key = key.ok_or_else(|| format!("key not found for id {} of {name}", info.key_id))?;
        FileCipher::new(info.method, key.key.clone(), &info.iv)
            .map(Some)
            .map_err(|error| format!("{name}: {error}"))
    }
}

fn count(state: &mut State, which: usize, started: Instant) {
    state.figures.durations[which].2 += 1;
    state.figures.durations[which].3 += started.elapsed().as_secs_f64();
}

fn name(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
