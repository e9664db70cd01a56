//! What a token whose signature is right says (RFC 7519), read strictly: a member twice, a claim of another type, a confirmation
//! that is not understood: refused.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Bound, Fault, Issuer};
use crate::caller::Certificate;
use crate::crypto::{base64url, constant_time_eq};

/// The member of `authorization_details` (RFC 9396) that names purposes: `{"type": "sudare_purpose", "purposes": ["delivery"]}`.
const DETAILS_TYPE: &str = "sudare_purpose";

/// The claims of a token; no member stands twice in any object.
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    /// Checks everything but the signature and whose token it is, and tells until when the token is good, in seconds.
    pub(super) fn check(&self, issuer: &Issuer, certificate: Option<&Certificate>, now_s: u64) -> Result<u64, Fault> {
        if self.text("iss")? != Some(&issuer.issuer) {
            return Err(Fault::Issuer);
        }
        let audience = self.texts("aud")?.ok_or(Fault::ClaimMissing)?;
        if !audience.iter().any(|meant| issuer.audience.iter().any(|ours| &**ours == *meant)) {
            return Err(Fault::Audience);
        }
        let expires = self.seconds("exp")?.ok_or(Fault::ClaimMissing)?;
        let begins = self.seconds("nbf")?.ok_or(Fault::ClaimMissing)?;
        let made = self.seconds("iat")?;
        let until = expires.saturating_add(issuer.leeway_s);
        let ahead = now_s.saturating_add(issuer.leeway_s);
        if now_s >= until {
            return Err(Fault::Expired);
        }
        if begins > ahead || made.is_some_and(|made| made > ahead) {
            return Err(Fault::NotYet);
        }
        if issuer.max_lifetime_s.is_some_and(|max| expires.saturating_sub(made.unwrap_or(begins)) > max) {
            return Err(Fault::Lifetime);
        }
        self.check_binding(issuer.bound, certificate)?;
        Ok(until)
    }

    /// A token bound to a certificate is good on a connection of that certificate only (RFC 8705, section 3).
    fn check_binding(&self, bound: Bound, certificate: Option<&Certificate>) -> Result<(), Fault> {
        let Some(confirmation) = self.0.get("cnf") else {
            return if bound == Bound::Required { Err(Fault::NotBound) } else { Ok(()) };
        };
        // Any other way to confirm would have to be checked as well, and this proxy can check this one only.
        let members = confirmation.as_object().ok_or(Fault::ClaimMalformed)?;
        let Some(thumbprint) = members.get("x5t#S256").filter(|_| members.len() == 1) else {
            return Err(Fault::Confirmation);
        };
        let thumbprint = thumbprint.as_str().ok_or(Fault::ClaimMalformed)?;
        let certificate = certificate.ok_or(Fault::Certificate)?;
        let same = constant_time_eq(base64url(&certificate.sha256).as_bytes(), thumbprint.as_bytes());
        if same { Ok(()) } else { Err(Fault::Certificate) }
    }

    /// The purposes the token names, by their names or DPV ids; `None` if it says nothing of purposes.
    pub(super) fn purposes(&self, claim: &str) -> Result<Option<Box<[Box<str>]>>, Fault> {
        let mut named: Option<Vec<Box<str>>> = None;
        if let Some(listed) = self.texts(claim)? {
            name_all(&mut named, listed);
        }
        for claim in ["scope", "scp"] {
            // Other scopes are the matter of other services.
            let scopes = self.texts(claim)?.unwrap_or_default();
            let ours: Vec<&str> =
                scopes.iter().flat_map(|text| text.split(' ')).filter(|scope| scope.starts_with("dpv:")).collect();
            if !ours.is_empty() {
                name_all(&mut named, ours);
            }
        }
        for entry in self.details()? {
            name_all(&mut named, entry?);
        }
        Ok(named.map(Vec::into_boxed_slice))
    }

    /// The purposes of each entry of `authorization_details` that is ours.
    fn details(&self) -> Result<impl Iterator<Item = Result<Vec<&str>, Fault>>, Fault> {
        let entries: &[Value] = match self.0.get("authorization_details") {
            None => &[],
            Some(Value::Array(entries)) => entries,
            Some(_) => return Err(Fault::ClaimMalformed),
        };
        Ok(entries.iter().filter(|entry| entry.get("type").and_then(Value::as_str) == Some(DETAILS_TYPE)).map(|entry| {
            // What else stood there might narrow it, and would not be heeded.
            let members = entry.as_object().filter(|members| members.len() == 2).ok_or(Fault::ClaimMalformed)?;
            members.get("purposes").and_then(Value::as_array).and_then(|list| texts_of(list)).ok_or(Fault::ClaimMalformed)
        }))
    }

    /// A claim that is text.
    pub(super) fn text(&self, claim: &str) -> Result<Option<&str>, Fault> {
        match self.0.get(claim) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Fault::ClaimMalformed),
        }
    }

    /// A claim that is text or a list of texts.
    fn texts(&self, claim: &str) -> Result<Option<Vec<&str>>, Fault> {
        match self.0.get(claim) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(vec![text])),
            Some(Value::Array(list)) => texts_of(list).map(Some).ok_or(Fault::ClaimMalformed),
            Some(_) => Err(Fault::ClaimMalformed),
        }
    }

    /// A time, in whole seconds since 1970.
    fn seconds(&self, claim: &str) -> Result<Option<u64>, Fault> {
        /// The end of the year 9999.
        const LAST: u64 = 253_402_300_799;
        match self.0.get(claim) {
            None => Ok(None),
            Some(value) => match value.as_u64().filter(|seconds| *seconds <= LAST) {
                None => Err(Fault::ClaimMalformed),
                some => Ok(some),
            },
        }
    }
}

/// Adds purposes, each once. To name none is to have said so.
fn name_all(named: &mut Option<Vec<Box<str>>>, purposes: Vec<&str>) {
    let named = named.get_or_insert_default();
    for purpose in purposes {
        if !named.iter().any(|known| **known == *purpose) {
            named.push(Box::from(purpose));
        }
    }
}

fn texts_of(list: &[Value]) -> Option<Vec<&str>> {
    list.iter().map(Value::as_str).collect()
}

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Value::Object(members) = Unique.deserialize(deserializer)? else {
            return Err(de::Error::custom("claims are an object"));
        };
        Ok(Self(members))
    }
}

/// Any JSON value, in which no object has a member twice.
struct Unique;

impl<'de> DeserializeSeed<'de> for Unique {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unique {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Unique)? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            if members.insert(name, entries.next_value_seed(Unique)?).is_some() {
                return Err(de::Error::custom("a member stands twice"));
            }
        }
        Ok(members.into())
    }
}

/// Whose a token says it is, before anything of it is verified: every text that stands as `iss`, should it stand twice.
pub(super) struct SaysIssuer(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for SaysIssuer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = SaysIssuer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<SaysIssuer, A::Error> {
                let mut issuers = Vec::new();
                while let Some(name) = entries.next_key::<String>()? {
                    if name != "iss" {
                        entries.next_value::<de::IgnoredAny>()?;
                    } else if let Value::String(text) = entries.next_value()? {
                        issuers.push(text);
                    }
                }
                Ok(SaysIssuer(issuers))
            }
        }
        deserializer.deserialize_map(Members)
    }
}
