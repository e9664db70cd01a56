//! Searches in Mango: judges a selector, rewrites equality with a protected member, completes a projection, judges indexes.
//!
//! Values are stored sealed, so among protected members a search can mean one thing only: *equal to*, and only where equal values are
//! stored equal (`protect = "deterministic"`). Whatever else a selector asks of a protected member (ranges, patterns, negation, sorting)
//! would answer without an error and be wrong, so it is refused. A condition touches a protected member if it names it, something it
//! stands in, or something inside it; in doubt it does. Text that asks nothing of a protected member leaves as it came.
//!
//! Equality with a member that has a search index is rewritten to its index member and all live terms; what the terms lead to is compared with
//! what was asked ([`Condition`]), so every way through a selector that asks for a term must lead through one.
//!
//! Always holds: refusals name operators of a fixed list and fields of the configuration, never what the client wrote.

mod indexed;
mod read;

use serde_json::Value;
use serde_json::value::RawValue;

use self::read::{Part, is_exactly, leads_to, names, object, path, touches, whole};
use super::super::{Piece, ProtectedMember, Query, Quote, RefusedCode, Route, Terms};
use crate::base::Condition;
use crate::document::{Selector, Step, write_string};

/// Deepest selector.
const MAX_DEPTH: usize = 32;
/// Most values of protected members that one search compares with: each is sealed under every key that opens.
const MAX_TERMS: usize = 1_024;
/// Most values that one search asks an index for: every one of them is a guess (T16).
const MAX_INDEX_VALUES: usize = 100;

/// A projection as it is sent, and which row peeks and protected members of it are taken from the reply.
type Projection = (Vec<u8>, Vec<usize>, Vec<usize>);

/// Why a search is refused.
pub(super) type Refusal = (RefusedCode, String);

/// What a database's searches must respect.
#[derive(Debug)]
pub(super) struct Searches {
    members: Vec<ProtectedMember>,
    /// Who a document is about, if a member says so.
    subject: Option<Selector>,
    /// Members that may be put into a projection and taken from the reply, in the order of the row peeks.
    strippable: Vec<String>,
}

/// Operators that combine conditions.
const COMBINING: &[&str] = &["$and", "$or", "$nor"];
/// Operators that compare a value in ways that mean nothing among sealed ones.
#[rustfmt::skip] // one name a line would hide the rest
const COMPARING: &[&str] = &[
    "$lt", "$lte", "$gt", "$gte", "$ne", "$nin", "$type", "$size", "$mod", "$regex", "$beginsWith", "$all", "$keyMapMatch",
];

impl Searches {
    pub(super) fn new(route: &Route) -> Self {
        let mut strippable = vec!["_id".to_owned()];
        let own = route.protected.iter().filter_map(|member| member.subject.as_ref());
        for binding in route.subject.iter().chain(own) {
            if let [Step::Member(name)] = binding.steps()
                && !strippable.iter().any(|known| **known == **name)
            {
                strippable.push(name.to_string());
            }
        }
        Self { members: route.protected.clone(), subject: route.subject.clone(), strippable }
    }

    /// What replies to searches are peeked for; [`super::super::Search::strip`] counts these.
    pub(super) fn row_peeks(&self) -> Result<Vec<Selector>, String> {
        let selector = |name: &String| {
            let mut quoted = Vec::new();
            write_string(name, &mut quoted);
            let text = format!("$[{}]", String::from_utf8_lossy(&quoted));
            Selector::parse(&text).map_err(|error| error.to_string())
        };
        self.strippable.iter().map(selector).collect()
    }

