//! The variants, with where each was published. A list under one heading shares its source.
//!
//! Abbreviations: "Desync 2019", "Browser-powered 2022", "Must die 2025": J. Kettle, PortSwigger Research, of these years; "Smuggler
//! permutations": the techniques of the HTTP Request Smuggler extension; "Klein 2020": A. Klein, HTTP Request Smuggling in 2020;
//! "Watchfire 2005": Linhart, Klein, Heled, Orrin; "Funky chunks 2025": J. B. Weikop; "T-Reqs 2021", "HDiff 2022": the papers of
//! these names; "Garden 2024": B. Kallus and others, The HTTP Garden.

mod chunks;
mod heads;

/// How a conversation ends, after the replies to the requests that reach the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The guard says why and closes.
    Refused(&'static str),
    /// An answer of this status that is not the database's; before it or after.
    Problem(u16),
    /// Nothing more; the connection may stay.
    Open,
    /// The request is not complete, so nothing is answered.
    Waiting,
}

pub(super) struct Case {
    pub(super) name: String,
    pub(super) source: &'static str,
    pub(super) bytes: Vec<u8>,
    /// What reaches the database, as `METHOD target body`, and nothing else.
    pub(super) seen: Vec<&'static str>,
    pub(super) end: End,
}

/// The request that must not be seen, unless it is one that the client plainly sent.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
const SEEN_PLAINLY: &str = "GET /smuggled ";

const LENGTH_WITH_CODING: &str = "content-length-with-transfer-encoding";
const REPEATED: &str = "content-length-repeated";
const LENGTH: &str = "content-length-malformed";
const CODING: &str = "transfer-encoding-not-chunked";
const LOOKALIKE: &str = "framing-field-lookalike";
const BARE_LF: &str = "bare-line-feed";
const FOLDING: &str = "line-folding";
const NAME: &str = "header-name-malformed";
const VALUE: &str = "header-value-malformed";
const LINE_END: &str = "line-end-malformed";
const LINE: &str = "request-line-malformed";
const VERSION: &str = "http-version";
const CHUNK: &str = "chunk-malformed";
const EXTENSION: &str = "chunk-extension";
const TRAILERS: &str = "trailers";

type Bytes<'a> = &'a [u8];

#[derive(Default)]
struct Table(Vec<Case>);

impl Table {
    /// `bytes`, and behind them the request that a mistaken reader would see.
    fn add(&mut self, source: &'static str, bytes: impl Into<Vec<u8>>, seen: &[&'static str], end: End) {
        let mut bytes = bytes.into();
        let name = bytes.escape_ascii().to_string();
        if end != End::Waiting {
            bytes.extend_from_slice(SMUGGLED.as_bytes());
        }
        self.0.push(Case { name, source, bytes, seen: seen.to_vec(), end });
    }

    fn refused(&mut self, source: &'static str, code: &'static str, list: &[Bytes<'_>], around: impl Fn(&[u8]) -> Vec<u8>) {
        for bytes in list {
            self.add(source, around(bytes), &[], End::Refused(code));
        }
    }
}

/// A POST with these fields behind `Host`.
fn post(fields: &[u8]) -> Vec<u8> {
    [b"POST /orders HTTP/1.1\r\nHost: h\r\n", fields, b"\r\n\r\n"].concat()
}

/// With a length, these fields, and a body that is empty to who reads chunks and five bytes to who does not.
fn beside_length(fields: &[u8]) -> Vec<u8> {
    [post(&[b"Content-Length: 5\r\n", fields].concat()).as_slice(), b"0\r\n\r\n"].concat()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    [post(b"Transfer-Encoding: chunked").as_slice(), body].concat()
}

fn line(line: &[u8]) -> Vec<u8> {
    [line, b"\r\nHost: h\r\n\r\n"].concat()
}

pub(super) fn all() -> Vec<Case> {
    let mut table = Table::default();
    lengths_and_codings(&mut table);
    codings(&mut table);
    lengths(&mut table);
    bodies_nobody_expects(&mut table);
    heads::fields(&mut table);
    heads::first_lines(&mut table);
    heads::hosts(&mut table);
    chunks::chunks(&mut table);
    legitimate(&mut table);
    table.0
}

