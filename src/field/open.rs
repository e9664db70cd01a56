//! Opens stored values of one body or window, each only under the place where it stands (T1) and only against a permit.

use std::sync::Arc;

use super::deterministic;
use super::envelope::{Envelope, Suite};
use super::plan::{Collection, Field, Plan, Protection};
use crate::base::Kid;
use crate::crypto::{NONCE_HALF_BYTES, RowKey};
use crate::keys::{FieldKey, KeyError, KeyRing, LookupKey, Rings};
use crate::purpose::Permit;

/// Why a stored value does not open.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// It does not authenticate, for whatever reason. `kid_known` is for the operator only (T23).
    Bad { kid_known: bool },
    /// It hangs on a key that somebody else may know, so it is not tried: it may be anybody's. Never under [`Permit::Upkeep`].
    Compromised(Kid),
    /// Its field's ring is not held, so that nothing can be told of it.
    NotHeld,
    /// The ring cannot be asked for this place at all.
    Keys(KeyError),
}

const UNKNOWN: NotOpened = NotOpened::Bad { kid_known: false };
const BAD: NotOpened = NotOpened::Bad { kid_known: true };

/// Opens the values of one body or window.
pub(super) struct Opener<'a> {
    collection: &'a Collection,
    plan: &'a Plan,
    fields: Vec<Slot<'a>>,
    /// The key the last value named: most values of a window name one key.
    last: Option<Kid>,
    aad: Vec<u8>,
    room: Vec<u8>,
}

/// What is kept of a field while a body is opened. The ring was asked for the key under the permit of this body.
struct Slot<'a> {
    /// The one ring that its values are sealed under; None if it is not held.
    ring: Option<&'a KeyRing>,
    key: Option<Arc<FieldKey>>,
    lookup: Option<Arc<LookupKey>>,
    /// Only for fields that may stand in a row more than once.
    row: Option<Box<(Kid, [u8; NONCE_HALF_BYTES], RowKey)>>,
}

impl<'a> Opener<'a> {
    /// All openings of one opener are against one permit.
    pub(super) fn new(collection: &'a Collection, plan: &'a Plan, keys: &'a Rings) -> Self {
        let slot = |field: &Field| Slot { ring: keys.find(&field.ring), key: None, lookup: None, row: None };
        let fields = collection.fields.iter().map(slot).collect();
        Self { collection, plan, fields, last: None, aad: Vec::with_capacity(256), room: Vec::with_capacity(256) }
    }

    /// Is the ring held that the values of this field are sealed under?
    pub(super) fn holds(&self, field: usize) -> bool {
        self.fields.get(field).is_some_and(|slot| slot.ring.is_some())
    }

    /// Opens `text`, which stands at a value of `field`; `id` is what the value is bound to. Returns its JSON text.
    pub(super) fn open(&mut self, field: usize, text: &str, id: &str, permit: Permit<'_>) -> Result<&[u8], NotOpened> {
        let (Some(config), Some(planned), Some(slot)) =
            (self.collection.fields.get(field), self.plan.fields.get(field), self.fields.get_mut(field))
        else {
            return Err(UNKNOWN);
        };
        let ring = slot.ring.ok_or(NotOpened::NotHeld)?;
        let envelope = Envelope::parse_expecting(text, self.last).map_err(|_not_an_envelope| UNKNOWN)?;
        if envelope.suite == Suite::D {
            return self.open_deterministic(field, &envelope, permit);
        }
        self.last = Some(envelope.kid);
        let key = match &slot.key {
            Some(key) if key.kid == envelope.kid => key,
            _ => slot.key.insert(ring.open_key(envelope.kid, &config.place, permit).map_err(refused)?),
        };
        let payload = envelope.decode(planned.context.bind(), &mut self.room).map_err(|_not_an_envelope| BAD)?;
        let once;
        let row_key = if planned.repeats {
            match &mut slot.row {
                Some(kept) if kept.0 == key.kid && kept.1 == payload.prefix => &kept.2,
                stale => &stale.insert(Box::new((key.kid, payload.prefix, key.xaes.row_key(&payload.prefix)))).2,
            }
        } else {
            once = key.xaes.row_key(&payload.prefix);
            &once
        };
        payload.open(row_key, planned.context.aad(key.kid, id, &mut self.aad)).map_err(|_one_error| BAD)
    }

    fn open_deterministic(&mut self, field: usize, envelope: &Envelope<'_>, permit: Permit<'_>) -> Result<&[u8], NotOpened> {
        let (Some(config), Some(planned), Some(slot)) =
            (self.collection.fields.get(field), self.plan.fields.get(field), self.fields.get_mut(field))
        else {
            return Err(UNKNOWN);
        };
        let ring = slot.ring.ok_or(NotOpened::NotHeld)?;
        if !takes_deterministic(self.collection, field) {
            return Err(BAD);
        }
        let key = match &slot.lookup {
            Some(key) if key.kid == envelope.kid => key,
            _ => slot.lookup.insert(ring.open_lookup_key(envelope.kid, &config.place, permit).map_err(refused)?),
        };
        let payload = deterministic::decode(envelope, &mut self.room).map_err(|_not_an_envelope| BAD)?;
        payload.open(key, planned.deterministic.aad(key.kid, "", &mut self.aad)).map_err(|_one_error| BAD)
    }

    /// True if `text` is spelled as an envelope of this field, so that it may be shown sealed. No key is used.
    pub(super) fn is_envelope(&mut self, field: usize, text: &str) -> bool {
        let Some(planned) = self.plan.fields.get(field) else { return false };
        Envelope::parse(text).is_ok_and(|envelope| match envelope.suite {
            Suite::X => envelope.decode(planned.context.bind(), &mut self.room).is_ok(),
            Suite::D => takes_deterministic(self.collection, field) && deterministic::decode(&envelope, &mut self.room).is_ok(),
        })
    }
}

/// Does a value of a field, which upkeep has opened, hang on a key that somebody else may know?
pub(super) fn hangs_on_compromised(keys: &Rings, field: &Field, text: &str) -> bool {
    compromised(keys, field, text).is_some()
}

/// The key of a field's ring that an envelope hangs on, if somebody else may know it.
pub(super) fn compromised(keys: &Rings, field: &Field, text: &str) -> Option<Kid> {
    let ring = keys.find(&field.ring)?;
    Envelope::parse(text).ok().map(|envelope| envelope.kid).filter(|kid| ring.is_compromised(*kid))
}

/// May this field hold deterministic values? Not a field that is configured to seal: they are bound to less than it asks for, so an old
/// one could be moved between people. While migrating (`strict = false`) even clear values are taken, and these with them. The other way
/// round needs no such rule: what suite `x` holds is bound to at least as much.
fn takes_deterministic(collection: &Collection, field: usize) -> bool {
    !collection.strict || collection.fields.get(field).is_some_and(|field| field.protection == Protection::Deterministic)
}

/// What the ring's refusal says about the value. What it says about the ring is an error of its own.
fn refused(error: KeyError) -> NotOpened {
    if matches!(error, KeyError::UnknownKid(_)) {
        UNKNOWN
    } else if matches!(error, KeyError::Destroyed(_)) {
        BAD
    } else if let KeyError::Compromised(kid) = error {
        NotOpened::Compromised(kid)
    } else {
        NotOpened::Keys(error)
    }
}
