//! What a write may do to a document that is stored: keep a value, carry it over, or refuse.
//!
//! An application reads a document, changes one member and writes it back. For each value that is stored, in this order: sent back as it is stored,
//! or as this caller was shown it → the stored value is kept; left out by a caller that may not write it, or was not shown it → carried over;
//! else it is the caller's to change if it may write the category. Values of the write with nothing stored behind them are judged by
//! `protect`, which calls this file.
//!
//! Always holds: a value is kept or carried only under the id it is bound to (T35, T41); the clear text of a value is compared only with a caller's that is
//! shown it, or the answer would tell whether a guess is right (T16); what is not sealed is never carried as it is (T4). What
//! hangs on an old key version is sealed anew on the way; on a compromised one it stays as it is, for it proves nothing.
//! `pairs` says which element of a list is which.

mod needs;

use std::collections::HashMap;
use std::ops::Range;

pub(super) use self::needs::needs_the_stored;
pub use self::needs::rows_that_need_the_stored;
use super::by_row::{ByRow, Company, about_value, level_of};
use super::envelope::{self, Suite};
use super::gaps::Gaps;
use super::ids::{NoId, Place};
use super::pairs::{self, Alike, Looks, Pair, canonical};
use super::plan::{Field, Meaning, Plan, Protection};
use super::protect::{Write, WriteError, bound_by, unbound};
use super::reveal::{RevealError, Window};
use super::seal::Sealer;
use super::stored::{StoredRow, found_in, value_at};
use crate::document::{Change, Found, Kind, Layout, Member, Step, at, elements, member, members, splice, unescape};
use crate::purpose::Level;

/// What the rows of a write get from the documents they replace.
#[derive(Default)]
pub(super) struct Carried {
    /// Text that stands in place of a sent value, by its index in the layout.
    pub(super) kept: HashMap<usize, Vec<u8>>,
    /// Texts to insert, by offset.
    pub(super) inserts: Vec<(usize, Vec<u8>)>,
    /// Stored values that were sealed on the way, because they were not (`strict = false`): indexes of their fields.
    pub(super) sealed: Vec<usize>,
    /// How many stored values stay.
    pub(super) count: u32,
}

/// Compares one row of a write with the document it replaces.
pub(super) fn carry(
    write: &Write<'_>,
    row: usize,
    stored: StoredRow<'_>,
    now_ms: u64,
    sealer: &mut Sealer<'_>,
    carried: &mut Carried,
) -> Result<(), WriteError> {
    let old = stored.range();
    let of_stored = |company| {
        let (plan, ids, rows) = (stored.plan(), stored.ids(), stored.index()..stored.index() + 1);
        ByRow::of(write.collection, plan, write.rights, ids, stored.found_in(&old), rows, company)
    };
    let shows = of_stored(Company::DOCUMENT);
    let allows = of_stored(Company::Nobody);
    let grant = write.rights.grant();
    let window = Window::new(write.collection, stored.plan(), write.keys, grant, stored.bytes(), stored.ids(), shows, now_ms);
    let window = window.with(write.tokens());
    let sent = write.layout.rows.get(row).map(|row| row.range.clone()).ok_or(WriteError::Layout)?;
    if let Some(field) =
        stored.found_in(&old).iter().filter(|found| found.misfit).find_map(|found| match stored.plan().meaning(found) {
            Some(Meaning::Field(index)) => write.collection.fields.get(index),
            _ => None,
        })
    {
        return Err(WriteError::Stored(RevealError::ClearFound { field: field.name.clone() }));
    }
    let mut way_down =
        Carrier { write, row, stored, window, allows, sealer, carried, gaps: Gaps::default(), pairs: HashMap::new() };
    for (index, field) in write.collection.fields.iter().enumerate() {
        let way = Way { field: index, depth: 0, wildcards: 0, place: (u32::try_from(row).ok(), Default::default()) };
        way_down.down(way, field.at.steps(), Sent::Here(sent.clone()), &old)?;
        if !write.keys.holds(&field.ring) {
            way_down.keep_terms(index, field, &old);
        }
    }
    let gaps = way_down.gaps;
    gaps.render(write.bytes, &mut carried.inserts);
    Ok(())
}

