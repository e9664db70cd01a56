//! Changing the KEK of a ring: from one provider to another, to another key, or anew under the same.
//!
//! Always holds: a change gives the ring a fresh root and a fresh MAC key, so that whoever had the old KEK and an old copy of the file
//! can neither read what comes nor write it; no version changes, so neither does a stored value; it is one revision, which was opened
//! whole under the new KEK before it took the old one's place. Called by `cli/keys`.

use super::super::kek::provider::Binding;
use super::super::{Config, Kek, KeyError, manifest};
use super::change::{Change, Write};
use crate::crypto::PassphraseParams;

/// Under what a ring is wrapped anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Onto {
    /// The KEK that the configuration names as the next.
    Next,
    /// The one it hangs on, whose provider has rotated it.
    Same,
}

/// What [`Change::change_kek`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KekReport {
    /// What the ring hung on before, for people.
    pub from: String,
    /// What it hangs on now.
    pub to: String,
    /// It hung on that already, and nothing was done.
    pub stayed: bool,
    /// The KEK's file was made. Back it up, apart from the ring.
    pub kek_made: bool,
    /// The ring's revision now.
    pub revision: u64,
}

impl Change<'_> {
    /// Wraps the ring under another KEK, in one revision. If it hangs on that already, nothing is done.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoNextKek`], [`KeyError::NotRewrapped`]; what the new KEK refuses; everything that opening and writing refuse.
    pub fn change_kek(&self, onto: Onto) -> Result<KekReport, KeyError> {
        self.change_kek_with(onto, PassphraseParams::default())
    }

    pub(in crate::keys) fn change_kek_with(&self, onto: Onto, cost: PassphraseParams) -> Result<KekReport, KeyError> {
        let config = self.config;
        let candidates = config.kek.candidates();
        match (onto, config.kek.target()) {
            (Onto::Next, _) if candidates.len() < 2 => return Err(KeyError::NoNextKek(config.ring.shown().to_path_buf())),
            (Onto::Same, kek @ (Kek::File(_) | Kek::Passphrase { .. })) => {
                return Err(KeyError::NotRewrapped { path: config.ring.shown().to_path_buf(), provider: kek.word() });
            }
            (Onto::Next | Onto::Same, _) => {}
        }
        let (mut report, revision) = self.make(|opened, _now_ms| {
            let from = candidates.get(opened.candidate).map_or_else(|| config.kek.place(), |kek| kek.place());
            let target = config.kek.target();
            let mut report = KekReport { from, to: target.place(), stayed: false, kek_made: false, revision: 0 };
            if onto == Onto::Next && opened.candidate > 0 {
                report.stayed = true;
                return Ok((report, Write::Nothing));
            }
            let binding = Binding { controller: config.controller.as_str().to_owned(), ring: config.ring_name().to_owned() };
            let (root, named, made) = target.load_or_make(config.ring.shown(), &binding, cost)?;
            report.kek_made = made;
            opened.rewrap(config.ring.shown(), root, named)?;
            Ok((report, Write::Proved))
        })?;
        report.revision = revision;
        Ok(report)
    }
}

/// Opens a ring that is not in its place yet as a node will, under the KEK that it is to hang on, and every version of it.
pub(super) fn prove(config: &Config, bytes: &[u8]) -> Result<(), KeyError> {
    let path = config.ring.shown();
    let config = Config { kek: config.kek.target().clone(), ..config.clone() };
    let opened = manifest::open_bytes(&config, bytes.to_vec())?;
    for (line, version) in opened.manifest.versions() {
        let bad = |why| KeyError::BadVersion { path: path.to_path_buf(), line: line.clone(), kid: version.kid, why };
        opened.secret(line, version).map_err(bad)?;
    }
    Ok(())
}
