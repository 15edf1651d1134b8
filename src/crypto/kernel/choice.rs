//! Which back ends there are, what each of them needs of the CPU, and which one a process takes.

use std::ffi::OsStr;
use std::sync::OnceLock;

/// The variable with the name of a back end that is taken instead of the fastest one.
pub const VARIABLE: &str = "TIKV_SECURITY_KERNEL";

/// How AES and SM4 are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// AES: VAES on 512 bits. SM4: GFNI on 512 bits.
    Avx512,
    /// AES: VAES on 256 bits. SM4: the same instructions between affine maps.
    Avx2,
    /// AES: AES-NI. SM4: the same instructions between affine maps.
    AesNi,
    /// AES: the instructions of ARMv8. SM4: bit slices.
    ArmV8,
    /// Bit slices: constant-time code for any CPU, without any instruction for ciphers.
    Portable,
}

/// Why the back end that the variable names is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoBackend {
    /// No such name.
    #[error(
        "{VARIABLE} is {found:?}, which is no back end; allowed are {}, or leave it unset to take the fastest",
        names()
    )]
    Unknown {
        /// What the variable holds.
        found: String,
    },
    /// This CPU can not run it.
    #[error(
        "{VARIABLE} is {name:?}, which this CPU can not run: it lacks {}; leave it unset to take the fastest that it can",
        missing.join(", ")
    )]
    Missing {
        /// The back end.
        name: &'static str,
        /// What the CPU lacks.
        missing: Vec<&'static str>,
    },
}

impl Backend {
    /// All back ends, fastest first.
    pub const ALL: [Self; 5] = [
        Self::Avx512,
        Self::Avx2,
        Self::AesNi,
        Self::ArmV8,
        Self::Portable,
    ];

    /// The name that the override takes.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Avx512 => "vaes-avx512",
            Self::Avx2 => "vaes-avx2",
            Self::AesNi => "aes-ni",
            Self::ArmV8 => "armv8-aes",
            Self::Portable => "portable",
        }
    }

    /// How AES is computed, and how SM4 is.
    pub const fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Avx512 => ("VAES, 512 bits", "GFNI, 512 bits"),
            Self::Avx2 => ("VAES, 256 bits", "VAES and affine maps, 256 bits"),
            Self::AesNi => ("AES-NI, 128 bits", "AES-NI and affine maps, 128 bits"),
            Self::ArmV8 => ("ARMv8 AES, 128 bits", "bit slices"),
            Self::Portable => ("bit slices", "bit slices"),
        }
    }

    /// Features of a CPU without which it can not run.
    pub const fn needs(self) -> &'static [&'static str] {
        match self {
            Self::Avx512 => &[
                "x86-64", "sse2", "ssse3", "aes", "avx", "avx2", "vaes", "avx512f", "avx512bw",
                "gfni",
            ],
            Self::Avx2 => &["x86-64", "sse2", "ssse3", "aes", "avx", "avx2", "vaes"],
            Self::AesNi => &["x86-64", "sse2", "ssse3", "aes", "avx"],
            Self::ArmV8 => &["aarch64", "neon", "aes"],
            Self::Portable => &[],
        }
    }

    /// What this CPU lacks of it.
    pub fn missing(self) -> impl Iterator<Item = &'static str> {
        let has = |name| features().contains(&(name, true));
        self.needs().iter().copied().filter(move |name| !has(name))
    }

    /// Whether this CPU can run it.
    pub fn available(self) -> bool {
        self.missing().next().is_none()
    }

    /// The back end that a process takes when the variable holds `wanted`.
    pub fn choose(wanted: Option<&OsStr>) -> Result<Self, NoBackend> {
        let Some(wanted) = wanted else {
            return Ok(Self::fastest());
        };
        let backend = Self::ALL
            .into_iter()
            .find(|backend| wanted == backend.name());
        let backend = backend.ok_or_else(|| NoBackend::Unknown {
            found: wanted.to_string_lossy().into_owned(),
        })?;
        if backend.available() {
            Ok(backend)
        } else {
            Err(NoBackend::Missing {
                name: backend.name(),
                missing: backend.missing().collect(),
            })
        }
    }

    /// Whether the variable is one that can be followed. Asked before anything is touched.
    pub fn check() -> Result<Self, NoBackend> {
        Self::choose(std::env::var_os(VARIABLE).as_deref())
    }

    /// The back end of this process.
    pub fn chosen() -> Self {
        static CHOSEN: OnceLock<Backend> = OnceLock::new();
        // The program does not get here with a variable that it can not follow.
        *CHOSEN.get_or_init(|| Self::check().unwrap_or_else(|_| Self::fastest()))
    }

    fn fastest() -> Self {
        let mut able = Self::ALL.into_iter().filter(|backend| backend.available());
        able.next().unwrap_or(Self::Portable)
    }
}

fn names() -> String {
    Backend::ALL.map(Backend::name).join(", ")
}

/// The features that count, and whether this CPU has them.
pub fn features() -> &'static [(&'static str, bool)] {
    static FEATURES: OnceLock<Vec<(&'static str, bool)>> = OnceLock::new();
    FEATURES.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        let found = super::x86::features().to_vec();
        #[cfg(target_arch = "aarch64")]
        let found = super::aarch64::features().to_vec();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let found = Vec::new();
        found
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_none_is_an_error_that_lists_all() {
        let error = Backend::choose(Some(OsStr::new("protable"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "TIKV_SECURITY_KERNEL is \"protable\", which is no back end; allowed are vaes-avx512, vaes-avx2, aes-ni, \
             armv8-aes, portable, or leave it unset to take the fastest"
        );
    }

    #[test]
    fn what_the_cpu_lacks_is_told() {
        for backend in Backend::ALL {
            let chosen = Backend::choose(Some(OsStr::new(backend.name())));
            if backend.available() {
                assert_eq!(chosen, Ok(backend));
            } else {
                let lacks = backend.missing().next().unwrap();
                let message = chosen.unwrap_err().to_string();
                assert!(message.contains(&format!("it lacks {lacks}")), "{message}");
            }
        }
        assert!(Backend::choose(None).unwrap().available());
    }
}
