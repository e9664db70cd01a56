//! Reads `[keys]`: the main ring, and one table `[keys.NAME]` for each group of fields that has keys of its own; and holds the rings that
//! fields name against them.
//!
//! Always holds: a field whose ring is not there is a mistake, never one of the main ring; no two rings are one file, and none is another's
//! KEK; a ring that the node is not given has nothing by which it could be opened. Called by [`super::load`].

use std::path::{Path, PathBuf};

use super::collections::{Written, WrittenField};
use super::kek;
use super::names::check_name;
use super::policy;
use super::report::{Draft, Report};
use super::tree::{Node, Section, Text, shorten};
use crate::base::{Controller, RingName};
use crate::purpose::Level;
use crate::{keys, store};

/// What is read of it.
#[derive(Debug, Default)]
pub(super) struct Rings {
    pub(super) main: Option<keys::Config>,
    /// In the order of the file, each with the name as written; None: something is wrong with it.
    pub(super) others: Vec<(Text, Option<keys::Other>)>,
}

/// Members of a ring. Without the ring none has a meaning.
const OF_A_RING: [&str; 7] = ["ring", "kek", "next_kek", "min_revision", "soft_limit_s", "hard_limit_s", "on_denied"];
/// The word in place of a path for a ring that is kept in the store.
const IN_STORE: &str = "store";