/// What stands in the write where something is stored.
#[derive(Clone)]
enum Sent {
    Here(Range<usize>),
    /// Nothing; it could be put into this object, below these names.
    Gap(Range<usize>, Vec<String>),
    /// `null`, or a value of a type that cannot hold it: the caller says that there is nothing.
    Nothing,
    /// The element or entry it was a part of.
    Removed,
    /// No telling which element it was a part of, or a list too short for its number.
    Unclear,
}

/// How far down one field's selector.
#[derive(Clone, Copy)]
struct Way {
    field: usize,
    /// Steps taken, and wildcards among them.
    depth: usize,
    wildcards: usize,
    /// Where it leads in the write.
    place: Place,
}

impl Way {
    fn step(mut self) -> Self {
        self.depth += 1;
        self
    }

    /// A step by a wildcard that matches the sent element with this index.
    fn wildcard(mut self, sent: usize) -> Self {
        if let Some(slot) = self.place.1.get_mut(self.wildcards) {
            *slot = u32::try_from(sent).unwrap_or(u32::MAX);
        }
        self.wildcards += 1;
        self.step()
    }
}

/// One row on its way.
struct Carrier<'c, 'a, 's> {
    write: &'c Write<'a>,
    row: usize,
    stored: StoredRow<'c>,
    window: Window<'c>,
    /// What may be done to what is stored.
    allows: ByRow<'c>,
    sealer: &'c mut Sealer<'s>,
    carried: &'c mut Carried,
    gaps: Gaps,
    /// Of each stored list of elements, by its offset: what became of them.
    pairs: HashMap<usize, Vec<Pair>>,
}

