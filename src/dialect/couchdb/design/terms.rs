//! Terms of search indexes in the functions of views: as keys of emit, and nowhere else. Parent: `design.rs`.

use super::{Code, Emits, Judged};

/// How a function uses a member that holds a term.
pub(super) enum TermUse {
    /// `emit(doc.email_ix, …)`: which index it is of.
    Key((usize, usize)),
    /// `if (doc.email_ix)`
    Asked((usize, usize)),
}

impl Code<'_> {
    /// What all calls of emit together give. A view of terms gives nothing else, or it could not be asked by values.
    pub(super) fn emitted(self) -> Judged<Emits> {
        // What follows from a term's being there would tell everybody who has a value and who has none.
        if self.asked.iter().any(|asked| !self.keys.contains(asked)) {
            return Err("it asks whether a term of an index is there, and emits another thing as key than that term".to_owned());
        }
        let Some(first) = self.keys.first() else { return Ok(self.emits) };
        let calls = (0..self.tokens.len()).filter(|at| self.word(*at) == "emit").count();
        if calls > self.keys.len() || self.keys.iter().any(|key| key != first) {
            return Err("it emits terms of an index as keys, and something else besides; write a view for each".to_owned());
        }
        match self.emits {
            Emits::Plain => Ok(Emits::Terms(*first)),
            Emits::Documents | Emits::Terms(_) => {
                Err("it emits terms as keys and documents as values; emit null, and ask with include_docs=true".to_owned())
            }
        }
    }

    /// The member at a place holds a term, and is used in one of the ways in which it may be.
    pub(super) fn term(&self, at: usize, documents: &[&str]) -> Option<TermUse> {
        let (_, index) = self.guarded.terms.iter().find(|(member, _)| member == self.word(at))?;
        let of_document = self.before(at, 1) == "." && documents.contains(&self.before(at, 2));
        match (self.before(at, 4), self.before(at, 3), self.word(at + 1)) {
            ("emit", "(", "," | ")") if of_document => Some(TermUse::Key(*index)),
            ("if", "(", ")") if of_document && !self.is_member(at, 4) => Some(TermUse::Asked(*index)),
            _ => None,
        }
    }
}
