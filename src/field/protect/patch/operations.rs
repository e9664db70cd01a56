//! The operations of a JSON Patch (RFC 6902), each judged by where its pointers lie to what is protected.
//!
//! An operation is judged alone: the order of operations moves elements of arrays, but protected places are patterns that hold
//! for every element, and selectors that name one element by its position refuse whatever moves it.

use std::sync::OnceLock;

use bytes::Bytes;
use serde_json::{Map as Object, Value};

use super::{NOT_IN_PART, Patch, Terms};
use crate::document::{
    self, Change, Found, Insert, Layout, Map, Meeting, Pointer, Role, Rules, Scope, Selector, Target, Touched, splice,
    write_string,
};
use crate::field::Tally;
use crate::field::ids::Subjects;
use crate::field::plan::{Field, Subject};
use crate::field::protect::{Protected, ProtectedBody, WriteError, index_member};

/// One operation as sent.
struct Operation<'a> {
    name: &'a str,
    path: Pointer,
    from: Option<Pointer>,
    /// The value as it stands in the body.
    value: Option<&'a Found>,
}

/// Longest patch, in operations.
const MAX_OPERATIONS: usize = 1_024;

/// Finds the values of a list of operations. None only if the constants below were wrong.
fn values_of_operations() -> Option<&'static Map> {
    static MAP: OnceLock<Option<Map>> = OnceLock::new();
    MAP.get_or_init(|| {
        let rows = [Selector::parse("$[*]").ok()?];
        let value = Target { selector: Selector::parse("$.value").ok()?, role: Role::Peek, scope: Scope::Row };
        Map::compile(&rows, &[value]).ok()
    })
    .as_ref()
}

