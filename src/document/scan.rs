//! The tokens of JSON: strings, numbers, words. Each function reads one token that may not be all there yet.
//!
//! A function gives the offset after the token, or None when the bytes end inside it. Then [`Resume`] remembers how far it came, so that a
//! token that arrives in many pieces is looked at once, not once a piece. Accepts what serde_json accepts as a `Value`. Strings are searched sixteen
//! bytes at a time (docs/decisions/0036).

use wide::u8x16;

/// How far an unfinished string or number was read. The default is "not begun".
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Resume {
    /// Next byte to look at; 0 when the token is not begun.
    at: usize,
    escaped: bool,
    /// A byte of 0x80 or more was seen, so the string must be checked to be UTF-8.
    wide: bool,
    phase: Phase,
}

impl Resume {
    /// True if the string that was just read has a backslash in it.
    pub(super) fn escaped(self) -> bool {
        self.escaped
    }

    /// The first `count` bytes of the buffer go away.
    pub(super) fn shift(&mut self, count: usize) {
        self.at = self.at.saturating_sub(count);
    }
}

/// Why a token is refused; offsets into the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Syntax { at: usize, expected: &'static str },
    Utf8 { at: usize },
    Surrogate { at: usize },
    NumberRange { at: usize },
}

/// Bytes that are looked at together.
const BLOCK: usize = 16;

/// One bit for each byte of a block, the first one lowest: which are a quote, a backslash or a control character, and which are 0x80 or more.
#[inline(always)]
#[expect(clippy::inline_always, reason = "once a block; measured, a call costs more than the block")]
fn marks(block: &[u8; BLOCK]) -> (u32, u32) {
    let bytes = u8x16::new(*block);
    let stops =
        bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\')) | bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
    (stops.to_bitmask(), bytes.to_bitmask())
}

/// The first quote, backslash or control character at or after `at`, or the end. `wide` becomes true if a byte of 0x80 or more is passed over.
#[inline(always)]
#[expect(clippy::inline_always, reason = "once a token; measured, a call costs a tenth of the walk")]
fn plain_until(buf: &[u8], mut at: usize, wide: &mut bool) -> usize {
    while let Some(block) = buf.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        let (stops, high) = marks(block);
        if stops != 0 {
            // All bits below the first stop.
            *wide |= high & (stops & stops.wrapping_neg()).wrapping_sub(1) != 0;
            return at + usize::try_from(stops.trailing_zeros()).unwrap_or(0);
        }
        *wide |= high != 0;
        at += BLOCK;
    }
    while let Some(byte) = buf.get(at) {
        if *byte < 0x20 || *byte == b'"' || *byte == b'\\' {
            break;
        }
        *wide |= *byte >= 0x80;
        at += 1;
    }
    at
}

/// Reads the string whose opening quote stands at `quote`.
#[inline(always)]
#[expect(clippy::inline_always, reason = "once a token; measured, a call costs a tenth of the walk")]
pub(super) fn string(buf: &[u8], quote: usize, resume: &mut Resume) -> Result<Option<usize>, Fault> {
    if resume.at == 0 {
        let mut wide = false;
        let at = plain_until(buf, quote + 1, &mut wide);
        if !wide && buf.get(at) == Some(&b'"') {
            resume.escaped = false;
            return Ok(Some(at + 1));
        }
        *resume = Resume { at, escaped: false, wide, phase: Phase::Start };
    }
    rest_of_string(buf, quote, resume)
}

#[inline(never)]
fn rest_of_string(buf: &[u8], quote: usize, resume: &mut Resume) -> Result<Option<usize>, Fault> {
    loop {
        let at = plain_until(buf, resume.at, &mut resume.wide);
        resume.at = at;
        match buf.get(at) {
            None => return Ok(None),
            Some(b'"') => {
                let wide = std::mem::take(&mut resume.wide);
                resume.at = 0;
                if wide && buf.get(quote + 1..at).is_none_or(|inner| std::str::from_utf8(inner).is_err()) {
                    return Err(Fault::Utf8 { at: quote });
                }
                return Ok(Some(at + 1));
            }
            Some(b'\\') => {
                resume.escaped = true;
                match escape(buf, at)? {
                    Some(next) => resume.at = next,
                    None => return Ok(None),
                }
            }
            Some(_) => return Err(Fault::Syntax { at, expected: "an escape in place of the control character" }),
        }
    }
}

/// Reads the escape whose backslash stands at `at`; a pair of surrogates is one escape.
fn escape(buf: &[u8], at: usize) -> Result<Option<usize>, Fault> {
    match buf.get(at + 1) {
        None => return Ok(None),
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => return Ok(Some(at + 2)),
        Some(b'u') => {}
        Some(_) => return Err(Fault::Syntax { at, expected: "one of JSON's escapes" }),
    }
    let Some(first) = code_unit(buf, at + 2)? else {
        return Ok(None);
    };
    match first {
        0xd800..=0xdbff => {}
        0xdc00..=0xdfff => return Err(Fault::Surrogate { at }),
        _ => return Ok(Some(at + 6)),
    }
    for (offset, wanted) in [(6, b'\\'), (7, b'u')] {
        match buf.get(at + offset) {
            None => return Ok(None),
            Some(byte) if *byte == wanted => {}
            Some(_) => return Err(Fault::Surrogate { at }),
        }
    }
    match code_unit(buf, at + 8)? {
        None => Ok(None),
        Some(0xdc00..=0xdfff) => Ok(Some(at + 12)),
        Some(_) => Err(Fault::Surrogate { at }),
    }
}

