//! Rows that change only if nobody was faster.
//!
//! Always holds: as every call, one transaction in one round trip; of a row that is not what was seen nothing changes.

use tokio_postgres::types::Type;

use super::super::StoreError;
use super::super::rows::{Swap, Swapped, Table};
use super::fault::Repeat;
use super::{Inner, Parameters, ordinal};

impl Inner {
    pub(super) async fn swap(&self, table: Table, swaps: Vec<Swap>) -> Result<Vec<Swapped>, StoreError> {
        if swaps.is_empty() {
            return Ok(Vec::new());
        }
        let (mut keys, mut seen, mut values) = (Vec::new(), Vec::new(), Vec::new());
        let (mut owners_before, mut before) = (Vec::new(), Vec::new());
        let (mut owners_after, mut after) = (Vec::new(), Vec::new());
        for (n, swap) in swaps.into_iter().enumerate() {
            owners_before.extend(std::iter::repeat_n(ordinal(n), swap.seen.marks.len()));
            before.extend(swap.seen.marks);
            owners_after.extend(std::iter::repeat_n(ordinal(n), swap.marks.len()));
            after.extend(swap.marks);
            keys.push(swap.seen.key);
            seen.push(swap.seen.value);
            values.push(swap.value);
        }
        let ordinals: Vec<i32> = (0..keys.len()).map(ordinal).collect();
        let types = [
            Type::INT4_ARRAY,
            Type::BYTEA_ARRAY,
            Type::BYTEA_ARRAY,
            Type::BYTEA_ARRAY,
            Type::INT4_ARRAY,
            Type::BYTEA_ARRAY,
            Type::INT4_ARRAY,
            Type::BYTEA_ARRAY,
        ];
        let parameters: Parameters = vec![
            Box::new(ordinals),
            Box::new(keys),
            Box::new(seen),
            Box::new(values),
            Box::new(owners_before),
            Box::new(before),
            Box::new(owners_after),
            Box::new(after),
        ];
        let rows = self.query(Repeat::LostRace, &self.of(table)?.swap, &types, parameters).await?;
        let swapped = |row: &tokio_postgres::Row| {
            let (done, taken): (bool, bool) = (self.column(row, 0)?, self.column(row, 1)?);
            Ok(if done {
                Swapped::Done
            } else if taken {
                Swapped::MarkTaken
            } else {
                Swapped::Changed
            })
        };
        rows.iter().map(swapped).collect()
    }
}