fn lengths_and_codings(table: &mut Table) {
    let source = "Watchfire 2005; RFC 9112 section 6.3";
    table.refused(source, LENGTH_WITH_CODING, &[b"Transfer-Encoding: chunked"], beside_length);
    let reversed: &[Bytes<'_>] =
        &[b"Transfer-Encoding: chunked\r\nContent-Length: 5", b"Transfer-Encoding: chunked\r\nX: y\r\nContent-Length: 0"];
    table.refused(source, LENGTH_WITH_CODING, reversed, |fields| [post(fields).as_slice(), b"0\r\n\r\n"].concat());
    table.add(
        "Desync 2019, TE.CL",
        post(b"Content-Length: 4\r\nTransfer-Encoding: chunked")
            .into_iter()
            .chain(*b"26\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n\r\n0\r\n\r\n")
            .collect::<Vec<_>>(),
        &[],
        End::Refused(LENGTH_WITH_CODING),
    );
    table.refused(
        "Smuggler permutations: connection (a coding that is named as of one hop)",
        LENGTH_WITH_CODING,
        &[
            b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
            b"Connection: close\r\nTransfer-Encoding: chunked",
            b"Connection: content-length\r\nTransfer-Encoding: chunked",
        ],
        beside_length,
    );
    for old in [
        b"POST /orders HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".as_slice(),
        b"POST /orders HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        table.add("RFC 9112 section 6.1; Garden 2024", old, &[], End::Refused("transfer-encoding-in-http-1.0"));
    }
    for field in ["content-length", "host", "x-mine", "sudare-credential"] {
        let bytes = post(format!("Connection: close, {field}\r\nContent-Length: 5").as_bytes());
        table.add(
            "RFC 9110 section 7.6.1 (a field made to vanish as of one hop)",
            [bytes.as_slice(), b"hello"].concat(),
            &[],
            End::Problem(400),
        );
    }
}

/// Spellings of `Transfer-Encoding: chunked`, each beside a `Content-Length`.
#[expect(clippy::too_many_lines, reason = "a table")]
fn codings(table: &mut Table) {
    let source = "Smuggler permutations: vanilla, nospace1, valueprefix1, tabprefix, tabsuffix, multiCase, UPPERCASE";
    let plain: &[Bytes<'_>] = &[
        b"Transfer-Encoding:chunked",
        b"Transfer-Encoding:  chunked",
        b"Transfer-Encoding:\tchunked",
        b"Transfer-Encoding: chunked ",
        b"Transfer-Encoding: chunked\t",
        b"Transfer-Encoding: \t chunked \t ",
        b"TRANSFER-ENCODING: chunked",
        b"tRANSFER-ENCODING: chunked",
        b"Transfer-Encoding: CHUNKED",
        b"Transfer-Encoding: cHuNkEd",
    ];
    table.refused(source, LENGTH_WITH_CODING, plain, beside_length);
    let source = "Smuggler permutations: space1, spacejoin1, spjunk, backslash, spacefix1, spaceFF, 0dspam, accentTE; Klein 2020";
    let names: &[Bytes<'_>] = &[
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\t: chunked",
        b"Transfer-Encoding\x0b: chunked",
        b"Transfer-Encoding\x0c: chunked",
        b"Transfer-Encoding\0: chunked",
        b"Transfer-Encoding\x7f: chunked",
        b"Transfer-Encoding\xa0: chunked",
        b"Transfer-Encoding\xff: chunked",
        b"Transfer-Encoding x: chunked",
        b"Transfer Encoding: chunked",
        b"Transfer\\Encoding: chunked",
        b"Transfer-\0Encoding: chunked",
        b"Tra\rnsfer-Encoding: chunked",
        b"Transf\x82r-Encoding: chunked",
        b"Transfer\xe2\x80\x90Encoding: chunked",
        b"\x0bTransfer-Encoding: chunked",
        b"\x0cTransfer-Encoding: chunked",
        b"\0Transfer-Encoding: chunked",
        b"\x7fTransfer-Encoding: chunked",
        b"\xa0Transfer-Encoding: chunked",
        b"\xef\xbb\xbfTransfer-Encoding: chunked",
        b":Transfer-Encoding: chunked",
        b":transfer-encoding: chunked",
        b"\"Transfer-Encoding\": chunked",
        b"Transfer-Encoding",
        b"Transfer-Encoding chunked",
        b"Transfer-Encoding\rchunked",
        b"Bad name:\r\nTransfer-Encoding: chunked",
        b": x\r\nTransfer-Encoding: chunked",
    ];
    table.refused(source, NAME, names, beside_length);
    let source = "Smuggler permutations: nameprefix1, nameprefix2, linewrapped1, tabwrap, badwrap; RFC 9112 section 5.2";
    let folded: &[Bytes<'_>] = &[
        b" Transfer-Encoding: chunked",
        b"\tTransfer-Encoding: chunked",
        b"Foo: bar\r\n Transfer-Encoding: chunked",
        b"Foo: bar\r\n\tTransfer-Encoding: chunked",
        b"Foo: bar\r\n \r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding:\r\n\tchunked",
        b"Transfer-Encoding: \r\n\tchunked",
        b"Transfer-Encoding: chunked\r\n , identity",
        b"Transfer-Encoding\r\n : chunked",
    ];
    table.refused(source, FOLDING, folded, beside_length);
    let source = "Smuggler permutations: gareth1, badsetupLF, vertwrap, bodysplit, nsplit; RFC 9112 section 2.2";
    let feeds: &[Bytes<'_>] = &[
        b"Foo: bar\nTransfer-Encoding: chunked",
        b"Foo: bar\n\nTransfer-Encoding: chunked",
        b"Foo: bar\n \nTransfer-Encoding: chunked",
        b"Foo: bar\n\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding\n : chunked",
        b"Transfer-Encoding:\n chunked",
        b"Transfer-Encoding: \n\x0bchunked",
        b"Transfer-Encoding: chunked\nX: y",
        b"Transfer-Encoding: chu\nnked",
        b"\nTransfer-Encoding: chunked",
    ];
    table.refused(source, BARE_LF, feeds, beside_length);
    let source = "Smuggler permutations: badsetupCR, prefix1, suffix1, 0dsuffix, null-term";
    let values: &[Bytes<'_>] = &[
        b"Foo: bar\rTransfer-Encoding: chunked",
        b"Foo: bar\r\rTransfer-Encoding: chunked",
        b"Foo: bar\0\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding: \x0cchunked",
        b"Transfer-Encoding: \0chunked",
        b"Transfer-Encoding: \x7fchunked",
        b"Transfer-Encoding: \rchunked",
        b"Transfer-Encoding: chunked\x0b",
        b"Transfer-Encoding: chunked\x0c",
        b"Transfer-Encoding: chunked\0",
        b"Transfer-Encoding: chunked\x7f",
        b"Transfer-Encoding: chunked\x08",
        b"Transfer-Encoding: chunked\r",
        b"Transfer-Encoding: chu\0nked",
        b"Transfer-Encoding: \x01chunked",
    ];
    table.refused(source, VALUE, values, beside_length);
    table.refused("Smuggler permutations: 0dwrap", LINE_END, &[b"Foo: bar\r\n\rTransfer-Encoding: chunked"], beside_length);
    let source = "Smuggler permutations: commaCow, cowComma, quoted, aposed, dualchunk, revdualchunk, nested, lazygrep, unispace, accentCH; RFC 9112 section 6.3";
    let others: &[Bytes<'_>] = &[
        b"Transfer-Encoding:",
        b"Transfer-Encoding: chunk",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunkedx",
        b"Transfer-Encoding: x chunked",
        b"Transfer-Encoding: chunked x",
        b"Transfer-Encoding: cow",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity, chunked, identity",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: ,chunked",
        b"Transfer-Encoding: , chunked",
        b"Transfer-Encoding: \"chunked\"",
        b"Transfer-Encoding: 'chunked'",
        b"Transfer-Encoding: [chunked]",
        b"Transfer-Encoding: (x) chunked",
        b"Transfer-Encoding: chunked;q=0",
        b"Transfer-Encoding: chunked;ext=val",
        b"Transfer-Encoding: chunked ; x",
        b"Transfer-Encoding: \xa0chunked",
        b"Transfer-Encoding: \xffchunked",
        b"Transfer-Encoding: chunked\x85",
        b"Transfer-Encoding: ch\x96nked",
        // The Kelvin sign is a k to who folds case by Unicode.
        b"Transfer-Encoding: chun\xe2\x84\xaaed",
        b"Transfer-Encoding: =?utf-8?B?Y2h1bmtlZA==?=",
        b"Transfer-Encoding: %63hunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-encoding: x",
        b"Transfer-Encoding:\r\nTransfer-Encoding: chunked",
    ];
    table.refused(source, CODING, others, beside_length);
    table.refused(
        "Smuggler permutations: underjoin1; RFC 3875 section 4.1.18 (gateways that read _ as -)",
        LOOKALIKE,
        &[b"Transfer_Encoding: chunked", b"transfer_encoding: identity", b"TRANSFER_ENCODING: x"],
        beside_length,
    );
    // Names that are other fields to everybody: the length alone counts, and what follows is a request in plain sight.
    for other in [
        b"Transfer-%45ncoding: chunked".as_slice(),
        b"Content-Encoding: chunked",
        b"X-Transfer-Encoding: chunked",
        b"Transfer-Encodings: chunked",
        b"TE: chunked",
        b"Trailer: Transfer-Encoding",
    ] {
        table.add(
            "Smuggler permutations: encode, contentEnc",
            beside_length(other),
            &["POST /orders 0\r\n\r\n", SEEN_PLAINLY],
            End::Open,
        );
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn lengths(table: &mut Table) {
    let with = |fields: &[u8]| [post(fields).as_slice(), b"hello"].concat();
    let source = "Smuggler permutations: CL-plus, CL-minus, CL-pad, CL-dec, CL-comma; RFC 9110 section 8.6; T-Reqs 2021";
    let malformed: &[Bytes<'_>] = &[
        b"Content-Length:",
        b"Content-Length: +5",
        b"Content-Length: -5",
        b"Content-Length: -0",
        b"Content-Length: 0x5",
        b"Content-Length: 5.0",
        b"Content-Length: 5e0",
        b"Content-Length: 5_",
        b"Content-Length: 1_0",
        b"Content-Length: 5;5",
        b"Content-Length: 5 5",
        b"Content-Length: 5 0",
        b"Content-Length: 5a",
        b"Content-Length: Z",
        b"Content-Length: \"5\"",
        b"Content-Length: '5'",
        b"Content-Length: \xef\xbc\x95",
        b"Content-Length: \xb2",
        b"Content-Length: \xa05",
        b"Content-Length: 5\x85",
        b"Content-Length: 18446744073709551616",
        b"Content-Length: 18446744073709551621",
        b"Content-Length: 00000000000000000005",
        b"Content-Length: 99999999999999999999999999999999999999999",
    ];
    table.refused(source, LENGTH, malformed, with);
    let source = "RFC 9110 section 8.6; Watchfire 2005; HDiff 2022";
    let repeated: &[Bytes<'_>] = &[
        b"Content-Length: 5, 5",
        b"Content-Length: 5,5",
        b"Content-Length: 5,",
        b"Content-Length: ,5",
        b"Content-Length: 0, 5",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 0",
        b"Content-Length: 0\r\nContent-Length: 5",
        b"Content-Length: 5\r\ncontent-length: 5",
        b"Content-Length: 5\r\nX: y\r\nCONTENT-LENGTH: 6",
        b"Content-Length: 5\r\nContent-Length: ",
    ];
    table.refused(source, REPEATED, repeated, with);
    let names: &[Bytes<'_>] = &[
        b"Content-Length : 5",
        b"Content-Length\t: 5",
        b"Content-Length\0: 5",
        b"Content-Length\x0b: 5",
        b"Content-Length x: 5",
        b"Content Length: 5",
        b"Content\\Length: 5",
        b"Content-\0Length: 5",
        b"\x0bContent-Length: 5",
        b"\xa0Content-Length: 5",
        b"Content-Length 5",
        b":Content-Length: 5",
    ];
    table.refused("Smuggler permutations on Content-Length; Must die 2025 (hidden headers)", NAME, names, with);
    let folded: &[Bytes<'_>] = &[
        b" Content-Length: 5",
        b"\tContent-Length: 5",
        b"X: y\r\n Content-Length: 5",
        b"Content-Length:\r\n 5",
        b"Content-Length:\r\n\t5",
        b"Content-Length: 5\r\n 0",
        b"X: y\r\n \r\nContent-Length: 5",
    ];
    table.refused("Must die 2025 (hidden headers: wrap, tab, space)", FOLDING, folded, with);
    table.refused(
        "Smuggler permutations on Content-Length",
        BARE_LF,
        &[b"Content-Length:\n5", b"X: y\nContent-Length: 5", b"Content-Length: 5\nX: y", b"X: y\n\nContent-Length: 5"],
        with,
    );
    table.refused(
        "Smuggler permutations on Content-Length",
        VALUE,
        &[
            b"Content-Length: \x0b5",
            b"Content-Length: 5\0",
            b"Content-Length: 5\r",
            b"X: y\rContent-Length: 5",
            b"Content-Length: \x0c5",
        ],
        with,
    );
    table.refused(
        "Smuggler permutations: underjoin1",
        LOOKALIKE,
        &[b"Content_Length: 5", b"content_length: 0", b"Content-Length: 5\r\nContent_Length: 0"],
        with,
    );
    for huge in ["9999999999999999999", "9223372036854775807", "4294967301", "2147483653"] {
        let bytes = with(format!("Content-Length: {huge}").as_bytes());
        table.add(
            "RFC 9112 section 6.3 (lengths that wrap around in 31, 32 or 63 bits)",
            [bytes.as_slice(), SMUGGLED.as_bytes()].concat(),
            &[],
            End::Waiting,
        );
    }
    for zeros in [b"Content-Length: 05".as_slice(), b"Content-Length: 0000005", b"Content-Length:5", b"Content-Length: \t5 \t"] {
        table.add(
            "RFC 9110 section 8.6 (leading zeros and white space are allowed)",
            with(zeros),
            &["POST /orders hello", SEEN_PLAINLY],
            End::Open,
        );
    }
}

/// CL.0, 0.CL, TE.0, and what rests on `Expect` or on methods that have no body elsewhere.
fn bodies_nobody_expects(table: &mut Table) {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH", "PURGE", "get"] {
        let by_length = format!("{method} /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
        let by_chunks =
            format!("{method} /orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n");
        let seen: &'static str = format!("{method} /orders hello").leak();
        table.add("Browser-powered 2022, CL.0", by_length, &[seen, SEEN_PLAINLY], End::Open);
        table.add("TE.0 (sw33tLie, bsysop, medusa_1, 2024)", by_chunks, &[seen, SEEN_PLAINLY], End::Open);
    }
    let hidden = format!("POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len());
    let whole: &'static str = format!("POST /orders {SMUGGLED}").leak();
    table.add("Browser-powered 2022, CL.0 with the request as the body", hidden, &[whole, SEEN_PLAINLY], End::Open);
    let hidden = format!(
        "POST /orders HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n",
        SMUGGLED.len()
    );
    table.add("TE.0 with the request as the body", hidden, &[whole, SEEN_PLAINLY], End::Open);
    table.add("0.CL: a body that never comes", post(b"Content-Length: 5"), &[], End::Waiting);
    table.add("0.CL on GET", "GET /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n", &[], End::Waiting);
    table.add("Browser-powered 2022, pause-based", post(b"Content-Length: 38"), &[], End::Waiting);
    table.add("no length: the next bytes are the next request", post(b"X: y"), &["POST /orders ", SEEN_PLAINLY], End::Open);
    table.add("HTTP/1.0 without a length", "POST /orders HTTP/1.0\r\nHost: h\r\n\r\n", &["POST /orders "], End::Open);
    table.add(
        "Connection: close, and more behind it",
        "GET /orders HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        &["GET /orders "],
        End::Open,
    );
    let upgrades: &[Bytes<'_>] = &[
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA",
        b"Upgrade: h2c",
        b"Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 777",
        b"Connection: upgrade",
        b"Connection:\tUPGRADE\t",
        b"Upgrade: ,",
    ];
    table.refused("h2c smuggling (J. Miller, 2020); WebSocket smuggling (M. Egorov, 2019)", "upgrade", upgrades, post);
}

/// What may be sent passes, in one shape.
fn legitimate(table: &mut Table) {
    for body in [
        b"5\r\nhello\r\n0\r\n\r\n".as_slice(),
        b"05\r\nhello\r\n000\r\n\r\n",
        b"5;a=b\r\nhello\r\n0;c\r\n\r\n",
        b"5;a=\"b\"\r\nhello\r\n0\r\n\r\n",
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"0000000000000005\r\nhello\r\n0\r\n\r\n",
    ] {
        table.add("control: chunks as they may be", chunked(body), &["POST /orders hello", SEEN_PLAINLY], End::Open);
    }
    table.add(
        "control: pipelined requests",
        "GET /orders HTTP/1.1\r\nHost: h\r\n\r\n",
        &["GET /orders ", SEEN_PLAINLY],
        End::Open,
    );
    table.add("control: OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", &["OPTIONS * ", SEEN_PLAINLY], End::Open);
}
