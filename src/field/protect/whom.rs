//! Whom the rows of a write are about, and what of whole documents turns on that.

use super::{RowWrite, WriteError};
use crate::base::RecordId;
use crate::document::Layout;
use crate::field::ids::{Id, Ids};
use crate::field::plan::{Collection, Plan, Subject};
use crate::purpose::{Beside, Rights};

/// Gives rows the id of the URL, or the one the proxy assigns.
pub(super) fn name_rows(
    collection: &Collection,
    plan: &Plan,
    layout: &Layout,
    rows: &[RowWrite],
    url_id: Option<&RecordId>,
    ids: &mut Ids,
) -> Result<(), WriteError> {
    let selector = || collection.id.to_string();
    for (index, row) in layout.rows.iter().enumerate() {
        let in_body = ids.row(index).and_then(|ids| ids.document.as_ref());
        let url_id = url_id.filter(|_| plan.is_sole_row(row.set));
        let assigned = rows.get(index).and_then(|row| row.assigned_id.as_deref());
        let id: Id = match (url_id, assigned, in_body) {
            (Some(url), _, Some(Ok(id))) if id == url => continue,
            // An assigned id beside one in the body would write the member twice.
            (Some(_), _, Some(_)) | (None, Some(_), Some(_)) => return Err(WriteError::IdMismatch { selector: selector() }),
            (Some(url), _, None) => Ok(url.clone()),
            (None, Some(assigned), None) => {
                Ok(RecordId::from_text(assigned).map_err(|why| WriteError::BadId { selector: selector(), why })?)
            }
            (None, None, _) => continue,
        };
        ids.set_document(index, id);
    }
    Ok(())
}

/// May a document about this person be removed?
pub(super) fn may_delete(rights: Rights<'_>, about: Option<&RecordId>) -> Result<(), WriteError> {
    if rights.row(about, Beside::Apart).may_delete() {
        return Ok(());
    }
    let why = rights.why_not(about, None);
    Err(WriteError::DeleteRefused { purpose: rights.grant().purpose().clone(), why })
}

/// Which term of the purpose, or lack of a known data subject, closes the document with this id altogether; None: nothing does. It is asked of
/// what is not looked into, as attachments.
pub fn stays_closed<'a>(collection: &Collection, rights: impl Into<Rights<'a>>, id: Option<&RecordId>) -> Option<String> {
    rights.into().why_not(id.filter(|_| collection.subject == Subject::DocumentId), None)
}

/// May the document with this id be removed? Where a member of it says whom it is about, nothing is known of that here.
///
/// # Errors
///
/// [`WriteError::DeleteRefused`].
pub fn may_remove<'a>(collection: &Collection, rights: impl Into<Rights<'a>>, id: Option<&RecordId>) -> Result<(), WriteError> {
    may_delete(rights.into(), id.filter(|_| collection.subject == Subject::DocumentId))
}
