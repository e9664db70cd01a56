//! What the commands of `sudare keys` do where a configuration has several rings: `init`, `list` and `verify` go over all that the node
//! holds, each as it would go over one; and an operator who named the wrong ring is told which it is.
//!
//! Always holds: with one ring nothing is printed that would not be printed without this file.

use std::io::Write;

use serde_json::{Value, json};

use super::super::policy::Format;
use super::{KeysCommandError, Versions, as_json};
use crate::base::{Clock, RingName};
use crate::config::Settings;
use crate::keys::{self, Config, KeyError};

/// The rings that a command goes over.
#[derive(Debug)]
pub struct Several<'s> {
    first: &'s Config,
    others: Vec<&'s Config>,
    not_held: Vec<&'s RingName>,
}

impl<'s> Several<'s> {
    /// One that was named.
    pub fn one(ring: &'s Config) -> Self {
        Self { first: ring, others: Vec::new(), not_held: Vec::new() }
    }

    /// All of a configuration.
    pub fn of(settings: &'s Settings) -> Self {
        let not_held = settings.other_rings.iter().filter(|other| other.held().is_none()).map(keys::Other::name);
        Self { first: &settings.keys, others: settings.held_rings().skip(1).collect(), not_held: not_held.collect() }
    }

    fn held(&self) -> impl Iterator<Item = &'s Config> + use<'s> {
        std::iter::once(self.first).chain(self.others.clone())
    }

    /// [`super::init`] of each.
    ///
    /// # Errors
    ///
    /// As there; what was made by then stays, and the command can be run again.
    pub fn init(&self, scopes: &[String], clock: &dyn Clock, out: &mut dyn Write) -> Result<(), KeysCommandError> {
        self.held().try_for_each(|ring| super::init(ring, scopes, clock, Format::Table, out))?;
        Ok(self.not_held(out)?)
    }

    /// [`super::list`] of each.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn list(&self, which: Versions, format: Format, out: &mut dyn Write) -> Result<(), KeysCommandError> {
        if format == Format::Json {
            return self.json(false, out).map(drop);
        }
        for (number, ring) in self.held().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            super::list(ring, which, format, out)?;
        }
        Ok(self.not_held(out)?)
    }

    /// [`super::verify`] of each. True if all are sound.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn verify(&self, format: Format, out: &mut dyn Write) -> Result<bool, KeysCommandError> {
        if format == Format::Json {
            return self.json(true, out);
        }
        let mut sound = true;
        for (number, ring) in self.held().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            sound &= super::verify(ring, format, out)?;
        }
        self.not_held(out)?;
        Ok(sound)
    }

    /// The first ring as it stands alone, and the others beside it, if there are any.
    fn json(&self, checked: bool, out: &mut dyn Write) -> Result<bool, KeysCommandError> {
        let report = keys::verify(self.first)?;
        let (mut all, mut sound) = (as_json(&report, checked), report.sound());
        let mut others: Vec<Value> = Vec::new();
        for ring in &self.others {
            let report = keys::verify(ring)?;
            sound &= report.sound();
            others.push(as_json(&report, checked));
        }
        others.extend(self.not_held.iter().map(|name| json!({ "ring": name.as_str(), "held": false })));
        if let (false, Some(members)) = (others.is_empty(), all.as_object_mut()) {
            members.insert("others".to_owned(), others.into());
        }
        writeln!(out, "{all:#}")?;
        Ok(sound)
    }

    fn not_held(&self, out: &mut dyn Write) -> std::io::Result<()> {
        self.not_held.iter().try_for_each(|name| writeln!(out, "ring {name}: not held by this node ([keys.{name}] held = false)"))
    }
}

/// What a refusal does not say where there are several rings, as a line of its own: that a version is of another one, or which ring the
/// commands it names are about.
pub fn note_of(settings: &Settings, asked: &Config, error: &KeysCommandError) -> String {
    let KeysCommandError::Key(error) = error else { return String::new() };
    if let KeyError::NoSuchVersion(kid) = error {
        let has = |ring: &&Config| {
            let report = keys::verify(ring);
            report.is_ok_and(|report| report.versions.iter().any(|(version, _)| version.kid == *kid))
        };
        let found = settings.held_rings().filter(|ring| ring.name != asked.name).find(has);
        return found
            .map_or_else(String::new, |ring| format!("\nnote: {kid} is a version of the ring {0}: say --ring {0}", ring.name));
    }
    if matches!(error, KeyError::NotMoved(_)) && !asked.name.is_main() {
        return format!("\nnote: the commands that are named take --ring {}, too", asked.name);
    }
    String::new()
}
