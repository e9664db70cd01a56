//! A grant, and what is known of the people whom documents are about: what each row shows and allows.
//!
//! Always holds: without [`Known`], and of a document that does not say whom it is about, a row is the least of all where rows turn on what is
//! known of people. Where all rows are alike nobody is asked. Made by `exchange` for one window or body, used by `field`.

use super::facts::Known;
use super::rows::{Kinds, Row};
use super::{CategoryId, Grant};
use crate::base::RecordId;

/// What may be done with one body, row by row.
#[derive(Debug, Clone, Copy)]
pub struct Rights<'a> {
    grant: &'a Grant,
    known: Option<&'a dyn Known>,
}

/// What a reply shows of one data subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// Not both of what identifies and what does so in combination.
    Apart,
    /// Both: the fact [`super::facts::COMBINED`] holds.
    Combined,
}

impl<'a> Rights<'a> {
    /// A grant with what is known for its caller and purpose.
    pub fn new(grant: &'a Grant, known: &'a dyn Known) -> Self {
        Self { grant, known: Some(known) }
    }

    /// What keys are handed out against.
    pub fn grant(self) -> &'a Grant {
        self.grant
    }

    /// The one row there is, where none differs from another.
    pub fn alike(self) -> Option<&'a Row> {
        self.grant.alike()
    }

    /// What every row shows and allows at least.
    pub fn least(self) -> &'a Row {
        self.grant.least()
    }

    /// The row of whom a value is about; None where the document does not say.
    pub fn row(self, about: Option<&RecordId>, beside: Beside) -> &'a Row {
        if let Some(row) = self.grant.alike() {
            return row;
        }
        let facts = match (self.known, about) {
            (Some(known), Some(about)) => known.facts(Some(about)),
            (Some(known), None) if !self.grant.turns_on_people() => known.facts(None),
            (None, _) | (Some(_), None) => return self.grant.least(),
        };
        self.grant.row(if beside == Beside::Combined { facts.combined() } else { facts })
    }

    /// What the policy has against a new value of a category, or (None) against removing the document, in its words; of the person it tells
    /// which rule bears on them, and no more. None where it is no rule about people.
    pub fn why_not(self, about: Option<&RecordId>, category: Option<CategoryId>) -> Option<String> {
        if self.grant.alike().is_some() {
            return None;
        }
        match (self.known, about) {
            (Some(known), Some(about)) => self.grant.why_not(known.facts(Some(about)), category),
            _ if self.grant.turns_on_people() => Some("the document does not say whom it is about".to_owned()),
            _ => None,
        }
    }

    /// What a category of a reply adds to what may combine.
    pub(crate) fn kinds(self, category: CategoryId) -> Kinds {
        self.grant.kinds(category)
    }
}

/// Of whoever is asked about, nothing is known: rows are the least.
impl<'a> From<&'a Grant> for Rights<'a> {
    fn from(grant: &'a Grant) -> Self {
        Self { grant, known: None }
    }
}