impl<'c> Carrier<'c, '_, '_> {
    fn field(&self, way: Way) -> Result<&'c Field, WriteError> {
        self.write.collection.fields.get(way.field).ok_or(WriteError::Layout)
    }

    /// May the caller change or remove a stored value? So say the rules of whom it is about.
    fn may_write(&self, index: usize, field: &Field, found: &Found) -> bool {
        let row = self.allows.of_value(self.stored.plan(), self.write.collection, self.stored.ids(), index, found);
        row.may_write(field.category) && self.write.keys.holds(&field.ring)
    }

    fn not_writable(&self, index: usize, field: &Field, found: &Found) -> WriteError {
        let (collection, ids) = (self.write.collection, self.stored.ids());
        let row = self.allows.of_value(self.stored.plan(), collection, ids, index, found);
        let about = about_value(self.stored.plan(), collection, ids, index, (found.row, found.wildcards));
        self.write.refused(row, about, field)
    }

    /// Could the value have been left out of what the caller read, by what was known then?
    fn may_hide(&self, field: &Field) -> bool {
        let rights = self.write.rights;
        rights.alike().is_none() && level_of(rights.least(), field) == Level::Absent
    }

    /// The level at which the caller knows what is stored: without the ring nothing of it is shown but how it is sealed.
    fn level(&self, index: usize, field: &Field, found: &Found) -> Level {
        let level = self.window.level(index, found, field);
        let known = matches!(level, Level::Sealed | Level::Absent) || self.write.keys.holds(&field.ring);
        if known { level } else { Level::Absent }
    }

    /// None of the values of a field whose ring is not held comes or goes, so its terms stay, too.
    fn keep_terms(&mut self, index: usize, field: &Field, old: &Range<usize>) {
        for (number, by) in field.indexes.iter().enumerate() {
            let stored = member(self.stored.bytes(), old.clone(), &by.member);
            if let Some(text) = stored.and_then(|span| self.stored.bytes().get(span)) {
                self.sealer.indexer.keep_stored(self.row, index, number, text);
            }
        }
    }

    /// Goes down both documents at once, wherever something is stored.
    fn down(&mut self, way: Way, steps: &[Step], sent: Sent, old: &Range<usize>) -> Result<(), WriteError> {
        let (bytes, old_bytes) = (self.write.bytes, self.stored.bytes());
        let Some((step, rest)) = steps.split_first() else { return self.value(way, sent, old) };
        match step {
            Step::Member(name) => match member(old_bytes, old.clone(), name) {
                Some(old) => self.down(way.step(), rest, sent.member(bytes, name), &old),
                None => Ok(()),
            },
            Step::AnyMember => {
                let sent_members: Vec<Member<'_>> = match &sent {
                    Sent::Here(span) => members(bytes, span.clone()).collect(),
                    Sent::Gap(..) | Sent::Nothing | Sent::Removed | Sent::Unclear => Vec::new(),
                };
                let by_name: HashMap<&str, usize> =
                    sent_members.iter().enumerate().map(|(at, member)| (&*member.name, at)).collect();
                for entry in members(old_bytes, old.clone()) {
                    let at = by_name.get(&*entry.name).copied();
                    let below = match (at.and_then(|at| sent_members.get(at)), &sent) {
                        (Some(member), _) => Sent::Here(member.value.clone()),
                        // An entry is more than the value in it: who leaves it out removes it.
                        (None, Sent::Here(_) | Sent::Gap(..)) if !rest.is_empty() => Sent::Removed,
                        (None, sent) => sent.clone().member(bytes, &entry.name),
                    };
                    self.down(way.wildcard(at.unwrap_or(usize::MAX)), rest, below, &entry.value)?;
                }
                Ok(())
            }
            Step::Element(n) => {
                let nth = |text, span: &Range<usize>| elements(text, span.clone()).nth(usize::try_from(*n).unwrap_or(usize::MAX));
                let Some(old) = nth(old_bytes, old) else { return Ok(()) };
                let below = match sent {
                    Sent::Here(span) if is_null(bytes, &span) => Sent::Nothing,
                    Sent::Here(span) => nth(bytes, &span).map_or(Sent::Unclear, Sent::Here),
                    Sent::Gap(..) | Sent::Unclear => Sent::Unclear,
                    Sent::Nothing | Sent::Removed => sent,
                };
                self.down(way.step(), rest, below, &old)
            }
            Step::AnyElement if rest.is_empty() => self.list(way, sent, old),
            Step::AnyElement => {
                let sent_elements: Vec<_> = match &sent {
                    Sent::Here(span) => elements(bytes, span.clone()).collect(),
                    Sent::Gap(..) | Sent::Nothing | Sent::Removed | Sent::Unclear => Vec::new(),
                };
                let old_elements: Vec<_> = elements(old_bytes, old.clone()).collect();
                if !self.pairs.contains_key(&old.start) {
                    let pairs = self.pair(way, &sent_elements, &old_elements)?;
                    self.pairs.insert(old.start, pairs);
                }
                let pairs = self.pairs.get(&old.start).cloned().unwrap_or_default();
                for (old, pair) in old_elements.iter().zip(pairs) {
                    let (below, at) = match pair {
                        Pair::With(at) => (sent_elements.get(at).cloned().map_or(Sent::Unclear, Sent::Here), at),
                        Pair::Unclear => (Sent::Unclear, usize::MAX),
                        Pair::Removed if matches!(sent, Sent::Unclear) => (Sent::Unclear, usize::MAX),
                        Pair::Removed => (Sent::Removed, usize::MAX),
                    };
                    self.down(way.wildcard(at), rest, below, old)?;
                }
                Ok(())
            }
        }
    }

    /// One value that is stored, and what stands in its place in the write.
    fn value(&mut self, way: Way, sent: Sent, old: &Range<usize>) -> Result<(), WriteError> {
        let field = self.field(way)?;
        let found = self.stored.value_at(old.start, way.field).ok_or(WriteError::Layout)?;
        let shown = self.shown(way.field, field, found)?;
        let writes = self.may_write(way.field, field, found);
        let hidden = matches!(shown, Change::Remove) || (self.may_hide(field) && found.kind != Kind::Null);
        let nothing = found.kind == Kind::Null && !field.seal_null;
        match sent {
            Sent::Here(span) => {
                let (at, value) =
                    value_at(self.write.plan, self.write.layout, span.start, way.field).ok_or(WriteError::Layout)?;
                let text = self.write.bytes.get(value.value.clone()).ok_or(WriteError::Layout)?;
                // An element of a list by number cannot be left out, so null stands where nothing is shown.
                let same = self.forms(way.field, found, &shown).iter().flatten().any(|form| *form == canonical(text))
                    || (hidden && found.by_position && value.kind == Kind::Null);
                if same { self.keep(way, at, found) } else { Ok(()) }
            }
            Sent::Gap(object, names) if hidden || !writes => {
                let text = self.text(way, found)?;
                self.gaps.fill(object, names, text);
                Ok(())
            }
            Sent::Gap(..) => Ok(()),
            Sent::Nothing | Sent::Removed if nothing || writes => Ok(()),
            Sent::Nothing | Sent::Removed => Err(self.not_writable(way.field, field, found)),
            Sent::Unclear if nothing || (writes && !hidden) => Ok(()),
            Sent::Unclear => Err(self.unclear(field)),
        }
    }

    /// A list whose elements are the values.
    fn list(&mut self, way: Way, sent: Sent, old: &Range<usize>) -> Result<(), WriteError> {
        let field = self.field(way)?;
        let mut values = Vec::new();
        for span in elements(self.stored.bytes(), old.clone()) {
            let found = self.stored.value_at(span.start, way.field).ok_or(WriteError::Layout)?;
            values.push((found, self.shown(way.field, field, found)?));
        }
        // The values of one list are all about one person.
        let first = values.first().map(|(found, _)| *found);
        let writes = first.is_none_or(|found| self.may_write(way.field, field, found));
        let not_writable = |carrier: &Self| match first {
            Some(found) => carrier.not_writable(way.field, field, found),
            None => WriteError::Layout,
        };
        let may_hide = self.may_hide(field);
        let protected = values.iter().any(|(found, _)| found.kind != Kind::Null || field.seal_null);
        let sent_values: Vec<Range<usize>> = match &sent {
            Sent::Here(span) => elements(self.write.bytes, span.clone()).collect(),
            Sent::Gap(..) | Sent::Nothing | Sent::Removed | Sent::Unclear => Vec::new(),
        };
        match sent {
            Sent::Here(span) if is_null(self.write.bytes, &span) && protected && !writes => Err(not_writable(self)),
            Sent::Here(span) if is_null(self.write.bytes, &span) => Ok(()),
            Sent::Here(span) if !sent_values.is_empty() => self.list_of_values(way, &span, &sent_values, &values),
            Sent::Here(_) | Sent::Gap(..) => {
                let mut texts = Vec::new();
                for (found, _) in values.iter().filter(|(_, shown)| !writes || may_hide || matches!(shown, Change::Remove)) {
                    texts.push(self.text(way, found)?);
                }
                let texts = texts.join(&b","[..]);
                match sent {
                    _ if texts.is_empty() => {}
                    Sent::Here(span) => self.carried.inserts.push((span.start + 1, texts)),
                    Sent::Gap(object, names) => self.gaps.fill(object, names, [b"[".as_slice(), &texts, b"]"].concat()),
                    Sent::Nothing | Sent::Removed | Sent::Unclear => {}
                }
                Ok(())
            }
            Sent::Nothing | Sent::Removed if writes || !protected => Ok(()),
            Sent::Nothing | Sent::Removed => Err(not_writable(self)),
            Sent::Unclear if !protected => Ok(()),
            Sent::Unclear => Err(self.unclear(field)),
        }
    }

    /// The same where both lists hold values.
    fn list_of_values(
        &mut self,
        way: Way,
        list: &Range<usize>,
        sent: &[Range<usize>],
        values: &[(&'c Found, Change)],
    ) -> Result<(), WriteError> {
        let field = self.field(way)?;
        let Some((first, _)) = values.first() else { return Ok(()) };
        let (level, writes) = (self.level(way.field, field, first), self.may_write(way.field, field, first));
        let texts: Vec<Option<String>> = sent.iter().map(|span| self.write.bytes.get(span.clone()).map(canonical)).collect();
        let forms: Vec<[Option<String>; 3]> = values.iter().map(|(found, shown)| self.forms(way.field, found, shown)).collect();
        // Each stored value goes by what was shown of it, unless its envelope itself was sent.
        let sent_texts: std::collections::HashSet<&String> = texts.iter().flatten().collect();
        let keys: Vec<Option<String>> = forms
            .into_iter()
            .map(|[shown, envelope, coarse]| {
                let sent = |form: &String| sent_texts.contains(form);
                let coarse = coarse.filter(|coarse| sent(coarse) && !shown.as_ref().is_some_and(sent));
                envelope.filter(sent).or(coarse).or(shown)
            })
            .collect();
        let alike = if matches!(level, Level::Masked | Level::Generalised) { Alike::Unclear } else { Alike::Same };
        let mut behind = Vec::new();
        for ((found, shown), pair) in values.iter().zip(pairs::by_form(&texts, &keys, alike)) {
            let hidden = matches!(shown, Change::Remove);
            match pair {
                Pair::With(at) => {
                    let start = sent.get(at).ok_or(WriteError::Layout)?.start;
                    let (at, _) = value_at(self.write.plan, self.write.layout, start, way.field).ok_or(WriteError::Layout)?;
                    self.keep(way, at, found)?;
                }
                Pair::Unclear if writes => return Err(WriteError::MaskedValue { field: field.name.clone() }),
                // Whoever sees nothing of the whole list and may write it says with one value what is in it.
                Pair::Removed if hidden && !(writes && level == Level::Absent) => behind.push(self.text(way, found)?),
                Pair::Removed if writes => {}
                Pair::Removed | Pair::Unclear => return Err(self.not_writable(way.field, field, found)),
            }
        }
        if let (false, Some(last)) = (behind.is_empty(), sent.last().filter(|last| last.end < list.end)) {
            self.carried.inserts.push((last.end, [b",".as_slice(), &behind.join(&b","[..])].concat()));
        }
        Ok(())
    }

    /// What the caller would be shown of a stored value, by the very rules of a read.
    fn shown(&mut self, index: usize, field: &Field, found: &Found) -> Result<Change, WriteError> {
        self.window.change(index, field, found, self.level(index, field, found)).map_err(WriteError::Stored)
    }

    /// What a sent value may equal to stand for a stored one: what was shown of it, and its envelope or token. Never its clear text as such: the
    /// answer would tell a caller that does not see it whether a guess is right.
    /// Where rows differ, also the coarse form, of what the caller sees clear now and may have been shown so when it read.
    fn forms(&mut self, index: usize, found: &Found, shown: &Change) -> [Option<String>; 3] {
        let stored = self.stored.bytes().get(found.value.clone()).unwrap_or_default();
        let sealed = is_envelope(stored) || unescape(stored).is_some_and(|text| self.window.is_sealed(index, &text));
        let envelope = sealed.then(|| canonical(stored));
        let coarse = self.once_coarse(index, found);
        match shown {
            Change::Keep => [Some(canonical(stored)), envelope, coarse],
            Change::Replace(text) => [Some(canonical(text)), envelope, coarse],
            Change::Remove => [None, envelope, coarse],
        }
    }

    fn once_coarse(&mut self, index: usize, found: &Found) -> Option<String> {
        let field = self.write.collection.fields.get(index)?;
        let rights = self.write.rights;
        let once = rights.alike().is_none() && field.generalise.is_some() && rights.grant().may_generalise(field.category);
        if !once || self.level(index, field, found) != Level::Clear {
            return None;
        }
        match self.window.change(index, field, found, Level::Generalised).ok()? {
            Change::Replace(text) => Some(canonical(&text)),
            Change::Keep | Change::Remove => None,
        }
    }

    /// A sent value stands for a stored one.
    fn keep(&mut self, way: Way, at: usize, found: &Found) -> Result<(), WriteError> {
        match self.text(way, found) {
            Ok(text) => {
                self.carried.kept.insert(at, text);
                Ok(())
            }
            // It is bound to another id now, but the caller sent it in clear and may write it: it is sealed anew.
            Err(WriteError::SubjectChanged { .. }) if self.is_all_clear(way, found) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn is_all_clear(&self, way: Way, found: &Found) -> bool {
        let field = self.write.collection.fields.get(way.field);
        field.is_some_and(|field| {
            self.may_write(way.field, field, found) && self.window.level(way.field, found, field) == Level::Clear
        })
    }

    /// The text of a stored value as it is stored again: its very bytes; sealed anew if it hangs on an old key version; or sealed if it was not
    /// and need not be.
    fn text(&mut self, way: Way, found: &Found) -> Result<Vec<u8>, WriteError> {
        let field = self.field(way)?;
        let stored = self.stored.bytes().get(found.value.clone()).ok_or(WriteError::Layout)?;
        self.carried.count = self.carried.count.saturating_add(1);
        if found.kind == Kind::Null && !field.seal_null {
            return Ok(stored.to_vec());
        }
        let Write { collection, plan, ids, .. } = self.write;
        let now = ids.binding_at(collection, plan, way.field, way.place);
        let was = self.stored.ids().binding(collection, self.stored.plan(), way.field, found);
        let id = match now {
            Ok(id) => id,
            // It is bound to its field only, and opens wherever it stands; but it stays with whom it is about.
            Err(_) if field.protection.suite() != Some(Suite::X) => "",
            Err(reason) => return Err(unbound(collection, field, reason)),
        };
        // Of a token the vault keeps for whom it is used.
        let about = ids.subject_at(collection, plan, way.field, way.place);
        let was_about = self.stored.ids().subject(collection, self.stored.plan(), way.field, found);
        let is_token = field.protection.suite().is_none();
        if was != now || (is_token && about != was_about) {
            return Err(self.subject_changed(field));
        }
        match unescape(stored).filter(|_| found.kind == Kind::String) {
            Some(text) if self.window.is_sealed(way.field, &text) => {
                if text.starts_with(envelope::PREFIX) && self.write.keys.holds(&field.ring) {
                    let bound = if Suite::named_by(&text) == Suite::D { "" } else { id };
                    self.sealer.indexer.add_sealed(self.row, way.field, &text, bound)?;
                    if let Some(anew) = self.sealer.renewed((way.field, self.row, bound), &text)? {
                        return Ok(anew);
                    }
                }
                Ok(stored.to_vec())
            }
            Some(text) if text.starts_with(envelope::PREFIX) || is_reserved(field, &text) => {
                Err(WriteError::Stored(RevealError::NotAuthentic { field: field.name.clone(), kid_known: false }))
            }
            // It may be a token of which another store knows, or be on its way under the ring.
            _ if !self.write.keys.holds(&field.ring) => Err(WriteError::not_held(field)),
            _ if collection.strict => Err(WriteError::Stored(RevealError::ClearFound { field: field.name.clone() })),
            _ => {
                let mut out = Vec::new();
                let id = match about {
                    Some(Ok(about)) if is_token => about.as_str(),
                    Some(Err(why)) if is_token => return Err(unbound(collection, field, NoId::Bad(*why))),
                    None if is_token => return Err(unbound(collection, field, NoId::Missing)),
                    _ => id,
                };
                self.sealer.seal(way.field, self.row, id, stored, &mut out)?;
                self.carried.sealed.push(way.field);
                Ok(out)
            }
        }
    }

    /// Pairs the elements of a stored list with those that are sent.
    fn pair(&mut self, way: Way, sent: &[Range<usize>], old: &[Range<usize>]) -> Result<Vec<Pair>, WriteError> {
        if sent.is_empty() {
            return Ok(vec![Pair::Removed; old.len()]);
        }
        let prefix = self.field(way)?.at.steps().get(..=way.depth).unwrap_or_default();
        // Any field that names the people of this list says who is who in it.
        let subject = self.write.collection.fields.iter().find_map(|field| {
            let subject = field.subject.as_ref()?.steps();
            let (shared, below) = subject.split_at_checked(prefix.len())?;
            (shared == prefix && !below.iter().any(|step| matches!(step, Step::AnyElement | Step::AnyMember))).then_some(below)
        });
        if let Some(subject) = subject {
            let id = |text, element: &Range<usize>| id_of(text, element, subject);
            let sent: Vec<_> = sent.iter().map(|element| id(self.write.bytes, element)).collect();
            let old: Vec<_> = old.iter().map(|element| id(self.stored.bytes(), element)).collect();
            return Ok(pairs::by_id(&sent, &old));
        }
        let (mut sent_looks, mut old_looks) = (Looks::default(), Looks::default());
        for element in sent {
            let text = self.write.bytes.get(element.clone()).ok_or(WriteError::Layout)?;
            let found = found_in(self.write.layout, element);
            sent_looks.whole.push(canonical(text));
            sent_looks.rest.push(canonical(&changed(text, element.start, found, &bare(self.write.plan, found))));
        }
        for element in old {
            let text = self.stored.bytes().get(element.clone()).ok_or(WriteError::Layout)?;
            let found = self.stored.found_in(element);
            let plan = self.stored.plan();
            let mut shown = Vec::with_capacity(found.len());
            for found in found {
                shown.push(match plan.meaning(found) {
                    Some(Meaning::Field(index)) => {
                        let field = self.write.collection.fields.get(index).ok_or(WriteError::Layout)?;
                        self.shown(index, field, found)?
                    }
                    _ => Change::Keep,
                });
            }
            old_looks.whole.push(canonical(&changed(text, element.start, found, &shown)));
            old_looks.rest.push(canonical(&changed(text, element.start, found, &bare(plan, found))));
        }
        Ok(pairs::by_look(&sent_looks, &old_looks))
    }

    fn unclear(&self, field: &Field) -> WriteError {
        WriteError::WouldErase {
            purpose: self.write.rights.grant().purpose().clone(),
            category: field.category_name.clone(),
            reason: "does not see all of",
            remedy: "there is no telling which element of the list is which; give the field a `subject`, or change one element at a time".into(),
        }
    }

    fn subject_changed(&self, field: &Field) -> WriteError {
        WriteError::SubjectChanged { field: field.name.clone(), selector: bound_by(self.write.collection, field).to_string() }
    }
}

impl Sent {
    /// What stands at a member of it.
    fn member(self, bytes: &[u8], name: &str) -> Self {
        match self {
            Self::Here(span) if bytes.get(span.start) == Some(&b'{') => {
                member(bytes, span.clone(), name).map_or_else(|| Self::Gap(span, vec![name.to_owned()]), Self::Here)
            }
            Self::Here(_) => Self::Nothing,
            Self::Gap(object, mut names) => {
                names.push(name.to_owned());
                Self::Gap(object, names)
            }
            Self::Nothing | Self::Removed | Self::Unclear => self,
        }
    }
}

fn is_null(bytes: &[u8], span: &Range<usize>) -> bool {
    bytes.get(span.clone()) == Some(b"null")
}

/// Is it kept for tokens, whether or not it is one?
fn is_reserved(field: &Field, text: &str) -> bool {
    matches!(&field.protection, Protection::Token(kind) if kind.format.is_reserved(text))
}

fn is_envelope(stored: &[u8]) -> bool {
    unescape(stored).is_some_and(|text| text.starts_with(envelope::PREFIX))
}

/// The id at the end of a path inside an element; None where there is none.
fn id_of(text: &[u8], element: &Range<usize>, path: &[Step]) -> Option<String> {
    let id = text.get(at(text, element.clone(), path)?).filter(|id| *id != b"null")?;
    Some(unescape(id).map_or_else(|| String::from_utf8_lossy(id).into_owned(), std::borrow::Cow::into_owned))
}

/// All values of fields removed.
fn bare(plan: &Plan, found: &[Found]) -> Vec<Change> {
    found
        .iter()
        .map(|found| if matches!(plan.meaning(found), Some(Meaning::Field(_))) { Change::Remove } else { Change::Keep })
        .collect()
}

/// The text of an element that starts at `start` of its body, with what was found in it changed.
fn changed(text: &[u8], start: usize, found: &[Found], changes: &[Change]) -> Vec<u8> {
    let shift = |found: &Found| Found {
        value: found.value.start.saturating_sub(start)..found.value.end.saturating_sub(start),
        member_start: found.member_start.saturating_sub(start),
        ..found.clone()
    };
    let layout = Layout { found: found.iter().map(shift).collect(), ..Layout::default() };
    let mut out = Vec::new();
    splice(text, &layout, changes, &[], &mut out);
    out
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
