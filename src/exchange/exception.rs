//! A request that uses an exception in place of a purpose: whose it is, whether it is open, and what it may do at all.
//!
//! Always holds: the header only selects; an exception is its caller's alone, for one collection, and ends on the millisecond, also under a
//! reply that streams. One that discloses only reads, by id or in lists, never by a value; one that collects only creates, and shows nothing.

use super::{Collection, Error, State};
use crate::base::{ExceptionId, Intent};
use crate::caller::Caller;
use crate::dialect::Documents;
use crate::purpose::{Grant, Opens};
use crate::subject::exception::{Closed, Use};

/// The exception that a request uses, beside its grant.
#[derive(Debug, Clone)]
pub(super) struct Used {
    /// In which collection.
    collection: String,
    /// Until when, in milliseconds since 1970.
    pub(super) until: u64,
}

impl State {
    /// What an exception allows a caller that declares one, by the header or by a token that names nothing else; None: it declares a purpose.
    pub(super) fn exception(&self, caller: &Caller, declared: Option<&str>, now_ms: u64) -> Result<Option<(Grant, Used)>, Error> {
        let named = caller.vouched.as_ref().and_then(|vouched| vouched.purposes());
        let alone = || match named {
            Some([only]) => Some(&**only),
            _ => None,
        };
        let Some(text) = declared.or_else(alone).filter(|text| ExceptionId::is_meant(text)) else { return Ok(None) };
        let id: ExceptionId = text.parse().map_err(|_no_id| Closed::NoId)?;
        if named.is_some_and(|named| !named.iter().any(|name| **name == *text)) {
            return Err(Closed::NotInToken(id).into());
        }
        let register = self.ledger.exceptions();
        let Use { grant, collection, until, .. } = register.grant(&id, &caller.name, &self.policy, &self.operators, now_ms)?;
        Ok(Some((grant, Used { collection, until })))
    }

    /// That the exception of a grant is open still; so it is of a purpose.
    pub(super) fn still_open(&self, grant: &Grant, now_ms: u64) -> Result<(), Closed> {
        let Some((id, _)) = grant.exception() else { return Ok(()) };
        self.ledger.exceptions().still_open(id, &self.operators, now_ms).map(|_until| ())
    }
}

/// What an exception lets a request do to documents.
pub(super) fn check(grant: &Grant, used: Option<&Used>, collection: &Collection, documents: &Documents) -> Result<(), Error> {
    let Some((id, opens)) = within(grant, used, collection)? else { return Ok(()) };
    match (opens, documents.intent) {
        (Opens::Disclosure, Intent::Read) if documents.may_search() => {
            Err(not(id, opens, "nothing is searched by a value under it"))
        }
        (Opens::Disclosure, Intent::Read) | (Opens::Collection, Intent::Create | Intent::Replace | Intent::PerRow) => Ok(()),
        (Opens::Disclosure, Intent::Create | Intent::Replace | Intent::Delete | Intent::PerRow) => {
            Err(not(id, opens, "nothing is stored or removed under it"))
        }
        (Opens::Collection, Intent::Read) => Err(not(id, opens, "nothing is shown under it")),
        (Opens::Collection, Intent::Delete) => Err(not(id, opens, "nothing is removed under it")),
    }
}

/// What it lets a row of a body do, once the dialect has said what that is.
pub(super) fn check_row(grant: &Grant, intent: Intent) -> Result<(), Error> {
    match grant.exception() {
        Some((id, opens @ Opens::Collection)) if intent != Intent::Create => {
            Err(not(id, opens, "what is stored already is not changed under it; send new documents as such"))
        }
        _ => Ok(()),
    }
}

/// Attachments are whole files about anybody, so an exception for people and categories opens none.
pub(super) fn refuse_attachment(grant: &Grant) -> Result<(), Error> {
    match grant.exception() {
        Some((id, opens)) => Err(not(id, opens, "attachments are not opened by exception")),
        None => Ok(()),
    }
}

fn within<'g>(grant: &'g Grant, used: Option<&Used>, collection: &Collection) -> Result<Option<(&'g ExceptionId, Opens)>, Error> {
    let Some((id, opens)) = grant.exception() else { return Ok(None) };
    if used.is_some_and(|used| used.collection == collection.field_map.name.as_str()) {
        Ok(Some((id, opens)))
    } else {
        Err(Closed::OtherCollection(id.clone()).into())
    }
}

fn not(id: &ExceptionId, opens: Opens, not: &'static str) -> Error {
    let opens = match opens {
        Opens::Disclosure => "reading",
        Opens::Collection => "storing new documents",
    };
    Closed::Not { id: id.clone(), opens, not }.into()
}
