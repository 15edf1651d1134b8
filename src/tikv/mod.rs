//! To be filled.

pub mod http;
pub mod pd;
pub mod status_port;
