//! Settings to a state, the same way at start and at reload.

use std::sync::Arc;

use super::StartError;
use super::fleet::Fleet;
use crate::base::{Kid, RingName};
use crate::config::Settings;
use crate::exchange::{Collection, Gates, Limits, Newest, State};
use crate::field::Protection;
use crate::keys::{Config, KeyError, KeyRing, LineName, Other, Rings};
use crate::metrics::OfCategory;
use crate::store::{Rows, Store};
use crate::subject::Ledger;
use crate::upstream::Upstream;

/// Times that a ring in the store is read, where others replace it each time.
const TIMES: u32 = 5;

/// Opens the rings, refuses one older than this node has seen, and one that lacks a line that policy or fields need.
///
/// `used` are the rings in force, of which only a newer one may follow each.
pub(super) fn keys(settings: &Settings, store: &Arc<Store>, used: Option<&Rings>) -> Result<Arc<Rings>, StartError> {
    if let Some(shared) = settings.keys.ring.shared() {
        shared.provide(store);
    }
    let ring = |config: &Config| ring(config, store, used.and_then(|used| used.find(&config.name)));
    let main = ring(&settings.keys)?;
    let others = settings.other_rings.iter().filter_map(Other::held).map(ring).collect::<Result<Vec<KeyRing>, KeyError>>()?;
    let not_held = settings.other_rings.iter().filter(|other| other.held().is_none()).map(|other| other.name().clone());
    let rings = Rings::of_rings(main, others, not_held.collect())?;
    has_lines(&rings, settings)?;
    Ok(Arc::new(rings))
}

/// One of them.
fn ring(config: &Config, store: &Store, used: Option<&KeyRing>) -> Result<KeyRing, KeyError> {
    let mut left = TIMES;
    loop {
        let ring = KeyRing::open(config)?;
        if let Some(used) = used {
            ring.may_follow(used).map_err(|why| why.of_ring(&config.name))?;
        }
        left -= 1;
        match ring.remember(config, store) {
            // It may have been replaced, and its mark raised, since it was read.
            Err(KeyError::RolledBack { .. }) if config.ring.is_store() && left > 0 => {}
            remembered => {
                remembered.map_err(|why| why.of_ring(&config.name))?;
                return Ok(ring);
            }
        }
    }
}

fn has_lines(rings: &Rings, settings: &Settings) -> Result<(), StartError> {
    let fields = settings.collections.iter().flat_map(|collection| &collection.field_map.fields);
    for field in fields {
        if !field.indexes.is_empty() {
            rings.needs(&field.ring, |ring| ring.lookup_key(&field.place))?;
        }
        match &field.protection {
            Protection::Seal => {}
            Protection::Deterministic => rings.needs(&field.ring, |ring| ring.lookup_key(&field.place))?,
            Protection::Token(kind) => {
                rings.needs(&field.ring, |ring| ring.token_key(kind.scope.as_str()))?;
                if kind.consistent {
                    rings.needs(&field.ring, |ring| ring.fingerprint_keys(kind.scope.as_str()))?;
                }
            }
        }
    }
    let missing: Vec<String> =
        settings.policy.pseudonym_scopes().into_iter().filter(|scope| !rings.main().has_pseudonym_scope(scope)).collect();
    if missing.is_empty() { Ok(()) } else { Err(StartError::PseudonymScope(missing.join(", "))) }
}

/// The versions of the rings for the metrics: ring, line, id, state.
pub(super) fn key_versions(keys: &Rings) -> impl Iterator<Item = (RingName, &'static str, Kid, &'static str)> {
    let versions = keys.held().flat_map(|ring| ring.versions().into_iter().map(move |version| (ring.name().clone(), version)));
    versions.map(|(ring, version)| {
        let line = match version.line {
            LineName::Seal => "seal",
            LineName::Lookup => "lookup",
            LineName::Token => "token",
            LineName::Audit => "audit",
            LineName::Pseudonym(_) => "pseudonym",
        };
        (ring, line, version.kid, version.state.as_str())
    })
}

