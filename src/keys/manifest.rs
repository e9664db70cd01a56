//! The ring's file: what stands in it, how it is authenticated, what a sound one looks like.
//!
//! `ring.json` is one JSON object, indented for people, whose last line is the authentication: a MAC over every byte before
//! that line (`docs/format.md`, "Key ring manifest"). Nothing of it is believed before the MAC is checked, save what is
//! needed to check it: controller, ring name and the KEK's reference, which the wrapped MAC key is bound to or useless without.
//!
//! Called by `ring` (open) and `life` (init, rotate, verify).

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::custody::Entrusted;
use super::fleet::Summary;
use super::kek::KekRef;
use super::kek::provider::{Binding, ProviderError, ProviderName, Wrapped};
use super::{Config, Kek, KeyError, LineName, State, place};
use crate::base::{Kid, enc};
use crate::crypto::{self, MacKey, PassphraseParams, Secret};

/// The format's name and version, first in the file and first in what secrets are bound to.
const FORMAT: &str = "sudare-ring/1";
/// Longest file that is read. A version takes about 400 bytes, so this is room for tens of thousands.
pub(super) const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// What stands before and after the 43 characters of the MAC. Together they are the end of the file; the bytes before them
/// are what the MAC covers.
const MAC_BEFORE: &str = ",\n  \"mac\": \"";
const MAC_AFTER: &str = "\"\n}\n";
const MAC_CHARS: usize = 43;

/// A ring as its file says it.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) controller: String,
    pub(super) ring: String,
    pub(super) revision: u64,
    /// When this revision was written.
    pub(super) written_ms: u64,
    pub(super) kek: KekRef,
    /// The key of the MAC, wrapped.
    mac_key: Vec<u8>,
    pub(super) lines: Vec<Line>,
}

/// One line, its versions in the order they were made.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: LineName,
    pub(super) versions: Vec<Version>,
}

/// One version.
#[derive(Debug)]
pub(super) struct Version {
    pub(super) kid: Kid,
    pub(super) state: State,
    pub(super) times: Times,
    /// `None` once destroyed.
    pub(super) wrapped: Option<Vec<u8>>,
    /// SHA-256 of the secret: a kid names exactly one key.
    pub(super) commitment: [u8; 32],
}

/// When a version was made and moved, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) created: u64,
    pub(super) activated: Option<u64>,
    pub(super) deactivated: Option<u64>,
    pub(super) compromised: Option<u64>,
    pub(super) destroyed: Option<u64>,
}

/// An authenticated manifest with the two keys that guard it.
pub(super) struct Opened {
    pub(super) manifest: Manifest,
    /// The root: what every secret of the ring is wrapped under (`kek`).
    pub(super) kek: Secret,
    /// Whose word the root was had on; none for a file or a passphrase.
    pub(super) entrusted: Option<Entrusted>,
    /// Of several KEKs the place in the configuration's order of the one that opened it.
    pub(super) candidate: usize,
    mac: MacKey,
    /// What it was read from, to tell later whether it is still the same; nothing for a ring that is new.
    pub(super) bytes: Vec<u8>,
    /// SHA-256 of that; zeros for a ring that is new.
    pub(super) seen: [u8; 32],
}

/// Reads and authenticates the ring of `config`.
///
/// # Errors
///
/// Refused: a file that is not as written, a foreign controller or ring, another KEK, a MAC that does not fit, a manifest
/// that contradicts itself, a revision below `min_revision`.
pub(super) fn open(config: &Config) -> Result<Opened, KeyError> {
    open_bytes(config, place::read(config)?)
}

/// The same for bytes that were read before, or are not in their place yet.
pub(super) fn open_bytes(config: &Config, bytes: Vec<u8>) -> Result<Opened, KeyError> {
    let path = config.ring.shown();
    let (manifest, covered, mac) = decode(path, &bytes)?;
    for (what, found, expected) in
        [("controller", &manifest.controller, config.controller.as_str()), ("ring", &manifest.ring, config.ring_name())]
    {
        if found != expected {
            let (found, expected) = (found.clone(), expected.to_string());
            return Err(KeyError::Foreign { path: path.into(), what, found, expected, table: config.table() });
        }
    }
    let (candidate, kek, root, key) = unlock(config, path, &manifest)?;
    if !key.verify(covered, &mac) {
        return Err(KeyError::NotAuthentic(path.into()));
    }
    manifest.check().map_err(|why| KeyError::Contradiction { path: path.into(), why })?;
    if manifest.revision < config.min_revision {
        return Err(KeyError::TooOld { path: path.into(), found: manifest.revision, least: config.min_revision });
    }
    let entrusted = Entrusted::of(kek, &manifest);
    let seen = crypto::sha256(&bytes);
    Ok(Opened { manifest, kek: root, entrusted, candidate, mac: key, bytes, seen })
}

