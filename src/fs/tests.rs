//! What tests put in the place of the operating system.

pub mod sim;
