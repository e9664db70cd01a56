//! The body of a write as it leaves: copied piece by piece, with the terms of each row before the brace that ends it.

use super::WriteError;
use crate::document::Row;
use crate::field::index::Indexer;

/// The body as it leaves, copied up to some place.
pub(super) struct Out<'w> {
    pub(super) bytes: &'w [u8],
    pub(super) copied: usize,
    pub(super) rows: &'w [Row],
    /// The next row whose end is not copied yet.
    pub(super) row: usize,
    pub(super) text: Vec<u8>,
}

impl Out<'_> {
    /// Copies up to `end`. Each row that ends on the way gets its terms before the brace that closes it: by then all its values have passed.
    pub(super) fn copy_to(&mut self, end: usize, indexer: &Indexer<'_>) -> Result<(), WriteError> {
        while let Some(row) = self.rows.get(self.row).filter(|row| !indexer.is_idle() && row.range.end <= end) {
            self.copy(row.range.end.saturating_sub(1))?;
            indexer.write_members(self.row, &mut self.text);
            self.row += 1;
        }
        self.copy(end)
    }

    fn copy(&mut self, end: usize) -> Result<(), WriteError> {
        self.text.extend_from_slice(self.bytes.get(self.copied..end).ok_or(WriteError::Layout)?);
        self.copied = end;
        Ok(())
    }
}
