use std::io::Write as _;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use super::*;

const ALL: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];
const WIDE: Limits = Limits { bytes: 16 << 20, ratio: 1_000_000 };

/// By the reference encoders, which the product does not have.
fn encode(coding: Coding, text: &[u8]) -> Vec<u8> {
    match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        Coding::Brotli => {
            let mut out = Vec::new();
            let params = brotli::enc::BrotliEncoderParams { quality: 5, ..Default::default() };
            brotli::BrotliCompress(&mut &text[..], &mut out, &params).unwrap();
            out
        }
        Coding::Zstd => {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// Decodes piece by piece, and checks that no step makes more than it may.
fn in_pieces<'p>(coding: Coding, limits: Limits, pieces: impl Iterator<Item = &'p [u8]>) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(coding, limits)?;
    let mut whole = Vec::new();
    for mut piece in pieces {
        loop {
            let mut out = Vec::new();
            let progress = decoder.step(&mut piece, &mut out)?;
            assert!(out.len() <= STEP_BYTES, "{coding}: {} bytes in a step", out.len());
            whole.extend_from_slice(&out);
            if progress == Progress::Hungry {
                break;
            }
        }
        assert!(piece.is_empty());
    }
    decoder.finish()?;
    Ok(whole)
}

fn text(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|line| format!("{{\"id\":\"c-{line}\",\"tier\":\"gold\"}},\n").into_bytes()).collect()
}

proptest! {
    #[test]
    fn what_was_encoded_comes_back_however_it_is_cut(
        seed in proptest::collection::vec(any::<u8>(), 0..2_000),
        repeat in 1_usize..40,
        sizes in proptest::collection::vec(1_usize..700, 1..8),
    ) {
        let text = seed.repeat(repeat);
        for coding in ALL {
            let coded = encode(coding, &text);
            let mut sizes = sizes.iter().cycle();
            let (mut rest, mut pieces) = (&coded[..], Vec::new());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                pieces.push(piece);
                rest = after;
            }
            prop_assert_eq!(&in_pieces(coding, WIDE, pieces.into_iter()).unwrap(), &text);
            prop_assert_eq!(decode(coding, WIDE, &coded).unwrap(), text.clone());
        }
    }

    #[test]
    fn any_bytes_are_an_answer_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1_usize..40) {
        for coding in ALL {
            let limits = Limits { bytes: 1 << 20, ratio: 100 };
            let whole = decode(coding, limits, &bytes);
            prop_assert_eq!(in_pieces(coding, limits, bytes.chunks(cut)).is_ok(), whole.is_ok());
        }
    }
}

#[test]
fn a_stream_that_is_cut_anywhere_is_an_error() {
    for coding in ALL {
        let coded = encode(coding, &text(40));
        for end in 1..coded.len() {
            let found = decode(coding, WIDE, &coded[..end]).unwrap_err();
            assert!(matches!(found, DecodeError::Truncated(_) | DecodeError::Malformed(_)), "{coding} {end}: {found}");
        }
        assert_eq!(decode(coding, WIDE, &coded).unwrap(), text(40));
        assert_eq!(decode(coding, WIDE, b"").unwrap(), b"", "nothing at all is an empty body");
    }
}

#[test]
fn nothing_may_follow_the_stream() {
    for coding in ALL {
        let coded = encode(coding, &text(4));
        for after in [&b"x"[..], b"\0", &coded] {
            let both = [&coded[..], after].concat();
            assert_eq!(decode(coding, WIDE, &both), Err(DecodeError::Trailing(coding)), "{coding}");
            let cut = in_pieces(coding, WIDE, [&coded[..], after].into_iter());
            assert_eq!(cut, Err(DecodeError::Trailing(coding)), "{coding}, in a piece of its own");
        }
    }
}

#[test]
fn a_changed_byte_is_an_error_where_there_is_a_checksum() {
    for coding in [Coding::Gzip, Coding::Zstd] {
        let coded = encode(coding, &text(40));
        // The last bytes are the checksum (gzip: and the length) themselves.
        for at in [coded.len() / 2, coded.len() - 4, coded.len() - 1] {
            let mut changed = coded.clone();
            changed[at] ^= 1;
            let found = decode(coding, WIDE, &changed).unwrap_err();
            assert!(matches!(found, DecodeError::Malformed(_) | DecodeError::Truncated(_)), "{coding} {at}: {found}");
        }
    }
}

#[test]
fn a_body_in_another_coding_than_it_says_is_an_error() {
    let plain = text(3);
    for coding in ALL {
        assert_eq!(decode(coding, WIDE, &plain), Err(DecodeError::Malformed(coding)));
        for other in ALL.into_iter().filter(|other| *other != coding) {
            let found = decode(coding, WIDE, &encode(other, &plain));
            assert!(found.is_err(), "{other} as {coding}");
        }
    }
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(&plain).unwrap();
    assert_eq!(decode(Coding::Gzip, WIDE, &zlib.finish().unwrap()), Err(DecodeError::Malformed(Coding::Gzip)));
}

