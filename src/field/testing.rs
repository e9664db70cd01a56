//! What the tests of this module share: a small collection, grants from a real policy, a ring with known keys.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::*;
use crate::base::{
    Bind, CallerName, CategoryName, CollectionName, Controller, FieldName, FieldPlace, Intent, Kid, PurposeName, RecordId,
    RingName,
};
use crate::document::{Layout, RowSet, Rules, Selector, walk};
use crate::keys::{KeyRing, LineName, Rings, State};
use crate::purpose::{CategoryId, CategorySpec, Collects, Grant, Level, Nature, Permit, Policy, PolicySpec, PurposeSpec, Terms};
use crate::vault::testing::Memory;
use crate::vault::{self, Vault};

pub(super) const CATEGORIES: [&str; 6] = ["name", "address", "phone", "id-card", "birth", "note"];
/// 2026-11-22T00:00:00Z
pub(super) const NOW_MS: u64 = 1_795_305_600_000;
pub(super) const PURPOSE: &str = "support";

pub(super) fn selector(text: &str) -> Selector {
    Selector::parse(text).unwrap()
}

pub(super) fn id(text: &str) -> RecordId {
    RecordId::from_text(text).unwrap()
}

/// A field whose category has its name, or `category`.
pub(super) fn field(name: &str, at: &str, category: &str) -> Field {
    Field {
        name: FieldName::new(name),
        at: selector(at),
        place: place("shop", "customers", name),
        ring: RingName::main(),
        category: category_id(category),
        category_name: CategoryName::new(category),
        protection: Protection::Seal,
        mask: Mask::parse("keep-last:4").unwrap(),
        generalise: None,
        pad: 32,
        seal_null: false,
        subject: None,
        indexes: Vec::new(),
    }
}

pub(super) fn place(controller: &str, collection: &str, field: &str) -> FieldPlace {
    FieldPlace {
        controller: Controller::new(controller),
        collection: CollectionName::new(collection),
        field: FieldName::new(field),
    }
}

/// `name`, `address` (generalised to a postcode prefix), `phone` (a list), bound to the data subject, who is the document.
pub(super) fn customers() -> Collection {
    let address = Field { generalise: Some(Generalise::PostcodePrefix(3)), ..field("address", "$.address", "address") };
    let name = Field { mask: Mask::Initials, ..field("name", "$.name", "name") };
    collection(vec![name, address, field("phone", "$.phones[*]", "phone")])
}

pub(super) fn collection(fields: Vec<Field>) -> Collection {
    Collection {
        name: CollectionName::new("customers"),
        bind: Bind::Subject,
        strict: true,
        on_bad_value: OnBadValue::Refuse,
        id: selector("$.id"),
        subject: Subject::DocumentId,
        fields,
    }
}

/// What is not listed is absent; `writes` None: what is clear.
pub(super) fn grant(levels: &[(&str, Level)], writes: Option<&[&str]>) -> Grant {
    full_grant(PURPOSE, levels, writes, false)
}

pub(super) fn full_grant(purpose: &str, levels: &[(&str, Level)], writes: Option<&[&str]>, delete: bool) -> Grant {
    let purpose = PurposeSpec {
        reveal: levels.iter().map(|(name, level)| (CategoryName::new(name), *level, 1)).collect(),
        writes: writes.map(|names| names.iter().map(|name| CategoryName::new(name)).collect()),
        delete,
        ..purpose_of(purpose)
    };
    let spec = PolicySpec {
        id: "test".to_string(),
        version: 1,
        categories: categories(),
        purposes: vec![purpose],
        ..PolicySpec::default()
    };
    Policy::compile(spec).unwrap().decide(&CallerName::new("helpdesk"), None, NOW_MS).unwrap()
}

pub(super) fn categories() -> Vec<CategorySpec> {
    let category = |name: &&str| CategorySpec {
        name: CategoryName::new(name),
        line: 1,
        dpv: "pd:Name".to_string(),
        nature: Nature::Identifying,
        mask: None,
        generalise: None,
        clauses: vec![],
    };
    CATEGORIES.iter().map(category).collect()
}

/// The id of a category.
pub(super) fn category_id(name: &str) -> CategoryId {
    let index = CATEGORIES.iter().position(|known| *known == name).unwrap();
    CategoryId(u16::try_from(index).unwrap())
}

