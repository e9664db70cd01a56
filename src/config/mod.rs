//! The two files: as written (serde, with spans) → as run ([`Settings`]). Every mistake is found in one go.
//!
//! INTERFACE SKETCH. To come: raw.rs (sudare.toml), raw_policy.rs (policy.toml), findings.rs (annotate-snippets), resolve.rs, nearest.rs

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Everything, checked.
#[derive(Debug)]
pub struct Settings {
    pub controller: crate::base::Controller,
    pub listen: Listen,
    pub upstream: crate::upstream::Config,
    pub dialect: Arc<dyn crate::dialect::Dialect>,
    pub keys: crate::keys::Config,
    /// redb file for high-water marks and, later, tokens and facts.
    pub store: std::path::PathBuf,
    pub audit: crate::audit::Config,
    pub callers: crate::caller::Callers,
    pub policy: Arc<crate::purpose::Policy>,
    /// Same order as the dialect's routes.
    pub collections: Vec<Collection>,
    pub limits: Limits,
    /// Name of the purpose header, default `data-purpose`.
    pub purpose_header: http::HeaderName,
}
#[derive(Debug)]
pub struct Collection { pub field_map: crate::field::Collection, /** One per row set of the dialect. */ pub plans: Vec<crate::field::Plan> }
#[derive(Debug, Clone)]
pub struct Listen { pub address: Endpoint, pub admin: Option<Endpoint> }
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint { Tcp(std::net::SocketAddr), Unix(std::path::PathBuf) }
/// `[limits]`, all optional in the file.
#[derive(Debug, Clone)]
pub struct Limits { pub connections: usize, pub header_bytes: usize, pub headers: usize, pub body_bytes: usize, pub header_timeout: Duration, pub body_timeout: Duration, pub idle_timeout: Duration, pub total_timeout: Duration, pub drain_timeout: Duration }

/// Reads and checks `path` and the policy it names. Errors: everything wrong, at once.
pub fn load(_path: &Path) -> Result<Settings, Findings> { todo!() }
/// One mistake: file, line, column span, what was found, what was expected, remedy, nearest valid name.
#[derive(Debug)]
pub struct Findings { /* Vec<Finding>, sources */ }
// impl Display for Findings: caret style, all findings; fn to_json(); fn len()
