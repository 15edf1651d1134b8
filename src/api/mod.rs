//! The API: custom resources, what the operator tells the agents and what they answer. Types only.

pub mod desired;
pub mod method;
pub mod report;

/// API group of all custom resources.
pub const GROUP: &str = "security.tikv.org";
/// The served and stored version.
pub const VERSION: &str = "v1alpha1";
/// Field manager of every server-side apply, and value of the managed-by label.
pub const MANAGER: &str = "tikv-security";
/// Label on every object made for a `TikvSecurity`; its value is that object's name.
pub const LABEL_NAME: &str = "security.tikv.org/name";
/// Finalizer on `TikvSecurity`.
pub const FINALIZER: &str = "security.tikv.org/cleanup";
/// Port of the agent's HTTPS server.
pub const AGENT_PORT: u16 = 20190;
