//! Whole views: what replication may copy.

use super::{Collection, Error, State};
use crate::purpose::{Grant, Level};

/// The one level at which the grant shows every protected member of a collection.
///
/// # Errors
///
/// [`Error::ViewNotWhole`] unless that is clear, or sealed.
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
    Ok(view.unwrap_or(Level::Clear))
}
