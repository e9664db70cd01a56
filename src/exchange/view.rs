//! What a grant must allow of a collection as a whole: to copy its documents, to store what acts on them.

use super::{Collection, Error, State};
use crate::keys::KeyError;
use crate::purpose::{Grant, Level};

/// The one level at which the grant shows every protected member of a collection.
///
/// # Errors
///
/// [`Error::ViewNotWhole`] unless that is clear, or sealed; clear is nothing of which this node does not hold the ring.
pub(super) fn check_whole(state: &State, collection: usize, grant: &Grant) -> Result<Level, Error> {
    let Collection { field_map, .. } = state.collections.get(collection).ok_or(Error::Internal("no such collection"))?;
    let mut view = None;
    for field in &field_map.fields {
        let level = grant.level(field.category);
        let copies = matches!(level, Level::Clear | Level::Sealed);
        if !copies || *view.get_or_insert(level) != level {
            return Err(Error::ViewNotWhole { purpose: grant.purpose().clone(), category: field.category_name.clone(), level });
        }
    }
    if view == Some(Level::Clear)
        && let Some(field) = field_map.not_held(&state.rings())
    {
        return Err(Error::Keys(KeyError::RingNotHeld(field.ring.clone())));
    }
    Ok(view.unwrap_or(Level::Clear))
}

/// What acts on the documents of others, or stands beside their protected members unprotected, is for who may write some of these.
///
/// # Errors
///
/// [`Error::NothingWritable`].
pub(super) fn check_writer(collection: &Collection, grant: &Grant, what: &'static str) -> Result<(), Error> {
    if collection.field_map.fields.iter().any(|field| grant.may_write(field.category)) {
        Ok(())
    } else {
        Err(Error::NothingWritable { purpose: grant.purpose().clone(), what })
    }
}
