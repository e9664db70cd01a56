//! The two files, `sudare.toml` and `policy.toml`: read, checked completely, and turned into what the modules run on.
//!
//! Always holds: [`Settings`] exist only if both files are without mistakes, and otherwise [`Findings`] list every mistake of
//! both at once, each with its place, what was expected and how to repair it. Needs no keys and no network. Called by `app`
//! at start and on reload, and by the commands that read the configuration.
//!
//! | file | reads |
//! |---|---|
//! | `service` | `controller`, `purpose_header`, `[audit]` |
//! | `keys` | `[keys]`, `[keys.*]`, the rings that fields name |
//! | `listen`, `upstream`, `store`, `limits` | the table of that name |
//! | `operator` | `[admin]`, `[reload]`, `[log]`, `[leak_guard]` |
//! | `destruction` | `[backups]`, `[operator.*]` |
//! | `otlp` | the table of that name |
//! | `upstream_tls` | `[upstream] tls`, `[store] tls` |
//! | `callers`, `jwt` | `[caller.*]`, `[jwt.*]` |
//! | `collections`, `tokens` | `[collection.*]` |
//! | `policy` | `policy.toml` |
//! | `register` | `clauses.toml`, if it stands beside the policy |
//! | `build` | both together: categories of fields, callers of purposes, routes and plans |
//! | `tree`, `source`, `report`, `findings`, `nearest`, `names`, `methods` | what all readers share |

mod build;
mod callers;
mod collections;
mod destruction;
mod files;
mod findings;
mod http2;
mod index;
mod jwt;
mod kek;
#[cfg(feature = "aws-kms")]
mod kek_aws;
mod keys;
mod limits;
mod listen;
mod methods;
mod names;
mod operator;
mod otlp;
mod policy;
mod register;
mod report;
mod service;
mod source;
mod store;
pub mod templates;
mod tokens;
mod tree;
mod upstream;
mod upstream_tls;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

pub use files::Fingerprint;
pub use findings::{Finding, Findings, Severity};
pub use jwt::FetchedKeys;
pub use limits::Limits;
pub use listen::tls::Tls;
pub use operator::{Admin, Log, LogFormat, LogLevel};
pub use otlp::Otlp;
pub use store::store_at;

/// Everything, checked.
#[derive(Debug)]
pub struct Settings {
    /// `sudare.toml`, as it was named.
    pub file: PathBuf,
    /// What all the files held: those of [`Settings::files`].
    pub fingerprint: Fingerprint,
    /// By which people tell configurations apart: `cat sudare.toml policy.toml | sha256sum`, the first 12 characters.
    pub short_hash: String,
    /// Whose data it is; bound into every stored value.
    pub controller: crate::base::Controller,
    /// Where requests are accepted.
    pub listen: Listen,
    /// Where the database is.
    pub upstream: crate::upstream::Config,
    /// The database's API, with the routes of the collections.
    pub dialect: Arc<dyn crate::dialect::Dialect>,
    /// Where the main key ring is.
    pub keys: crate::keys::Config,
    /// The rings of groups of fields, and where those are that this node holds.
    pub other_rings: Vec<crate::keys::Other>,
    /// Where tokens and high-water marks are kept.
    pub store: crate::store::Config,
    /// Where the audit log is.
    pub audit: crate::audit::Config,
    /// Who may ask.
    pub callers: crate::caller::Callers,
    /// Keys of token issuers that are to be fetched; those in files are read already.
    pub fetched_keys: Vec<FetchedKeys>,
    /// The files that keys and authorities of token issuers were read from.
    pub issuer_files: Vec<PathBuf>,
    /// Who may see what.
    pub policy: Arc<crate::purpose::Policy>,
    /// The policy file, as shown in findings and explanations.
    pub policy_file: PathBuf,
    /// Number of purposes in the policy.
    pub purposes: usize,
    /// Same order as the dialect's routes.
    pub collections: Vec<Collection>,
    /// Bounds on connections, sizes and times.
    pub limits: Limits,
    /// What each caller may ask at most.
    pub caller_limits: Vec<(crate::base::CallerName, crate::exchange::CallerLimits)>,
    /// What callers may record of data subjects, of those that may.
    pub records: std::collections::HashMap<crate::base::CallerName, std::collections::BTreeSet<String>>,
    /// Who may see the metrics.
    pub admin: Admin,
    /// How often the files are looked at for changes; zero: never.
    pub poll: Duration,
    /// What is written down.
    pub log: Log,
    /// How many of a thousand written documents the leak guard looks at; 0: none.
    pub leak_guard_per_mille: u16,
    /// How long a backup of the database or the store may be put back after it was made.
    pub backups_kept: Duration,
    /// Who may sign for the destruction of keys.
    pub operators: Vec<crate::keys::Operator>,
    /// Where spans go.
    pub otlp: Option<Otlp>,
    /// Name of the purpose header, default `data-purpose`.
    pub purpose_header: http::HeaderName,
    /// What is allowed but probably not what is wanted.
    pub warnings: Findings,
}

/// A protected collection as run.
#[derive(Debug)]
pub struct Collection {
    /// Its fields and what they are bound to.
    pub field_map: crate::field::Collection,
    /// One per row set of the dialect.
    pub plans: Vec<crate::field::Plan>,
}

