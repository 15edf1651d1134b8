//! Whole journeys on a small world: actions are applied to it, then Kubernetes, PD and the agents do their part.

mod journeys;
mod refusals;
mod world;
