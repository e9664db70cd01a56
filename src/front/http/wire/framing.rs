//! Where requests begin and end on a connection, read strictly: a head, then a body by length or in chunks.
//!
//! Always holds: what is let through has one reading only; everything hyper would repair or guess is a [`Reason`]. Bodies are
//! counted, not looked at.
//!
//! Called by the guard in [`super`], on every byte a client sends.

use std::mem::MaybeUninit;

use http::StatusCode;

/// How large a request head may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the head, request line and closing empty line included. Default 64 KiB.
    pub head_bytes: usize,
    /// Header fields. Default 100; more than [`Limits::MOST_HEADERS`] is taken as that many.
    pub headers: usize,
}

impl Limits {
    /// The largest number of header fields there is room for.
    pub const MOST_HEADERS: usize = 256;
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 64 << 10, headers: 100 }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal),* $(,)?) => {
        /// Why a request is refused before anyone has seen it. The codes are stable.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason { $($(#[$doc])* $name),* }

        impl Reason {
            /// Every reason, for metrics and tests.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code the client gets after `framing-refused: `.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }
        }
    };
}

reasons! {
    /// Two answers to where the body ends.
    LengthWithCoding = "content-length-with-transfer-encoding",
    /// More than one `Content-Length`, in several fields or in one.
    LengthRepeated = "content-length-repeated",
    /// Not 1 to 19 digits.
    LengthMalformed = "content-length-malformed",
    /// Anything but one `Transfer-Encoding: chunked`.
    Coding = "transfer-encoding-not-chunked",
    /// HTTP/1.0 knows no `Transfer-Encoding`.
    CodingInOldVersion = "transfer-encoding-in-http-1.0",
    /// `Content_Length` or `Transfer_Encoding`, which some servers read as the real ones.
    Lookalike = "framing-field-lookalike",
    /// A line that ends with LF alone.
    BareLineFeed = "bare-line-feed",
    /// A header field that goes on in the next line (obs-fold).
    LineFolding = "line-folding",
    /// More than one empty line before a request.
    EmptyLines = "empty-lines-before-request",
    /// Not `method SP target SP version`.
    RequestLine = "request-line-malformed",
    /// A TLS handshake, where HTTP in clear is spoken.
    Tls = "tls-on-plain-port",
    /// Not HTTP/1.0 or HTTP/1.1.
    Version = "http-version",
    /// A field name that is no token, or white space before its colon.
    FieldName = "header-name-malformed",
    /// A control character in a field value.
    FieldValue = "header-value-malformed",
    /// CR without LF.
    LineEnd = "line-end-malformed",
    /// HTTP/1.1 without `Host`.
    HostMissing = "host-missing",
    /// Two `Host` fields.
    HostRepeated = "host-repeated",
    /// `Host` is not a host with an optional port.
    HostMalformed = "host-malformed",
    /// `Upgrade`, or `Connection` that names it.
    Upgrade = "upgrade",
    /// `CONNECT` or `TRACE`.
    Method = "method",
    /// HTTP/2: `:authority` and `Host` differ.
    AuthorityDiffers = "authority-differs-from-host",
    /// HTTP/2: `:scheme` is neither `http` nor `https`.
    Scheme = "scheme",
    /// HTTP/2: white space around a field value.
    Padded = "header-value-padded",
    /// HTTP/2: more frames that carry nothing than a client has use for.
    Flood = "http2-flood",
    /// HTTP/2: too many streams begun and reset.
    Resets = "http2-resets",
    /// HTTP/2: whatever else makes a server give up a connection (RFC 9113, section 5.4.1).
    Protocol = "http2-protocol",
    /// A chunk size that is not 1 to 16 hexadecimal digits and a line end, or a chunk without its line end.
    Chunk = "chunk-malformed",
    /// Chunk extensions of more than 256 bytes in one body, or with control characters.
    ChunkExtension = "chunk-extension",
    /// Header fields after the body.
    Trailers = "trailers",
    /// Larger than [`Limits::head_bytes`].
    HeadTooLarge = "head-too-large",
    /// More fields than [`Limits::headers`].
    TooManyHeaders = "too-many-header-fields",
}

