//! A member of PD.

pub mod api;
pub mod member;
pub mod rpc;
pub mod schedule;
pub mod state;