/// Four hexadecimal digits.
fn code_unit(buf: &[u8], from: usize) -> Result<Option<u32>, Fault> {
    let mut unit = 0;
    for at in from..from + 4 {
        let Some(byte) = buf.get(at) else {
            return Ok(None);
        };
        let digit = char::from(*byte).to_digit(16).ok_or(Fault::Syntax { at, expected: "four hexadecimal digits" })?;
        unit = unit << 4 | digit;
    }
    Ok(Some(unit))
}

/// What of a number was read last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Start,
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

/// Longest number text that stays below 1e308 whatever its digits are, given at most two digits of exponent.
const SURELY_FINITE_BYTES: usize = 200;

/// Reads the number that starts at `start`. A number ends where the next token starts, or where the input ends (`ended`).
#[inline]
pub(super) fn number(buf: &[u8], start: usize, ended: bool, resume: &mut Resume) -> Result<Option<usize>, Fault> {
    if resume.at == 0 && matches!(buf.get(start), Some(b'1'..=b'9')) {
        // Most numbers are positive, without exponent, and all there.
        let mut at = digits_until(buf, start + 1);
        if buf.get(at) == Some(&b'.') && buf.get(at + 1).is_some_and(u8::is_ascii_digit) {
            at = digits_until(buf, at + 2);
        }
        if at - start <= SURELY_FINITE_BYTES && !matches!(buf.get(at), None | Some(b'.' | b'e' | b'E')) {
            return Ok(Some(at));
        }
    }
    any_number(buf, start, ended, resume)
}

#[inline(never)]
fn any_number(buf: &[u8], start: usize, ended: bool, resume: &mut Resume) -> Result<Option<usize>, Fault> {
    let (mut at, mut phase) = if resume.at == 0 { (start, Phase::Start) } else { (resume.at, resume.phase) };
    loop {
        let Some(byte) = buf.get(at) else {
            let complete = matches!(phase, Phase::Zero | Phase::Integer | Phase::Fraction | Phase::ExponentDigits);
            if ended && complete {
                break;
            }
            *resume = Resume { at, phase, ..Resume::default() };
            return Ok(None);
        };
        phase = match (phase, byte) {
            (Phase::Start, b'-') => Phase::Minus,
            (Phase::Start | Phase::Minus, b'0') => Phase::Zero,
            (Phase::Start | Phase::Minus, b'1'..=b'9') | (Phase::Integer, b'0'..=b'9') => {
                at = digits_until(buf, at + 1);
                phase = Phase::Integer;
                continue;
            }
            (Phase::Zero | Phase::Integer, b'.') => Phase::Point,
            (Phase::Zero | Phase::Integer | Phase::Fraction, b'e' | b'E') => Phase::Exponent,
            (Phase::Point | Phase::Fraction, b'0'..=b'9') => {
                at = digits_until(buf, at + 1);
                phase = Phase::Fraction;
                continue;
            }
            (Phase::Exponent, b'+' | b'-') => Phase::ExponentSign,
            (Phase::Exponent | Phase::ExponentSign | Phase::ExponentDigits, b'0'..=b'9') => {
                at = digits_until(buf, at + 1);
                phase = Phase::ExponentDigits;
                continue;
            }
            (Phase::Zero, b'0'..=b'9') => return Err(Fault::Syntax { at, expected: "no digit after a leading zero" }),
            (Phase::Zero | Phase::Integer | Phase::Fraction | Phase::ExponentDigits, _) => break,
            (Phase::Start | Phase::Minus | Phase::Point | Phase::Exponent | Phase::ExponentSign, _) => {
                return Err(Fault::Syntax { at, expected: "a digit" });
            }
        };
        at += 1;
    }
    resume.at = 0;
    if (phase == Phase::ExponentDigits || at - start > SURELY_FINITE_BYTES) && !finite(buf.get(start..at).unwrap_or_default()) {
        return Err(Fault::NumberRange { at: start });
    }
    Ok(Some(at))
}

#[inline]
fn digits_until(buf: &[u8], mut at: usize) -> usize {
    while buf.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    at
}

/// True if serde_json reads the number, which is well formed, as a finite double. Where exactly the border runs depends on how it rounds,
/// so near the border it decides itself.
#[cold]
fn finite(text: &[u8]) -> bool {
    let exponent = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    (text.len() <= SURELY_FINITE_BYTES && exponent <= 2) || serde_json::from_slice::<f64>(text).is_ok()
}

/// Reads `word` (`true`, `false` or `null`) at `at`.
#[inline]
pub(super) fn word(buf: &[u8], at: usize, word: &'static str) -> Result<Option<usize>, Fault> {
    let have = buf.get(at..).unwrap_or_default();
    if have.starts_with(word.as_bytes()) {
        return Ok(Some(at + word.len()));
    }
    match have.iter().zip(word.bytes()).position(|(a, b)| *a != b) {
        Some(wrong) => Err(Fault::Syntax { at: at + wrong, expected: "true, false or null" }),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_of_plain_bytes_end_where_they_end(block in any::<[u8; 24]>(), near in prop::collection::vec((0usize..24, prop::sample::select(&b"\"\\!#[]\x1f \x00\x80\xa2\xdc\xff\x9f"[..])), 0..24)) {
            let mut block = block;
            for (at, byte) in &near {
                block[*at] = *byte;
            }
            let stop = |byte: u8| byte < 0x20 || byte == b'"' || byte == b'\\';
            let (mut wide, plain) = (false, block.iter().take_while(|byte| !stop(**byte)).count());
            prop_assert_eq!(plain_until(&block, 0, &mut wide), plain);
            prop_assert_eq!(wide, block[..plain].iter().any(|byte| *byte >= 0x80));
        }
    }
}