impl Reason {
    /// The status it is answered with, where it is.
    pub(in crate::front::http) fn status(self) -> StatusCode {
        if matches!(self, Self::HeadTooLarge | Self::TooManyHeaders) {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
        } else {
            StatusCode::BAD_REQUEST
        }
    }
}

/// Chunk extensions in one body at most, in bytes; nobody needs them, but they are allowed.
const EXTENSION_BYTES: u16 = 256;

/// Follows the requests of one connection.
#[derive(Debug)]
pub(super) struct Requests {
    limits: Limits,
    state: State,
    /// The first head may be the preface of HTTP/2.
    pub(super) may_be_http2: bool,
}

/// What stands for a head at the beginning of HTTP/2's preface (RFC 9113, section 3.4).
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";

#[derive(Debug)]
enum State {
    Head(Scan),
    Length(u64),
    Chunks(Chunks),
}

/// What the bytes at hand are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes (at least one) belong to the current body.
    Body(usize),
    /// So many bytes are a whole request head. `bodiless_reply`: the method is `HEAD`.
    Head { bytes: usize, bodiless_reply: bool },
    /// Not a head, but the beginning of HTTP/2.
    Http2,
    /// A head that has not all come. Ask again with the same bytes and more.
    Partial,
    /// So many bytes belong to the current body; the next is refused.
    Refuse { body: usize, reason: Reason },
}

impl Requests {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: State::Head(Scan::default()), may_be_http2: false }
    }

    /// The next byte is the first of a head.
    pub(super) fn at_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Reads on. `bytes` is not empty and starts where the last step ended.
    pub(super) fn step(&mut self, bytes: &[u8]) -> Step {
        match &mut self.state {
            State::Head(scan) => match scan.end(bytes, self.limits.head_bytes) {
                Err(reason) => Step::Refuse { body: 0, reason },
                Ok(None) => Step::Partial,
                Ok(Some(end)) => match read_head(bytes.get(..end).unwrap_or_default(), self.limits.headers) {
                    Err(Reason::Version) if self.may_be_http2 && bytes.get(..end) == Some(HTTP2) => Step::Http2,
                    Err(reason) => Step::Refuse { body: 0, reason },
                    Ok(head) => {
                        self.may_be_http2 = false;
                        self.state = head.body;
                        Step::Head { bytes: end, bodiless_reply: head.bodiless_reply }
                    }
                },
            },
            State::Length(left) => {
                let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                if *left > here {
                    *left -= here;
                    return Step::Body(bytes.len());
                }
                let taken = usize::try_from(*left).unwrap_or(bytes.len());
                self.state = State::Head(Scan::default());
                Step::Body(taken)
            }
            State::Chunks(chunks) => match chunks.walk(bytes) {
                Walked::On => Step::Body(bytes.len()),
                Walked::End(bytes) => {
                    self.state = State::Head(Scan::default());
                    Step::Body(bytes)
                }
                Walked::Refuse(body, reason) => Step::Refuse { body, reason },
            },
        }
    }
}

/// Looks for the end of a head, from where it stopped last.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes looked at.
    seen: usize,
    /// Where the line under way begins.
    line: usize,
    /// Where the request line begins: after an empty line, which some clients send after a body (RFC 9112 section 2.2).
    start: usize,
}

