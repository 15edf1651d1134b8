//! What a TiDB is towards TLS: its ties to PD and the stores, its port for MySQL clients, its status port. It knows no SQL.

pub mod mysql;
pub mod ties;
