//! Odd heads: first lines, hosts, fields.

use super::*;

pub(super) fn fields(table: &mut Table) {
    let source = "RFC 9112 section 5.1; Garden 2024";
    table.refused(
        source,
        NAME,
        &[
            b"X",
            b"X y: z",
            b"X\0: y",
            b"X\xc3\xa9: y",
            b"(X): y",
            b"X@: y",
            b"X[]: y",
            b"X/: y",
            b"{X}: y",
            b"X,Y: z",
            b"X;: y",
            b"=: y",
            b"?: y",
            b": y",
            b"X\x1f: y",
        ],
        post,
    );
    table.refused(source, VALUE, &[b"X: \0", b"X: a\0b", b"X: a\rb", b"X: a\r\rb", b"X: \x1b[2J", b"X: \x7f", b"X: a\x08"], post);
    table.refused("RFC 9112 section 2.2", LINE_END, &[b"X: y\r\n\rX: z", b"\rX: y"], post);
    table.add("RFC 9112 section 2.2", "POST /orders HTTP/1.1\nHost: h\n\n", &[], End::Refused(BARE_LF));
    table.add("RFC 9112 section 2.2", "POST /orders HTTP/1.1\r\nHost: h\n\r\n", &[], End::Refused(BARE_LF));
    table.add("RFC 9112 section 2.2", "POST /orders HTTP/1.1\r\nHost: h\r\n\n", &[], End::Refused(BARE_LF));
    table.add("RFC 9112 section 2.2", "POST /orders HTTP/1.1\r\nHost: h\r\n\r\r\n", &[], End::Refused(LINE_END));
    table.add("RFC 9112 section 2.2 (CR alone ends no line)", "POST /orders HTTP/1.1\rHost: h\r\r", &[], End::Refused(LINE_END));
    table.add(
        "RFC 9112 section 2.2, white space before the first field",
        "POST /orders HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n",
        &[],
        End::Refused(FOLDING),
    );
    table.add(
        "RFC 9112 section 2.2, white space before the first field",
        "POST /orders HTTP/1.1\r\n\tHost: h\r\n\r\n",
        &[],
        End::Refused(FOLDING),
    );
    table.add(
        "RFC 9112 section 2.2, empty lines first",
        "\r\n\r\nPOST /orders HTTP/1.1\r\nHost: h\r\n\r\n",
        &[],
        End::Refused("empty-lines-before-request"),
    );
    table.add(
        "RFC 9112 section 2.2, one empty line first",
        "\r\nPOST /orders HTTP/1.1\r\nHost: h\r\n\r\n",
        &["POST /orders ", SEEN_PLAINLY],
        End::Open,
    );
    table.add(
        "PROXY protocol from a sender that is not listed",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xc8\x22\x01\xbbPOST /orders HTTP/1.1\r\nHost: h\r\n\r\n"
            .as_slice(),
        &[],
        End::Refused("empty-lines-before-request"),
    );
    table.add(
        "PROXY protocol from a sender that is not listed",
        "PROXY TCP4 203.0.113.7 192.0.2.1 51234 443\r\nPOST /orders HTTP/1.1\r\nHost: h\r\n\r\n",
        &[],
        End::Refused(VERSION),
    );
    let many = "X: y\r\n".repeat(200);
    table.add(
        "header flood by number",
        format!("GET /orders HTTP/1.1\r\nHost: h\r\n{many}\r\n"),
        &[],
        End::Refused("too-many-header-fields"),
    );
    table.add(
        "header flood by size",
        format!("GET /orders HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "y".repeat(40_000)),
        &[],
        End::Refused("head-too-large"),
    );
}

pub(super) fn first_lines(table: &mut Table) {
    let source = "RFC 9112 sections 2.3 and 3; T-Reqs 2021; HDiff 2022";
    let versions: &[Bytes<'_>] = &[
        b"GET /orders HTTP/1.2",
        b"GET /orders HTTP/0.9",
        b"GET /orders HTTP/2.0",
        b"GET /orders HTTP/1.10",
        b"GET /orders HTTP/11",
        b"GET /orders HTTP/1,1",
        b"GET /orders HTTP/01.1",
        b"GET /orders HTTP /1.1",
        b"GET /orders http/1.1",
        b"GET /orders Http/1.1",
        b"GET /orders XTTP/1.1",
        b"GET /orders ICAP/1.0",
        b"GET /orders  HTTP/1.1",
        b"GET /or ders HTTP/1.1",
        b"GET /orders HTTP/1.1/1.1",
        b"GET /orders x HTTP/1.1",
        b"GET /orders HTTP/+1.1",
    ];
    for bytes in versions {
        let end = End::Refused(if bytes.starts_with(b"GET /orders HTTP/1.1/") || bytes.starts_with(b"GET /orders HTTP/1.10") {
            LINE_END
        } else {
            VERSION
        });
        table.add(source, line(bytes), &[], end);
    }
    let lines: &[Bytes<'_>] = &[
        b"GET /orders",
        b" GET /orders HTTP/1.1",
        b"\tGET /orders HTTP/1.1",
        b"GET\t/orders\tHTTP/1.1",
        b"GET  /orders HTTP/1.1",
        b"GET\x0b/orders HTTP/1.1",
        b"GET\0 /orders HTTP/1.1",
        b"G\0ET /orders HTTP/1.1",
        b"GE\"T /orders HTTP/1.1",
        b"G\xc3\x89T /orders HTTP/1.1",
        b"/orders HTTP/1.1",
        b" /orders HTTP/1.1",
        b"GET /orders\0 HTTP/1.1",
        b"GET /orders#x HTTP/1.1",
        b"GET /orders\x7f HTTP/1.1",
        b"GET /orders\x0bHTTP/1.1",
        b"{GET} /orders HTTP/1.1",
        b"GET: /orders HTTP/1.1",
    ];
    table.refused(source, LINE, lines, line);
    table.refused(
        source,
        LINE_END,
        &[
            b"GET /orders HTTP/1.1 ",
            b"GET /orders HTTP/1.1\t",
            b"GET /orders HTTP/1.1\0",
            b"GET /orders HTTP/1.1x",
            b"GET /orders HTTP/1.1\r",
        ],
        line,
    );
    table.refused(
        "RFC 9110 sections 9.3.6 and 9.3.8",
        "method",
        &[b"CONNECT h:80 HTTP/1.1", b"CONNECT /orders HTTP/1.1", b"TRACE /orders HTTP/1.1"],
        line,
    );
    let targets: &[Bytes<'_>] = &[
        b"GET http://h/orders HTTP/1.1",
        b"GET http://other/orders HTTP/1.1",
        b"GET HTTP://h/orders HTTP/1.1",
        b"GET orders HTTP/1.1",
        b"GET h:80 HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET //orders HTTP/1.1",
        b"GET ///orders HTTP/1.1",
        b"GET //h/orders HTTP/1.1",
        b"GET /x/../orders HTTP/1.1",
        b"GET /x/%2e%2e/orders HTTP/1.1",
        b"GET /./orders HTTP/1.1",
        b"GET /%6frders HTTP/1.1",
        b"GET /orders;x=y HTTP/1.1",
        b"GET /orders\\x HTTP/1.1",
        b"GET /orders%00 HTTP/1.1",
        b"GET /orders%2fx HTTP/1.1",
        b"GET /orders%zz HTTP/1.1",
        b"GET /orders% HTTP/1.1",
        b"GET /orders?x=%0 HTTP/1.1",
    ];
    for target in targets {
        table.add("RFC 9112 section 3.2; target confusion (T31)", line(target), &[SEEN_PLAINLY], End::Problem(400));
    }
}

pub(super) fn hosts(table: &mut Table) {
    let head = |fields: &[u8]| [b"GET /orders HTTP/1.1\r\n", fields, b"\r\n\r\n"].concat();
    let source = "Host of troubles (Chen and others, 2016); RFC 9112 section 3.2";
    table.refused(source, "host-missing", &[b"X: y", b"X-Host: h", b"Hos: h", b"X-Forwarded-Host: h"], head);
    table.refused(
        source,
        "host-repeated",
        &[b"Host: h\r\nHost: h", b"Host: h\r\nhost: other", b"Host: h\r\nX: y\r\nHOST: h"],
        head,
    );
    table.refused(
        source,
        "host-malformed",
        &[
            b"Host: a, b",
            b"Host: a b",
            b"Host: h/x",
            b"Host: u@h",
            b"Host: h\\x",
            b"Host: h?x",
            b"Host: h#x",
            b"Host: \xc3\xa9",
            b"Host: \"h\"",
            b"Host: <h>",
        ],
        head,
    );
    table.refused(source, NAME, &[b"Host : h", b"Host\t: h", b"Host\0: h", b"\x0bHost: h", b"Host h"], head);
    table.refused(source, FOLDING, &[b" Host: h", b"X: y\r\n Host: h", b"Host:\r\n h", b"Host: h\r\n other"], head);
    table.refused(source, VALUE, &[b"Host: h\0", b"Host: h\rHost: other", b"Host: \x0bh"], head);
}
