//! Compressed bodies: bounded at every step, and one reading however they are cut.

use sudare::encoding::{Coding, DecodeError, Decoder, FREE_BYTES, Limits, Progress, STEP_BYTES, decode};

use super::LONGEST;

const LIMITS: Limits = Limits { bytes: 1 << 20, ratio: 100 };

/// Input: `g`, `b` or `z` for the coding, a byte for the size of the pieces, then the body.
pub fn encoding(input: &[u8]) {
    let [name, size, body @ ..] = input else { return };
    if body.len() > LONGEST {
        return;
    }
    let coding = match name {
        b'g' => Coding::Gzip,
        b'b' => Coding::Brotli,
        b'z' => Coding::Zstd,
        _ => return,
    };
    let whole = decode(coding, LIMITS, body);
    let pieces = in_pieces(coding, body, usize::from(*size).max(1));
    match (&whole, &pieces) {
        (Ok(whole), Ok(pieces)) => assert!(whole == pieces, "another text in pieces"),
        // Limits are compared after a step, and steps differ with the pieces; an error stays one.
        (Err(_), Err(_)) => {}
        // What came in pieces must keep the ratio all along.
        (Ok(_), Err(DecodeError::Ratio(_))) => {}
        _ => panic!("{whole:?} whole, {pieces:?} in pieces"),
    }
    if let Ok(text) = whole {
        assert!(text.len() <= LIMITS.bytes && text.len() <= body.len() * LIMITS.ratio + FREE_BYTES);
        if !body.is_empty() {
            let after = decode(coding, LIMITS, &[body, b"x"].concat());
            assert!(after == Err(DecodeError::Trailing(coding)), "bytes after the end");
            assert!(decode(coding, LIMITS, &body[..body.len() - 1]).is_err() || body.len() == 1, "cut short");
        }
    }
}

fn in_pieces(coding: Coding, body: &[u8], size: usize) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(coding, LIMITS)?;
    let mut text = Vec::new();
    for mut piece in body.chunks(size) {
        loop {
            let (left, before) = (piece.len(), text.len());
            let progress = decoder.step(&mut piece, &mut text)?;
            assert!(text.len() - before <= STEP_BYTES, "a step of {} bytes", text.len() - before);
            if progress == Progress::Hungry {
                break;
            }
            assert!(piece.len() < left || text.len() > before, "a step that leads nowhere");
        }
        assert!(piece.is_empty());
    }
    decoder.finish().map(|()| text)
}