    /// Rewrites the body of `_find` and `_explain`.
    pub(super) fn query(&self, body: &[u8]) -> Result<Query, Refusal> {
        let members = whole(body)?;
        let mut judge = Judge::new(self, true);
        let (mut fields, mut unrecorded) = (None, false);
        judge.text("{");
        for (at, (name, value)) in members.iter().enumerate() {
            judge.member(at, name);
            match name.as_str() {
                "selector" => judge.top(value)?,
                "fields" => {
                    // Written when the selector is known, for a search adds what its recording needs.
                    fields = Some((judge.query.pieces.len(), *value));
                    judge.query.pieces.push(Piece::Bytes(value.get().into()));
                    judge.query.pieces.push(Piece::Bytes(Vec::new()));
                }
                "sort" => self.sort(value).map(|()| judge.raw(value))?,
                _ => {
                    check_option(name, value)?;
                    unrecorded |= tells_of_the_unseen(name, value);
                    judge.raw(value);
                }
            }
        }
        judge.text("}");
        let (mut query, conditions) = (judge.query, judge.conditions);
        query.search.condition = (!conditions.is_empty()).then_some(Condition::All(conditions));
        if !members.iter().any(|(name, _)| name == "selector") {
            return Err(malformed("a search needs a selector"));
        }
        if let Some(member) = query.search.searched.first().filter(|_| unrecorded).and_then(|at| self.members.get(*at)) {
            return Err(not_searchable(
                "skip, execution_stats or limit 0 in a search by",
                member,
                "they tell of documents that are found and not shown, of which nothing would be recorded; page with limit and bookmark",
            ));
        }
        if let Some((piece, value)) = fields {
            let (text, strip, strip_members) = self.projection(value, &query.search.searched)?;
            if let Some(slot) = query.pieces.get_mut(piece) {
                *slot = Piece::Bytes(text);
            }
            (query.search.strip, query.search.strip_members) = (strip, strip_members);
        }
        if query.search.searched.is_empty() && query.search.strip.is_empty() {
            query.pieces = vec![Piece::Bytes(body.to_vec())];
        }
        Ok(query)
    }

    /// Judges the body of POST `_index`.
    pub(super) fn index(&self, body: &[u8]) -> Result<(), Refusal> {
        let mut index = None;
        for (name, value) in whole(body)? {
            let fits = match name.as_str() {
                "index" => {
                    index = Some(value);
                    true
                }
                "ddoc" | "name" => is(value, Value::is_string),
                "partitioned" => is(value, Value::is_boolean),
                "type" if is(value, |kind| kind == "json") => true,
                "type" => {
                    let detail =
                        "type: of indexes only json is mapped; a text index holds copies of members that are searched otherwise";
                    return Err((RefusedCode::NotSearchable, detail.to_owned()));
                }
                "w" | "def" | "partial_filter_selector" => {
                    return Err(malformed("the definition stands in the member index: {\"index\": {\"fields\": [...]}}"));
                }
                _ => false,
            };
            if !fits {
                return Err(malformed("an index has the members index, ddoc, name, type and partitioned only"));
            }
        }
        self.index_fields(index.ok_or_else(|| malformed("an index needs the member index: {\"index\": {\"fields\": [...]}}"))?)
    }

    /// Judges `{"fields": ..., "partial_filter_selector": ...}`, of a request or in a design document.
    pub(super) fn index_definition(&self, definition: &Value) -> Result<(), String> {
        let raw = serde_json::value::to_raw_value(definition).map_err(|_never| "an index cannot be read".to_owned())?;
        self.index_fields(&raw).map_err(|(_, detail)| detail)
    }

    fn index_fields(&self, definition: &RawValue) -> Result<(), Refusal> {
        let definition = object(definition).ok_or_else(|| malformed("the definition of an index must be an object"))?;
        let mut seen = false;
        for (name, value) in definition {
            match name.as_str() {
                "fields" => {
                    seen = true;
                    for field in names(value).ok_or_else(|| malformed("fields must be a list of members"))? {
                        self.index_field(&path(&field)?)?;
                    }
                }
                "partial_filter_selector" | "selector" => {
                    Judge::new(self, false).top(value)?;
                }
                _ => return Err(malformed("an index is defined by fields and partial_filter_selector only")),
            }
        }
        if seen { Ok(()) } else { Err(malformed("an index needs its fields")) }
    }

    fn index_field(&self, path: &[Part]) -> Result<(), Refusal> {
        // Terms have no order either, but one that finds what is equal.
        if matches!(path, [Part::Name(name)] if self.members.iter().any(|member| holds_terms(member, name))) {
            return Ok(());
        }
        for (_, member) in self.touched(path) {
            if !(member.equality && is_exactly(path, member.at.steps())) {
                return Err(not_searchable(
                    "an index on",
                    member,
                    "sealed values have no order; index the member that holds its terms, or other members, or protect it with \"deterministic\" and index it alone",
                ));
            }
        }
        Ok(())
    }

