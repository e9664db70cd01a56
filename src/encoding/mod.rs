//! Content codings (RFC 9110 section 8.4): bodies that come compressed are decoded in small steps, within limits.
//!
//! Always holds: one step appends at most [`STEP_BYTES`], so a few bytes that stand for gigabytes are found out while they are decoded,
//! not after; a body is one stream, whole, with nothing after it (T24). `deflate` is not among the codings: servers and clients differ in
//! whether it is zlib (RFC 1950) or bare deflate (RFC 1951), and a body must have one reading (T7).
//!
//! Called by `exchange`: for the body of a request whole, for a reply as it comes.

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::write::GzDecoder;
use std::fmt;
use std::io::Write as _;
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode;
use zstd::zstd_safe::{self, DCtx, DParameter, InBuffer, OutBuffer};

#[cfg(test)]
mod tests;

/// What can be decoded, as a reply lists it in `Accept-Encoding` (RFC 9110 section 15.5.16).
pub const CODINGS: &str = "gzip, br, zstd";
/// One step appends at most so much: what the decoders hold back, and one buffer of flate2's.
pub const STEP_BYTES: usize = 96 << 10;
/// The ratio counts beyond so many bytes: what is small is no bomb, and short texts that repeat themselves compress very well.
pub const FREE_BYTES: usize = 64 << 10;

/// Room for the output of one call of a decoder.
const ROOM_BYTES: usize = 32 << 10;
/// Largest window of zstd, as a power of two: 8 MiB, the bound for content codings (RFC 9659).
const ZSTD_WINDOW_LOG: u32 = 23;

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// RFC 1952.
    Gzip,
    /// RFC 7932.
    Brotli,
    /// RFC 8878.
    Zstd,
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        })
    }
}

/// The values of `Content-Encoding` name a coding that is not decoded, or several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// What the values of `Content-Encoding` say; `None` for a body as it is. `identity` may be named any number of times.
pub fn coding<'v>(values: impl Iterator<Item = &'v [u8]>) -> Result<Option<Coding>, Unknown> {
    let mut found = None;
    for name in values.flat_map(|value| value.split(|byte| *byte == b',')) {
        let name = name.trim_ascii();
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        let coding = if is("identity") {
            continue;
        } else if is("gzip") || is("x-gzip") {
            Coding::Gzip
        } else if is("br") {
            Coding::Brotli
        } else if is("zstd") {
            Coding::Zstd
        } else {
            return Err(Unknown);
        };
        if found.replace(coding).is_some() {
            return Err(Unknown);
        }
    }
    Ok(found)
}

/// What a body may come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes when it is decoded.
    pub bytes: usize,
    /// Most bytes for each one that came, beyond [`FREE_BYTES`].
    pub ratio: usize,
}

/// Why a body is not decoded. Never holds anything of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is something else, or was damaged.
    #[error("it is not well-formed {0}")]
    Malformed(Coding),
    /// It ends too early.
    #[error("it ends before its {0} stream does")]
    Truncated(Coding),
    /// It goes on too long.
    #[error("bytes follow the end of its {0} stream; send one stream and nothing after it")]
    Trailing(Coding),
    /// It can be read only with a dictionary that we do not have.
    #[error("it needs a dictionary; compress it without one")]
    Dictionary,
    /// It is too large.
    #[error("decoded it has more than {0} bytes")]
    TooLarge(usize),
    /// It is too large for what came.
    #[error("decoded it is more than {0} times as long as it came ([limits] decompress_ratio)")]
    Ratio(usize),
    /// It asks for too much memory.
    #[error("its zstd window is over 8 MiB (RFC 9659); compress it with a smaller one")]
    Window,
    /// The library would not begin.
    #[error("there is no memory to decode it")]
    Memory,
}

impl DecodeError {
    /// True if it is a matter of size, not of form.
    pub fn is_size(self) -> bool {
        matches!(self, Self::TooLarge(_) | Self::Ratio(_) | Self::Window)
    }
}

/// How far a step came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// There is more to be had of what was given.
    More,
    /// All that was given is decoded.
    Hungry,
}

/// One stream being decoded.
pub struct Decoder {
    coding: Coding,
    stream: Stream,
    limits: Limits,
    /// Bytes that were given.
    taken: usize,
    /// Bytes that came of them.
    made: usize,
}