impl Patch<'_> {
    pub(super) fn operations(&self, bytes: &Bytes) -> Result<Protected, WriteError> {
        let map = values_of_operations().ok_or(WriteError::Layout)?;
        let layout = document::walk(map, Rules::request(), bytes).map_err(|_walked_before| WriteError::Layout)?;
        let operations: Value = serde_json::from_slice(bytes).map_err(|_walked_before| WriteError::Layout)?;
        let refused = |number, why| Err(WriteError::Operation { number, why });
        let Value::Array(operations) = operations else {
            return refused(1, "a JSON Patch is an array of operations (RFC 6902)");
        };
        if operations.len() > MAX_OPERATIONS {
            return refused(MAX_OPERATIONS + 1, "a JSON Patch may have at most 1024 operations here; send several");
        }
        let mut changes = vec![Change::Keep; layout.found.len()];
        let (mut tally, mut subjects, mut inserts) = (Tally::default(), Subjects::default(), Vec::new());
        for (index, operation) in operations.iter().enumerate() {
            let found = layout.found.iter().enumerate().find(|(_, found)| found.row == u32::try_from(index).ok());
            let value = found.map(|(_, found)| found);
            let operation = read(operation, value).map_err(|why| WriteError::Operation { number: index + 1, why })?;
            let Some(sealed) = self.operation(&operation, bytes, index + 1)? else { continue };
            if let (Some(change), Some(value)) = (found.and_then(|(at, _)| changes.get_mut(at)), sealed.value) {
                *change = Change::Replace(value);
            }
            let text: Vec<u8> = sealed.terms.iter().flat_map(|(path, text)| set(path, text)).collect();
            let at = layout.rows.get(index).ok_or(WriteError::Layout)?.range.end;
            inserts.push(Insert { at, text });
            for (category, count) in sealed.tally.protected {
                (0..count).for_each(|_| tally.protect(category));
            }
            tally.kept = tally.kept.saturating_add(sealed.tally.kept);
            sealed.subjects.into_iter().for_each(|id| subjects.add(Some(&Ok(id))));
        }
        let mut out = Vec::with_capacity(bytes.len() * 2);
        splice(bytes, &layout, &changes, &inserts, &mut out);
        Ok(Protected { body: ProtectedBody(Bytes::from(out)), tally, subjects: self.subjects(subjects.into_list()) })
    }

    /// Judges one operation; the value it sets, sealed, if it sets something protected.
    fn operation(&self, operation: &Operation<'_>, bytes: &[u8], number: usize) -> Result<Option<Sealed>, WriteError> {
        if operation.path.is_root() || operation.from.as_ref().is_some_and(Pointer::is_root) {
            let why = "it is about the whole document; PUT the document instead";
            return Err(WriteError::Operation { number, why });
        }
        self.keeps_bindings(operation)?;
        self.leaves_terms(operation)?;
        let indexed = self.indexed_by(operation)?;
        let mut met: Vec<Selector> = Vec::new();
        for field in &self.collection.fields {
            for selector in self.in_body(&field.at) {
                if self.judge(operation, field, &selector)? {
                    met.push(selector);
                }
            }
        }
        let Some(value) = operation.value.filter(|_| !met.is_empty()) else {
            let of = |(place, field): &(Selector, usize)| {
                let of_field = self.collection.fields.get(*field).map_or(&[][..], |field| &field.indexes);
                of_field.iter().map(|index| (Pointer::text_of(place, &index.member), b"null".to_vec())).collect::<Vec<_>>()
            };
            let terms: Vec<_> = indexed.iter().flat_map(of).collect();
            let removed = Sealed { value: None, terms, tally: Tally::default(), subjects: Vec::new() };
            return Ok((!removed.terms.is_empty()).then_some(removed));
        };
        // The subjects of what is given, where they stand in the value, are found by their own selectors.
        let value = bytes.get(value.value.clone()).ok_or(WriteError::Layout)?;
        let unclear = WriteError::Operation { number, why: "its path is an array by one selector and an object by another" };
        let scaffold = operation.path.around(&met, value).ok_or(unclear)?;
        let layout: Layout =
            document::walk(&self.plan.map, Rules::request(), &scaffold.text).map_err(|_too_deep_or_too_many| {
                WriteError::Operation {
                    number,
                    why: "its value cannot stand at its path (too deep, or documents in one another)",
                }
            })?;
        let fields: Vec<usize> = indexed.iter().map(|(_, field)| *field).collect();
        let (sealed, members) = self.seal(&scaffold.text, &layout, Terms::Apart(&fields))?;
        let position = layout.rows.first().and_then(|row| self.plan.positions().nth(usize::from(row.set)));
        let place = position.ok_or(WriteError::Layout)?;
        let terms = members.into_iter().map(|(member, text)| (Pointer::text_of(place, &member), text)).collect();
        let text = sealed.body.into_bytes();
        let end = text.len().checked_sub(scaffold.behind).ok_or(WriteError::Layout)?;
        let value = text.get(scaffold.before..end).ok_or(WriteError::Layout)?.to_vec();
        Ok(Some(Sealed { value: Some(value), terms, tally: sealed.tally, subjects: sealed.subjects }))
    }

    /// Where documents may stand as an operation names them, as [`Patch::in_body`] has it.
    fn places(&self) -> Vec<Selector> {
        let mut places: Vec<Selector> = self.plan.positions().cloned().collect();
        if let Ok(root) = Selector::parse("$")
            && places.iter().all(|place| !place.is_root())
        {
            places.push(root);
        }
        places
    }

    /// No operation names a member that holds terms, or what is in it.
    fn leaves_terms(&self, operation: &Operation<'_>) -> Result<(), WriteError> {
        for field in &self.collection.fields {
            for at in field.indexes.iter().flat_map(|index| self.places().into_iter().map(|place| place.join(&index.at))) {
                let pointers = [Some(&operation.path), operation.from.as_ref()];
                // What stands above is looked at when it is sealed.
                if pointers.into_iter().flatten().any(|pointer| !matches!(pointer.meets(&at), Meeting::Apart | Meeting::Above)) {
                    return Err(index_member(field));
                }
            }
        }
        Ok(())
    }

    /// The fields whose terms an operation changes, and where their document stands.
    fn indexed_by(&self, operation: &Operation<'_>) -> Result<Vec<(Selector, usize)>, WriteError> {
        let mut changed = Vec::new();
        for (index, field) in self.collection.fields.iter().enumerate().filter(|(_, field)| !field.indexes.is_empty()) {
            for place in self.places() {
                let whole = field.at.before_wildcard();
                match operation.path.meets(&place.join(whole.as_ref().unwrap_or(&field.at))) {
                    Meeting::At | Meeting::Above if operation.name != "test" => changed.push((place, index)),
                    Meeting::Apart | Meeting::At | Meeting::Above => {}
                    // Of a single value the judgement says more.
                    Meeting::Below | Meeting::Unclear if whole.is_none() => {}
                    Meeting::Below | Meeting::Unclear if operation.path.meets(&place.join(&field.at)) == Meeting::Apart => {}
                    Meeting::Below | Meeting::Unclear => return Err(Self::refused(field, NOT_IN_PART)),
                }
            }
        }
        Ok(changed)
    }

    /// True if the operation gives a value of this field that must be sealed.
    fn judge(&self, operation: &Operation<'_>, field: &Field, at: &Selector) -> Result<bool, WriteError> {
        let refuse = |why| Err(Self::refused(field, why));
        let meeting = operation.path.meets(at);
        if operation.from.as_ref().is_some_and(|from| from.meets(at) != Meeting::Apart || from.shifts(at)) {
            return refuse("a protected value cannot be moved or copied; its stored form holds in its own place only");
        }
        let moves = matches!(operation.name, "add" | "remove" | "move" | "copy");
        if moves && operation.path.shifts(at) {
            return refuse("it is found by its position, and this operation would move another value there");
        }
        match (operation.name, meeting) {
            (_, Meeting::Apart) => return Ok(false),
            ("test", _) => return refuse("a protected value cannot be tested; its stored form is sealed"),
            ("move" | "copy", _) => return refuse("nothing can be moved or copied to a protected place"),
            (_, Meeting::Below) => return refuse("a part of a protected value cannot be patched; replace the whole value"),
            (_, Meeting::Unclear) => return refuse("the path may lead past its place; name an element by its index"),
            _ => {}
        }
        let inserts = operation.name == "add" && operation.path.ends_in_array(at);
        let done = match (operation.name, meeting) {
            ("remove", _) => Touched { removed: true, ..Touched::default() },
            // An inserted element takes nothing away.
            ("add", _) if inserts => Touched { set: true, ..Touched::default() },
            (_, Meeting::At) => Touched { set: true, ..Touched::default() },
            _ => Touched { set: true, replaced: true, ..Touched::default() },
        };
        self.may(field, done)?;
        // Whoever does not see the elements counts others.
        let by_index = operation.path.ends_in_array(at) && !operation.path.is_append();
        if by_index && meeting == Meeting::At && !self.sees_elements(field) {
            return refuse("its elements are not all shown to this purpose, so they cannot be told by their index");
        }
        Ok(!done.removed)
    }

    fn sees_elements(&self, field: &Field) -> bool {
        self.rights.least().level(field.category) != crate::purpose::Level::Absent
    }

    /// T35: what values are bound to stays, or goes with them.
    fn keeps_bindings(&self, operation: &Operation<'_>) -> Result<(), WriteError> {
        if operation.name == "test" {
            return Ok(());
        }
        let meets = |selector: &Selector| {
            let pointers = [Some(&operation.path), operation.from.as_ref().filter(|_| operation.name == "move")];
            pointers.into_iter().flatten().any(|pointer| pointer.meets(selector) != Meeting::Apart)
        };
        if self.in_body(&self.collection.id).any(|id| meets(&id)) {
            return Err(WriteError::IdMismatch { selector: self.collection.id.to_string() });
        }
        if let Subject::At(subject) = &self.collection.subject
            && self.in_body(subject).any(|subject| meets(&subject))
        {
            return Err(self.subject_changed(subject));
        }
        for field in &self.collection.fields {
            if let Some(subject) = &field.subject
                && self.in_body(subject).zip(self.in_body(&field.at)).any(|(subject, at)| meets(&subject) && !meets(&at))
            {
                return Err(self.subject_changed(subject));
            }
        }
        Ok(())
    }
}

