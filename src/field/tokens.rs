//! Tokens in a body: what the vault knows of those that stand there, and the values that want one.
//!
//! Nothing here waits. `exchange` asks [`tokens_shown`] or [`tokens_of_write`] which tokens a window or a write turns on, has the vault look,
//! and hands in [`Tokens`] with the answers. A write that then wants tokens made ends with [`WriteError::TokensWanted`], as it would with any
//! other reason against it; the wishes are in [`Tokens::wishes`], and the same write with the answers to them goes through.
//!
//! Always holds: no body is made while a wish is open; a text that could be a token is never stored as a value.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::by_row::level_of;
use super::deterministic;
use super::plan::{Collection, Field, Meaning, Plan, Protection};
use super::protect::WriteError;
use super::stored::Before;
use super::{NotCanonical, TermError, envelope};
use crate::base::RecordId;
use crate::base::limits::MAX_TOKENISED_BYTES;
use crate::document::{Found, Kind as JsonKind, Layout, unescape};
use crate::purpose::{Grant, Level, Row};
use crate::vault::{Format, Kind, Known, Scope, Wish};

/// What the vault said of the tokens of one body or window, and what is wanted of it.
#[derive(Default)]
pub struct Tokens {
    known: HashMap<(Scope, String), Known>,
    made: Vec<(Wish, String)>,
    open: Mutex<Open>,
}

/// What came up while a body was judged.
#[derive(Default)]
struct Open {
    wishes: Vec<Wish>,
    looks: HashSet<(Scope, String)>,
    /// How many of those made were given out.
    given: usize,
}

/// Without tokens and values (T13).
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("known", &self.known.len()).field("made", &self.made.len()).finish_non_exhaustive()
    }
}

impl Tokens {
    /// Adds what the vault knows of tokens, in the order in which it was asked.
    pub fn learn(&mut self, asked: Vec<(Scope, String)>, known: Vec<Known>) {
        self.known.extend(asked.into_iter().zip(known));
    }

    /// Texts that nobody has looked up yet, and might be tokens.
    pub fn looks(&mut self) -> Vec<(Scope, String)> {
        std::mem::take(&mut self.open.get_mut().unwrap_or_else(PoisonError::into_inner).looks).into_iter().collect()
    }

    /// How many bytes the values take that are known.
    pub fn bytes(&self) -> usize {
        let length = |known: &Known| if let Known::Value(json) = known { json.len() } else { 0 };
        self.known.values().map(length).fold(0, usize::saturating_add)
    }

