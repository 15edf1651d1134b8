#![doc = include_str!("ARCHITECTURE.md")]

pub mod agent;
pub mod api;
pub mod cli;
pub mod crypto;
pub mod evidence;
pub mod export;
pub mod format;
pub mod fs;
pub mod issuer;
pub mod kms;
pub mod operator;
pub mod plan;
pub mod telemetry;
pub mod tikv;
pub mod tls;