/// What the bytes of a ring say of it, without its KEK, and so unproven: good enough to stop for, never to go on by.
pub(super) fn summary_of(bytes: &[u8]) -> Option<Summary> {
    let (manifest, ..) = decode(Path::new(""), bytes).ok()?;
    Some(manifest.summary(&crypto::sha256(bytes)))
}

/// Finds the KEK that the ring hangs on, and with it the root and the key of the MAC. Where several are configured the error is about
/// the first that could have been it.
fn unlock<'c>(config: &'c Config, path: &Path, manifest: &Manifest) -> Result<(usize, &'c Kek, Secret, MacKey), KeyError> {
    let binding = manifest.binding();
    let mut failed = None;
    for (candidate, kek) in config.kek.candidates().into_iter().enumerate() {
        let unlocked = kek.load(path, &manifest.kek, &binding).and_then(|root| {
            let key = crypto::unwrap(&root, &manifest.mac_aad(), &manifest.mac_key);
            key.map(|key| (root, MacKey::new(&key))).map_err(|_cannot| match (kek, &manifest.kek) {
                (Kek::Provider { provider, .. }, _) => super::kek::failed(provider.as_ref(), path, NOT_THE_ROOT),
                (Kek::File(_) | Kek::Passphrase { .. } | Kek::Changing { .. }, _) => KeyError::WrongKek(path.into()),
            })
        });
        match unlocked {
            Ok((root, key)) => return Ok((candidate, kek, root, key)),
            Err(error) => {
                let other = |error: &KeyError| matches!(error, KeyError::OtherProvider { .. } | KeyError::OtherKek { .. });
                if failed.as_ref().is_none_or(|failed| other(failed) && !other(&error)) {
                    failed = Some(error);
                }
            }
        }
    }
    Err(failed.unwrap_or_else(|| KeyError::WrongKek(path.into())))
}

/// What a provider gave opens nothing: it was bound to this ring, so either it lies or the rest of the file was changed.
const NOT_THE_ROOT: ProviderError = ProviderError::Lied(
    "what it unwrapped does not open the rest of the ring (or that was changed: then put the file back from your backup)",
);

impl Entrusted {
    fn of(kek: &Kek, manifest: &Manifest) -> Option<Self> {
        let (Kek::Provider { provider, limits }, KekRef::Provider(_, wrapped)) = (kek, &manifest.kek) else { return None };
        let (provider, wrapped) = (Arc::clone(provider), wrapped.clone());
        Some(Self { provider, binding: manifest.binding(), wrapped, limits: *limits })
    }
}

impl Opened {
    /// A ring that has no file yet, at revision 0, without lines.
    pub(super) fn fresh(config: &Config, kek: Secret, named: KekRef) -> Result<Self, KeyError> {
        let secret = Secret::random()?;
        let mut manifest = Manifest {
            controller: config.controller.as_str().to_string(),
            ring: config.ring_name().to_string(),
            revision: 0,
            written_ms: 0,
            kek: named,
            mac_key: Vec::new(),
            lines: Vec::new(),
        };
        manifest.mac_key = crypto::wrap(&kek, &manifest.mac_aad(), &secret)?;
        Ok(Self { manifest, kek, entrusted: None, candidate: 0, mac: MacKey::new(&secret), bytes: Vec::new(), seen: [0; 32] })
    }

    /// Everything of the ring under another root: every secret is unwrapped, checked and wrapped again, and the MAC gets a fresh key, so
    /// that whoever had the old root and this file knows nothing of what comes.
    ///
    /// # Errors
    ///
    /// [`KeyError::BadVersion`], [`KeyError::Random`].
    pub(super) fn rewrap(&mut self, path: &Path, root: Secret, named: KekRef) -> Result<(), KeyError> {
        let mut fresh = Vec::new();
        for (line, version) in self.manifest.versions() {
            let bad = |why| KeyError::BadVersion { path: path.into(), line: line.clone(), kid: version.kid, why };
            let secret = self.secret(line, version).map_err(bad)?;
            let aad = self.manifest.version_aad(line, version.kid);
            fresh.push(secret.map(|secret| crypto::wrap(&root, &aad, &secret)).transpose()?);
        }
        let versions = self.manifest.lines.iter_mut().flat_map(|line| line.versions.iter_mut());
        versions.zip(fresh).for_each(|(version, wrapped)| version.wrapped = wrapped);
        let mac = Secret::random()?;
        self.manifest.mac_key = crypto::wrap(&root, &self.manifest.mac_aad(), &mac)?;
        (self.mac, self.kek, self.manifest.kek) = (MacKey::new(&mac), root, named);
        Ok(())
    }

