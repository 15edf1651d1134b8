//! The engine on the simulated file system.

mod crash;
mod refusals;
mod world;
