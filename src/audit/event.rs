//! What one line of the log says: written from an [`Event`], read back as an [`Entry`], shown to people in one sentence.
//!
//! Always holds: data subjects stand here only as pseudonyms; there is no member that could hold a value.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use data_encoding::HEXLOWER;
use serde::de::{MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Event, Kind};
use crate::base::{CallerName, CollectionName, ExceptionId, PurposeName, RecordId, enc};
use crate::crypto::{MacKey, base32_crockford};
use crate::purpose::Level;

/// Subjects on one line; an event with more becomes several lines of the same exchange, so that no line grows without bound.
pub(super) const MAX_SUBJECTS: usize = 4096;

/// Names with how often each, in the order they were counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts<T = String>(pub Vec<(T, u32)>);

impl<T> Default for Counts<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Levels with the categories shown at each.
pub type Shown<T = String> = BTreeMap<T, Counts<T>>;

/// One event as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number; the first event of a log is 1.
    pub seq: u64,
    /// SHA-256 of the line before it, in hex.
    pub prev: String,
    /// When it was written, as in RFC 3339.
    pub time: String,
    /// What happened.
    #[serde(flatten)]
    pub body: Body,
}

/// What happened. Its texts are its own where it was read; where a line is written they are those of the event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de> + Ord"))]
pub struct Body<T = String> {
    /// A [`Kind`]'s word.
    pub kind: T,
    /// Joins the events of one request: 16 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<T>,
    /// Who asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<T>,
    /// Who did it by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<T>,
    /// Why, in the operator's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<T>,
    /// For what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<T>,
    /// Under which version of the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<u64>,
    /// Under which exception.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<T>,
    /// Of which collection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<T>,
    /// Method and route pattern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<T>,
    /// Pseudonyms of the data subjects, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subjects: Vec<T>,
    /// What left, by level and category.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shown: Shown<T>,
    /// What was protected, by category.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub protected: Counts<T>,
    /// How many stored values a write left as they were.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub kept: u32,
    /// Values that look personal at paths that are no field, by category and path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unmapped: BTreeMap<T, Counts<T>>,
    /// What was recorded of data subjects.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub recorded: Counts<T>,
    /// The status sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The code sent, or what the log says of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<T>,
    /// Which configuration was put in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<T>,
    /// Which key versions are destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destruction: Option<Destruction>,
    /// How many, where the log speaks of itself: bytes cut off, events lost or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
}

/// Versions of the key ring that are destroyed, as their receipt says. Never a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destruction {
    /// Their ids.
    pub kids: Vec<String>,
    /// The operators who signed.
    pub signers: Vec<String>,
    /// The ring's first revision without the secrets.
    pub revision: u64,
    /// SHA-256 of the line of the census that was made right before, in hex.
    pub census: String,
    /// SHA-256 of the receipt, in hex.
    pub receipt: String,
}

impl std::ops::Deref for Entry {
    type Target = Body;
    fn deref(&self) -> &Body {
        &self.body
    }
}

/// The pseudonym of a data subject in the log: `psn1_` and 26 characters for the first 16 bytes of
/// HMAC-SHA-256(audit key, enc("audit", id)).
pub(super) fn pseudonym(key: &MacKey, subject: &RecordId) -> String {
    let mac = key.mac(&enc(&[b"audit", subject.as_str().as_bytes()]));
    format!("psn1_{}", base32_crockford(mac.first_chunk::<16>().unwrap_or(&[0; 16])))
}

/// The lines' bodies for an event: one, or more where it names very many subjects. Each is JSON text without its braces.
pub(super) fn bodies(key: &MacKey, event: &Event) -> Vec<String> {
    let mut subjects: Vec<String> = Vec::with_capacity(event.subjects.len());
    let mut seen = std::collections::HashSet::new();
    for subject in &event.subjects {
        if event.subjects.len() == 1 || seen.insert(subject.as_str()) {
            subjects.push(pseudonym(key, subject));
        }
    }
    let mut parts = subjects.chunks(MAX_SUBJECTS);
    let mut shown = Shown::new();
    for (category, level, count) in &event.shown {
        shown.entry(level.as_str()).or_default().add(category.as_str(), *count);
    }
    let mut protected = Counts::default();
    for (category, count) in &event.protected {
        protected.add(category.as_str(), *count);
    }
    let mut unmapped: BTreeMap<&str, Counts<&str>> = BTreeMap::new();
    for (path, category, count) in &event.unmapped {
        unmapped.entry(category).or_default().add(path.as_str(), *count);
    }
    let mut recorded = Counts::default();
    for (what, count) in &event.recorded {
        recorded.add(what.as_str(), *count);
    }
    let mut exchange = [0; 16];
    HEXLOWER.encode_mut(&event.exchange.to_be_bytes(), &mut exchange);
    let mut body = Body {
        kind: event.kind.as_str(),
        exchange: Some(std::str::from_utf8(&exchange).unwrap_or_default()),
        caller: event.caller.as_ref().map(CallerName::as_str),
        operator: event.operator.as_deref(),
        reason: event.reason.as_deref(),
        purpose: event.purpose.as_ref().map(PurposeName::as_str),
        policy: event.policy,
        exception: event.exception.as_ref().map(ExceptionId::as_str),
        collection: event.collection.as_ref().map(CollectionName::as_str),
        route: event.route.as_deref(),
        subjects: texts(parts.next().unwrap_or_default()),
        shown,
        protected,
        kept: event.kept,
        unmapped,
        recorded,
        status: event.status,
        code: event.code.as_deref(),
        configuration: event.configuration.as_deref(),
        destruction: event.destruction.clone(),
        count: None,
    };
    let mut out = vec![body.to_members()];
    for part in parts {
        // The counts stand on the first line only, so that adding up a log counts nothing twice.
        (body.shown, body.protected, body.kept) = (Shown::new(), Counts::default(), 0);
        body.recorded = Counts::default();
        body.subjects = texts(part);
        out.push(body.to_members());
    }
    out
}

