//! What is known of TiKV, PD and TiDB: their configuration files, PD's API, TiKV's status port and debug
//! service.

pub mod debug_service;
pub mod encryption_config;
pub mod http;
mod master_key_name;
pub mod pd;
pub mod pd_toml;
pub mod status_port;
pub mod store_config;
pub mod tidb_operator;
pub mod tidb_toml;
pub mod tikv_toml;
pub mod version;
