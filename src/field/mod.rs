//! Protects or reveals one row: envelope, mask, generalise, pseudonym. Sync.
//!
//! INTERFACE SKETCH. To come: plan.rs (Collection, Field), envelope.rs, mask.rs, generalise.rs, pseudonym.rs, protect.rs, reveal.rs

use std::sync::Arc;

use bytes::Bytes;

use crate::base::{Bind, CollectionName, FieldName, FieldPlace, RecordId};
use crate::document::{Layout, Selector};
use crate::keys::KeyRing;
use crate::purpose::{CategoryId, Grant, Level};

/// A protected collection as run. `config` makes it.
#[derive(Debug)]
pub struct Collection {
    pub name: CollectionName,
    pub bind: Bind,
    /// A clear value found in the database is refused; false while migrating.
    pub strict: bool,
    pub on_bad_value: OnBadValue,
    /// Where the id of a row stands (`$.id`, `$._id`).
    pub id: Selector,
    pub subject: Subject,
    pub fields: Vec<Field>,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnBadValue { Refuse, Withhold }
/// Who a row is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject { /** Not said. */ None, /** `{id}`: the document's own id. */ DocumentId, At(Selector) }
#[derive(Debug)]
pub struct Field {
    pub name: FieldName,
    pub at: Selector,
    pub place: FieldPlace,
    pub category: CategoryId,
    pub category_name: crate::base::CategoryName,
    pub mask: Mask,
    pub generalise: Option<Generalise>,
    /// Bucket in bytes, 0 = none.
    pub pad: u16,
    pub seal_null: bool,
    /// Other people in a document: `subject = "$.guests[*].id"`.
    pub subject: Option<Selector>,
}
/// How `masked` looks. Parse from `keep-last:4`, `keep-first:1`, `email`, `phone`, `initials`, `all`. The mask character is `•` (U+2022).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mask { KeepLast(u8), KeepFirst(u8), Email, Phone, Initials, All }
/// How `generalised` looks. Parse from `year`, `age-band:10`, `ip-prefix` (/24, /48), `postcode-prefix:3`, `grid:0.1`, `band:1000`.
#[derive(Debug, Clone, PartialEq)]
pub enum Generalise { Year, AgeBand(u16), IpPrefix, PostcodePrefix(u8), Grid(f64), Band(f64) }

/// The targets of a [`crate::document::Map`] for one collection and one dialect row set, and what each means.
#[derive(Debug)]
pub struct Plan { pub map: Arc<crate::document::Map>, /* meaning of each target */ }
impl Plan {
    /// Compiles; the errors name fields.
    pub fn compile(_collection: &Collection, _set: &crate::document::RowSet) -> Result<Self, Vec<String>> { todo!() }
}
/// Reads a body's layout back into what the dialect asked for.
pub fn facts<'a>(_plan: &Plan, _bytes: &'a [u8], _layout: &Layout) -> crate::document::BodyFacts<'a> { todo!() }

/// The only body the upstream client takes for a protected collection.
#[derive(Debug)]
pub struct ProtectedBody(Bytes);
impl ProtectedBody { pub fn into_bytes(self) -> Bytes { self.0 } }

/// Counts per category and level, for audit and metrics.
#[derive(Debug, Default, Clone)]
pub struct Tally { pub shown: Vec<(CategoryId, Level, u32)>, pub protected: Vec<(CategoryId, u32)>, pub kept: u32, pub clear_found: u32, pub bad: u32 }

/// What one row of a write does, with the new id where the proxy gives one.
#[derive(Debug, Clone)]
pub struct RowWrite { pub intent: crate::base::Intent, pub assigned_id: Option<String> }

#[derive(Debug)]
pub struct Protected { pub body: ProtectedBody, pub tally: Tally, /** Distinct, in order. */ pub subjects: Vec<RecordId> }
/// Protects a whole request body. `rows[i]` belongs to `layout.rows[i]`; `url_id` binds row `$` of a body (it must agree with the id in the body).
#[expect(clippy::too_many_arguments, reason = "sketch")]
pub fn protect(_c: &Collection, _plan: &Plan, _keys: &KeyRing, _grant: &Grant, _bytes: &Bytes, _layout: &Layout, _rows: &[RowWrite], _url_id: Option<&RecordId>, _id_member: &str) -> Result<Protected, WriteError> { todo!() }

#[derive(Debug)]
pub struct Revealed { pub bytes: Vec<u8>, pub tally: Tally, pub subjects: Vec<RecordId> }
/// Rewrites one window of a reply under the grant.
pub fn reveal(_c: &Collection, _plan: &Plan, _keys: &KeyRing, _grant: &Grant, _bytes: &[u8], _layout: &Layout, _url_id: Option<&RecordId>) -> Result<Revealed, RevealError> { todo!() }

/// A write that may not be stored as given. Names fields, never values.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError { #[error("placeholder")] Placeholder }
/// A stored value that cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RevealError { #[error("placeholder")] Placeholder }
