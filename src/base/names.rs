//! Names and ids. Cheap to clone, never confused with one another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::limits::MAX_ID_BYTES;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as written in the configuration.
            pub fn new(name: &str) -> Self {
                Self(Arc::from(name))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// The organisation whose data it is (GDPR 4(7)); the tenant.
    Controller,
    /// Logical name of a collection. Stable for ever: it is bound into what is stored.
    CollectionName,
    /// Logical name of a field. Stable for ever: it is bound into what is stored.
    FieldName,
    /// A data category of the policy.
    CategoryName,
    /// A purpose of the policy.
    PurposeName,
    /// Who asks: a service or person, authenticated.
    CallerName,
    /// Our name for somebody who signs tokens.
    IssuerName,
    /// A key ring of the configuration: that of `[keys]`, or of a group of fields (`[keys.NAME]`). Bound into every wrapped secret.
    RingName,
}

impl RingName {
    /// The name of the ring of `[keys]`, which every node holds and every field uses that names no other.
    pub const MAIN: &'static str = "main";

    /// That ring.
    pub fn main() -> Self {
        Self::new(Self::MAIN)
    }

    /// Is it that one?
    pub fn is_main(&self) -> bool {
        self.as_str() == Self::MAIN
    }
}

/// Where a value stands in a document, as it may be shown in metrics and in the audit log: `$.note`, `$.contacts[*].?`. What a client chose
/// and is no short plain word stands as `?`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShownPath(Arc<str>);

/// Longest path that is shown, in bytes.
const MAX_SHOWN: usize = 200;

