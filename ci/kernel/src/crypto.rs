//! As in the crate, without what is no cipher.

#[allow(dead_code, unused_imports)]
#[path = "../../../src/crypto/kernel/mod.rs"]
mod kernel;
#[allow(dead_code)]
#[path = "../../../src/crypto/secret.rs"]
pub mod secret;
#[allow(dead_code)]
#[path = "../../../src/crypto/stream.rs"]
mod stream;

pub use kernel::Backend;
pub use stream::{CtrStream, Transform};
