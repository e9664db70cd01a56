//! Any sequence of callers that read, change and write back a document, against a model that knows what each of them meant.
//!
//! After every write each protected value is what the last caller entitled to write it wrote, or the write was refused and nothing changed;
//! no clear protected value is ever stored; what a caller may do succeeds, unless it cannot be told from something else.
//! `PROPTEST_CASES=20000 cargo test --lib field::carry::properties` runs more than the 256 of every day.

use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::super::testing::*;
use super::super::*;
use crate::keys::{LineName, State};
use crate::purpose::{Grant, Level};
use crate::vault;

/// Three single members, a list of values, a member of people with ids, and one of elements that only their looks tell apart. Those in
/// `others` are stored otherwise than sealed, beside the others.
fn orders(others: &[Option<Protection>]) -> Collection {
    let address = Field { generalise: Some(Generalise::PostcodePrefix(3)), ..field("address", "$.address", "address") };
    let note = Field { subject: Some(selector("$.guests[*].id")), ..field("note", "$.guests[*].note", "note") };
    let name = Field { mask: Mask::Initials, ..field("name", "$.name", "name") };
    let id_card = field("id-card", "$.papers.card.number", "id-card");
    let mut fields =
        vec![name, address, id_card, field("phone", "$.phones[*]", "phone"), note, field("birth", "$.rooms[*].birth", "birth")];
    for (field, other) in fields.iter_mut().zip(others) {
        if let Some(other) = other {
            field.protection = other.clone();
        }
    }
    Collection { subject: Subject::At(selector("$.owner")), ..collection(fields) }
}

const MEMBERS: [(&str, &str); 3] = [("name", "/name"), ("address", "/address"), ("id-card", "/papers/card/number")];
/// Stands in every protected value and, with its blank, in no envelope.
const CANARY: &str = "Z q";

/// How a field may be stored: mostly sealed, or so that equal values are equal, or as a token, consistent or fresh.
fn protection() -> impl Strategy<Value = Option<Protection>> {
    let token = |scope: &str, consistent| {
        Some(Protection::Token(vault::Kind { scope: vault::Scope::named(scope), format: vault::Format::Opaque, consistent }))
    };
    prop_oneof![4 => Just(None), 3 => Just(Some(Protection::Deterministic)), 3 => Just(token("shared", true)), 1 => Just(token("fresh", false))]
}

/// What a caller may see and write, by category.
#[derive(Debug, Clone)]
struct Rights(Vec<(Level, bool)>);

impl Rights {
    fn grant(&self) -> Grant {
        let levels: Vec<(&str, Level)> = CATEGORIES.iter().zip(&self.0).map(|(name, (level, _))| (*name, *level)).collect();
        let writes: Vec<&str> = CATEGORIES.iter().zip(&self.0).filter(|(_, (_, may))| *may).map(|(name, _)| *name).collect();
        grant(&levels, Some(&writes))
    }

    /// The effective level, and the right to write.
    fn of(&self, category: &str) -> (Level, bool) {
        let at = CATEGORIES.iter().position(|name| *name == category).unwrap();
        match self.0[at] {
            (Level::Generalised, may) if category != "address" => (Level::Absent, may),
            other => other,
        }
    }
}

#[derive(Debug, Clone)]
enum Edit {
    Tier(u8),
    Owner,
    Set(usize, u16),
    Null(usize),
    /// A masked form that belongs nowhere.
    Form(usize),
    Leave(usize),
    LeavePapers,
    PhonesLeave,
    PhonesEmpty,
    PhoneAdd(Index, u16),
    GuestAdd(u16),
    GuestNote(Index, u16),
    GuestNoteLeave(Index),
    GuestMeal(Index, u8),
    RoomAdd(u8, u16),
    RoomLabel(Index, u8),
    Reverse(List),
    Remove(List, Index),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Phones,
    Guests,
    Rooms,
}

