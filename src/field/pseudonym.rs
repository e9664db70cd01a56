//! The level `pseudonym`: a keyed stand-in for a value, stable inside one scope (a purpose or a recipient), unlinkable across scopes.
//!
//! `psn1_` and 26 characters of base32: the first 128 bits of HMAC-SHA-256(scope key, enc(field, canonical value)). Whoever has no key
//! cannot invert it; it is still personal data (EDPB Guidelines 01/2025). `reveal` calls it.

use unicode_normalization::UnicodeNormalization;

use crate::base::{FieldName, enc};
use crate::crypto::{MacKey, base32_crockford, from_base32_crockford};

const PREFIX: &str = "psn1_";
/// Bytes of the MAC that are shown.
const BYTES: usize = 16;

/// The pseudonym of a value in the scope of `key`.
///
/// `canonical` is the value's canonical text: see [`canonical_text`] for strings, the JSON text as stored for other types.
pub(crate) fn pseudonym(key: &MacKey, field: &FieldName, canonical: &str) -> String {
    let mac = key.mac(&enc(&[field.as_str().as_bytes(), canonical.as_bytes()]));
    let shown: Vec<u8> = mac.iter().copied().take(BYTES).collect();
    format!("{PREFIX}{}", base32_crockford(&shown))
}

/// A string's text in Unicode normalization form C (UAX #15), so that one name typed on two keyboards is one person.
pub(crate) fn canonical_text(text: &str) -> String {
    text.nfc().collect()
}

/// True if the whole text is spelled as a pseudonym. In a write it is one that was shown, never a value (T26).
pub(crate) fn is_pseudonym(text: &str) -> bool {
    text.strip_prefix(PREFIX).is_some_and(|digits| {
        digits.len() == 26 && from_base32_crockford(digits.as_bytes()).is_ok_and(|bytes| bytes.len() == BYTES)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;

    fn key(byte: u8) -> MacKey {
        MacKey::new(&Secret::from_bytes([byte; 32]))
    }

    #[test]
    fn is_stable_inside_a_scope_and_different_across() {
        let name = FieldName::new("name");
        let one = pseudonym(&key(1), &name, "Mei Tanaka");
        assert_eq!(one, pseudonym(&key(1), &name, "Mei Tanaka"));
        assert_ne!(one, pseudonym(&key(2), &name, "Mei Tanaka"));
        assert_ne!(one, pseudonym(&key(1), &FieldName::new("nick"), "Mei Tanaka"));
        assert_ne!(one, pseudonym(&key(1), &name, "Mei Tanak"));
        assert_eq!(one.len(), 31);
        assert!(is_pseudonym(&one));
    }

    /// Fixed for ever: published pseudonyms must not change with a release.
    #[test]
    fn golden() {
        // HMAC-SHA-256(01×32, 00000004 "name" 00000001 "x"), computed apart from this code.
        assert_eq!(pseudonym(&key(1), &FieldName::new("name"), "x"), "psn1_f3c7rh2m57dcjdb726pwe385x0");
    }

    #[test]
    fn canonical_text_is_nfc() {
        assert_eq!(canonical_text("e\u{301}"), "\u{e9}");
        assert_eq!(canonical_text("plain"), "plain");
    }

    #[test]
    fn look_alikes_are_no_pseudonyms() {
        let one = pseudonym(&key(1), &FieldName::new("name"), "x");
        let short = one.get(..30).unwrap();
        for wrong in [short, &one.to_uppercase(), &format!("{one}0"), &format!(" {one}"), "psn1_", ""] {
            assert!(!is_pseudonym(wrong), "{wrong}");
        }
        // Tail bits that are not zero: 26 characters carry 130 bits, of which 128 are used.
        assert!(!is_pseudonym(&format!("{short}z")));
    }
}