#[test]
fn t24_bombs_are_stopped_while_they_are_decoded() {
    let bomb = vec![b' '; 32 << 20];
    for coding in ALL {
        let coded = encode(coding, &bomb);
        let limits = Limits { bytes: 1 << 20, ratio: 1_000_000 };
        assert_eq!(decode(coding, limits, &coded), Err(DecodeError::TooLarge(1 << 20)), "{coding}");
        let limits = Limits { bytes: usize::MAX, ratio: 100 };
        assert_eq!(decode(coding, limits, &coded), Err(DecodeError::Ratio(100)), "{coding}");
        let mut decoder = Decoder::new(coding, limits).unwrap();
        let (mut rest, mut out, mut most) = (&coded[..], Vec::new(), 0);
        while decoder.step(&mut rest, &mut out).is_ok() {
            most = out.len();
        }
        let came = coded.len() - rest.len();
        assert!(most <= came * 100 + FREE_BYTES, "{coding}: {most} of {came}");
    }
}

#[test]
fn what_is_small_may_repeat_itself() {
    let limits = Limits { bytes: 1 << 20, ratio: 2 };
    for coding in ALL {
        let text = vec![b'a'; FREE_BYTES];
        assert_eq!(decode(coding, limits, &encode(coding, &text)).unwrap(), text);
        let text = vec![b'a'; FREE_BYTES * 2];
        assert_eq!(decode(coding, limits, &encode(coding, &text)), Err(DecodeError::Ratio(2)), "{coding}");
    }
}

#[test]
fn t24_a_window_that_is_too_large_is_refused_before_it_is_there() {
    // Frame header: magic, descriptor without single segment, window descriptor (exponent << 3), one raw block of one byte.
    let frame = |exponent: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, exponent << 3][..], &[0x09, 0, 0, b'x']].concat();
    assert_eq!(decode(Coding::Zstd, WIDE, &frame(13)).unwrap(), b"x", "8 MiB");
    for exponent in [14, 20, 31] {
        assert_eq!(decode(Coding::Zstd, WIDE, &frame(exponent)), Err(DecodeError::Window), "2^{}", exponent + 10);
    }
    // Single segment with a content size of 2^62: the window is the content.
    let huge = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe0][..], &(1_u64 << 62).to_le_bytes(), &[0x09, 0, 0, b'x']].concat();
    assert_eq!(decode(Coding::Zstd, WIDE, &huge), Err(DecodeError::Window));
    // The first byte of a large-window stream (RFC 7932 reserves it), then a window of 30 bits.
    assert_eq!(decode(Coding::Brotli, WIDE, &[0x11, 30, 0x03]), Err(DecodeError::Malformed(Coding::Brotli)));
}

#[test]
fn a_dictionary_is_refused() {
    // Descriptor with a dictionary id of one byte.
    let frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x58, 7][..], &[0x09, 0, 0, b'x']].concat();
    assert_eq!(decode(Coding::Zstd, WIDE, &frame), Err(DecodeError::Dictionary));
}

#[test]
fn what_was_given_is_decoded_before_more_is_asked_for() {
    // As a feed would: each event is flushed, and must come out before the next one is there.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut decoder = Decoder::new(Coding::Gzip, WIDE).unwrap();
    for event in [text(1), text(20_000), text(3)] {
        encoder.write_all(&event).unwrap();
        encoder.flush().unwrap();
        let coded = std::mem::take(encoder.get_mut());
        let (mut rest, mut out) = (&coded[..], Vec::new());
        while decoder.step(&mut rest, &mut out).unwrap() == Progress::More {}
        assert_eq!(out.len(), event.len());
    }
}

#[test]
fn names_of_codings() {
    let of = |values: &[&str]| coding(values.iter().map(|value| value.as_bytes()));
    for (names, expected) in [("gzip", Coding::Gzip), ("X-GZip", Coding::Gzip), (" br ", Coding::Brotli), ("zstd", Coding::Zstd)]
    {
        assert_eq!(of(&[names]), Ok(Some(expected)), "{names}");
    }
    assert_eq!(of(&[]), Ok(None));
    assert_eq!(of(&["Identity"]), Ok(None));
    assert_eq!(of(&["identity, gzip", "identity"]), Ok(Some(Coding::Gzip)));
    for wrong in
        ["deflate", "compress", "gzip, gzip", "gzip, br", "", "gzip,", "gzip;q=1", "aws-chunked", "dcb", "dcz", "*", "g zip"]
    {
        assert_eq!(of(&[wrong]), Err(Unknown), "{wrong}");
    }
    assert_eq!(of(&["gzip", "br"]), Err(Unknown));
}
