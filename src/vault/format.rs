//! What tokens look like: which values a format takes, how a token is drawn, and what is one at sight.
//!
//! Always holds: a token is drawn from the operating system's randomness alone, but for the shape that `digits` keeps; it is never a valid
//! real value of its kind. Ranges and rules: `docs/format.md`.

use super::shape;
use crate::crypto::{RandomError, base32_crockford, fill_random, from_base32_crockford};

/// What every opaque token begins with. A text that begins so is a token or is refused, never a value.
const OPAQUE: &str = "tok1_";
/// The domain of e-mail tokens: reserved so that it never resolves (RFC 6761, section 6.4).
const DOMAIN: &str = "token.invalid";
/// Longest text that a shaped token is made for, in bytes.
const MAX_SHAPED_BYTES: usize = 320;
/// Draws of digits in search of one that is no valid number. Nearly every draw is one.
const DRAWS: u32 = 64;

/// How the tokens of a field look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// `tok1_` and 26 characters: 128 random bits, for any value.
    Opaque,
    /// The value's own shape: digits in place of digits, everything else where it was.
    Digits,
    /// An address at a domain that is nobody's.
    Email,
    /// A UUID of version 8.
    Uuid,
}

/// Why a format has no token for a value. Names no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// Not a JSON string.
    #[error("tokens of this format stand for text only")]
    Type,
    /// Not ASCII, or characters that no number has.
    #[error(
        "it holds other characters than ASCII digits, letters, space and + - . / ( ) #, as Unicode's other digits, which would not be replaced"
    )]
    Characters,
    /// Too few digits.
    #[error("it has fewer than {} digits, so there are too few tokens of its shape", shape::MIN_DIGITS)]
    Few,
    /// Longer than a shaped value may be.
    #[error("it is longer than a text of this format may be")]
    Long,
    /// Not an e-mail address.
    #[error("it is not an e-mail address")]
    Email,
    /// Not a UUID.
    #[error("it is not a UUID in its usual form of 36 characters")]
    Uuid,
}

impl Format {
    /// All, by the word of the configuration.
    pub const WORDS: [(&'static str, Self); 4] =
        [("opaque", Self::Opaque), ("digits", Self::Digits), ("email", Self::Email), ("uuid", Self::Uuid)];

    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::Digits => "digits",
            Self::Email => "email",
            Self::Uuid => "uuid",
        }
    }

    /// Has it a token for this text?
    ///
    /// # Errors
    ///
    /// [`Misfit`].
    pub fn check(self, text: &str) -> Result<(), Misfit> {
        match self {
            Self::Opaque => Ok(()),
            _ if text.is_empty() => Err(Misfit::Type),
            _ if text.len() > MAX_SHAPED_BYTES => Err(Misfit::Long),
            Self::Digits => shape::check(text),
            Self::Email => {
                if is_email(text) {
                    Ok(())
                } else {
                    Err(Misfit::Email)
                }
            }
            Self::Uuid => {
                if is_uuid(text) {
                    Ok(())
                } else {
                    Err(Misfit::Uuid)
                }
            }
        }
    }

    /// Is a text a token of this format at sight? None where only the vault can tell.
    pub fn is_token(self, text: &str) -> Option<bool> {
        match self {
            Self::Opaque => Some(
                text.strip_prefix(OPAQUE)
                    .is_some_and(|random| random.len() == 26 && from_base32_crockford(random.as_bytes()).is_ok()),
            ),
            Self::Digits => None,
            Self::Email => Some(text.rsplit_once('@').is_some_and(|(local, domain)| domain == DOMAIN && local.len() == 26)),
            Self::Uuid => Some(is_uuid(text) && is_version_8(text)),
        }
    }

    /// Is a text kept for tokens, so that it is never taken for a value? False where only the vault can tell.
    pub fn is_reserved(self, text: &str) -> bool {
        match self {
            Self::Opaque => text.starts_with(OPAQUE),
            Self::Digits => false,
            Self::Email => {
                text.rsplit_once('@').is_some_and(|(_, domain)| domain.trim_end_matches('.').eq_ignore_ascii_case(DOMAIN))
            }
            Self::Uuid => is_uuid(text) && is_version_8(text),
        }
    }

    /// A token for a text that [`Self::check`] took; None if no draw gave one.
    pub(super) fn draw(self, text: &str, dice: &mut Dice) -> Result<Option<String>, RandomError> {
        Ok(match self {
            Self::Opaque => Some(format!("{OPAQUE}{}", base32_crockford(&dice.bytes::<16>()?))),
            Self::Email => Some(format!("{}@{DOMAIN}", base32_crockford(&dice.bytes::<16>()?))),
            Self::Uuid => Some(version_8(u128::from_be_bytes(dice.bytes()?))),
            Self::Digits => {
                for _ in 0..DRAWS {
                    let token = shape::draw(text, dice)?;
                    if token != text && !shape::is_valid_number(&token) {
                        return Ok(Some(token));
                    }
                }
                None
            }
        })
    }
}

/// One `@` that parts two texts without white space; what else an address may be is for whoever sends to it.
fn is_email(text: &str) -> bool {
    text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(
            |(at, byte)| {
                if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() }
            },
        )
}

/// RFC 9562, sections 4.1 and 4.2: version 8, variant 0b10.
fn is_version_8(uuid: &str) -> bool {
    uuid.as_bytes().get(14) == Some(&b'8') && uuid.as_bytes().get(19).is_some_and(|byte| b"89abAB".contains(byte))
}

/// A UUID of version 8 (RFC 9562, section 5.8) with 122 random bits.
fn version_8(random: u128) -> String {
    let bits = random & !(0xf << 76) & !(0b11 << 62) | (0x8 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)].join("-")
}

/// Randomness for one call, straight from the operating system, a few hundred bytes at a time. It goes with the call (T18).
#[derive(Default)]
pub(super) struct Dice {
    rest: Vec<u8>,
}

impl Dice {
    const DRAW: usize = 512;

    /// The next bytes.
    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], RandomError> {
        if self.rest.len() < N {
            self.rest.resize(Self::DRAW.max(N), 0);
            fill_random(&mut self.rest)?;
        }
        let bytes = self.rest.last_chunk().copied().unwrap_or([0; N]);
        self.rest.truncate(self.rest.len() - N);
        Ok(bytes)
    }

    /// A digit, each as likely as every other one.
    pub(super) fn digit(&mut self) -> Result<u8, RandomError> {
        loop {
            let [byte] = self.bytes()?;
            if byte < 250 {
                return Ok(byte % 10);
            }
        }
    }
}

impl std::fmt::Debug for Dice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dice(..)")
    }
}