impl Scan {
    /// Length of the head, once its end is there.
    fn end(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, Reason> {
        let fresh = bytes.get(self.seen..).unwrap_or_default();
        // What cannot become a method is refused at its first byte.
        let begins_well = |start: usize| match bytes.get(start) {
            None | Some(b'\r') => Ok(()),
            Some(byte) if byte.is_ascii_graphic() => Ok(()),
            Some(22) => Err(Reason::Tls),
            Some(_) => Err(Reason::RequestLine),
        };
        for at in memchr::memchr_iter(b'\n', fresh).map(|at| at + self.seen) {
            if at >= limit {
                return Err(Reason::HeadTooLarge);
            }
            begins_well(self.start)?;
            let line = bytes.get(self.line..at).unwrap_or_default();
            let Some((b'\r', line)) = line.split_last() else { return Err(Reason::BareLineFeed) };
            match line.first() {
                None if self.line == self.start && self.start == 0 => self.start = at + 1,
                None if self.line == self.start => return Err(Reason::EmptyLines),
                None => return Ok(Some(at + 1)),
                Some(b' ' | b'\t') if self.line > self.start => return Err(Reason::LineFolding),
                Some(_) => {}
            }
            self.line = at + 1;
        }
        self.seen = bytes.len();
        begins_well(self.start)?;
        if bytes.len() >= limit { Err(Reason::HeadTooLarge) } else { Ok(None) }
    }
}

struct Head {
    body: State,
    bodiless_reply: bool,
}

/// Reads a whole head, of which every line ends with CR LF.
fn read_head(bytes: &[u8], limit: usize) -> Result<Head, Reason> {
    let mut room = [const { MaybeUninit::uninit() }; Limits::MOST_HEADERS];
    let room = room.get_mut(..limit.min(Limits::MOST_HEADERS)).unwrap_or_default();
    let mut request = httparse::Request::new(&mut []);
    match request.parse_with_uninit_headers(bytes, room) {
        Ok(httparse::Status::Complete(end)) if end == bytes.len() => {}
        // Both look for the same end, so this is out of reach; were it not, hyper might read another head than we do.
        Ok(_) => return Err(Reason::LineEnd),
        Err(error) => {
            return Err(match error {
                httparse::Error::HeaderName => Reason::FieldName,
                httparse::Error::HeaderValue => Reason::FieldValue,
                httparse::Error::NewLine => Reason::LineEnd,
                httparse::Error::TooManyHeaders => Reason::TooManyHeaders,
                httparse::Error::Version => Reason::Version,
                httparse::Error::Token | httparse::Error::Status => Reason::RequestLine,
            });
        }
    }
    let method = request.method.unwrap_or_default();
    if matches!(method, "CONNECT" | "TRACE") {
        return Err(Reason::Method);
    }
    // hyper would drop a fragment silently; a target never has one (RFC 9112 section 3.2).
    if request.path.is_some_and(|target| target.contains('#')) {
        return Err(Reason::RequestLine);
    }
    let fields = Fields::read(request.headers)?;
    let is_1_1 = request.version == Some(1);
    if is_1_1 && !fields.host {
        return Err(Reason::HostMissing);
    }
    let body = match (fields.length, fields.chunked) {
        (Some(_), true) => return Err(Reason::LengthWithCoding),
        (None, true) if !is_1_1 => return Err(Reason::CodingInOldVersion),
        (None, true) => State::Chunks(Chunks::of_request()),
        (None | Some(0), false) => State::Head(Scan::default()),
        (Some(length), false) => State::Length(length),
    };
    Ok(Head { body, bodiless_reply: method == "HEAD" })
}

/// The header fields that say where a request ends or who it is for.
#[derive(Default)]
struct Fields {
    host: bool,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    fn read(headers: &[httparse::Header<'_>]) -> Result<Self, Reason> {
        let mut fields = Self::default();
        for header in headers {
            // Most names differ from all of these in length.
            match header.name.len() {
                4 if header.name.eq_ignore_ascii_case("host") => fields.host(header.value)?,
                14 if like(header.name, "content-length")? => fields.length(header.value)?,
                17 if like(header.name, "transfer-encoding")? => fields.coding(header.value)?,
                7 if header.name.eq_ignore_ascii_case("upgrade") => return Err(Reason::Upgrade),
                10 if header.name.eq_ignore_ascii_case("connection") && names_upgrade(header.value) => {
                    return Err(Reason::Upgrade);
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Reason> {
        if self.host {
            return Err(Reason::HostRepeated);
        }
        self.host = true;
        if is_host(value) { Ok(()) } else { Err(Reason::HostMalformed) }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Reason> {
        if self.length.is_some() || value.contains(&b',') {
            return Err(Reason::LengthRepeated);
        }
        if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Reason::LengthMalformed);
        }
        let digits = std::str::from_utf8(value).map_err(|_not_ascii| Reason::LengthMalformed)?;
        self.length = Some(digits.parse().map_err(|_overflow| Reason::LengthMalformed)?);
        Ok(())
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Reason> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Reason::Coding);
        }
        self.chunked = true;
        Ok(())
    }
}

fn names_upgrade(connection: &[u8]) -> bool {
    connection.split(|byte| *byte == b',').any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// Characters of a reg-name, an IP literal and a port (RFC 3986 section 3.2), less the comma that joins fields.
pub(in crate::front::http) fn is_host(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(byte))
}

/// Is it this name? One that becomes it when `_` is read as `-`, as some servers do, is refused.
pub(in crate::front::http) fn like(name: &str, wanted: &str) -> Result<bool, Reason> {
    if name.eq_ignore_ascii_case(wanted) {
        return Ok(true);
    }
    let folded = name.bytes().map(|byte| if byte == b'_' { b'-' } else { byte.to_ascii_lowercase() });
    if folded.eq(wanted.bytes()) { Err(Reason::Lookalike) } else { Ok(false) }
}

/// Where a chunked body stands (RFC 9112 section 7.1).
#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    /// Digits and value of the size under way, then bytes of data left.
    digits: u8,
    size: u64,
    extension_bytes: u16,
    trailers_allowed: bool,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Size,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// Behind the last chunk, at the beginning of a line.
    EndCr,
    EndLf,
    Trailer,
}

/// Where a walk over some bytes of a chunked body ended.
pub(super) enum Walked {
    /// Inside the body, at the end of the bytes.
    On,
    /// The body ended after so many bytes.
    End(usize),
    /// After so many bytes comes one that may not.
    Refuse(usize, Reason),
}

impl Chunks {
    pub(super) fn of_request() -> Self {
        Self { at: At::Size, digits: 0, size: 0, extension_bytes: 0, trailers_allowed: false }
    }