impl List {
    const ALL: [Self; 3] = [Self::Phones, Self::Guests, Self::Rooms];

    fn name(self) -> &'static str {
        match self {
            Self::Phones => "phones",
            Self::Guests => "guests",
            Self::Rooms => "rooms",
        }
    }
}

fn rights() -> impl Strategy<Value = Rights> {
    prop::collection::vec((select(Level::ALL.to_vec()), any::<bool>()), CATEGORIES.len()).prop_map(Rights)
}

fn edit() -> impl Strategy<Value = Edit> {
    let (index, member) = (any::<Index>, || 0..MEMBERS.len());
    prop_oneof![
        4 => any::<u8>().prop_map(Edit::Tier),
        1 => Just(Edit::Owner),
        3 => (member(), any::<u16>()).prop_map(|(at, n)| Edit::Set(at, n)),
        1 => member().prop_map(Edit::Null),
        1 => member().prop_map(Edit::Form),
        2 => member().prop_map(Edit::Leave),
        1 => Just(Edit::LeavePapers),
        1 => Just(Edit::PhonesLeave),
        1 => Just(Edit::PhonesEmpty),
        2 => (index(), any::<u16>()).prop_map(|(at, n)| Edit::PhoneAdd(at, n)),
        1 => (0..5_u16).prop_map(Edit::GuestAdd),
        2 => (index(), any::<u16>()).prop_map(|(at, n)| Edit::GuestNote(at, n)),
        1 => index().prop_map(Edit::GuestNoteLeave),
        1 => (index(), any::<u8>()).prop_map(|(at, n)| Edit::GuestMeal(at, n)),
        1 => (0..3_u8, any::<u16>()).prop_map(|(label, n)| Edit::RoomAdd(label, n)),
        1 => (index(), 0..3_u8).prop_map(|(at, label)| Edit::RoomLabel(at, label)),
        2 => select(List::ALL.to_vec()).prop_map(Edit::Reverse),
        2 => (select(List::ALL.to_vec()), index()).prop_map(|(list, at)| Edit::Remove(list, at)),
    ]
}

/// A document to begin with. Some values look the same masked, some elements look the same altogether.
fn first() -> impl Strategy<Value = Value> {
    let maybe = || prop::option::weighted(0.8, any::<u16>());
    (
        [maybe(), maybe(), maybe()],
        prop::option::weighted(0.8, prop::collection::vec(any::<u16>(), 0..5)),
        prop::collection::vec(maybe(), 0..4),
        prop::collection::vec((0..3_u8, maybe()), 0..5),
    )
        .prop_map(|(members, phones, guests, rooms)| {
            let mut document = json!({"id": "o-1", "owner": "p-1", "tier": 0, "guests": [], "rooms": []});
            for ((category, pointer), n) in MEMBERS.iter().zip(members) {
                if let Some(n) = n {
                    set(&mut document, pointer, fresh(category, n));
                }
            }
            if let Some(phones) = phones {
                document["phones"] = phones.into_iter().map(|n| fresh("phone", n)).collect();
            }
            for (id, note) in guests.into_iter().enumerate() {
                let mut guest = json!({"id": id, "meal": 0});
                if let Some(n) = note {
                    guest["note"] = fresh("note", n);
                }
                elements(&mut document, "guests").push(guest);
            }
            for (label, birth) in rooms {
                let mut room = json!({"label": label});
                if let Some(n) = birth {
                    room["birth"] = fresh("birth", n);
                }
                elements(&mut document, "rooms").push(room);
            }
            document
        })
}

fn fresh(category: &str, n: u16) -> Value {
    match category {
        "address" => json!(format!("{}-0047 {CANARY}{n}", 100 + n % 4)),
        "phone" => json!(format!("+81{CANARY}{n}-555{}", n % 3)),
        _ => json!(format!("{CANARY}{n} {n}")),
    }
}

