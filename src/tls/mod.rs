//! Certificates: issuing, reading, and looking at what a port really serves.

pub mod authority;
pub mod bundle;
pub mod client;
pub mod keystore;
pub mod leaf;
pub mod parse;
pub mod private;
pub mod probe;
pub mod revocation;
pub mod server;
pub mod survey;
pub mod trial;

#[cfg(test)]
mod tests;
