//! Where our own replies end on a connection, so that the guard knows whether one is owed or under way.
//!
//! Reads what hyper writes, which is well-formed: one `Content-Length`, or `chunked`, or until the connection closes.
//!
//! Called by the guard in [`super`], on every byte the socket has taken.

use super::framing::{Chunks, Walked};

/// Follows the replies of one connection.
#[derive(Debug)]
pub(super) struct Replies {
    state: State,
    /// A head that has not all been written.
    head: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Head,
    Length(u64),
    Chunks(Chunks),
    /// Until the connection closes.
    Close,
}

impl Replies {
    pub(super) fn new() -> Self {
        Self { state: State::Head, head: Vec::new() }
    }

    /// No byte of the next final reply has been written. Interim replies (1xx) do not count.
    pub(super) fn between(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    /// Takes note of bytes that were written. True if they end a final reply. `bodiless`: it answers a `HEAD`.
    pub(super) fn written(&mut self, mut bytes: &[u8], bodiless: bool) -> bool {
        let mut ended = false;
        while !bytes.is_empty() {
            let (rest, end) = self.step(bytes, bodiless);
            bytes = rest;
            ended |= end;
        }
        ended
    }

    fn step<'a>(&mut self, bytes: &'a [u8], bodiless: bool) -> (&'a [u8], bool) {
        const NONE: &[u8] = &[];
        let (rest, end) = match &mut self.state {
            State::Close => (NONE, false),
            State::Head => return self.head(bytes, bodiless),
            State::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(bytes.len()).min(bytes.len());
                *left -= u64::try_from(taken).unwrap_or(0);
                (bytes.get(taken..).unwrap_or(NONE), *left == 0)
            }
            State::Chunks(chunks) => match chunks.walk(bytes) {
                Walked::On => (NONE, false),
                Walked::End(taken) => (bytes.get(taken..).unwrap_or(NONE), true),
                // hyper does not write this; if it did, the end of the reply would be the end of the connection.
                Walked::Refuse(..) => {
                    self.state = State::Close;
                    (NONE, false)
                }
            },
        };
        if end {
            self.state = State::Head;
        }
        (rest, end)
    }

    fn head<'a>(&mut self, bytes: &'a [u8], bodiless: bool) -> (&'a [u8], bool) {
        const END: &[u8] = b"\r\n\r\n";
        let (head, rest) = if self.head.is_empty() {
            match memchr::memmem::find(bytes, END) {
                None => {
                    self.head.extend_from_slice(bytes);
                    return (&[], false);
                }
                Some(at) => (Next::read(bytes.get(..at).unwrap_or_default()), bytes.get(at + END.len()..)),
            }
        } else {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(at) = memchr::memmem::find(&self.head, END) else { return (&[], false) };
            let next = Next::read(self.head.get(..at).unwrap_or_default());
            self.head = Vec::new();
            (next, bytes.get((at + END.len()).saturating_sub(before)..))
        };
        let rest = rest.unwrap_or_default();
        self.state = match head {
            Next::Interim => return (rest, false),
            Next::Nothing | Next::Length(0) => return (rest, true),
            _ if bodiless => return (rest, true),
            Next::Length(length) => State::Length(length),
            Next::Chunks => State::Chunks(Chunks::of_reply()),
            Next::Close => State::Close,
        };
        (rest, false)
    }
}

/// What follows the head of a reply.
enum Next {
    Interim,
    Nothing,
    Length(u64),
    Chunks,
    Close,
}

impl Next {
    /// Reads a head, without its empty line.
    fn read(head: &[u8]) -> Self {
        match head.get(9..12) {
            Some([b'1', ..]) => return Self::Interim,
            Some(b"204" | b"304") => return Self::Nothing,
            _ => {}
        }
        let mut next = Self::Close;
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            let Some(colon) = memchr::memchr(b':', line).filter(|colon| matches!(colon, 14 | 17)) else { continue };
            let Some((name, value)) = line.split_at_checked(colon) else { continue };
            let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
            if name.eq_ignore_ascii_case(b"transfer-encoding") {
                return if value.to_ascii_lowercase().ends_with(b"chunked") { Self::Chunks } else { Self::Close };
            }
            if name.eq_ignore_ascii_case(b"content-length") {
                next = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok()).map_or(Self::Close, Self::Length);
            }
        }
        next
    }
}
