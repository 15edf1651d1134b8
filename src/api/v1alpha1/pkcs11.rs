//! A master key that a hardware security module wraps.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::duration::GoDuration;
use super::encryption::{SecretKeyRef, SecretRef};

/// An AES key in a hardware security module, by PKCS#11, which TiKV does not know. A random master key is made once and
/// stored as the module wrapped it; at each start of a pod the agent has it unwrapped into memory, where TiKV reads it as
/// its `file` key. Operator and agents need the image for HSMs, with the vendor's library in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pkcs11 {
    /// Path of the vendor's library in the image: `/usr/lib/vendor/libpkcs11.so`. May be changed, to reach the same key by
    /// another library.
    #[schemars(
        length(max = 512),
        regex(pattern = "^(/[0-9A-Za-z_+-][0-9A-Za-z._+-]*)+$")
    )]
    pub module: String,
    /// Label of the token (`CKA_LABEL`), as `pkcs11-tool --list-token-slots` shows it.
    #[schemars(length(min = 1, max = 32), regex(pattern = "^[ -~]*[!-~]$"))]
    pub token: String,
    /// Label of an AES key of 256 bits in the token (`CKA_LABEL`), which may encrypt and decrypt. It is the only one with
    /// this label.
    #[schemars(length(min = 1, max = 128), regex(pattern = "^[ -~]*[!-~]$"))]
    pub key: String,
    /// PIN of the token's user, in a Secret. What else stands for it at some vendors: `USER:PASSWORD` at AWS CloudHSM.
    pub pin_secret: SecretKeyRef,
    /// What the vendor's library needs and what must not be in an image: its configuration, the key of its client
    /// certificate. Each key of the Secret is a file in `/var/lib/tikv-security/hsm` of the agents. The operator has a Secret
    /// of its own there (`hsm.configSecret` of the chart).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_secret: Option<SecretRef>,
    /// For so long after a key was unwrapped, an agent that starts again in the same pod uses what is still in the pod's
    /// memory when the module does not answer. A new pod has nothing in memory and always needs the module. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m') && duration(self) <= duration('168h')").message("offlineGrace must be between 1m and 168h; 1h is usual, and without it no key is used that the module did not give at that start"))]
    pub offline_grace: Option<GoDuration>,
}
