//! What others send to be recorded, checked: JSON objects, one for each entry.
//!
//! Always holds: every mistake of every object is told at once, with its place, what is expected and the nearest name, and no value but names
//! of the policy; nobody records what the configuration does not let them; a date of birth ends here, and ages leave. Pure. Called by `app`
//! and `cli/subject`.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::entry::{About, Entry, Evidence, Recorder, Says, Subject, Under, What};
use crate::base::{RecordId, nearest};
use crate::purpose::Policy;

/// What can be recorded beside the facts that a policy declares, and what that lets; the last: steps of exceptions.
pub const RECORDS: [&str; 6] = ["consent", "objection", "age", "notice", "acceptance", "exception"];
/// What an object can be a record of.
const KNOWN: [&str; 7] = ["consent", "withdrawal", "objection", "age", "notice", "acceptance", "fact"];
/// Longest id of an entry, and name in it, in bytes.
const MAX_NAME: usize = 128;
/// Longest evidence, in bytes.
const MAX_EVIDENCE: usize = 1024;
/// Oldest age that is believed, in years.
const MAX_AGE: u8 = 130;
/// A birthday is over everywhere on Earth so long after it began in UTC, in hours.
const LAST_ZONE_HOURS: i64 = 12;

/// One object as it is sent.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Posted {
    /// Chosen by the sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Whom it is about: a string or an integer, as documents say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<serde_json::Value>,
    /// `consent`, `withdrawal`, `objection`, `age`, `notice`, `acceptance` or `fact`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Of a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Of a choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// Of a notice or an acceptance; the policy's own where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Of an age: the date of birth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub born: Option<String>,
    /// Of an age: in years, completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub years: Option<u8>,
    /// Of an age: at least so many years.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<u8>,
    /// Of a fact: its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fact: Option<String>,
    /// Of a fact: it does, or does not any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<bool>,
    /// Of a fact: until then, as in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// When it was so, as in RFC 3339; now where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// Without what was sent (T13).
impl std::fmt::Debug for Posted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Posted").finish_non_exhaustive()
    }
}

/// Most objects of one call.
pub const MOST: usize = 1_000;

/// The objects of a body: one, a list, or one after the other (JSON Lines). None if it is no JSON.
pub fn objects(body: &[u8]) -> Option<Vec<Box<RawValue>>> {
    if body.trim_ascii_start().first() == Some(&b'[') {
        return serde_json::from_slice(body).ok();
    }
    serde_json::Deserializer::from_slice(body).into_iter::<Box<RawValue>>().collect::<Result<Vec<_>, _>>().ok()
}

/// What the object at a place of a body says.
///
/// # Errors
///
/// It is no object, a member stands twice, is not known, or has the wrong type.
pub fn object(place: usize, text: &RawValue) -> Result<Posted, Fault> {
    serde_json::from_str(text.get()).map_err(|error| {
        // What the library says quotes values.
        let what = match error.to_string() {
            text if text.starts_with("unknown field") => "it has a member that is not known: see docs/subject.md",
            text if text.starts_with("duplicate field") => "a member stands twice",
            _ => "expected an object whose members have the types of docs/subject.md",
        };
        Fault { place, member: "", what: what.to_owned(), forbidden: false }
    })
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Which object, counted from 0.
    pub place: usize,
    /// Its member.
    pub member: &'static str,
    /// What is wrong, and what to do.
    pub what: String,
    /// The sender may not record this at all.
    pub forbidden: bool,
}

/// May who has these words record this? `withdrawal` comes with `consent`.
fn may_record(records: &BTreeSet<String>, record: &str, fact: Option<&str>) -> bool {
    let needed = match record {
        "withdrawal" => "consent",
        "fact" => fact.unwrap_or_default(),
        other => other,
    };
    records.contains(needed)
}

/// Checks objects against a policy and what the sender may record; `records` is `None` for an operator, who may record everything.
/// `ids` gives ids to those that have none.
///
/// # Errors
///
/// Every [`Fault`].
pub fn read(
    posted: Vec<Result<Posted, Fault>>,
    policy: &Policy,
    by: &Recorder,
    records: Option<&BTreeSet<String>>,
    now_ms: u64,
    mut ids: impl FnMut() -> Option<String>,
) -> Result<Vec<Entry>, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut entries = Vec::new();
    for (place, posted) in posted.into_iter().enumerate() {
        let posted = match posted {
            Ok(posted) => posted,
            Err(fault) => {
                faults.push(fault);
                continue;
            }
        };
        let mut check = Check { policy, records, now_ms, place, faults: &mut faults };
        let id = check.id(posted.id.as_deref(), &mut ids);
        let at = check.at(posted.at.as_deref());
        let what = check.what(posted, at);
        if let (Some(id), Some(at), Some(what)) = (id, at, what) {
            entries.push(Entry { id, at, by: by.clone(), what });
        }
    }
    if faults.is_empty() { Ok(entries) } else { Err(faults) }
}