    /// Sorting by what is sealed would mislead.
    fn sort(&self, value: &RawValue) -> Result<(), Refusal> {
        for name in names(value).ok_or_else(|| malformed("sort must be a list of members"))? {
            // As text indexes write it.
            let plain = name.strip_suffix(":string").or(name.strip_suffix(":number")).unwrap_or(&name);
            let plain = plain.strip_prefix('-').unwrap_or(plain);
            for spelling in [name.as_str(), plain] {
                if let Some((_, member)) = self.touched(&path(spelling)?).next() {
                    return Err(not_searchable("sort by", member, "sealed values have no order; sort by other members"));
                }
            }
        }
        Ok(())
    }

    /// Completes a projection by what is compared with a search, and by what protected members are bound to (T34), and says what to take
    /// from the reply: row peeks, and protected members.
    fn projection(&self, value: &RawValue, searched: &[usize]) -> Result<Projection, Refusal> {
        let as_sent = || Ok((value.get().into(), Vec::new(), Vec::new()));
        let asked: Vec<String> =
            serde_json::from_str(value.get()).map_err(|_other| malformed("fields must be a list of members"))?;
        if asked.is_empty() {
            return as_sent();
        }
        let asked = asked.iter().map(|name| path(name)).collect::<Result<Vec<_>, _>>()?;
        let mut bindings: Vec<&Selector> = Vec::new();
        let mut shows = !searched.is_empty();
        for path in &asked {
            for (_, member) in self.touched(path) {
                if !leads_to(path, member.at.steps()) {
                    return Err(not_searchable("fields with a part of", member, "ask for the whole member"));
                }
                shows = true;
                bindings.extend(&member.subject);
            }
        }
        if !shows {
            return as_sent();
        }
        let (mut compared, mut added_names) = (Vec::new(), Vec::new());
        for (at, member) in searched.iter().filter_map(|at| Some((*at, self.members.get(*at)?))) {
            if member.indexes.is_empty() {
                continue;
            }
            bindings.extend(&member.subject);
            if asked.iter().any(|path| leads_to(path, member.at.steps())) {
                continue;
            }
            let [Step::Member(name)] = member.at.steps() else {
                let whole = member.at.before_wildcard().unwrap_or_else(|| member.at.clone());
                return Err(not_searchable(
                    "fields without the member of",
                    member,
                    &format!("what is found is compared with what was searched, so add {whole}"),
                ));
            };
            compared.push(at);
            added_names.push(name.to_string());
        }
        bindings.extend(&self.subject);
        let mut strip: Vec<usize> = Vec::new();
        for binding in bindings {
            if asked.iter().any(|path| leads_to(path, binding.steps())) {
                continue;
            }
            let added = match binding.steps() {
                [Step::Member(name)] => self.addable(name, &asked),
                _ => None,
            };
            let added = added.ok_or_else(|| {
                let detail = format!("fields: protected values are bound to {binding}, which the projection leaves out; add it");
                (RefusedCode::NotSearchable, detail)
            })?;
            if !strip.contains(&added) {
                strip.push(added);
            }
        }
        if !asked.contains(&vec![Part::Name("_id".to_owned())]) {
            strip.extend(self.addable("_id", &asked).filter(|id| !strip.contains(id)));
        }
        if strip.is_empty() && compared.is_empty() {
            return as_sent();
        }
        let mut text = value.get().trim_end().strip_suffix(']').unwrap_or_default().to_owned().into_bytes();
        for name in strip.iter().filter_map(|at| self.strippable.get(*at)).chain(&added_names) {
            text.push(b',');
            let escaped = name.replace('.', "\\.");
            write_string(&if escaped.starts_with('$') { format!("\\{escaped}") } else { escaped }, &mut text);
        }
        text.push(b']');
        Ok((text, strip, compared))
    }

    /// The index of a member that can be added to a projection and taken away again without a trace.
    fn addable(&self, name: &str, asked: &[Vec<Part>]) -> Option<usize> {
        let begins = |path: &Vec<Part>| path.first() == Some(&Part::Name(name.to_owned()));
        let at = self.strippable.iter().position(|known| known == name)?;
        (!name.contains('\\') && !asked.iter().any(begins)).then_some(at)
    }