enum Stream {
    Gzip(Box<GzDecoder<Vec<u8>>>),
    Brotli { state: Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>, ended: bool },
    Zstd { context: DCtx<'static>, ended: bool },
}

impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the stream, which holds what came.
        f.debug_struct("Decoder").field("coding", &self.coding).field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Memory`].
    pub fn new(coding: Coding, limits: Limits) -> Result<Self, DecodeError> {
        let stream = match coding {
            Coding::Gzip => Stream::Gzip(Box::new(GzDecoder::new(Vec::new()))),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                // Strict: without the large windows that are no part of RFC 7932.
                Stream::Brotli { state: Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())), ended: false }
            }
            Coding::Zstd => {
                let mut context = DCtx::try_create().ok_or(DecodeError::Memory)?;
                context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(|_code| DecodeError::Memory)?;
                Stream::Zstd { context, ended: false }
            }
        };
        Ok(Self { coding, stream, limits, taken: 0, made: 0 })
    }

    /// Decodes some of `input`, which is left with the rest, and appends at most [`STEP_BYTES`] to `out`.
    ///
    /// # Errors
    ///
    /// Every variant but [`DecodeError::Truncated`]; the decoder is then of no more use.
    pub fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Progress, DecodeError> {
        let (given, before) = (input.len(), out.len());
        let progress = match &mut self.stream {
            Stream::Gzip(decoder) => gzip(decoder, input, out),
            Stream::Brotli { state, ended } => brotli(state, ended, input, out),
            Stream::Zstd { context, ended } => zstd(context, ended, input, out),
        }?;
        self.taken = self.taken.saturating_add(given - input.len());
        self.made = self.made.saturating_add(out.len() - before);
        if self.made > self.limits.bytes {
            return Err(DecodeError::TooLarge(self.limits.bytes));
        }
        if self.made > self.taken.saturating_mul(self.limits.ratio).saturating_add(FREE_BYTES) {
            return Err(DecodeError::Ratio(self.limits.ratio));
        }
        Ok(progress)
    }

    /// Checks that the stream has come to its end, and what it says of itself there. Nothing at all is an empty body in any coding.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Truncated`], [`DecodeError::Malformed`] for a checksum or length that does not hold.
    pub fn finish(&mut self) -> Result<(), DecodeError> {
        let truncated = Err(DecodeError::Truncated(self.coding));
        if self.taken == 0 {
            return Ok(());
        }
        match &mut self.stream {
            Stream::Gzip(decoder) => match decoder.try_finish() {
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => truncated,
                Err(_wrong) => Err(DecodeError::Malformed(self.coding)),
                Ok(()) => Ok(()),
            },
            Stream::Brotli { ended: true, .. } | Stream::Zstd { ended: true, .. } => Ok(()),
            Stream::Brotli { ended: false, .. } | Stream::Zstd { ended: false, .. } => truncated,
        }
    }
}

/// Decodes a body that is there whole.
///
/// # Errors
///
/// As [`Decoder::step`] and [`Decoder::finish`].
pub fn decode(coding: Coding, limits: Limits, mut input: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(coding, limits)?;
    let mut out = Vec::new();
    while decoder.step(&mut input, &mut out)? == Progress::More {}
    decoder.finish()?;
    Ok(out)
}

fn gzip(decoder: &mut GzDecoder<Vec<u8>>, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Progress, DecodeError> {
    let malformed = |_wrong| DecodeError::Malformed(Coding::Gzip);
    std::mem::swap(decoder.get_mut(), out);
    // One call of `write` fills flate2's buffer once; `flush` empties it, and what the inflater holds back.
    let progress = if input.is_empty() {
        decoder.flush().map(|()| Progress::Hungry).map_err(malformed)
    } else {
        match decoder.write(input) {
            Ok(0) => Err(DecodeError::Trailing(Coding::Gzip)),
            Ok(count) => {
                *input = input.get(count..).unwrap_or_default();
                Ok(Progress::More)
            }
            Err(wrong) => Err(malformed(wrong)),
        }
    };
    std::mem::swap(decoder.get_mut(), out);
    progress
}

fn brotli(
    state: &mut BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    ended: &mut bool,
    input: &mut &[u8],
    out: &mut Vec<u8>,
) -> Result<Progress, DecodeError> {
    if *ended {
        return after_the_end(Coding::Brotli, input);
    }
    let (mut left, mut used, mut room, mut total) = (input.len(), 0, ROOM_BYTES, 0);
    let mut end = out.len();
    out.resize(end + ROOM_BYTES, 0);
    let result = BrotliDecompressStream(&mut left, &mut used, input, &mut room, &mut end, out, &mut total, state);
    out.truncate(end);
    *input = input.get(used..).unwrap_or_default();
    match result {
        BrotliResult::ResultSuccess => {
            *ended = true;
            Ok(Progress::More)
        }
        BrotliResult::NeedsMoreOutput => Ok(Progress::More),
        BrotliResult::NeedsMoreInput => Ok(Progress::Hungry),
        BrotliResult::ResultFailure => Err(DecodeError::Malformed(Coding::Brotli)),
    }
}

fn zstd(context: &mut DCtx<'static>, ended: &mut bool, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Progress, DecodeError> {
    if *ended {
        return after_the_end(Coding::Zstd, input);
    }
    let start = out.len();
    out.resize(start + ROOM_BYTES, 0);
    let mut source = InBuffer::around(input);
    let mut target = OutBuffer::around(out.get_mut(start..).unwrap_or_default());
    let hint = context.decompress_stream(&mut target, &mut source);
    let (used, made) = (source.pos(), target.pos());
    out.truncate(start + made);
    *input = input.get(used..).unwrap_or_default();
    match hint {
        Ok(0) => {
            *ended = true;
            Ok(Progress::More)
        }
        Ok(_) if made == ROOM_BYTES || !input.is_empty() => Ok(Progress::More),
        Ok(_) => Ok(Progress::Hungry),
        Err(code) => {
            let is = |kind| zstd_safe::is_error_kind(code, kind);
            Err(if is(ZSTD_ErrorCode::ZSTD_error_frameParameter_windowTooLarge) {
                DecodeError::Window
            } else if is(ZSTD_ErrorCode::ZSTD_error_dictionary_wrong) {
                DecodeError::Dictionary
            } else if is(ZSTD_ErrorCode::ZSTD_error_memory_allocation) {
                DecodeError::Memory
            } else {
                DecodeError::Malformed(Coding::Zstd)
            })
        }
    }
}

fn after_the_end(coding: Coding, input: &[u8]) -> Result<Progress, DecodeError> {
    if input.is_empty() { Ok(Progress::Hungry) } else { Err(DecodeError::Trailing(coding)) }
}