fn elements<'v>(document: &'v mut Value, name: &str) -> &'v mut Vec<Value> {
    if !document[name].is_array() {
        document[name] = json!([]);
    }
    document[name].as_array_mut().unwrap()
}

fn list<'v>(document: &'v Value, name: &str) -> &'v [Value] {
    document.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn remove(document: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    if let Some(Value::Object(parent)) = document.pointer_mut(parent) {
        parent.remove(name);
    }
}

/// Sets a member, and makes the objects on the way.
fn set(document: &mut Value, pointer: &str, value: Value) {
    let mut at = document;
    for name in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        at = at.as_object_mut().unwrap().entry(name).or_insert(Value::Null);
    }
    *at = value;
}

/// What a caller sends, and what it means by it.
struct Meant<'a> {
    rights: &'a Rights,
    /// The whole document in clear, and what the caller was shown of it.
    truth: &'a Value,
    view: &'a Value,
    sent: Value,
    /// Of each element that is sent, which one it was in the view.
    phones: Vec<Option<usize>>,
    rooms: Vec<Option<usize>>,
    /// More than one change of the rooms may look like another one, so only the first is made.
    rooms_changed: bool,
    /// It must be refused; it may be.
    illegal: bool,
    unclear: bool,
}

impl<'a> Meant<'a> {
    fn new(rights: &'a Rights, truth: &'a Value, view: &'a Value) -> Self {
        let numbers = |name| (0..list(view, name).len()).map(Some).collect();
        let (phones, rooms) = (numbers("phones"), numbers("rooms"));
        Self { rights, truth, view, sent: view.clone(), phones, rooms, rooms_changed: false, illegal: false, unclear: false }
    }

    fn edit(&mut self, edit: &Edit) {
        let sent = &mut self.sent;
        let of_rooms = matches!(edit, Edit::RoomAdd(..) | Edit::RoomLabel(..))
            || matches!(edit, Edit::Reverse(list) | Edit::Remove(list, _) if *list == List::Rooms);
        if of_rooms {
            if self.rooms_changed {
                return;
            }
            self.rooms_changed = true;
            self.unclear |= !matches!(edit, Edit::Reverse(_));
        }
        match edit {
            Edit::Tier(n) => sent["tier"] = json!(n),
            Edit::Owner => {
                sent["owner"] = json!(if sent["owner"] == "p-1" { "p-2" } else { "p-1" });
                self.unclear = true;
            }
            Edit::Set(at, n) => set(sent, MEMBERS[*at].1, fresh(MEMBERS[*at].0, *n)),
            Edit::Null(at) => set(sent, MEMBERS[*at].1, Value::Null),
            Edit::Form(at) => set(sent, MEMBERS[*at].1, json!("••••none")),
            Edit::Leave(at) => remove(sent, MEMBERS[*at].1),
            Edit::LeavePapers => remove(sent, "/papers"),
            Edit::PhonesLeave => {
                remove(sent, "/phones");
                self.phones.clear();
            }
            Edit::PhonesEmpty => {
                sent["phones"] = json!([]);
                self.phones.clear();
            }
            Edit::PhoneAdd(at, n) => {
                let at = at.index(self.phones.len() + 1);
                elements(sent, "phones").insert(at, fresh("phone", *n));
                self.phones.insert(at, None);
            }
            Edit::GuestAdd(n) if list(sent, "guests").iter().any(|guest| guest["id"] == *n) => {}
            Edit::GuestAdd(n) => elements(sent, "guests").push(json!({"id": n, "note": fresh("note", *n)})),
            Edit::GuestNote(at, n) => with(sent, "guests", *at, |guest| guest["note"] = fresh("note", *n)),
            Edit::GuestNoteLeave(at) => with(sent, "guests", *at, |guest| remove(guest, "/note")),
            Edit::GuestMeal(at, n) => with(sent, "guests", *at, |guest| guest["meal"] = json!(n)),
            Edit::RoomAdd(label, n) => {
                elements(sent, "rooms").push(json!({"label": label, "birth": fresh("birth", *n)}));
                self.rooms.push(None);
            }
            Edit::RoomLabel(at, label) => with(sent, "rooms", *at, |room| room["label"] = json!(label)),
            Edit::Reverse(list) => {
                if let Some(elements) = sent.get_mut(list.name()).and_then(Value::as_array_mut) {
                    elements.reverse();
                }
                if let Some(origins) = self.origins(*list) {
                    origins.reverse();
                }
            }
            Edit::Remove(of, at) => {
                let length = list(sent, of.name()).len();
                if length > 0 {
                    elements(sent, of.name()).remove(at.index(length));
                    if let Some(origins) = self.origins(*of) {
                        origins.remove(at.index(length));
                    }
                }
            }
        }
    }