    /// The values that want a token, in the order of the body.
    pub fn wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.open.get_mut().unwrap_or_else(PoisonError::into_inner).wishes)
    }

    /// Takes what was made for [`Self::wishes`], in their order.
    pub fn give(&mut self, wishes: Vec<Wish>, made: Vec<String>) {
        self.made = wishes.into_iter().zip(made).collect();
        self.open.get_mut().unwrap_or_else(PoisonError::into_inner).given = 0;
    }

    /// What is known of a token; None if nobody asked.
    pub(super) fn of(&self, scope: &Scope, token: &str) -> Option<&Known> {
        self.known.get(&(scope.clone(), token.to_owned()))
    }

    /// Is a text a token of this kind, by its looks or by what the vault knows?
    pub(super) fn is_token(&self, kind: &Kind, text: &str) -> bool {
        let known =
            || matches!(self.of(&kind.scope, text), Some(Known::Value(_) | Known::Bad | Known::Compromised(_) | Known::NotHeld));
        kind.format.is_token(text).unwrap_or_else(known)
    }

    /// The same of a text that is about to be stored as a value; what is not known yet is asked next.
    pub(super) fn is_foreign(&self, kind: &Kind, text: &str) -> bool {
        if kind.format.is_token(text).is_none() && kind.format.check(text).is_ok() && self.of(&kind.scope, text).is_none() {
            self.open().looks.insert((kind.scope.clone(), text.to_owned()));
        }
        kind.format.is_reserved(text) || self.is_token(kind, text)
    }

    /// The token that was made for this wish; None if it is open, and is now noted.
    pub(super) fn make(&self, wish: Wish) -> Result<Option<&str>, WriteError> {
        let mut open = self.open();
        if self.made.is_empty() {
            open.wishes.push(wish);
            return Ok(None);
        }
        // The same body under the same grant wants the same, in the same order.
        let made = self.made.get(open.given).filter(|(made, _)| *made == wish).ok_or(WriteError::Layout)?;
        open.given += 1;
        Ok(Some(&made.1))
    }

    /// Something is open, so that what was made of the body is not to be used.
    pub(super) fn is_open(&self) -> bool {
        let open = self.open();
        !open.wishes.is_empty() || !open.looks.is_empty()
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcome of judging a body with these tokens: while something is open it is neither done nor refused.
pub(super) fn settled<T>(tokens: Option<&Tokens>, outcome: Result<T, WriteError>) -> Result<T, WriteError> {
    match tokens {
        // A reason against the write is said at once, before anything is made for it.
        Some(tokens) if tokens.is_open() => outcome.and(Err(WriteError::TokensWanted)),
        _ => outcome,
    }
}

/// What a value of a token field wants. `subject` is empty where it is not known whom the value is about.
pub(super) fn wish(field: &Field, kind: &Kind, value: &[u8], subject: &str) -> Result<Wish, WriteError> {
    let json = if kind.consistent {
        deterministic::canonical(value).map_err(|why| match why {
            NotCanonical::TooLong => WriteError::TooLong { field: field.name.clone() },
            NotCanonical::Type | NotCanonical::Number => WriteError::NotCanonical { field: field.name.clone(), why },
        })?
    } else {
        value.to_vec()
    };
    if json.len() > MAX_TOKENISED_BYTES {
        return Err(WriteError::TooLong { field: field.name.clone() });
    }
    let text = match kind.format {
        Format::Opaque => String::new(),
        Format::Digits | Format::Email | Format::Uuid => unescape(&json).map(std::borrow::Cow::into_owned).unwrap_or_default(),
    };
    kind.format.check(&text).map_err(|why| WriteError::TokenFormat { field: field.name.clone(), why })?;
    Ok(Wish { kind: kind.clone(), json, text, subject: RecordId::from_text(subject).ok() })
}

/// What a search for a value of a token field asks the vault; None if the field is none.
///
/// # Errors
///
/// [`TermError`]: fresh tokens are not found by a value, and a value without a canonical text has none.
pub fn token_term(collection: &Collection, field: usize, json: &[u8]) -> Result<Option<(Scope, Vec<u8>)>, TermError> {
    let config = collection.fields.get(field).ok_or(TermError::NoField)?;
    let Protection::Token(kind) = &config.protection else { return Ok(None) };
    if !kind.consistent {
        return Err(TermError::Sealed { field: config.name.clone() });
    }
    let text = deterministic::canonical(json).map_err(|why| TermError::NotCanonical { field: config.name.clone(), why })?;
    Ok(Some((kind.scope.clone(), text)))
}

/// The tokens whose values a window shows in some form, each once; and texts of which only the vault can tell whether they are tokens.
/// Where rows differ, also those of rows that show less than others: what is opened and not shown leaves with nobody.
pub fn tokens_shown(collection: &Collection, plan: &Plan, grant: &Grant, bytes: &[u8], layout: &Layout) -> Vec<(Scope, String)> {
    let most = most_of(grant);
    let mut wanted = HashSet::new();
    // What is left out is left out, whatever it is.
    let at = |level| level != Level::Absent;
    shown(collection, plan, &most, bytes, &layout.found, &at, &mut wanted);
    wanted.into_iter().collect()
}

/// How many bytes the values take that the tokens of a window stand for, each as often as it stands there.
pub fn bytes_shown(collection: &Collection, plan: &Plan, bytes: &[u8], layout: &Layout, tokens: &Tokens) -> usize {
    let length = |(found, _, kind): (&Found, &Field, &Kind)| match tokens.of(&kind.scope, &text_of(bytes, found)?)? {
        Known::Value(json) => Some(json.len()),
        Known::Not | Known::Bad | Known::Compromised(_) | Known::NotHeld => None,
    };
    values(collection, plan, &layout.found).filter_map(length).fold(0, usize::saturating_add)
}

/// The tokens that a write turns on: those that are stored and shown to this caller, and texts in it that might be tokens.
pub fn tokens_of_write(
    collection: &Collection,
    plan: &Plan,
    grant: &Grant,
    bytes: &[u8],
    layout: &Layout,
    before: &Before<'_>,
) -> Vec<(Scope, String)> {
    let (most, mut wanted) = (most_of(grant), HashSet::new());
    for (found, _, kind) in values(collection, plan, &layout.found) {
        let Some(text) = text_of(bytes, found) else { continue };
        if kind.format.is_token(&text).is_none() && kind.format.check(&text).is_ok() {
            wanted.insert((kind.scope.clone(), text));
        }
    }
    for stored in before.rows.iter().flatten() {
        shown(collection, stored.plan(), &most, stored.bytes(), stored.found_in(&stored.range()), &|_| true, &mut wanted);
    }
    wanted.into_iter().collect()
}

/// Texts that are tokens at sight, and those of which only the vault can tell.
pub fn tokens_stored(collection: &Collection, plan: &Plan, bytes: &[u8], layout: &Layout) -> Vec<(Scope, String)> {
    let mut wanted = HashSet::new();
    for (found, _, kind) in values(collection, plan, &layout.found) {
        let Some(text) = text_of(bytes, found) else { continue };
        if kind.format.is_token(&text).unwrap_or_else(|| kind.format.check(&text).is_ok()) {
            wanted.insert((kind.scope.clone(), text));
        }
    }
    wanted.into_iter().collect()
}

/// What some row may show.
fn most_of(grant: &Grant) -> Cow<'_, Row> {
    grant.alike().map_or_else(|| Cow::Owned(grant.at_most()), Cow::Borrowed)
}