/// Everything one exchange needs to know.
///
/// On a reload `before` is what is in use: its database is kept if nothing of it changed, and what callers have used of their limits.
/// `fleet` are the others, if there are any.
pub(super) fn state(
    settings: Settings,
    keys: Arc<Rings>,
    store: Arc<dyn Rows>,
    ledger: &Arc<Ledger>,
    fleet: Option<&Fleet>,
    before: Option<&State>,
) -> Result<State, StartError> {
    let upstream = match before {
        Some(before) => before.upstream.or_new(&settings.upstream)?,
        None => Upstream::new(&settings.upstream)?,
    };
    let fields = settings.collections.iter().flat_map(|collection| &collection.field_map.fields);
    fields.flat_map(|field| &field.indexes).for_each(|index| index.normaliser().warm_up());
    let collections = settings
        .collections
        .into_iter()
        .map(|collection| Collection { field_map: collection.field_map, plans: collection.plans })
        .collect();
    Ok(State {
        dialect: settings.dialect,
        collections,
        counters: settings.policy.categories().iter().map(|_| OfCategory::default()).collect(),
        policy: settings.policy,
        callers: settings.callers,
        store,
        ledger: Arc::clone(ledger),
        operators: settings.operators,
        newest: Newest::of(&keys, before.map(|before| &before.newest)),
        standing: fleet.map(Fleet::standing).unwrap_or_default(),
        keys,
        lends_credential: settings.upstream.authorization.is_some(),
        upstream,
        purpose_header: settings.purpose_header,
        limits: Limits {
            body_bytes: settings.limits.body_bytes,
            decompress_ratio: settings.limits.decompress_ratio,
            body_timeout: settings.limits.body_timeout,
            body_rate: settings.limits.body_rate,
            total_timeout: settings.limits.total_timeout,
            outside_timeout: settings.limits.outside_timeout,
            write_timeout: settings.limits.write_timeout,
            requests: settings.limits.requests,
            failures_per_minute: settings.limits.failures_per_minute,
        },
        gates: Gates::new(settings.caller_limits, before.map(|before| &before.gates)),
        log: settings.log.requests,
        leak_guard_per_mille: settings.leak_guard_per_mille,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::CallerName;
    use crate::config::{self, templates};
    use crate::keys::{KeyRing, State};

    #[test]
    fn a_deterministic_field_needs_the_lookup_line() {
        let folder = tempfile::tempdir().unwrap();
        let credentials = templates::CALLERS.map(|name| (CallerName::new(name), crate::crypto::sha256(name.as_bytes())));
        let service = templates::service("127.0.0.1:0", "127.0.0.1:0", &credentials);
        let path = folder.path().join("sudare.toml");
        std::fs::write(folder.path().join("policy.toml"), templates::POLICY).unwrap();
        let load = |text: &str| {
            std::fs::write(&path, text).unwrap();
            config::load(&path).unwrap_or_else(|findings| panic!("{findings}"))
        };
        let sealed = load(&service);
        let deterministic = load(&service.replace("\"$.phone\"", "{ at = \"$.phone\", protect = \"deterministic\" }"));
        let ring = |line: &LineName| {
            let scopes = sealed.policy.pseudonym_scopes();
            let lines = scopes.iter().map(|scope| LineName::pseudonym(scope).unwrap()).chain([LineName::Seal, line.clone()]);
            let version = |(line, byte): (LineName, u8)| (line, Kid::from_random([byte; 5]), State::Active, [byte; 32]);
            Rings::from(KeyRing::with_versions(sealed.keys.controller.clone(), lines.zip(1..).map(version).collect()))
        };
        assert!(has_lines(&ring(&LineName::Token), &sealed).is_ok());
        assert!(has_lines(&ring(&LineName::Lookup), &deterministic).is_ok());
        let tokens = |more: &str| {
            load(&service.replace("\"$.phone\"", &format!("{{ at = \"$.phone\", protect = \"token\", consistent = {more} }}")))
        };
        assert!(has_lines(&ring(&LineName::Token), &tokens("false")).is_ok());
        for (line, more) in [(LineName::Lookup, "false"), (LineName::Lookup, "true"), (LineName::Token, "true")] {
            let missing = if line == LineName::Token { LineName::Lookup } else { LineName::Token };
            let error = has_lines(&ring(&line), &tokens(more)).unwrap_err().to_string();
            assert!(error.contains(&format!("line {missing} has no active version")), "{error}");
        }
        let error = has_lines(&ring(&LineName::Token), &deterministic).unwrap_err().to_string();
        assert_eq!(error, "the key ring's line lookup has no active version; `sudare keys init` adds a line that is missing");
    }
}