    fn origins(&mut self, list: List) -> Option<&mut Vec<Option<usize>>> {
        match list {
            List::Phones => Some(&mut self.phones),
            List::Rooms => Some(&mut self.rooms),
            List::Guests => None,
        }
    }

    /// What becomes of one member that is protected.
    fn member(&mut self, category: &str, truth: Option<&Value>, view: Option<&Value>, sent: Option<&Value>) -> Option<Value> {
        let (_, may_write) = self.rights.of(category);
        match sent {
            None if view.is_some() && may_write => None,
            None => truth.cloned(),
            Some(_) if view == sent => truth.cloned(),
            Some(value) => {
                self.illegal |= !may_write || value == "••••none";
                Some(value.clone())
            }
        }
    }

    /// The whole document in clear after the write.
    fn expected(&mut self) -> Value {
        let mut after = self.sent.clone();
        for (category, pointer) in MEMBERS {
            let sent = self.sent.pointer(pointer).cloned();
            match self.member(category, self.truth.pointer(pointer), self.view.pointer(pointer), sent.as_ref()) {
                Some(value) => set(&mut after, pointer, value),
                None => remove(&mut after, pointer),
            }
        }
        self.guests(&mut after);
        self.rooms(&mut after);
        self.phones(&mut after);
        after
    }

    fn guests(&mut self, after: &mut Value) {
        let find = |document: &'a Value, id: &Value| list(document, "guests").iter().find(|guest| guest["id"] == *id);
        for guest in elements(after, "guests") {
            let (truth, view) = (find(self.truth, &guest["id"]), find(self.view, &guest["id"]));
            let note = |guest: Option<&'a Value>| guest.and_then(|guest| guest.get("note"));
            let sent = guest.get("note").cloned();
            match self.member("note", note(truth), note(view), sent.as_ref()) {
                Some(value) => guest["note"] = value,
                None => remove(guest, "/note"),
            }
        }
        let gone = list(self.truth, "guests")
            .iter()
            .filter(|guest| !list(after, "guests").iter().any(|other| other["id"] == guest["id"]));
        self.illegal |=
            !self.rights.of("note").1 && gone.into_iter().any(|guest| guest.get("note").is_some_and(|note| !note.is_null()));
    }

    fn rooms(&mut self, after: &mut Value) {
        let origins = self.rooms.clone();
        for (room, origin) in elements(after, "rooms").iter_mut().zip(&origins) {
            match origin {
                None => self.illegal |= !self.rights.of("birth").1,
                Some(at) => match self.truth["rooms"][*at].get("birth") {
                    Some(birth) => room["birth"] = birth.clone(),
                    None => remove(room, "/birth"),
                },
            }
        }
        let mut gone = list(self.truth, "rooms").iter().enumerate().filter(|(at, _)| !origins.contains(&Some(*at)));
        self.illegal |= !self.rights.of("birth").1 && gone.any(|(_, room)| room.get("birth").is_some());
    }

