//! Conditions on members that are found by an index: which index is meant, and what it is asked for. Parent: `query.rs`.

use serde_json::value::RawValue;

use super::read::{Part, is_exactly, object, touches};
use super::{Judge, MAX_INDEX_VALUES, Refusal, Searches, is, malformed, not_searchable, note};
use crate::base::Condition;
use crate::dialect::{MemberIndex, Piece, Quote, Terms};
use crate::document::Step;

impl Searches {
    /// The member, and which of its indexes, that a name at the top of a selector asks for: the member itself, the list of its values, or the
    /// name that the configuration gives an index.
    pub(super) fn by_index(&self, name: &str, path: &[Part]) -> Option<(usize, usize)> {
        self.members.iter().enumerate().find_map(|(at, member)| {
            let steps = member.at.steps();
            let list = steps.split_last().filter(|(last, _)| **last == Step::AnyElement).map(|(_, list)| list);
            let own = is_exactly(path, steps) || list.is_some_and(|list| is_exactly(path, list));
            if own && !member.indexes.is_empty() {
                return Some((at, 0));
            }
            let named = |index: &MemberIndex| index.named && index.param == name;
            member.indexes.iter().position(named).map(|index| (at, index))
        })
    }
}

impl Judge<'_> {
    /// A condition on a member that is searched by an index. False: it asks only whether the member is there.
    pub(super) fn indexed(
        &mut self,
        number: usize,
        by: (usize, usize),
        path: &[Part],
        value: &RawValue,
    ) -> Result<bool, Refusal> {
        let Some((member, index)) = self.searches.members.get(by.0).and_then(|member| Some((member, member.indexes.get(by.1)?)))
        else {
            return Ok(false);
        };
        let refused = |remedy: &str| Err(not_searchable("a condition on", member, remedy));
        let only = "only equality ($eq, $in) can be searched, by the index of the field";
        let mut equal = value;
        let mut operators = object(value).filter(|operators| !operators.is_empty());
        if let Some([(operator, inner)]) = operators.as_deref()
            && operator == "$elemMatch"
            && index.list
        {
            (equal, operators) = (*inner, object(inner));
        }
        let values: Vec<&RawValue> = match operators.as_deref() {
            None => vec![equal],
            Some([(operator, value)]) if operator == "$eq" => vec![value],
            Some([(operator, values)]) if operator == "$in" => {
                serde_json::from_str(values.get()).map_err(|_other| malformed("$in takes a list of values"))?
            }
            Some([(operator, _)]) if operator == "$exists" && touches(path, member.at.steps()) => return Ok(false),
            Some(_) => return refused(only),
        };
        if self.negated {
            return refused("only what is equal can be searched, not what is not; take $not and $nor away");
        }
        if !self.rewrites {
            return refused("a filter that is stored cannot follow the keys; filter by other members");
        }
        if !values.iter().all(|value| is(value, |value| value.is_string() || value.is_number())) {
            return refused("only texts and integers can be searched; ask with $exists whether it is there");
        }
        if values.is_empty() {
            return refused("$in asks for nothing");
        }
        self.index_values += values.len();
        if self.index_values > MAX_INDEX_VALUES {
            return refused("a search asks indexes for at most 100 values; send several");
        }
        self.member(number, &index.member);
        let (alone, list) =
            if index.list { (None, ("{\"$elemMatch\":{\"$in\":[", "]}}")) } else { (Some(""), ("{\"$in\":[", "]}")) };
        let values = values.iter().map(|value| value.get().into()).collect();
        let terms = Terms { member: by.0, index: Some(by.1), values, quote: Quote::Json, alone, list };
        self.query.pieces.push(Piece::Terms(terms));
        note(&mut self.query.search.searched, by.0);
        self.conditions.push(Condition::Term(self.probes));
        self.probes += 1;
        Ok(true)
    }
}