/// `[listen]` as run.
#[derive(Debug, Clone)]
pub struct Listen {
    /// For applications.
    pub address: Endpoint,
    /// For health and metrics.
    pub admin: Option<Endpoint>,
    /// How long connections are still accepted after `/readyz` has begun to say no.
    pub drain_delay: Duration,
    /// HTTP/2 is spoken beside HTTP/1.1.
    pub http2: bool,
    /// Permissions of both, where they are Unix sockets.
    pub socket_mode: u32,
    /// Senders that must begin with a PROXY header of version 2; empty: nobody may.
    pub proxy_protocol: Vec<ipnet::IpNet>,
    /// What applications connect over; in clear without.
    pub tls: Option<Tls>,
}

impl Settings {
    /// Every file that this was read from, and that a change of is worth a reload.
    pub fn files(&self) -> Vec<PathBuf> {
        files::of(self)
    }
}

impl Settings {
    /// The rings that this node holds, the main one first.
    pub fn held_rings(&self) -> impl Iterator<Item = &crate::keys::Config> {
        std::iter::once(&self.keys).chain(self.other_rings.iter().filter_map(crate::keys::Other::held))
    }

    /// Where the ring of this name is.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoSuchRing`](crate::keys::KeyError::NoSuchRing), [`KeyError::RingNotHeld`](crate::keys::KeyError::RingNotHeld).
    pub fn ring(&self, name: &str) -> Result<&crate::keys::Config, crate::keys::KeyError> {
        use crate::keys::KeyError;
        if let Some(held) = self.held_rings().find(|ring| ring.name.as_str() == name) {
            return Ok(held);
        }
        if let Some(other) = self.other_rings.iter().find(|other| other.name().as_str() == name) {
            return Err(KeyError::RingNotHeld(other.name().clone()));
        }
        let mut known = vec![self.keys.name.as_str()];
        known.extend(self.other_rings.iter().map(|other| other.name().as_str()));
        Err(KeyError::NoSuchRing { name: name.to_owned(), known: known.join(", ") })
    }
}

impl Listen {
    /// The files that stand behind it beside the two of the configuration, for those who watch for changes.
    pub fn files(&self) -> &[PathBuf] {
        self.tls.as_ref().map_or(&[], |tls| &tls.files)
    }
}

/// Where a listener binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// IP address and port; port 0 lets the system choose.
    Tcp(std::net::SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What the commands of `sudare policy` need.
#[derive(Debug)]
pub struct PolicyOnly {
    /// Compiled.
    pub policy: Arc<crate::purpose::Policy>,
    /// As the file says it, tests included.
    pub spec: crate::purpose::PolicySpec,
    /// The policy file, as shown in explanations (`policy.toml:41`).
    pub policy_file: PathBuf,
    /// The register of the published text, if it stands beside the policy.
    pub register: Option<crate::purpose::Register>,
    /// What is allowed but probably not what is wanted.
    pub warnings: Findings,
}

/// Where the credentials of the database and of the store come from.
#[derive(Clone, Copy)]
pub enum Environment<'e> {
    /// Environment variables, or what a test puts in their place.
    Read(&'e dyn Fn(&str) -> Option<Zeroizing<String>>),
    /// The same, but only for the store: the rest is not used.
    StoreOnly(&'e dyn Fn(&str) -> Option<Zeroizing<String>>),
    /// Not needed: only the policy is used.
    Ignored,
}

impl std::fmt::Debug for Environment<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Read(_) => "Environment::Read(..)",
            Self::StoreOnly(_) => "Environment::StoreOnly(..)",
            Self::Ignored => "Environment::Ignored",
        })
    }
}

/// Reads and checks `path` and the policy it names.
///
/// # Errors
///
/// Everything wrong in both files, at once.
pub fn load(path: &Path) -> Result<Settings, Findings> {
    load_with(path, Environment::Read(&|name| std::env::var(name).ok().map(Zeroizing::new)))
}

/// As [`load`], with another place for environment variables.
///
/// # Errors
///
/// As [`load`].
pub fn load_with(path: &Path, environment: Environment<'_>) -> Result<Settings, Findings> {
    build::both(path, environment, build::Policies::Kept).map(|both| both.settings)
}

/// Only what the store needs, from the environment of the process.
pub const STORE_ONLY: Environment<'static> = Environment::StoreOnly(&|name| match std::env::var(name) {
    Ok(value) => Some(Zeroizing::new(value)),
    Err(_) => None,
});

/// Reads and checks the same two files for commands that only use the store: no other credential need be there.
///
/// # Errors
///
/// As [`load`].
pub fn load_store_only(path: &Path) -> Result<crate::store::Config, Findings> {
    load_with(path, STORE_ONLY).map(|settings| settings.store)
}

/// Reads and checks the same two files for commands that only use the policy: the database's credential need not be there, and rules that
/// this release does not keep when it serves are welcome.
///
/// # Errors
///
/// As [`load`].
pub fn load_policy_only(path: &Path) -> Result<PolicyOnly, Findings> {
    let build::Both { settings, spec, register } = build::both(path, Environment::Ignored, build::Policies::LookedAt)?;
    Ok(PolicyOnly { policy: settings.policy, spec, policy_file: settings.policy_file, register, warnings: settings.warnings })
}

/// Reads and checks a policy alone: whether its callers and fields are there is not looked at. To compare two versions.
///
/// # Errors
///
/// Everything wrong in it, at once.
pub fn load_policy_file(path: &Path) -> Result<Arc<crate::purpose::Policy>, Findings> {
    build::policy_alone(path)
}