fn texts(subjects: &[String]) -> Vec<&str> {
    subjects.iter().map(String::as_str).collect()
}

/// The body of an event about the log itself.
pub(super) fn own_body(kind: Kind, code: Option<&str>, count: Option<u64>) -> String {
    Body { kind: kind.as_str(), code, count, ..Body::default() }.to_members()
}

impl Body<&str> {
    fn to_members(&self) -> String {
        // Strings, numbers and maps of them always serialize; were one not to, the event would still be there, without detail.
        let mut text = serde_json::to_string(self).unwrap_or_else(|_never| format!("{{\"kind\":\"{}\"}}", Kind::Alarm.as_str()));
        if text.starts_with('{') && text.ends_with('}') {
            text.pop();
            text.remove(0);
        }
        text
    }
}

/// What is left out of a line.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl<T> Counts<T> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<T: PartialEq> Counts<T> {
    fn add(&mut self, name: T, count: u32) {
        match self.0.iter_mut().find(|(there, _)| *there == name) {
            Some((_, sum)) => *sum = sum.saturating_add(count),
            None => self.0.push((name, count)),
        }
    }
}

impl<T: Serialize> Serialize for Counts<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Counts<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for InOrder<T> {
            type Value = Counts<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with counts")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts<T>, A::Error> {
                let mut counts = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    counts.push(entry);
                }
                Ok(Counts(counts))
            }
        }
        deserializer.deserialize_map(InOrder(PhantomData))
    }
}

/// One sentence: `#2 2026-11-22T16:00:00Z shipping for delivery psn1_9vtd…: name, address, phone clear; id-card masked`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {}", self.seq, self.time)?;
        if let Some(caller) = &self.caller {
            write!(f, " {caller}")?;
        }
        if let Some(operator) = &self.operator {
            write!(f, " operator {operator}")?;
        }
        if let Some(purpose) = &self.purpose {
            write!(f, " for {purpose}")?;
        }
        if let Some(version) = self.policy {
            write!(f, " (policy {version})")?;
        }
        if let Some(exception) = &self.exception {
            write!(f, " under {exception}")?;
        }
        if let Some(reason) = &self.reason {
            write!(f, " because {reason:?}")?;
        }
        if let Some(first) = self.subjects.first() {
            write!(f, " {}", first.get(..9).map_or_else(|| first.clone(), |start| format!("{start}…")))?;
            match self.subjects.len() {
                0 | 1 => {}
                all => write!(f, " and {} more", all - 1)?,
            }
        }
        let parts = self.parts();
        let colon = if self.caller.is_some() || self.operator.is_some() || self.purpose.is_some() || !self.subjects.is_empty() {
            ":"
        } else {
            ""
        };
        write!(f, "{colon} {}", parts.join("; "))
    }
}

impl Body {
    /// What is said after the colon.
    fn parts(&self) -> Vec<String> {
        let mut parts = Vec::new();
        for level in [Level::Clear, Level::Masked, Level::Generalised, Level::Pseudonym, Level::Sealed, Level::Absent] {
            if let Some(counts) = self.shown.get(level.as_str()) {
                parts.push(format!("{} {}", counts.names(), level.as_str()));
            }
        }
        if !self.protected.is_empty() {
            parts.push(format!("{} protected", self.protected.names()));
        }
        if self.kept > 0 {
            parts.push(format!("{} kept as stored", self.kept));
        }
        for (category, counts) in &self.unmapped {
            parts.push(format!("{} look like {category}", counts.with_counts()));
        }
        if !self.recorded.is_empty() {
            parts.push(self.recorded.with_counts());
        }
        let plain = self.kind == Kind::Reveal.as_str() || self.kind == Kind::Write.as_str();
        if parts.is_empty() || !plain {
            let what = if self.kind == Kind::Reveal.as_str() { "nothing shown" } else { &self.kind };
            // A write that protects nothing is a deletion, or none of our members: the route says which.
            let told = self.kind == Kind::Write.as_str() || self.kind == Kind::Refused.as_str();
            parts.insert(
                0,
                self.route.as_ref().filter(|_| told).map_or_else(|| what.to_owned(), |route| format!("{what} {route}")),
            );
        }
        parts.extend(self.configuration.clone());
        if let Some(Destruction { kids, signers, revision, receipt, .. }) = &self.destruction {
            let receipt = receipt.get(..16).unwrap_or(receipt);
            parts.push(format!(
                "{} with ring revision {revision}, signed by {}, receipt {receipt}…",
                kids.join(", "),
                signers.join(" and ")
            ));
        }
        let outcome: Vec<String> =
            [self.status.map(|status| status.to_string()), self.code.clone(), self.count.map(|count| format!("({count})"))]
                .into_iter()
                .flatten()
                .collect();
        if !outcome.is_empty() && (!plain || self.code.is_some()) {
            parts.push(outcome.join(" "));
        }
        parts
    }
}

impl Counts {
    fn names(&self) -> String {
        self.0.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn with_counts(&self) -> String {
        self.0.iter().map(|(name, count)| format!("{name} ({count})")).collect::<Vec<_>>().join(", ")
    }
}