    /// The protected members that a path may have to do with, by themselves or by their terms.
    fn touched(&self, path: &[Part]) -> impl Iterator<Item = (usize, &ProtectedMember)> {
        // As of members themselves: an array may stand where documents hold an object.
        let first = path.iter().find_map(|part| match part {
            Part::Name(name) => Some(name),
            Part::Any => None,
        });
        let terms = move |member: &ProtectedMember| first.is_some_and(|name| holds_terms(member, name));
        self.members.iter().enumerate().filter(move |(_, member)| touches(path, member.at.steps()) || terms(member))
    }
}

fn holds_terms(member: &ProtectedMember, name: &str) -> bool {
    member.indexes.iter().any(|index| index.member == name)
}

/// How an equality is written.
struct Equality {
    /// For refusals.
    operator: &'static str,
    /// See [`Terms::alone`].
    alone: Option<&'static str>,
    /// See [`Terms::list`].
    list: (&'static str, &'static str),
}

/// One selector on its way.
struct Judge<'a> {
    searches: &'a Searches,
    /// Equality with a protected member can be rewritten here.
    rewrites: bool,
    /// Inside `$not` or `$nor`.
    negated: bool,
    /// Values of protected members so far.
    terms: usize,
    /// Those that an index is asked for.
    index_values: usize,
    /// Searches by an index so far.
    probes: usize,
    /// What must hold of them for a row to be found, at this level of the selector.
    conditions: Vec<Condition>,
    query: Query,
}

impl<'a> Judge<'a> {
    fn new(searches: &'a Searches, rewrites: bool) -> Self {
        let query = Query::default();
        Self { searches, rewrites, negated: false, terms: 0, index_values: 0, probes: 0, conditions: Vec::new(), query }
    }

    fn text(&mut self, text: &str) {
        match self.query.pieces.last_mut() {
            Some(Piece::Bytes(bytes)) => bytes.extend_from_slice(text.as_bytes()),
            _ => self.query.pieces.push(Piece::Bytes(text.into())),
        }
    }

    fn raw(&mut self, value: &RawValue) {
        self.text(value.get());
    }

    /// `, "name":`
    fn member(&mut self, at: usize, name: &str) {
        let mut text = Vec::new();
        if at > 0 {
            text.push(b',');
        }
        write_string(name, &mut text);
        text.push(b':');
        self.text(&String::from_utf8_lossy(&text));
    }

    fn top(&mut self, value: &RawValue) -> Result<(), Refusal> {
        let selector = object(value).ok_or_else(|| malformed("a selector must be an object"))?;
        self.selector(&selector, &[], 0)
    }

    /// The members of a selector, or of a condition: operators, and names of members.
    fn selector(&mut self, members: &[(String, &RawValue)], at: &[Part], depth: usize) -> Result<(), Refusal> {
        if depth > MAX_DEPTH {
            return Err(malformed("the selector is nested too deep"));
        }
        let equalities = members.iter().filter(|(name, _)| matches!(name.as_str(), "$eq" | "$in")).count();
        if equalities > 1
            && let Some((_, member)) = self.searches.touched(at).next()
        {
            return Err(not_searchable("$eq beside $in on", member, "write them as two conditions in $and"));
        }
        self.text("{");
        let mut asked: Vec<(usize, usize)> = Vec::new();
        for (number, (name, value)) in members.iter().enumerate() {
            if name.starts_with('$') {
                self.operator(number, name, value, at, depth)?;
                continue;
            }
            let below: Vec<Part> = at.iter().cloned().chain(path(name)?).collect();
            if let Some(by) = self.searches.by_index(name, &below).filter(|_| at.is_empty())
                && self.indexed(number, by, &below, value)?
            {
                if asked.contains(&by)
                    && let Some(member) = self.searches.members.get(by.0)
                {
                    return Err(not_searchable("two conditions on", member, "write them in $and, each in an object of its own"));
                }
                asked.push(by);
                continue;
            }
            self.member(number, name);
            if below.len() > MAX_DEPTH {
                return Err(malformed("the selector is nested too deep"));
            }
            self.condition(value, &below, depth)?;
        }
        self.text("}");
        Ok(())
    }

    /// What a member must be: an object with operators or members below, or the very value.
    fn condition(&mut self, value: &RawValue, at: &[Part], depth: usize) -> Result<(), Refusal> {
        if let Some(members) = object(value).filter(|members| !members.is_empty()) {
            return self.selector(&members, at, depth + 1);
        }
        let equal = Equality { operator: "equality", alone: Some(""), list: ("{\"$in\":[", "]}") };
        self.equality(&equal, at, &[value])
    }

