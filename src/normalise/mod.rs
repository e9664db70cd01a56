//! One spelling for equal values: text, e-mail addresses, telephone numbers, digits, dates, and chains of small steps. Pure.
//!
//! A search index (`field::index`) finds what is equal, so every spelling of one value must come out as one text before it is keyed, and
//! two values must not. [`Normaliser`] is a chain of [`Step`]s; its [`Normaliser::id`] goes into the key, so that terms of another
//! chain never match. `config` makes them; `field` applies them to what is written, searched and found.
//!
//! Always holds: what comes out is the same for what a Unicode text may be written as (composed or not, wide, with digits of another script,
//! with characters that are not seen); a second pass changes nothing ([`Step::Text`] to [`Step::Date`]); errors never hold the value. What a
//! named step does is fixed: another behaviour is another number in its id. `docs/search.md` has the table.

mod date;
mod digits;
mod email;
mod phone;
mod text;

use std::fmt;
use std::str::FromStr;

pub use phone::Region;

/// Longest normalised value, in bytes: what is longer is no value that anybody types in.
pub const MAX_NORMALISED_BYTES: usize = 1_024;
/// Longest value that is looked at, in bytes: folding what is longer would cost more than it could find.
pub const MAX_INPUT_BYTES: usize = 16 << 10;
/// Most steps of a chain.
pub const MAX_STEPS: usize = 16;
/// Most characters that `prefix` and `suffix` may leave, or `strip` may take away.
const MAX_CHARACTERS: usize = 64;

/// One step of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `text`: compatibility forms, case, digits and white space made alike.
    Text,
    /// `email`: an address, in the same letters.
    Email,
    /// `phone` or `phone:HK`: E.164; numbers without country code are of this region.
    Phone(Option<Region>),
    /// `digits`: decimal digits of every script as ASCII; separators go, letters are refused.
    Digits,
    /// `date`: `YYYY-MM-DD`.
    Date,
    /// `nfc`: Unicode normalization form C.
    Nfc,
    /// `nfkc`: Unicode normalization form KC.
    Nfkc,
    /// `casefold`: full case folding.
    Casefold,
    /// `trim`: no white space at the ends.
    Trim,
    /// `collapse`: runs of white space become one space.
    Collapse,
    /// `strip:-. `: these characters go.
    Strip(String),
    /// `prefix:8`: the first characters only.
    Prefix(usize),
    /// `suffix:4`: the last characters only.
    Suffix(usize),
}

/// A chain of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normaliser {
    steps: Vec<Step>,
    id: String,
}

/// Why a value has no normalised form, and so no term. Never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoForm {
    /// Nothing is left of it.
    #[error("nothing is left of it when it is normalised")]
    Empty,
    /// Longer than [`MAX_INPUT_BYTES`], or normalised than [`MAX_NORMALISED_BYTES`].
    #[error("it is longer than {MAX_INPUT_BYTES} bytes, or than {MAX_NORMALISED_BYTES} when it is normalised")]
    TooLong,
    /// A control character.
    #[error("it holds a control character")]
    Control,
    /// No e-mail address.
    #[error("it is not one e-mail address, as name@example.org")]
    Email,
    /// No telephone number.
    #[error("it is not a telephone number, or one without country code where the field has no region")]
    Phone,
    /// Something else than digits and separators.
    #[error("it holds something else than digits and separators")]
    Digits,
    /// No date, or one that can be read in two ways.
    #[error("it is not a date in one of the spellings that can be read in one way, such as 1990-02-28")]
    Date,
    /// `true`, an object and the like.
    #[error("it is neither text nor an integer")]
    Type,
}

/// Why a step cannot be read. `Display` says what may stand there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseStepError {
    /// No such step.
    #[error(
        "it is none of the steps text, email, phone, phone:REGION, digits, date, nfc, nfkc, casefold, trim, collapse, strip:CHARACTERS, prefix:N and suffix:N"
    )]
    Unknown,
    /// Not a region of two letters.
    #[error("the region of a telephone number is a code of two letters (ISO 3166-1), such as phone:HK")]
    Region,
    /// A number out of range.
    #[error("prefix and suffix take a number of characters, 1 to {MAX_CHARACTERS}")]
    Count,
    /// Nothing to strip, or too much.
    #[error("strip takes 1 to {MAX_CHARACTERS} characters, such as strip:-./")]
    Strip,
    /// An empty or endless chain.
    #[error("a chain has 1 to {MAX_STEPS} steps")]
    Length,
}

impl Normaliser {
    /// Loads what its steps need (the numbering plans of all countries), so that no request waits for it.
    pub fn warm_up(&self) {
        if self.steps.iter().any(|step| matches!(step, Step::Phone(_))) {
            drop(phone::e164("+12025550123", None));
        }
    }