    /// Adds a new version to a line, and the line where it is absent. Returns the version's id.
    pub(super) fn add(&mut self, name: &LineName, state: State, now_ms: u64) -> Result<Kid, KeyError> {
        let kid = self.manifest.unused_kid()?;
        let secret = Secret::random()?;
        let activated = (state == State::Active).then_some(now_ms);
        let version = Version {
            kid,
            state,
            times: Times { created: now_ms, activated, deactivated: None, compromised: None, destroyed: None },
            wrapped: Some(crypto::wrap(&self.kek, &self.manifest.version_aad(name, kid), &secret)?),
            commitment: crypto::sha256(secret.expose()),
        };
        match self.manifest.lines.iter_mut().find(|line| line.name == *name) {
            Some(line) => line.versions.push(version),
            None => self.manifest.lines.push(Line { name: name.clone(), versions: vec![version] }),
        }
        Ok(kid)
    }

    /// The secret of a version, checked against its commitment; `None` if it is destroyed.
    pub(super) fn secret(&self, line: &LineName, version: &Version) -> Result<Option<Secret>, &'static str> {
        let Some(wrapped) = &version.wrapped else { return Ok(None) };
        let aad = self.manifest.version_aad(line, version.kid);
        let secret = crypto::unwrap(&self.kek, &aad, wrapped).map_err(|_cannot| "it does not unwrap under the KEK")?;
        if crypto::constant_time_eq(&crypto::sha256(secret.expose()), &version.commitment) {
            Ok(Some(secret))
        } else {
            Err("it does not match its commitment")
        }
    }

    /// The bytes of the next revision. The caller holds the ring's lock and writes them.
    pub(super) fn next_revision(&mut self, path: &Path, now_ms: u64) -> Result<Vec<u8>, KeyError> {
        let manifest = &mut self.manifest;
        manifest.revision += 1;
        manifest.written_ms = now_ms;
        manifest.check().map_err(|why| KeyError::Contradiction { path: path.into(), why })?;
        let covered = manifest.covered_bytes().map_err(|why| KeyError::malformed(path, why))?;
        let mac = crypto::base64url(&self.mac.mac(covered.as_bytes()));
        Ok(format!("{covered}{MAC_BEFORE}{mac}{MAC_AFTER}").into_bytes())
    }
}

impl Manifest {
    /// Every line with its versions, flat.
    pub(super) fn versions(&self) -> impl Iterator<Item = (&LineName, &Version)> {
        self.lines.iter().flat_map(|line| line.versions.iter().map(|version| (&line.name, version)))
    }

    /// What a provider binds the root to.
    pub(super) fn binding(&self) -> Binding {
        Binding { controller: self.controller.clone(), ring: self.ring.clone() }
    }

    /// In short.
    pub(super) fn summary(&self, seen: &[u8; 32]) -> Summary {
        Summary::of(self.revision, seen, self.versions().map(|(line, version)| (line, version.kid, version.state)))
    }

    /// Is it another revision of the same ring? A key of a MAC is drawn once for each, and anew with another KEK.
    pub(super) fn is_of_same_ring(&self, other: &Self) -> bool {
        self.mac_key == other.mac_key
    }

    /// What the MAC key is wrapped against.
    fn mac_aad(&self) -> Vec<u8> {
        enc(&[FORMAT.as_bytes(), b"mac", self.controller.as_bytes(), self.ring.as_bytes()])
    }

    /// What a version's secret is wrapped against: it unwraps nowhere else.
    fn version_aad(&self, line: &LineName, kid: Kid) -> Vec<u8> {
        let line = line.to_string();
        enc(&[FORMAT.as_bytes(), b"version", self.controller.as_bytes(), self.ring.as_bytes(), line.as_bytes(), kid.as_bytes()])
    }

    fn unused_kid(&self) -> Result<Kid, KeyError> {
        let taken: HashSet<Kid> = self.versions().map(|(_, version)| version.kid).collect();
        // 40 random bits: a second draw is needed about once in a trillion.
        loop {
            let kid = Kid::from_random(crypto::random()?);
            if !taken.contains(&kid) {
                return Ok(kid);
            }
        }
    }

