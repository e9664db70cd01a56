//! What every module shares: names, the place of a value, the clock and the fixed limits. Imports nothing of ours.

mod clock;
mod intent;
mod names;
mod place;

pub mod limits;

pub use clock::{Clock, FixedClock, SystemClock};
pub use intent::Intent;
pub use names::{
    CallerName, CategoryName, CollectionName, Controller, FieldName, Kid, ParseKidError, PurposeName, RecordId, RecordIdError,
    is_canonical_integer,
};
pub use place::{Bind, FieldPlace, enc};
