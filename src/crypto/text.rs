//! base64url without padding (RFC 4648, section 5) and lower-case Crockford base32, most significant bit first, zero tail bits.
//!
//! Always holds: one sequence of bytes has one spelling; every other spelling (padding, white space, upper case, tail bits that are not
//! zero, Crockford's `i`, `l`, `o`) is refused.

use base64_simd::URL_SAFE_NO_PAD;

/// The text is not the one canonical spelling of any bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not canonical base64url or base32")]
pub struct TextError;

const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Bytes as base64url text.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Appends bytes as base64url text, without an allocation of its own.
pub fn base64url_append(bytes: &[u8], out: &mut Vec<u8>) {
    URL_SAFE_NO_PAD.encode_append(bytes, out);
}

/// Bytes of base64url text.
///
/// # Errors
///
/// [`TextError`] for any but the canonical spelling.
pub fn from_base64url(text: &[u8]) -> Result<Vec<u8>, TextError> {
    let mut out = Vec::new();
    base64url_decode_into(text, &mut out)?;
    Ok(out)
}

/// Puts the bytes of base64url text into `out`, in place of what it held; its room is used again.
///
/// # Errors
///
/// [`TextError`] for any but the canonical spelling; `out` is then empty.
pub fn base64url_decode_into(text: &[u8], out: &mut Vec<u8>) -> Result<(), TextError> {
    out.clear();
    if URL_SAFE_NO_PAD.decode_append(text, out).is_err() {
        out.clear();
        return Err(TextError);
    }
    Ok(())
}

/// Bytes as lower-case Crockford base32: 8 characters for 5 bytes, 26 for 16.
pub fn base32_crockford(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut bits, mut count) = (0_u16, 0_u32);
    let mut push = |digit: u16| out.extend(CROCKFORD.get(usize::from(digit & 31)).map(|c| char::from(*c)));
    for byte in bytes {
        bits = (bits << 8) | u16::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            push(bits >> count);
        }
    }
    if count > 0 {
        push(bits << (5 - count));
    }
    out
}

/// Bytes of lower-case Crockford base32.
///
/// # Errors
///
/// [`TextError`] for any but the canonical spelling.
pub fn from_base32_crockford(text: &[u8]) -> Result<Vec<u8>, TextError> {
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut bits, mut count) = (0_u16, 0_u32);
    for character in text {
        let digit = CROCKFORD.iter().position(|c| c == character).ok_or(TextError)?;
        bits = (bits << 5) | u16::try_from(digit).map_err(|_above_31| TextError)?;
        count += 5;
        if count >= 8 {
            count -= 8;
            out.extend(u8::try_from((bits >> count) & 0xff));
        }
    }
    // A whole unused character, or tail bits that are not zero, would be a second spelling.
    let tail = bits & ((1 << count) - 1);
    if count >= 5 || tail != 0 { Err(TextError) } else { Ok(out) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base64url_refuses_what_is_not_canonical() {
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        assert_eq!(from_base64url(b"-_8").unwrap(), [0xfb, 0xff]);
        // Long enough for the vectors, with one wrong character at every place of each.
        let long: Vec<u8> = (0..=255).collect();
        let text = base64url(&long);
        assert_eq!(from_base64url(text.as_bytes()).unwrap(), long);
        for at in 0..text.len() {
            for wrong in *b"+/=. \n\x00\xff" {
                let mut text = text.clone().into_bytes();
                text[at] = wrong;
                assert_eq!(from_base64url(&text), Err(TextError), "{wrong} at {at}");
            }
        }
        for wrong in ["-_9", "-_8=", "+/8", "-_8 ", " -_8", "-\n_8", "-_8-_", "A", "é"] {
            assert_eq!(from_base64url(wrong.as_bytes()), Err(TextError), "{wrong}");
        }
    }

    #[test]
    fn base32_is_crockford_most_significant_bit_first() {
        assert_eq!(base32_crockford(&[]), "");
        assert_eq!(base32_crockford(&[0xff]), "zw");
        assert_eq!(base32_crockford(&[0x08, 0, 0, 0, 0x01]), "10000001");
        assert_eq!(base32_crockford(&[0; 16]).len(), 26);
        assert_eq!(from_base32_crockford(b"zw").unwrap(), [0xff]);
        for wrong in ["zx", "ZW", "z", "zw0", "il", "o0", "u0", "zw=", "zw "] {
            assert_eq!(from_base32_crockford(wrong.as_bytes()), Err(TextError), "{wrong}");
        }
    }

    proptest! {
        /// One codec against another, also where they refuse.
        #[test]
        fn base64url_is_what_another_codec_says(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[0-9a-zA-Z_=+-]{0,90}", bit: prop::sample::Index) {
            use data_encoding::BASE64URL_NOPAD;
            prop_assert_eq!(base64url(&bytes), BASE64URL_NOPAD.encode(&bytes));
            prop_assert_eq!(from_base64url(text.as_bytes()).ok(), BASE64URL_NOPAD.decode(text.as_bytes()).ok());
            let mut changed = base64url(&bytes).into_bytes();
            if !changed.is_empty() {
                let bit = bit.index(changed.len() * 8);
                changed[bit / 8] ^= 1 << (bit % 8);
                prop_assert_eq!(from_base64url(&changed).ok(), BASE64URL_NOPAD.decode(&changed).ok());
            }
        }

        #[test]
        fn both_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(from_base64url(base64url(&bytes).as_bytes()).unwrap(), bytes.clone());
            prop_assert_eq!(from_base32_crockford(base32_crockford(&bytes).as_bytes()).unwrap(), bytes.clone());
            let mut out = b"before".to_vec();
            base64url_append(&bytes, &mut out);
            prop_assert_eq!(out, format!("before{}", base64url(&bytes)).into_bytes());
        }

        /// What is accepted is spelled exactly as it would be written.
        #[test]
        fn there_is_one_spelling(text in "[0-9a-zA-Z_=-]{0,12}") {
            if let Ok(bytes) = from_base64url(text.as_bytes()) {
                prop_assert_eq!(base64url(&bytes), text.clone());
            }
            if let Ok(bytes) = from_base32_crockford(text.as_bytes()) {
                prop_assert_eq!(base32_crockford(&bytes), text);
            }
        }
    }
}