    /// Of a reply of ours, which hyper writes.
    pub(super) fn of_reply() -> Self {
        Self { trailers_allowed: true, ..Self::of_request() }
    }

    pub(super) fn walk(&mut self, bytes: &[u8]) -> Walked {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if let At::Data = self.at {
                let here = u64::try_from(bytes.len() - at).unwrap_or(u64::MAX);
                if self.size > here {
                    self.size -= here;
                    return Walked::On;
                }
                at += usize::try_from(self.size).unwrap_or(0);
                self.at = At::DataCr;
                continue;
            }
            match self.next(*byte) {
                Err(reason) => return Walked::Refuse(at, reason),
                Ok(None) => return Walked::End(at + 1),
                Ok(Some(next)) => self.at = next,
            }
            at += 1;
        }
        Walked::On
    }

    /// One byte of the frame around the data. `None`: the body is over.
    fn next(&mut self, byte: u8) -> Result<Option<At>, Reason> {
        Ok(Some(match (self.at, byte) {
            (At::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < 16 => {
                let digit = char::from(byte).to_digit(16).unwrap_or(0);
                self.digits += 1;
                self.size = self.size << 4 | u64::from(digit);
                At::Size
            }
            (At::Size, b'\r') if self.digits > 0 => At::SizeLf,
            (At::Size, b';') if self.digits > 0 => At::Extension,
            (At::Extension, b'\r') => At::SizeLf,
            (At::Extension, b'\t' | b' '..=b'~' | 0x80..) if self.extension_bytes < EXTENSION_BYTES => {
                self.extension_bytes += 1;
                At::Extension
            }
            (At::Extension, _) => return Err(Reason::ChunkExtension),
            (At::SizeLf, b'\n') => {
                self.digits = 0;
                if self.size == 0 { At::EndCr } else { At::Data }
            }
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => {
                self.size = 0;
                At::Size
            }
            (At::EndCr, b'\r') => At::EndLf,
            (At::EndLf, b'\n') => return Ok(None),
            (At::EndCr, _) if self.trailers_allowed => At::Trailer,
            (At::EndCr, _) => return Err(Reason::Trailers),
            (At::Trailer, b'\n') => At::EndCr,
            (At::Trailer, _) => At::Trailer,
            _ => return Err(Reason::Chunk),
        }))
    }
}
