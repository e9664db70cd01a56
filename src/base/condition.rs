//! What must hold of a document for a search to have meant it, as far as terms of search indexes go.

/// A condition over numbered terms. Whatever else a search asks for is not in it: of that the database is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The document has one of the values that the term with this number stands for.
    Term(usize),
    /// All of these hold.
    All(Vec<Condition>),
    /// One of these holds.
    Any(Vec<Condition>),
}

impl Condition {
    /// Does it hold, if `term` says which terms do?
    pub fn holds(&self, term: &mut dyn FnMut(usize) -> bool) -> bool {
        match self {
            Self::Term(number) => term(*number),
            Self::All(all) => all.iter().all(|each| each.holds(term)),
            Self::Any(any) => any.iter().any(|each| each.holds(term)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Condition::{All, Any, Term};

    #[test]
    fn conditions_hold_as_they_say() {
        let of = |condition: super::Condition, known: &[usize]| condition.holds(&mut |number| known.contains(&number));
        assert!(of(All(vec![]), &[]));
        assert!(!of(Any(vec![]), &[]));
        assert!(of(All(vec![Term(0), Any(vec![Term(1), Term(2)])]), &[0, 2]));
        assert!(!of(All(vec![Term(0), Any(vec![Term(1), Term(2)])]), &[1, 2]));
    }
}
