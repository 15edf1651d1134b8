//! The engine on the simulated file system.

mod crash;
mod pipeline;
mod refusals;
mod together;
mod world;