/// `, {"op": "add", …}`, which puts a member in place of what is there.
fn set(path: &str, text: &[u8]) -> Vec<u8> {
    let mut out = b",{\"op\":\"add\",\"path\":".to_vec();
    write_string(path, &mut out);
    out.extend_from_slice(b",\"value\":");
    out.extend_from_slice(text);
    out.push(b'}');
    out
}

/// A value with what it holds sealed.
struct Sealed {
    /// None of what is removed.
    value: Option<Vec<u8>>,
    /// Index members to write behind the operation, by their paths.
    terms: Vec<(String, Vec<u8>)>,
    tally: Tally,
    subjects: Vec<crate::base::RecordId>,
}

fn read<'a>(operation: &'a Value, value: Option<&'a Found>) -> Result<Operation<'a>, &'static str> {
    let Value::Object(members) = operation else { return Err("it is not an object") };
    if members.keys().any(|name| !matches!(name.as_str(), "op" | "path" | "from" | "value")) {
        return Err("it has members other than op, path, from and value; leave them out, for they would be stored as sent");
    }
    let name = text(members, "op").ok_or("it has no op")?;
    let pointer = |text: &str| Pointer::parse(text).ok_or("path and from are JSON Pointers (RFC 6901), such as /phones/0");
    let path = pointer(text(members, "path").ok_or("it has no path")?)?;
    let from = text(members, "from").map(pointer).transpose()?;
    let needs_value = match name {
        "add" | "replace" | "test" => true,
        "remove" | "move" | "copy" => false,
        _ => return Err("op is add, remove, replace, move, copy or test"),
    };
    let needs_from = matches!(name, "move" | "copy");
    if value.is_some() != needs_value || members.contains_key("from") != needs_from {
        return Err("add, replace and test take a value, move and copy a from; leave out what is not needed");
    }
    Ok(Operation { name, path, from, value })
}

fn text<'a>(members: &'a Object<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str)
}
