//! Certificates: issuing, reading, and looking at what a port really serves.

pub mod anchor;
pub mod authority;
pub mod bundle;
pub mod client;
mod key;
pub mod keystore;
pub mod leaf;
mod mysql;
pub mod parse;
pub mod private;
pub mod probe;
pub mod request;
pub mod revocation;
pub mod server;
pub mod survey;
pub mod trial;

#[cfg(test)]
mod tests;