fn shown(
    collection: &Collection,
    plan: &Plan,
    most: &Row,
    bytes: &[u8],
    found: &[Found],
    at: &dyn Fn(Level) -> bool,
    wanted: &mut HashSet<(Scope, String)>,
) {
    for (found, field, kind) in values(collection, plan, found) {
        let level = level_of(most, field);
        if !at(level) {
            continue;
        }
        let opens = match level {
            Level::Absent | Level::Sealed => false,
            Level::Clear | Level::Masked | Level::Generalised | Level::Pseudonym => true,
        };
        let Some(text) = text_of(bytes, found) else { continue };
        if kind.format.is_token(&text).map_or(kind.format.check(&text).is_ok(), |is_token| is_token && opens) {
            wanted.insert((kind.scope.clone(), text));
        }
    }
}

/// The values of token fields.
fn values<'l, 'c: 'l>(
    collection: &'c Collection,
    plan: &'l Plan,
    found: &'l [Found],
) -> impl Iterator<Item = (&'l Found, &'c Field, &'c Kind)> {
    found.iter().filter(|found| found.kind == JsonKind::String && !found.misfit).filter_map(|found| {
        let Some(Meaning::Field(index)) = plan.meaning(found) else { return None };
        let field = collection.fields.get(index)?;
        let Protection::Token(kind) = &field.protection else { return None };
        Some((found, field, kind))
    })
}

/// What stands there, unless it is an envelope, which opens without the vault.
fn text_of(bytes: &[u8], found: &Found) -> Option<String> {
    let text = unescape(bytes.get(found.value.clone())?)?;
    (!text.starts_with(envelope::PREFIX)).then(|| text.into_owned())
}

#[cfg(test)]
mod tests;