    /// Does it contradict itself? The answer names the first thing that does.
    fn check(&self) -> Result<(), String> {
        let mut kids = HashSet::new();
        let mut names = HashSet::new();
        for Line { name, versions } in &self.lines {
            if !names.insert(name) {
                return Err(format!("the line {name} stands there twice"));
            }
            let active = versions.iter().filter(|version| version.state == State::Active).count();
            if active > 1 || (active == 0 && name.needs_active()) {
                return Err(format!("the line {name} has {active} active versions instead of one"));
            }
            for Version { kid, state, times, wrapped, .. } in versions {
                if !kids.insert(*kid) {
                    return Err(format!("the key id {kid} stands there twice"));
                }
                let moved = match state {
                    State::PreActive => times.activated.is_none() && times.deactivated.is_none(),
                    State::Active => times.activated.is_some() && times.deactivated.is_none(),
                    State::Deactivated => times.activated.is_some() && times.deactivated.is_some(),
                    State::Compromised => times.compromised.is_some(),
                    State::Destroyed => times.destroyed.is_some(),
                };
                if !moved {
                    return Err(format!("the times of {kid} do not fit its state {state}"));
                }
                if wrapped.is_some() == (*state == State::Destroyed) {
                    return Err(format!("the version {kid} is {state}, which does not fit its secret being there or not"));
                }
            }
        }
        Ok(())
    }

    fn covered_bytes(&self) -> Result<String, String> {
        let raw = RawManifest::of(self)?;
        let text = serde_json::to_string_pretty(&raw).map_err(|error| error.to_string())?;
        text.strip_suffix("\n}").map(str::to_string).ok_or_else(|| "its text has no end".to_string())
    }
}

/// Splits a file into manifest, covered bytes and MAC. Nothing is authenticated yet.
fn decode<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Manifest, &'a [u8], Vec<u8>), KeyError> {
    let malformed = |why: String| KeyError::malformed(path, why);
    let no_mac = || malformed("its last line is not the one that authenticates it".to_string());
    let rest = bytes.strip_suffix(MAC_AFTER.as_bytes()).ok_or_else(no_mac)?;
    let at = rest.len().checked_sub(MAC_CHARS).ok_or_else(no_mac)?;
    let (rest, mac) = rest.split_at_checked(at).ok_or_else(no_mac)?;
    let covered = rest.strip_suffix(MAC_BEFORE.as_bytes()).ok_or_else(no_mac)?;
    let mac = crypto::from_base64url(mac).map_err(|_spelling| no_mac())?;
    let raw: RawManifest = serde_json::from_slice(&[covered, b"\n}"].concat())
        .map_err(|error| malformed(format!("line {}: it is not what `sudare keys` writes", error.line())))?;
    Ok((raw.read().map_err(malformed)?, covered, mac))
}

/// The manifest as written, member for member in this order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    format: String,
    controller: String,
    ring: String,
    revision: u64,
    written: String,
    kek: RawKek,
    lines: Vec<RawLine>,
    mac_key: String,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "lowercase", deny_unknown_fields)]