impl ShownPath {
    /// The path with every other character than letters, digits and those of a path's own as `?`, cut where it is too long.
    pub fn new(path: &str) -> Self {
        let fits = |c: char| c.is_ascii_alphanumeric() || "$.[]*_-?".contains(c);
        let shown: String = path.chars().take(MAX_SHOWN).map(|c| if fits(c) { c } else { '?' }).collect();
        Self(shown.into())
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The alphabet of key ids: Crockford's base32 in lower case.
const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Id of one key version: 8 characters of lower-case Crockford base32, random, never reused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kid([u8; 8]);

/// The text is not a key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key id is 8 characters of lower-case Crockford base32")]
pub struct ParseKidError;

impl Kid {
    /// The id for 5 random bytes, most significant bit first.
    pub fn from_random(random: [u8; 5]) -> Self {
        let mut bits = random.iter().fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
        let mut text = [b'0'; 8];
        for slot in text.iter_mut().rev() {
            let digit = usize::try_from(bits & 31).unwrap_or(0);
            *slot = CROCKFORD.get(digit).copied().unwrap_or(b'0');
            bits >>= 5;
        }
        Self(text)
    }

    /// Reads an id from its 8 bytes of text.
    pub fn from_text(text: &[u8]) -> Result<Self, ParseKidError> {
        let text: [u8; 8] = text.try_into().map_err(|_wrong_length| ParseKidError)?;
        if text.iter().all(|byte| CROCKFORD.contains(byte)) { Ok(Self(text)) } else { Err(ParseKidError) }
    }

    /// The 8 ASCII characters.
    pub fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Kid {
    type Err = ParseKidError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_text(text.as_bytes())
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Kid({self})")
    }
}

/// Id of an exception that was asked for: `ex_` and 26 characters of lower-case Crockford base32. No purpose has such a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExceptionId(Arc<str>);

/// The text is not the id of an exception.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of an exception is ex_ and 26 characters of lower-case Crockford base32, as `sudare exception list` prints it")]
pub struct ParseExceptionIdError;

impl ExceptionId {
    /// What every id begins with.
    pub const PREFIX: &'static str = "ex_";
    const CHARS: usize = 26;

    /// Is the text meant as an id, right or wrong?
    pub fn is_meant(text: &str) -> bool {
        text.starts_with(Self::PREFIX)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ExceptionId {
    type Err = ParseExceptionIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix(Self::PREFIX).ok_or(ParseExceptionIdError)?;
        let sound = digits.len() == Self::CHARS && digits.bytes().all(|byte| CROCKFORD.contains(&byte));
        if sound { Ok(Self(text.into())) } else { Err(ParseExceptionIdError) }
    }
}

impl fmt::Display for ExceptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Id of a document or data subject, as it is bound into values: the unescaped string, or the shortest text of a JSON
/// integer below 2^53. 1 to [`MAX_ID_BYTES`] bytes.
///
/// It may be personal (an e-mail address as a document id), so `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RecordId(Box<str>);

/// Why a value cannot be an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordIdError {
    /// Empty text names nobody.
    #[error("an id must not be empty")]
    Empty,
    /// Over [`MAX_ID_BYTES`].
    #[error("an id may have at most {MAX_ID_BYTES} bytes")]
    TooLong,
    /// A number that databases may rewrite (`1e2`, `1.0`, -0, 2^53 and above), or a value of another type (T36).
    #[error("an id must be a string or an integer below 2^53 without fraction or exponent")]
    NotCanonical,
}

impl RecordId {
    /// The id for an unescaped string.
    pub fn from_text(text: &str) -> Result<Self, RecordIdError> {
        match text.len() {
            0 => Err(RecordIdError::Empty),
            1..=MAX_ID_BYTES => Ok(Self(text.into())),
            _ => Err(RecordIdError::TooLong),
        }
    }

    /// The id for the text of a JSON number. Only its shortest form below 2^53 is accepted.
    pub fn from_number(text: &str) -> Result<Self, RecordIdError> {
        if is_canonical_integer(text) { Self::from_text(text) } else { Err(RecordIdError::NotCanonical) }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// True for the shortest text of an integer below 2^53 in magnitude: every JSON library reads it as the same number, and there is no other
/// spelling of it that passes.
pub fn is_canonical_integer(text: &str) -> bool {
    text.parse::<i64>().is_ok_and(|value| value.unsigned_abs() < (1 << 53) && value.to_string() == text)
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kid_is_crockford_most_significant_bit_first() {
        assert_eq!(Kid::from_random([0; 5]).as_str(), "00000000");
        assert_eq!(Kid::from_random([0xff; 5]).as_str(), "zzzzzzzz");
        assert_eq!(Kid::from_random([0x08, 0, 0, 0, 0x01]).as_str(), "10000001");
        assert_eq!("7k3m9qpa".parse::<Kid>().unwrap().as_str(), "7k3m9qpa");
        for wrong in ["7K3M9QPA", "7k3m9qp", "7k3m9qpaa", "7k3m9qpi", "7k3m9qpu", ""] {
            assert_eq!(wrong.parse::<Kid>(), Err(ParseKidError), "{wrong}");
        }
    }

    #[test]
    fn the_id_of_an_exception_has_one_spelling() {
        let id = "ex_01234567890abcdefghjkmnpqr";
        assert_eq!(id.parse::<ExceptionId>().unwrap().to_string(), id);
        for wrong in [
            "",
            "ex_",
            "delivery",
            "ex_01234567890abcdefghjkmnpq",
            "ex_01234567890abcdefghjkmnpqrs",
            "ex_01234567890abcdefghjkmnpqi",
            "EX_01234567890abcdefghjkmnpqr",
        ] {
            assert_eq!(wrong.parse::<ExceptionId>(), Err(ParseExceptionIdError), "{wrong}");
        }
        assert!(ExceptionId::is_meant("ex_") && !ExceptionId::is_meant("extra") && !ExceptionId::is_meant("dpv:ex_"));
    }

    #[test]
    fn t36_ids_are_strings_or_canonical_integers() {
        assert_eq!(RecordId::from_number("17").unwrap().as_str(), "17");
        assert_eq!(RecordId::from_number("-3").unwrap().as_str(), "-3");
        assert_eq!(RecordId::from_number("9007199254740991").unwrap().as_str(), "9007199254740991");
        for wrong in ["1e2", "1.0", "-0", "017", "9007199254740992", "99999999999999999999", "+1", ""] {
            assert_eq!(RecordId::from_number(wrong), Err(RecordIdError::NotCanonical), "{wrong}");
        }
        assert_eq!(RecordId::from_text(""), Err(RecordIdError::Empty));
        assert_eq!(RecordId::from_text(&"x".repeat(513)), Err(RecordIdError::TooLong));
    }
}