/// A purpose that shows and stores nothing.
pub(super) fn purpose_of(name: &str) -> PurposeSpec {
    PurposeSpec {
        name: PurposeName::new(name),
        line: 1,
        dpv: None,
        basis: None,
        callers: vec![CallerName::new("helpdesk")],
        reveal: Vec::new(),
        reveal_line: 1,
        writes: None,
        writes_line: 1,
        search: Vec::new(),
        search_line: 0,
        delete: false,
        terms: Terms::default(),
        collects: Collects::default(),
        clauses: vec![],
    }
}

/// Every category at one level; all may be written.
pub(super) fn all_at(level: Level) -> Grant {
    let levels: Vec<(&str, Level)> = CATEGORIES.iter().map(|name| (*name, level)).collect();
    grant(&levels, Some(&CATEGORIES))
}

pub(super) fn kid(text: &str) -> Kid {
    text.parse().unwrap()
}

/// One active seal key, and pseudonym scopes `support` and `statistics`.
pub(super) fn ring() -> Rings {
    ring_with(vec![(LineName::Seal, kid("7k3m9qpa"), State::Active, [1; 32])])
}

pub(super) fn ring_with(mut versions: Vec<(LineName, Kid, State, [u8; 32])>) -> Rings {
    versions.push((LineName::pseudonym("support").unwrap(), kid("spprt000"), State::Active, [2; 32]));
    versions.push((LineName::pseudonym("statistics").unwrap(), kid("stat0000"), State::Active, [3; 32]));
    KeyRing::with_versions(Controller::new("shop"), versions).into()
}

pub(super) fn plan_of(collection: &Collection) -> Plan {
    plan_with(collection, &["$", "$[*]", "$.items[*]"])
}

pub(super) fn plan_with(collection: &Collection, rows: &[&str]) -> Plan {
    Plan::compile(collection, &RowSet { rows: rows.iter().map(|row| selector(row)).collect(), ..RowSet::default() }).unwrap()
}

pub(super) fn layout_of(plan: &Plan, body: &str) -> Layout {
    walk(&plan.map, Rules::request(), body.as_bytes()).unwrap()
}

/// Protects with one intent for all rows.
pub(super) fn protect_as(
    collection: &Collection,
    ring: &Rings,
    grant: &Grant,
    intent: Intent,
    body: &str,
    url_id: Option<&str>,
) -> Result<Protected, WriteError> {
    let plan = plan_of(collection);
    let layout = layout_of(&plan, body);
    let rows: Vec<RowWrite> = layout.rows.iter().map(|_| RowWrite { intent, assigned_id: None }).collect();
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let asked = tokens_of_write(collection, &plan, grant, &bytes, &layout, &Before::default());
    with_tokens(grant, asked, |tokens| {
        let before = Before { tokens: Some(tokens), ..Before::default() };
        protect_over(collection, &plan, ring, grant, &bytes, &layout, &rows, url_id.map(id).as_ref(), "id", &before)
    })
}

thread_local! {
    static VAULT: RefCell<(Arc<Memory>, Vault)> = RefCell::new(new_vault());
}

fn new_vault() -> (Arc<Memory>, Vault) {
    let memory = Arc::new(Memory::default());
    (Arc::clone(&memory), Vault::new(memory, vault::testing::rings("shop")))
}

/// The vault of this thread, whose store has nothing in it.
pub(super) fn fresh_vault() -> (Arc<Memory>, Vault) {
    VAULT.with_borrow_mut(|vault| {
        *vault = new_vault();
        vault.clone()
    })
}

/// From now on the vault of this thread has these rows and rings.
pub(super) fn use_vault(rows: &Arc<Memory>, keys: Rings) {
    VAULT.set((Arc::clone(rows), Vault::new(rows.clone(), Arc::new(keys))));
}

/// What the store of this thread's vault holds.
pub(super) fn rows_of_thread() -> Arc<Memory> {
    VAULT.with_borrow(|(rows, _)| Arc::clone(rows))
}

/// Asks the vault of this thread.
pub(super) fn vault_of_thread<T>(ask: impl FnOnce(&Vault) -> T) -> T {
    VAULT.with_borrow(|(_, vault)| ask(vault))
}