/// `[keys]`. The controller's name is put in by the caller. `store` is that of `[store]`, if nothing is wrong with it.
pub(super) fn read(root: &Section<'_>, folder: &Path, controller: &Controller, store: Option<&store::Config>) -> Rings {
    let example = "[keys] with ring and kek: where the key ring is and what it is wrapped under";
    let Some(section) = root.required_table("keys", example) else { return Rings::default() };
    let main = main(&section, folder, controller, store);
    let is_ring = |name: &Text, node: &Node<'_>| node.is_table() && !kek::TABLES.contains(&name.value.as_str());
    let tables: Vec<(Text, Node<'_>)> = section.entries().into_iter().filter(|(name, node)| is_ring(name, node)).collect();
    section.finish_but(|name| tables.iter().any(|(ring, _)| ring.value == name));
    let others = tables.into_iter().map(|(name, node)| {
        let other = other(&name, &node, folder, controller);
        (name, other)
    });
    let rings = Rings { main, others: others.collect() };
    check_apart(&section, &rings);
    rings
}

/// Where the ring of `[keys]` is, and what opens it.
fn main(section: &Section<'_>, folder: &Path, controller: &Controller, store: Option<&store::Config>) -> Option<keys::Config> {
    let ring = section.required("ring", "ring = \"keys/ring.json\"").and_then(|node| node.text());
    let kek = kek::kek(section, folder, "keys/kek");
    let marks = marks(section, folder, ring.as_ref());
    let min_revision = min_revision(section);
    let place = ring.and_then(|ring| place(section.report(), folder, &ring, store, marks.clone().unwrap_or_default()));
    marks?;
    let (name, ring) = (RingName::main(), place?);
    Some(keys::Config { controller: controller.clone(), name, ring, kek: kek?, min_revision: min_revision? })
}

/// Where the ring of a group of fields is, and what opens it.
fn of_group(section: &Section<'_>, folder: &Path, controller: &Controller, name: RingName) -> Option<keys::Config> {
    let ring = section.required("ring", &format!("ring = \"keys/{name}.json\"")).and_then(|node| node.text());
    let kek = kek::kek(section, folder, &format!("keys/{name}.kek"));
    let min_revision = min_revision(section);
    let ring = ring?;
    if ring.value == IN_STORE {
        section.report().push(
            Draft::error(&ring.span, "only the ring of [keys] itself can be kept in the store")
                .expected("a path: whoever shares the store is not to have the ring of every group")
                .remedy(format!("name a file, for example ring = \"keys/{name}.json\"")),
        );
        return None;
    }
    let ring = keys::Place::file(folder.join(ring.value), None);
    Some(keys::Config { controller: controller.clone(), name, ring, kek: kek?, min_revision: min_revision? })
}

fn min_revision(section: &Section<'_>) -> Option<u64> {
    match section.optional("min_revision") {
        Some(node) => node.integer(0..=u64::MAX >> 1, ""),
        None => Some(0),
    }
}

/// `marks`: where a machine remembers the revisions of a ring in the store.
fn marks(section: &Section<'_>, folder: &Path, ring: Option<&Text>) -> Option<PathBuf> {
    let Some(node) = section.optional("marks") else { return Some(folder.join("keys/ring.marks")) };
    let text = node.text()?;
    if ring.is_some_and(|ring| ring.value != IN_STORE) {
        section.report().push(
            Draft::error(&node.span, "`marks` has a meaning for a ring in the store only")
                .remedy("remove the line: of a ring in a file the store remembers the revision"),
        );
        return None;
    }
    Some(folder.join(text.value))
}

/// Where the main ring is.
fn place(report: &Report<'_>, folder: &Path, ring: &Text, store: Option<&store::Config>, marks: PathBuf) -> Option<keys::Place> {
    let shared = match store {
        Some(config @ store::Config::Postgres(_)) => Some(keys::Shared::new(config.clone())),
        Some(store::Config::Embedded(_)) | None => None,
    };
    match (ring.value.as_str(), shared, store) {
        (IN_STORE, Some(shared), _) => Some(keys::Place::store(keys::MAIN_RING, shared, marks)),
        (IN_STORE, None, Some(_)) => {
            report.push(
                Draft::error(&ring.span, "a ring can be kept in a store that nodes share, and [store] is a file of one node")
                    .expected("a path, or \"store\" with a store in PostgreSQL")
                    .remedy("name a file, for example ring = \"keys/ring.json\", or a store postgres://USER@HOST/DATABASE in [store] url"),
            );
            None
        }
        // What is wrong with the store has been said.
        (IN_STORE, None, None) => None,
        (path, shared, _) => Some(keys::Place::file(folder.join(path), shared)),
    }
}

/// `[keys.NAME]`.
fn other(name: &Text, node: &Node<'_>, folder: &Path, controller: &Controller) -> Option<keys::Other> {
    let report = node.report();
    let before = report.errors();
    let section = node.table_named(format!("[keys.{}]", shorten(&name.value)))?;
    if name.value == RingName::MAIN {
        report.push(
            Draft::error(&name.span, "\"main\" is the name of the ring of [keys] itself")
                .remedy("put its members into [keys], or give the group of fields another name"),
        );
    }
    check_name(report, name, "a key ring");
    let held = section.optional("held").map_or(Some(true), |node| node.boolean());
    let ring = RingName::new(&name.value);
    let read = match held {
        Some(false) => {
            for member in OF_A_RING {
                if let Some(node) = section.optional(member) {
                    let why = format!("`{member}` stands in {}, which says that this node does not hold the ring", section.title);
                    report.push(
                        Draft::error(&node.span, why)
                            .remedy("remove the line, so that nothing here can open the ring; or remove `held = false`"),
                    );
                }
            }
            Some(keys::Other::NotHeld(ring))
        }
        Some(true) => of_group(&section, folder, controller, ring).map(keys::Other::Held),
        None => {
            section.finish_but(|_name| true);
            return None;
        }
    };
    section.finish();
    read.filter(|_| report.errors() == before)
}

/// No file is two things, and what separates rings is that they do not hang on one KEK.
fn check_apart(section: &Section<'_>, rings: &Rings) {
    let report = section.report();
    let others = rings.others.iter().filter_map(|(name, other)| Some((&name.span, other.as_ref()?.held()?)));
    let held: Vec<(&std::ops::Range<usize>, &keys::Config)> =
        rings.main.iter().map(|main| (&section.span, main)).chain(others).collect();
    for (at, (span, config)) in held.iter().enumerate() {
        let earlier = held.get(..at).unwrap_or_default();
        let file = config.ring.as_file();
        if let Some((_, twin)) = earlier.iter().find(|(_, twin)| file.is_some() && twin.ring.as_file() == file) {
            report.push(
                Draft::error(span, format!("{} and {} name the same ring", twin.table(), config.table()))
                    .remedy("give each a file of its own: `ring` is where one ring is kept"),
            );
        }
        for (_, other) in &held {
            if !other.kek.files().iter().any(|kek| Some(kek.as_path()) == file) {
                continue;
            }
            let draft = if other.name == config.name {
                Draft::error(span, "`ring` and `kek` name the same file")
            } else {
                Draft::error(span, format!("`ring` of {} is the `kek` of {}", config.table(), other.table()))
            };
            report.push(draft.remedy("give each a file of its own"));
        }
        if let Some((_, twin)) = earlier.iter().find(|(_, twin)| same_kek(&twin.kek, &config.kek)) {
            report.push(
                Draft::warning(
                    span,
                    format!(
                        "{} and {} hang on one KEK: whoever is given one of the rings can open the other",
                        twin.table(),
                        config.table()
                    ),
                )
                .remedy("give each ring a KEK of its own"),
            );
        }
    }
}

/// As far as the configuration tells.
fn same_kek(one: &keys::Kek, two: &keys::Kek) -> bool {
    use keys::Kek::{Changing, File, Passphrase, Provider};
    match (one, two) {
        (Changing { from, to }, other) | (other, Changing { from, to }) => same_kek(from, other) || same_kek(to, other),
        (File(one), File(two)) => one == two,
        // From the same passphrase each ring derives a KEK with a salt of its own, but who has it derives both.
        (Passphrase { env: one }, Passphrase { env: two }) => one == two,
        // A provider's key wraps a root for each ring, but who may use the key unwraps both.
        (Provider { provider: one, .. }, Provider { provider: two, .. }) => one.name() == two.name() && one.key() == two.key(),
        (File(_) | Passphrase { .. } | Provider { .. }, File(_) | Passphrase { .. } | Provider { .. }) => false,
    }
}

/// Every ring that a field names is there.
pub(super) fn check_named(report: &Report<'_>, rings: &Rings, collections: &[Written]) {
    let mut names = vec![RingName::MAIN];
    names.extend(rings.others.iter().map(|(name, _)| name.value.as_str()));
    for ring in collections.iter().flat_map(|collection| &collection.fields).filter_map(|field| field.ring.as_ref()) {
        if names.contains(&ring.value.as_str()) || report.source.has_lost(&ring.value) {
            continue;
        }
        let name = shorten(&ring.value);
        report.push(
            Draft::error(&ring.span, format!("there is no key ring \"{name}\""))
                .near(&ring.value, names.iter().copied())
                .remedy(format!(
                    "add [keys.{name}] with ring and kek, or with held = false where this node is not to have it; or use one of: {}",
                    names.join(", ")
                )),
        );
    }
}

/// What is allowed, and may not be what is meant: a ring of no field, and purposes that show what this node cannot open.
pub(super) fn warn(report: &Report<'_>, rings: &Rings, collections: &[Written], policy: &policy::Written) {
    for (name, other) in &rings.others {
        let of_ring = |field: &&WrittenField| field.ring.as_ref().is_some_and(|ring| ring.value == name.value);
        let fields: Vec<&WrittenField> = collections.iter().flat_map(|collection| &collection.fields).filter(of_ring).collect();
        if fields.is_empty() {
            report.push(Draft::warning(&name.span, format!("no field has its keys in the ring \"{}\"", name.value)).remedy(
                format!("write ring = \"{}\" beside `at` of the fields that it is for, or remove the table", name.value),
            ));
        }
        if !matches!(other, Some(keys::Other::NotHeld(_))) {
            continue;
        }
        let opens = |reveal: &&policy::Reveal| {
            !matches!(reveal.level, Level::Sealed | Level::Absent)
                && fields.iter().any(|field| field.category.value == reveal.category)
        };
        let mut shown: Vec<&str> = policy.reveals.iter().filter(opens).map(|reveal| reveal.by.as_str()).collect();
        shown.dedup();
        if !shown.is_empty() {
            report.push(
                Draft::warning(
                    &name.span,
                    format!(
                        "this node does not hold the ring \"{}\", and the policy shows values under it for {}: here such reads are refused (403 ring-not-held)",
                        name.value,
                        shown.join(", ")
                    ),
                )
                .remedy("that is fine where these purposes are served by other nodes; on_bad_value = \"withhold\" leaves the members out instead"),
            );
        }
    }
}
