//! The engine on the simulated file system.

mod pipeline;
mod proof;
mod refusals;
mod timed;
mod verify;
mod world;
