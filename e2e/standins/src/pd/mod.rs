//! The stand-in for PD.

pub mod api;
pub mod member;
pub mod state;