    fn operator(&mut self, number: usize, name: &str, value: &RawValue, at: &[Part], depth: usize) -> Result<(), Refusal> {
        if name == "$eq" {
            // With several forms it becomes another operator.
            self.text(if number > 0 { "," } else { "" });
            if self.searches.touched(at).next().is_none() {
                self.text("\"$eq\":");
                self.raw(value);
                return Ok(());
            }
            let equal = Equality { operator: "$eq", alone: Some("\"$eq\":"), list: ("\"$in\":[", "]") };
            return self.equality(&equal, at, &[value]);
        }
        self.member(number, name);
        match name {
            "$not" => {
                let before = std::mem::replace(&mut self.negated, true);
                self.condition(value, at, depth)?;
                self.negated = before;
            }
            "$elemMatch" | "$allMatch" => {
                let any: Vec<Part> = at.iter().cloned().chain([Part::Any]).collect();
                self.condition(value, &any, depth)?;
            }
            "$in" => {
                let values: Vec<&RawValue> =
                    serde_json::from_str(value.get()).map_err(|_other| malformed("$in takes a list of values"))?;
                if self.searches.touched(at).next().is_none() {
                    self.raw(value);
                    return Ok(());
                }
                // Of an array it asks for one of its elements.
                let any: Vec<Part> = at.iter().cloned().chain([Part::Any]).collect();
                let exact = |path: &[Part]| self.searches.members.iter().any(|member| is_exactly(path, member.at.steps()));
                let at = if !exact(at) && exact(&any) { &any } else { at };
                self.equality(&Equality { operator: "$in", alone: None, list: ("[", "]") }, at, &values)?;
            }
            "$exists" => self.exists(value, at)?,
            "$text" => {
                let detail = "$text searches all members at once, also those that are stored sealed; name the members";
                return Err((RefusedCode::NotSearchable, detail.to_owned()));
            }
            combining if COMBINING.contains(&combining) => self.combine(combining, value, at, depth)?,
            _ => {
                let Some(operator) = COMPARING.iter().find(|known| **known == name) else {
                    return Err(malformed("the selector uses an operator that is not known"));
                };
                if let Some((_, member)) = self.searches.touched(at).next() {
                    return Err(not_searchable(
                        &format!("{operator} on"),
                        member,
                        "only equality ($eq, $in) can be searched, of a field with protect = \"deterministic\"",
                    ));
                }
                self.raw(value);
            }
        }
        Ok(())
    }

    fn combine(&mut self, operator: &str, value: &RawValue, at: &[Part], depth: usize) -> Result<(), Refusal> {
        let all: Vec<&RawValue> =
            serde_json::from_str(value.get()).map_err(|_other| malformed("$and, $or and $nor take a list of selectors"))?;
        let before = self.negated;
        self.negated |= operator == "$nor";
        self.text("[");
        let outer = std::mem::take(&mut self.conditions);
        let mut ways = Vec::with_capacity(all.len());
        for (number, each) in all.into_iter().enumerate() {
            self.text(if number > 0 { "," } else { "" });
            match object(each) {
                Some(members) => self.selector(&members, at, depth + 1)?,
                None if at.is_empty() => return Err(malformed("$and, $or and $nor take a list of selectors")),
                None => self.condition(each, at, depth)?,
            }
            ways.push(std::mem::take(&mut self.conditions));
        }
        self.text("]");
        self.conditions = outer;
        let by_terms = ways.iter().filter(|way| !way.is_empty()).count();
        match operator {
            _ if by_terms == 0 => {}
            // A way past the terms would lead past the comparison.
            "$or" if by_terms < ways.len() => {
                let detail = "each alternative of $or must search by a field with an index, or none: what is found by terms is compared with what was searched";
                return Err((RefusedCode::NotSearchable, detail.to_owned()));
            }
            "$or" => self.conditions.push(Condition::Any(ways.into_iter().map(Condition::All).collect())),
            _ => self.conditions.extend(ways.into_iter().flatten()),
        }
        self.negated = before;
        Ok(())
    }