    fn phones(&mut self, after: &mut Value) {
        let truth = list(self.truth, "phones");
        let (level, may_write) = self.rights.of("phone");
        let hidden = level == Level::Absent;
        if self.phones.is_empty() {
            if (hidden || !may_write) && !truth.is_empty() {
                after["phones"] = json!(truth);
            }
            return;
        }
        let known: Vec<usize> = self.phones.iter().flatten().copied().collect();
        self.illegal |= !may_write && (known.len() < self.phones.len() || known.len() < truth.len());
        // Of several that look the same masked, one went: there is no telling which.
        let alike = |one: usize, other: usize| self.view["phones"][one] == self.view["phones"][other];
        let went = (0..list(self.view, "phones").len()).filter(|at| !known.contains(at));
        self.unclear |= level == Level::Masked && went.into_iter().any(|gone| known.iter().any(|kept| alike(gone, *kept)));
        for (phone, origin) in elements(after, "phones").iter_mut().zip(&self.phones) {
            if let Some(at) = origin {
                *phone = truth[*at].clone();
            }
        }
    }
}

/// Changes one element of a list, if there is one.
fn with(document: &mut Value, name: &str, at: Index, change: impl FnOnce(&mut Value)) {
    let length = list(document, name).len();
    if length > 0 {
        change(&mut elements(document, name)[at.index(length)]);
    }
}

/// Elements that look the same to whoever wrote them back may have changed places.
fn same_but_for_twins(level: Level, expected: &Value, after: &Value) -> bool {
    let sorted = |document: &Value, name| {
        let mut texts: Vec<String> = list(document, name).iter().map(Value::to_string).collect();
        texts.sort();
        texts
    };
    let mut twins = after.clone();
    for name in ["phones", "rooms"] {
        if sorted(expected, name) != sorted(after, name) {
            return false;
        }
        if let Some(list) = expected.get(name) {
            twins[name] = list.clone();
        }
    }
    let last = |phone: &Value| phone.as_str().map(|text| text.chars().rev().take(4).collect::<String>());
    let mut phones = list(expected, "phones").iter().zip(list(after, "phones"));
    let in_place = phones.all(|(one, other)| if level == Level::Masked { last(one) == last(other) } else { one == other });
    in_place && twins == *expected
}

proptest! {
    #[test]
    fn t26_every_value_is_what_the_last_one_entitled_to_write_it_wrote(
        first in first(),
        others in prop::collection::vec(protection(), CATEGORIES.len()),
        steps in prop::collection::vec((rights(), prop::collection::vec(edit(), 0..5)), 1..7),
    ) {
        fresh_vault();
        let collection = orders(&others);
        let lines = [(LineName::Seal, kid("7k3m9qpa"), [1; 32]), (LineName::Lookup, kid("00kp0000"), [9; 32])];
        let ring = ring_with(lines.map(|(line, kid, key)| (line, kid, State::Active, key)).to_vec());
        let in_clear = |text: &str| -> Value { serde_json::from_str(&shown(&collection, &ring, &all_at(Level::Clear), text)).unwrap() };
        let mut text = stored(&collection, &ring, &first.to_string());
        let mut truth = first;
        for (rights, edits) in steps {
            let grant = rights.grant();
            let view: Value = serde_json::from_str(&shown(&collection, &ring, &grant, &text)).unwrap();
            let mut meant = Meant::new(&rights, &truth, &view);
            for edit in &edits {
                meant.edit(edit);
            }
            let expected = meant.expected();
            match replace_over(&collection, &ring, &grant, &text, &meant.sent.to_string()) {
                Err(error) => prop_assert!(meant.illegal || meant.unclear, "{}: {} over {}", error, meant.sent, truth),
                Ok(after) => {
                    prop_assert!(!meant.illegal, "{} over {}", meant.sent, truth);
                    prop_assert!(!after.contains(CANARY), "{}", after);
                    let clear = in_clear(&after);
                    let level = rights.of("phone").0;
                    prop_assert!(same_but_for_twins(level, &expected, &clear), "{} became\n{}, not\n{}", truth, clear, expected);
                    (text, truth) = (after, clear);
                }
            }
        }
    }
}