struct Check<'a> {
    policy: &'a Policy,
    records: Option<&'a BTreeSet<String>>,
    now_ms: u64,
    place: usize,
    faults: &'a mut Vec<Fault>,
}

impl Check<'_> {
    fn fault<T>(&mut self, member: &'static str, what: impl Into<String>) -> Option<T> {
        self.faults.push(Fault { place: self.place, member, what: what.into(), forbidden: false });
        None
    }

    fn id(&mut self, given: Option<&str>, ids: &mut impl FnMut() -> Option<String>) -> Option<String> {
        match given {
            None => match ids() {
                Some(id) => Some(id),
                None => self.fault("id", "no randomness to make one; send one"),
            },
            Some(id) if id.is_empty() || id.len() > MAX_NAME || id.chars().any(char::is_control) => {
                self.fault("id", format!("expected 1 to {MAX_NAME} bytes without control characters"))
            }
            Some(id) => Some(id.to_owned()),
        }
    }

    /// 0 for now.
    fn at(&mut self, given: Option<&str>) -> Option<u64> {
        match given {
            None => Some(0),
            Some(text) => self.time("at", text),
        }
    }

    fn time(&mut self, member: &'static str, text: &str) -> Option<u64> {
        match text.parse::<Timestamp>().ok().and_then(|stamp| u64::try_from(stamp.as_millisecond()).ok()).filter(|ms| *ms > 0) {
            Some(ms) => Some(ms),
            None => self.fault(member, "expected a time as in RFC 3339: 2026-11-29T09:30:00Z"),
        }
    }

    fn what(&mut self, posted: Posted, at: Option<u64>) -> Option<What> {
        let subject = self.subject(posted.subject.as_ref());
        let evidence = self.evidence(posted.evidence.as_deref());
        let record = posted.record.as_deref().unwrap_or_default();
        if !KNOWN.contains(&record) {
            let near = near(record, KNOWN.into_iter());
            return self.fault("record", format!("expected one of {}{near}", KNOWN.join(", ")));
        }
        if let Some(records) = self.records
            && !may_record(records, record, posted.fact.as_deref())
        {
            let listed =
                if records.is_empty() { "nothing".to_owned() } else { records.iter().cloned().collect::<Vec<_>>().join(", ") };
            self.faults.push(Fault {
                place: self.place,
                member: "record",
                what: format!("this caller may record {listed}: see `records` of its table in sudare.toml"),
                forbidden: true,
            });
            return None;
        }
        self.others(&posted, record);
        let what = match record {
            "consent" | "withdrawal" | "objection" => {
                let about = self.about(posted.purpose, posted.recipient)?;
                let says = if record == "consent" { Says::Given } else { Says::Refused };
                What::Choice { subject: subject?, about, says, evidence }
            }
            "age" => {
                let under = self.age(posted.born.as_deref(), posted.years, posted.over, at?)?;
                What::Age { subject: subject?, under, evidence }
            }
            "notice" | "acceptance" => {
                let current = self.policy.version();
                let version = posted.version.unwrap_or(current);
                if version == 0 || version > current {
                    return self.fault("version", format!("expected 1 to {current}, the version of the policy in force"));
                }
                if record == "notice" {
                    What::Told { subject: subject?, version, evidence }
                } else {
                    What::Accepted { subject: subject?, version, evidence }
                }
            }
            _ => {
                let name = self.declared(posted.fact)?;
                let holds = posted.holds.unwrap_or(true);
                let until = match posted.until.as_deref() {
                    Some(_) if !holds => return self.fault("until", "stands only with a fact that holds; leave it out"),
                    Some(text) => Some(self.time("until", text)?),
                    None => None,
                };
                What::Fact { subject: subject?, name, holds, until, evidence }
            }
        };
        Some(what)
    }

    /// Members that say nothing here are mistakes: what they were meant to say would be lost.
    fn others(&mut self, posted: &Posted, record: &str) {
        let choice = matches!(record, "consent" | "withdrawal" | "objection");
        let members = [
            ("purpose", posted.purpose.is_some(), choice),
            ("recipient", posted.recipient.is_some(), choice),
            ("version", posted.version.is_some(), matches!(record, "notice" | "acceptance")),
            ("born", posted.born.is_some(), record == "age"),
            ("years", posted.years.is_some(), record == "age"),
            ("over", posted.over.is_some(), record == "age"),
            ("fact", posted.fact.is_some(), record == "fact"),
            ("holds", posted.holds.is_some(), record == "fact"),
            ("until", posted.until.is_some(), record == "fact"),
        ];
        for (member, given, fits) in members {
            if given && !fits {
                self.fault::<()>(member, format!("says nothing in a record of {record}; leave it out"));
            }
        }
    }

    fn subject(&mut self, given: Option<&serde_json::Value>) -> Option<Subject> {
        let id = match given {
            Some(serde_json::Value::String(text)) => RecordId::from_text(text),
            Some(serde_json::Value::Number(number)) => RecordId::from_number(&number.to_string()),
            _ => return self.fault("subject", "expected whom it is about: the id as documents have it, a string or an integer"),
        };
        match id {
            Ok(id) => Some(Subject(id)),
            Err(why) => self.fault("subject", why.to_string()),
        }
    }

    /// None also where it is a mistake, which is told.
    fn evidence(&mut self, given: Option<&str>) -> Option<Evidence> {
        match given {
            Some(text) if text.len() > MAX_EVIDENCE => {
                self.fault("evidence", format!("expected at most {MAX_EVIDENCE} bytes: say where it is kept, not what it says"))
            }
            Some(text) => Some(Evidence(text.to_owned())),
            None => None,
        }
    }

    fn about(&mut self, purpose: Option<String>, recipient: Option<String>) -> Option<About> {
        match (purpose, recipient) {
            (Some(name), None) => {
                let names = self.policy.purposes().iter().map(|purpose| purpose.name.as_str());
                if names.clone().any(|known| known == name) {
                    return Some(About::Purpose(name));
                }
                let near = near(&name, names);
                self.fault("purpose", format!("the policy has no such purpose{near}"))
            }
            (None, Some(name)) => {
                let names = self.policy.spec().recipients.iter().map(|recipient| recipient.name.as_str());
                if names.clone().any(|known| known == name) {
                    return Some(About::Recipient(name));
                }
                let near = near(&name, names);
                self.fault("recipient", format!("the policy has no such recipient{near}"))
            }
            _ => self.fault("purpose", "expected a purpose, or a recipient, and not both"),
        }
    }

    fn declared(&mut self, name: Option<String>) -> Option<String> {
        let Some(name) = name else { return self.fault("fact", "expected the name of a fact that the policy declares") };
        let names = self.policy.spec().facts.iter().map(|fact| fact.name.as_str());
        if names.clone().any(|known| known == name) {
            return Some(name);
        }
        let near = near(&name, names);
        self.fault("fact", format!("the policy declares no such fact{near}"))
    }

    /// For each age of the policy: until when somebody is under it.
    fn age(&mut self, born: Option<&str>, years: Option<u8>, over: Option<u8>, at: u64) -> Option<Vec<Under>> {
        let mut asked: Vec<u8> = self.policy.spec().ages.iter().map(|age| age.under).collect();
        asked.sort_unstable();
        asked.dedup();
        if asked.is_empty() {
            return self.fault("record", "the policy asks about no age: it has no [age]");
        }
        let at = Timestamp::from_millisecond(i64::try_from(if at == 0 { self.now_ms } else { at }).ok()?).ok()?;
        let settled = |until: Option<Timestamp>| until.and_then(|until| u64::try_from(until.as_millisecond()).ok());
        match (born, years, over) {
            (Some(text), None, None) => {
                let today = at.to_zoned(TimeZone::UTC).date();
                let date =
                    text.parse::<Date>().ok().filter(|date| *date <= today && date.year() + i16::from(MAX_AGE) >= today.year());
                let Some(date) = date else { return self.fault("born", "expected a date of birth: 2010-05-31") };
                let each = |under: u8| {
                    let until = date.checked_add(i64::from(under).years()).ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp();
                    let until = until.checked_add(LAST_ZONE_HOURS.hours()).ok()?;
                    Some(Under { years: under, until: settled(Some(until).filter(|until| *until > at)) })
                };
                asked.into_iter().map(each).collect()
            }
            (None, Some(age), None) if age <= MAX_AGE => {
                // The birthday may be tomorrow or have been today: they count as young for as long as they may be.
                let each = |under: u8| {
                    let left = under.checked_sub(age).filter(|left| *left > 0);
                    let until = match left {
                        None => None,
                        Some(left) => Some(at.to_zoned(TimeZone::UTC).checked_add(i64::from(left).years()).ok()?.timestamp()),
                    };
                    Some(Under { years: under, until: settled(until) })
                };
                asked.into_iter().map(each).collect()
            }
            (None, None, Some(over)) => {
                let under: Vec<Under> =
                    asked.iter().filter(|under| **under <= over).map(|under| Under { years: *under, until: None }).collect();
                if under.is_empty() {
                    return self
                        .fault("over", format!("settles none of the ages of the policy ({asked:?}): give `born` or `years`"));
                }
                Some(under)
            }
            _ => self.fault("born", format!("expected exactly one of born, years (0 to {MAX_AGE}) and over")),
        }
    }
}

/// `; the nearest is …`, if one is near.
fn near<'n>(name: &str, names: impl Iterator<Item = &'n str>) -> String {
    nearest(name, names).map(|near| format!("; did you mean \"{near}\"?")).unwrap_or_default()
}