    /// Equality with one of `values`: as it stands, or in the forms in which a protected member may be stored.
    fn equality(&mut self, equal: &Equality, at: &[Part], values: &[&RawValue]) -> Result<(), Refusal> {
        let touched: Vec<(usize, &ProtectedMember)> = self.searches.touched(at).collect();
        let Some((index, member)) = touched.first().copied() else {
            for value in values {
                self.raw(value);
            }
            return Ok(());
        };
        let refused = |remedy: &str| Err(not_searchable(&format!("{} on", equal.operator), member, remedy));
        if touched.len() > 1 || !is_exactly(at, member.at.steps()) {
            return refused("name the member itself, not what it stands in or what is in it");
        }
        if !member.equality {
            return refused(if member.indexes.is_empty() {
                "equal values are not stored equal; give it an index, or search by other members"
            } else {
                "it is searched by its index: name it by its whole path (\"contact.email\") at the top of the selector, of $and or of $or"
            });
        }
        if self.negated {
            return refused("only what is equal can be searched, not what is not; take $not and $nor away");
        }
        if !self.rewrites {
            return refused("a filter that is stored cannot follow the keys; filter by other members");
        }
        if !values.iter().all(|value| is(value, |value| value.is_string() || value.is_number() || value.is_null())) {
            return refused("only texts and integers can be searched");
        }
        self.terms += values.len();
        if self.terms > MAX_TERMS {
            return refused("a search compares with at most 1024 protected values; send several");
        }
        let values = values.iter().map(|value| value.get().into()).collect();
        let terms = Terms { member: index, index: None, values, quote: Quote::Json, alone: equal.alone, list: equal.list };
        self.query.pieces.push(Piece::Terms(terms));
        note(&mut self.query.search.searched, index);
        Ok(())
    }

    fn exists(&mut self, value: &RawValue, at: &[Part]) -> Result<(), Refusal> {
        if !is(value, Value::is_boolean) {
            return Err(malformed("$exists takes true or false"));
        }
        let touched: Vec<(usize, &ProtectedMember)> = self.searches.touched(at).collect();
        for (index, member) in touched {
            if !self.rewrites || !leads_to(at, member.at.steps()) {
                return Err(not_searchable(
                    "$exists here on",
                    member,
                    "what is inside a sealed value cannot be asked; ask for the member itself",
                ));
            }
            note(&mut self.query.presence, index);
        }
        self.raw(value);
        Ok(())
    }
}

fn note(list: &mut Vec<usize>, index: usize) {
    if !list.contains(&index) {
        list.push(index);
    }
}

fn malformed(detail: &str) -> Refusal {
    (RefusedCode::Malformed, detail.to_owned())
}

fn not_searchable(what: &str, member: &ProtectedMember, remedy: &str) -> Refusal {
    (RefusedCode::NotSearchable, format!("{what} field {}, which is stored sealed: {remedy}", member.field))
}

/// Members of the body of a search besides `selector`, `fields` and `sort`.
fn check_option(name: &str, value: &RawValue) -> Result<(), Refusal> {
    let fits = match name {
        "limit" | "skip" | "r" => is(value, Value::is_u64),
        "bookmark" => is(value, |value| value.is_string() || value.is_null()),
        "use_index" => {
            is(value, |value| value.is_string() || value.as_array().is_some_and(|parts| parts.iter().all(Value::is_string)))
        }
        "update" | "stable" | "execution_stats" | "conflicts" | "allow_fallback" => is(value, Value::is_boolean),
        "stale" => is(value, Value::is_string),
        _ => {
            return Err(malformed(
                "a search has the members selector, fields, sort, limit, skip, bookmark, use_index, r, update, stable, stale, execution_stats, conflicts and allow_fallback only",
            ));
        }
    };
    if fits { Ok(()) } else { Err(malformed("a member of the search has a value of another kind than its name says")) }
}

/// The bookmark goes by what was passed over as well, and the statistics count it: who has a value would be told without a record.
fn tells_of_the_unseen(name: &str, value: &RawValue) -> bool {
    match name {
        "skip" => is(value, |value| value.as_u64() != Some(0)),
        "limit" => is(value, |value| value.as_u64() == Some(0)),
        "execution_stats" => is(value, |value| *value == Value::Bool(true)),
        _ => false,
    }
}

fn is(value: &RawValue, test: impl Fn(&Value) -> bool) -> bool {
    serde_json::from_str::<Value>(value.get()).is_ok_and(|value| test(&value))
}

#[cfg(test)]
mod tests;
