//! How ids, times and bytes are spelled in the texts that are kept and signed: one spelling each, or the text is refused.
//!
//! For `#[serde(with = …)]` of `census`, `request`, `receipt`, `signature`, and of the texts of exceptions (`subject`).

use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// What has a text of its own: lines, key ids, states.
pub(crate) mod text {
    use super::{Deserialize, Deserializer, Display, FromStr, Serializer, custom};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(value)
    }

    pub(crate) fn deserialize<'d, T: FromStr<Err: Display>, D: Deserializer<'d>>(from: D) -> Result<T, D::Error> {
        String::deserialize(from)?.parse().map_err(custom::<D, T::Err>)
    }
}

/// Milliseconds since 1970, as RFC 3339 in UTC.
pub(crate) mod time {
    use super::super::super::manifest::{milliseconds, rfc3339};
    use super::{Deserialize, Deserializer, Serializer, custom};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    pub(crate) fn serialize<S: Serializer>(ms: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&rfc3339(*ms).map_err(serde::ser::Error::custom)?)
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<u64, D::Error> {
        milliseconds(&String::deserialize(from)?).map_err(custom::<D, String>)
    }
}

/// A SHA-256, in hex of lower case.
pub(crate) mod hash {
    use data_encoding::HEXLOWER;

    use super::{Deserialize, Deserializer, Serializer, custom};

    pub(crate) fn serialize<S: Serializer>(hash: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(hash))
    }

    pub(crate) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<[u8; 32], D::Error> {
        let bytes = HEXLOWER.decode(String::deserialize(from)?.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| custom::<D, _>("not 64 hexadecimal digits of lower case"))
    }
}

/// Bytes of a known number, in base64url.
pub(crate) mod bytes {
    use super::{Deserialize, Deserializer, Serializer, custom};
    use crate::crypto::{base64url, from_base64url};

    pub(crate) fn serialize<const N: usize, S: Serializer>(bytes: &[u8; N], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&base64url(bytes))
    }

    pub(crate) fn deserialize<'d, const N: usize, D: Deserializer<'d>>(from: D) -> Result<[u8; N], D::Error> {
        let bytes = from_base64url(String::deserialize(from)?.as_bytes()).ok();
        bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| custom::<D, _>("not as many bytes of base64url as it takes"))
    }
}

fn custom<'d, D: Deserializer<'d>, E: Display>(error: E) -> D::Error {
    D::Error::custom(error)
}