enum RawKek {
    File,
    Passphrase {
        kdf: RawKdf,
        salt: String,
        memory_kib: u32,
        passes: u32,
        lanes: u32,
    },
    #[serde(rename = "vault-transit")]
    VaultTransit {
        key: String,
        root: String,
    },
    #[serde(rename = "aws-kms")]
    AwsKms {
        key: String,
        root: String,
    },
    Pkcs11 {
        key: String,
        root: String,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawKdf {
    Argon2id,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLine {
    line: String,
    versions: Vec<RawVersion>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawVersion {
    kid: String,
    state: String,
    created: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    activated: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    deactivated: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    compromised: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    destroyed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    wrapped: Option<String>,
    commitment: String,
}

impl RawManifest {
    fn of(manifest: &Manifest) -> Result<Self, String> {
        let kek = match &manifest.kek {
            KekRef::File => RawKek::File,
            KekRef::Passphrase { salt, cost } => RawKek::Passphrase {
                kdf: RawKdf::Argon2id,
                salt: crypto::base64url(salt),
                memory_kib: cost.memory_kib,
                passes: cost.passes,
                lanes: cost.lanes,
            },
            KekRef::Provider(name, wrapped) => {
                let Wrapped { key, root } = wrapped.clone();
                match name {
                    ProviderName::VaultTransit => RawKek::VaultTransit { key, root },
                    ProviderName::AwsKms => RawKek::AwsKms { key, root },
                    ProviderName::Pkcs11 => RawKek::Pkcs11 { key, root },
                }
            }
        };
        let line = |line: &Line| {
            let versions = line.versions.iter().map(RawVersion::of).collect::<Result<_, String>>()?;
            Ok::<_, String>(RawLine { line: line.name.to_string(), versions })
        };
        Ok(Self {
            format: FORMAT.to_string(),
            controller: manifest.controller.clone(),
            ring: manifest.ring.clone(),
            revision: manifest.revision,
            written: rfc3339(manifest.written_ms)?,
            kek,
            lines: manifest.lines.iter().map(line).collect::<Result<_, String>>()?,
            mac_key: crypto::base64url(&manifest.mac_key),
        })
    }

    fn read(self) -> Result<Manifest, String> {
        if self.format != FORMAT {
            return Err(format!("its format is {:?}, this release reads {FORMAT:?}", self.format));
        }
        let kek = match self.kek {
            RawKek::File => KekRef::File,
            RawKek::Passphrase { kdf: RawKdf::Argon2id, salt, memory_kib, passes, lanes } => {
                let salt = base64url("salt", &salt)?.try_into().map_err(|_length| "its salt is not 16 bytes".to_string())?;
                KekRef::Passphrase { salt, cost: PassphraseParams { memory_kib, passes, lanes } }
            }
            RawKek::VaultTransit { key, root } => wrapped(ProviderName::VaultTransit, key, root)?,
            RawKek::AwsKms { key, root } => wrapped(ProviderName::AwsKms, key, root)?,
            RawKek::Pkcs11 { key, root } => wrapped(ProviderName::Pkcs11, key, root)?,
        };
        let line = |raw: RawLine| {
            let name = raw.line.parse().map_err(|error| format!("{:?} is {error}", raw.line))?;
            Ok::<_, String>(Line {
                name,
                versions: raw.versions.into_iter().map(RawVersion::read).collect::<Result<_, String>>()?,
            })
        };
        Ok(Manifest {
            controller: self.controller,
            ring: self.ring,
            revision: self.revision,
            written_ms: milliseconds(&self.written)?,
            kek,
            mac_key: base64url("mac_key", &self.mac_key)?,
            lines: self.lines.into_iter().map(line).collect::<Result<_, String>>()?,
        })
    }
}

impl RawVersion {
    fn of(version: &Version) -> Result<Self, String> {
        let Times { created, activated, deactivated, compromised, destroyed } = version.times;
        Ok(Self {
            kid: version.kid.to_string(),
            state: version.state.to_string(),
            created: rfc3339(created)?,
            activated: activated.map(rfc3339).transpose()?,
            deactivated: deactivated.map(rfc3339).transpose()?,
            compromised: compromised.map(rfc3339).transpose()?,
            destroyed: destroyed.map(rfc3339).transpose()?,
            wrapped: version.wrapped.as_ref().map(|wrapped| crypto::base64url(wrapped)),
            commitment: HEXLOWER.encode(&version.commitment),
        })
    }

    fn read(self) -> Result<Version, String> {
        let kid: Kid = self.kid.parse().map_err(|error| format!("{:?}: {error}", self.kid))?;
        let time = |text: Option<String>| text.as_deref().map(milliseconds).transpose();
        let commitment = HEXLOWER.decode(self.commitment.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Version {
            kid,
            state: self.state.parse().map_err(|error| format!("{kid}: {error}"))?,
            times: Times {
                created: milliseconds(&self.created)?,
                activated: time(self.activated)?,
                deactivated: time(self.deactivated)?,
                compromised: time(self.compromised)?,
                destroyed: time(self.destroyed)?,
            },
            wrapped: self.wrapped.map(|text| base64url("wrapped", &text)).transpose()?,
            commitment: commitment.ok_or_else(|| format!("{kid}: its commitment is not 64 hexadecimal digits"))?,
        })
    }
}

fn wrapped(name: ProviderName, key: String, root: String) -> Result<KekRef, String> {
    let wrapped = Wrapped { key, root };
    if wrapped.is_sound() {
        Ok(KekRef::Provider(name, wrapped))
    } else {
        Err("its wrapped root is not as any provider spells it".into())
    }
}

fn base64url(member: &str, text: &str) -> Result<Vec<u8>, String> {
    crypto::from_base64url(text.as_bytes()).map_err(|error| format!("{member}: {error}"))
}

/// Milliseconds since 1970 as RFC 3339 text in UTC.
pub(super) fn rfc3339(ms: u64) -> Result<String, String> {
    let ms = i64::try_from(ms).map_err(|error| error.to_string())?;
    Timestamp::from_millisecond(ms).map(|time| time.to_string()).map_err(|error| error.to_string())
}

pub(super) fn milliseconds(text: &str) -> Result<u64, String> {
    let time: Timestamp = text.parse().map_err(|_not_a_time| format!("{text:?} is not a time as in RFC 3339"))?;
    u64::try_from(time.as_millisecond()).map_err(|_before_1970| format!("{text:?} lies before 1970"))
}