/// What a store in memory answers at once.
pub(super) fn now<T>(answer: impl Future<Output = T>) -> T {
    match std::pin::pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

/// As `exchange` does: what is asked is looked up, and the write is judged until it has all its tokens.
pub(super) fn with_tokens<T>(
    grant: &Grant,
    asked: Vec<(vault::Scope, String)>,
    mut run: impl FnMut(&Tokens) -> Result<T, WriteError>,
) -> Result<T, WriteError> {
    let (_, vault) = VAULT.with_borrow(Clone::clone);
    let (mut tokens, mut unknown) = (Tokens::default(), asked);
    for _ in 0..4 {
        let known = now(vault.detokenise(&unknown, Permit::Reveal(grant))).unwrap();
        tokens.learn(std::mem::take(&mut unknown), known);
        match run(&tokens) {
            Err(WriteError::TokensWanted) => {}
            done => return done,
        }
        unknown = tokens.looks();
        let wishes = tokens.wishes();
        if unknown.is_empty() {
            let made = now(vault.tokenise(&wishes)).unwrap();
            tokens.give(wishes, made);
        }
    }
    panic!("a write that never has all its tokens")
}

/// What is stored when a document is created by somebody who may write everything.
pub(super) fn stored(collection: &Collection, ring: &Rings, body: &str) -> String {
    let protected = protect_as(collection, ring, &all_at(Level::Clear), Intent::Create, body, None).unwrap();
    String::from_utf8(protected.body.into_bytes().to_vec()).unwrap()
}

pub(super) fn reveal_all(
    collection: &Collection,
    ring: &Rings,
    grant: &Grant,
    body: &str,
    url_id: Option<&str>,
) -> Result<Revealed, RevealError> {
    let plan = plan_of(collection);
    let layout = walk(&plan.map, Rules::reply(), body.as_bytes()).unwrap();
    let (_, vault) = VAULT.with_borrow(Clone::clone);
    let (mut tokens, asked) = (Tokens::default(), tokens_shown(collection, &plan, grant, body.as_bytes(), &layout));
    let known = now(vault.detokenise(&asked, Permit::Reveal(grant))).unwrap();
    tokens.learn(asked, known);
    let how = Found { tokens: Some(&tokens), ..Found::default() };
    reveal_found(collection, &plan, ring, grant, body.as_bytes(), &layout, url_id.map(id).as_ref(), NOW_MS, how)
}

/// The revealed text.
pub(super) fn shown(collection: &Collection, ring: &Rings, grant: &Grant, body: &str) -> String {
    String::from_utf8(reveal_all(collection, ring, grant, body, None).unwrap().bytes).unwrap()
}

/// Replaces `old`, which is stored, with `body`. What is stored then, or the refusal.
pub(super) fn replace_over(
    collection: &Collection,
    ring: &Rings,
    grant: &Grant,
    old: &str,
    body: &str,
) -> Result<String, WriteError> {
    protected_over(collection, ring, grant, old, body)
        .map(|protected| String::from_utf8(protected.body.into_bytes().to_vec()).unwrap())
}

pub(super) fn protected_over(
    collection: &Collection,
    ring: &Rings,
    grant: &Grant,
    old: &str,
    body: &str,
) -> Result<Protected, WriteError> {
    let plan = plan_of(collection);
    let layout = layout_of(&plan, body);
    let rows: Vec<RowWrite> = layout.rows.iter().map(|_| RowWrite { intent: Intent::Replace, assigned_id: None }).collect();
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    let stored = Stored::read(&plan, Bytes::copy_from_slice(old.as_bytes()), None).unwrap();
    // As `exchange` does: what is stored is read only where it is needed.
    let needed = rows_that_need_the_stored(collection, &plan, ring, grant, &bytes, &layout, &rows);
    let rows_before: Vec<_> = (0..rows.len()).map(|row| needed.contains(&row).then(|| stored.row(row).unwrap())).collect();
    let before = Before { rows: rows_before.clone(), now_ms: NOW_MS, tokens: None };
    let asked = tokens_of_write(collection, &plan, grant, &bytes, &layout, &before);
    with_tokens(grant, asked, |tokens| {
        let before = Before { rows: rows_before.clone(), now_ms: NOW_MS, tokens: Some(tokens) };
        protect_over(collection, &plan, ring, grant, &bytes, &layout, &rows, None, "id", &before)
    })
}