    /// A chain of these steps.
    ///
    /// # Errors
    ///
    /// [`ParseStepError::Length`].
    pub fn new(steps: Vec<Step>) -> Result<Self, ParseStepError> {
        if steps.is_empty() || steps.len() > MAX_STEPS {
            return Err(ParseStepError::Length);
        }
        let id = steps.iter().map(Step::id).collect::<Vec<_>>().join(",");
        Ok(Self { steps, id })
    }

    /// What names the chain and its version: part of the key of every term (`docs/format.md`).
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The one spelling of a value.
    ///
    /// # Errors
    ///
    /// [`NoForm`]: it is not what the chain is for, or nothing is left of it.
    pub fn apply(&self, value: &str) -> Result<String, NoForm> {
        if value.len() > MAX_INPUT_BYTES {
            return Err(NoForm::TooLong);
        }
        let mut value = text::visible(value)?;
        for step in &self.steps {
            value = step.apply(&value)?;
        }
        match value.len() {
            0 => Err(NoForm::Empty),
            1..=MAX_NORMALISED_BYTES => Ok(value),
            _ => Err(NoForm::TooLong),
        }
    }
}

impl Step {
    fn apply(&self, value: &str) -> Result<String, NoForm> {
        Ok(match self {
            Self::Text => text::text(value),
            Self::Email => email::email(value)?,
            Self::Phone(region) => phone::e164(value, *region)?,
            Self::Digits => digits::only_digits(value)?,
            Self::Date => date::iso(value)?,
            Self::Nfc => text::nfc(value),
            Self::Nfkc => text::nfkc(value),
            Self::Casefold => text::casefold(value),
            Self::Trim => value.trim().to_owned(),
            Self::Collapse => text::collapse(value),
            Self::Strip(characters) => value.chars().filter(|c| !characters.contains(*c)).collect(),
            Self::Prefix(count) => value.chars().take(*count).collect(),
            Self::Suffix(count) => {
                let skipped = value.chars().count().saturating_sub(*count);
                value.chars().skip(skipped).collect()
            }
        })
    }

    /// The name with its version. Lengths before texts of the configuration keep chains apart.
    fn id(&self) -> String {
        match self {
            Self::Text => "text/1".to_owned(),
            Self::Email => "email/1".to_owned(),
            Self::Phone(None) => "phone/1".to_owned(),
            Self::Phone(Some(region)) => format!("phone/1:{region}"),
            Self::Digits => "digits/1".to_owned(),
            Self::Date => "date/1".to_owned(),
            Self::Nfc => "nfc/1".to_owned(),
            Self::Nfkc => "nfkc/1".to_owned(),
            Self::Casefold => "casefold/1".to_owned(),
            Self::Trim => "trim/1".to_owned(),
            Self::Collapse => "collapse/1".to_owned(),
            Self::Strip(characters) => format!("strip/1:{}:{characters}", characters.len()),
            Self::Prefix(count) => format!("prefix/1:{count}"),
            Self::Suffix(count) => format!("suffix/1:{count}"),
        }
    }
}

impl FromStr for Step {
    type Err = ParseStepError;

    fn from_str(text: &str) -> Result<Self, ParseStepError> {
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let count = |rest: &str| rest.parse().ok().filter(|count| (1..=MAX_CHARACTERS).contains(count));
        match (name, rest) {
            ("text", None) => Ok(Self::Text),
            ("email", None) => Ok(Self::Email),
            ("phone", None) => Ok(Self::Phone(None)),
            ("phone", Some(region)) => region.parse().map(|region| Self::Phone(Some(region))),
            ("digits", None) => Ok(Self::Digits),
            ("date", None) => Ok(Self::Date),
            ("nfc", None) => Ok(Self::Nfc),
            ("nfkc", None) => Ok(Self::Nfkc),
            ("casefold", None) => Ok(Self::Casefold),
            ("trim", None) => Ok(Self::Trim),
            ("collapse", None) => Ok(Self::Collapse),
            ("strip", Some(characters)) if (1..=MAX_CHARACTERS).contains(&characters.chars().count()) => {
                Ok(Self::Strip(characters.to_owned()))
            }
            ("strip", _) => Err(ParseStepError::Strip),
            ("prefix", rest) => rest.and_then(count).map(Self::Prefix).ok_or(ParseStepError::Count),
            ("suffix", rest) => rest.and_then(count).map(Self::Suffix).ok_or(ParseStepError::Count),
            _ => Err(ParseStepError::Unknown),
        }
    }
}

impl fmt::Display for Normaliser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

#[cfg(test)]
mod tests;
