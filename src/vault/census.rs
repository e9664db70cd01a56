//! How many rows of the vault hang on each key version: counted in the store, without opening any.
//!
//! Always holds: a row counts under the one version of the token line that sealed it, and under the one version of the lookup line by which it
//! would be found: the Active one if it has that mark, or else the newest that still recognises. A mark of another version beside that one
//! is no loss when it goes.

use std::collections::BTreeMap;

use super::{PAGE, Vault, VaultError, row};
use crate::base::{Kid, enc};
use crate::keys::{KeyRing, LineName, State};
use crate::store::{Row, Table};

/// What hangs on which version.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RowsCounted {
    /// Rows of this controller.
    pub rows: u64,
    /// Rows that are sealed under a version of the token line.
    pub sealed: BTreeMap<Kid, u64>,
    /// Rows that are found by a version of the lookup line.
    pub found_by: BTreeMap<Kid, u64>,
    /// Rows that are not what the vault writes.
    pub damaged: u64,
}

impl Vault {
    /// Counts all rows; `told` hears how many were looked at so far.
    ///
    /// # Errors
    ///
    /// [`VaultError::Store`].
    pub async fn count_rows(&self, told: &mut (dyn FnMut(u64) + Send)) -> Result<RowsCounted, VaultError> {
        let rank = self.recognising();
        let prefix = enc(&[self.keys.controller().as_str().as_bytes()]);
        let (mut counted, mut after) = (RowsCounted::default(), None);
        loop {
            let page = self.rows.list(Table::Token, prefix.clone(), after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(counted) };
            after = Some(last.key.clone());
            for row in &page {
                counted.count(row, &rank);
            }
            told(counted.rows);
        }
    }

    /// Versions of the lookup line of every ring, in the order in which one is preferred; destroyed ones recognise nothing.
    fn recognising(&self) -> BTreeMap<Kid, (u8, usize)> {
        let versions =
            self.keys.held().flat_map(KeyRing::versions).enumerate().filter(|(_, version)| version.line == LineName::Lookup);
        let ranked = versions.filter_map(|(place, version)| {
            let class = match version.state {
                State::Active => 3,
                State::PreActive | State::Deactivated => 2,
                State::Compromised => 1,
                State::Destroyed => return None,
            };
            Some((version.kid, (class, place)))
        });
        ranked.collect()
    }
}

impl RowsCounted {
    fn count(&mut self, row: &Row, rank: &BTreeMap<Kid, (u8, usize)>) {
        self.rows += 1;
        match row::kid_of_value(&row.value) {
            Some(kid) => *self.sealed.entry(kid).or_default() += 1,
            None => self.damaged += 1,
        }
        let marks = row.marks.iter().filter_map(|mark| row::kid_of_mark(mark));
        if let Some(kid) = marks.filter(|kid| rank.contains_key(kid)).max_by_key(|kid| rank.get(kid)) {
            *self.found_by.entry(kid).or_default() += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::*;
    use super::super::{Format, Kind, Scope, Wish};
    use super::*;
    use crate::keys::LineName::{Lookup, Token};
    use crate::keys::State::{Active, Compromised, Deactivated, PreActive};

    fn wish(text: &str, consistent: bool) -> Wish {
        let kind = Kind { scope: Scope::named("ids"), format: Format::Opaque, consistent };
        Wish { kind, json: format!("\"{text}\"").into_bytes(), text: text.to_owned(), subject: None }
    }

    #[tokio::test]
    async fn rows_count_under_what_they_would_be_lost_with() {
        let rows = Arc::new(Memory::default());
        let vault = |versions: &[(LineName, u8, State)]| Vault::new(rows.clone(), rings_of("shop", versions));
        let counted = async |versions: &[(LineName, u8, State)]| {
            let mut told = Vec::new();
            let counted = vault(versions).count_rows(&mut |rows| told.push(rows)).await.unwrap();
            assert_eq!(told, [counted.rows]);
            (counted.rows, counted.sealed.into_iter().collect::<Vec<_>>(), counted.found_by.into_iter().collect::<Vec<_>>())
        };
        let first = [(Token, 1, Active), (Lookup, 5, Active)];
        vault(&first).tokenise(&[wish("a", true), wish("b", true), wish("c", false)]).await.unwrap();
        assert_eq!(counted(&first).await, (3, vec![(kid(1), 3)], vec![(kid(5), 2)]), "a fresh token is found by nothing");
        // After a rotation new rows are marked under both, and hang on the new one alone.
        let second =
            [(Token, 1, Deactivated), (Token, 2, Active), (Lookup, 5, Deactivated), (Lookup, 6, Active), (Lookup, 7, PreActive)];
        vault(&second).tokenise(&[wish("d", true), wish("a", true)]).await.unwrap();
        let expected = (4, vec![(kid(1), 3), (kid(2), 1)], vec![(kid(5), 2), (kid(6), 1)]);
        assert_eq!(counted(&second).await, expected);
        let third = [(Token, 2, Active), (Lookup, 5, Compromised), (Lookup, 6, Compromised), (Lookup, 8, Active)];
        assert_eq!(counted(&third).await.2, [(kid(5), 2), (kid(6), 1)], "what is compromised is still to be marked anew");
        // Another controller's rows in the same store are none of ours.
        Vault::new(rows.clone(), rings_of("market", &first)).tokenise(&[wish("a", true)]).await.unwrap();
        assert_eq!(counted(&second).await, expected);
        rows.edit(|all| {
            for row in all.values_mut().take(1) {
                row.value.truncate(3);
            }
        });
        assert_eq!(vault(&second).count_rows(&mut |_| {}).await.unwrap().damaged, 1);
    }
}
