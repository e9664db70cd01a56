//! What every module shares: names, the place of a value, conditions of a search, the clock and the fixed limits. Imports nothing of ours.

mod clock;
mod condition;
mod intent;
mod names;
mod nearest;
mod place;
mod segment;

pub mod limits;

pub use clock::{Clock, FixedClock, SystemClock};
pub use condition::Condition;
pub use intent::{Intent, PatchFormat};
pub use names::{
    CallerName, CategoryName, CollectionName, Controller, ExceptionId, FieldName, IssuerName, Kid, ParseExceptionIdError,
    ParseKidError, PurposeName, RecordId, RecordIdError, RingName, ShownPath, is_canonical_integer,
};
pub use nearest::nearest;
pub use place::{Bind, FieldPlace, enc, parts};
pub use segment::encode_segment;
