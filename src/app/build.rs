//! Settings to a state, the same way at start and at reload.

use std::sync::Arc;

use super::StartError;
use crate::base::Kid;
use crate::config::Settings;
use crate::exchange::{Collection, Limits, State};
use crate::keys::{KeyRing, LineName};
use crate::store::Store;
use crate::upstream::Upstream;

/// Opens the ring, refuses one older than this node has seen, and one that lacks a pseudonym scope the policy needs.
pub(super) fn keys(settings: &Settings, store: &Store) -> Result<Arc<KeyRing>, StartError> {
    let ring = KeyRing::open(&settings.keys)?;
    ring.check_rollback(store)?;
    let missing: Vec<String> =
        settings.policy.pseudonym_scopes().into_iter().filter(|scope| !ring.has_pseudonym_scope(scope)).collect();
    if missing.is_empty() { Ok(Arc::new(ring)) } else { Err(StartError::PseudonymScope(missing.join(", "))) }
}

/// The versions of the ring for the metrics: line, id, state.
pub(super) fn key_versions(keys: &KeyRing) -> impl Iterator<Item = (&'static str, Kid, &'static str)> {
    keys.versions().into_iter().map(|version| {
        let line = match version.line {
            LineName::Seal => "seal",
            LineName::Lookup => "lookup",
            LineName::Token => "token",
            LineName::Audit => "audit",
            LineName::Pseudonym(_) => "pseudonym",
        };
        (line, version.kid, version.state.as_str())
    })
}

/// Everything one exchange needs to know.
///
/// On a reload `before` is the database in use, which is kept if nothing of it changed.
pub(super) fn state(settings: Settings, keys: Arc<KeyRing>, before: Option<&Upstream>) -> Result<State, StartError> {
    let upstream = match before {
        Some(before) => before.or_new(&settings.upstream)?,
        None => Upstream::new(&settings.upstream)?,
    };
    let collections = settings
        .collections
        .into_iter()
        .map(|collection| Collection { field_map: collection.field_map, plans: collection.plans })
        .collect();
    Ok(State {
        dialect: settings.dialect,
        collections,
        policy: settings.policy,
        callers: settings.callers,
        keys,
        lends_credential: settings.upstream.authorization.is_some(),
        upstream,
        purpose_header: settings.purpose_header,
        limits: Limits {
            body_bytes: settings.limits.body_bytes,
            body_timeout: settings.limits.body_timeout,
            total_timeout: settings.limits.total_timeout,
            idle_timeout: settings.limits.idle_timeout,
        },
    })
}
