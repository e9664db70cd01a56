//! Odd chunks.

use super::*;

/// Everything around a chunk.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn chunks(table: &mut Table) {
    let source = "RFC 9112 section 7.1; Smuggler permutations; T-Reqs 2021; Garden 2024";
    let sizes: &[Bytes<'_>] = &[
        b"+5",
        b"-5",
        b"-0",
        b"0x5",
        b"0X5",
        b"5_0",
        b"0_5",
        b" 5",
        b"\t5",
        b"5 ",
        b"5\t",
        b"5\x0b",
        b"\x0b5",
        b"\x0c5",
        b"5\0",
        b"\x005",
        b"\xef\xbc\x95",
        b"\xb2",
        b"5h",
        b"g",
        b"5.0",
        b"5,5",
        b"\"5\"",
        b"",
        b" ",
        b"ffffffffffffffff1",
        b"fffffffffffffffff",
        b"10000000000000005",
        b"00000000000000005",
        b"80000000000000000000000000000005",
        b"5 ;a",
        b"5 5",
        b"5\r",
        b"5\rX",
    ];
    for size in sizes {
        table.add(source, chunked(&[size, b"\r\nhello\r\n0\r\n\r\n".as_slice()].concat()), &[], End::Refused(CHUNK));
    }
    let source = "RFC 9112 section 7.1, around the data; Garden 2024; CVE-2025-22871";
    let bodies: &[Bytes<'_>] = &[
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\r\nhello\rX0\r\n\r\n",
        b"5\r\nhello\r\r0\r\n\r\n",
        b"5\r\nhello\n\n0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"6\r\nhello\r\n0\r\n\r\n",
        b"0\n\r\n",
        b"0\r\r\n\r\n",
        b"0\r\n\rX",
        b"0\r\n\r\r\n",
        b"5\r\nhello\r\n\r\n",
        b"\n5\r\nhello\r\n0\r\n\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
    ];
    table.refused(source, CHUNK, bodies, chunked);
    let smuggled = SMUGGLED.as_bytes();
    for between in [b"\n".as_slice(), b"\r", b"\rX", b"\r\r"] {
        let code = if between == b"\n" { EXTENSION } else { CHUNK };
        let term_ext = [b"2;", between, b"xx\r\n26\r\n0\r\n\r\n", smuggled, b"\r\n0\r\n\r\n"].concat();
        let ext_term = [b"26;", between, b"0\r\n\r\n", smuggled, b"\r\n0\r\n\r\n"].concat();
        table.add("Funky chunks 2025, TERM.EXT", chunked(&term_ext), &[], End::Refused(code));
        table.add("Funky chunks 2025, EXT.TERM", chunked(&ext_term), &[], End::Refused(code));
    }
    for between in [b"\n".as_slice(), b"\r", b"", b"XX", b"\rX", b"\r\r", b"\n\n"] {
        let term_spill = [b"5\r\nAAAAA", between, b"2\r\n26\r\n0\r\n\r\n", smuggled, b"\r\n0\r\n\r\n"].concat();
        let spill_term = [b"5\r\nAAAAA", between, b"26\r\n0\r\n\r\n", smuggled, b"\r\n0\r\n\r\n"].concat();
        table.add("Funky chunks 2025, TERM.SPILL", chunked(&term_spill), &[], End::Refused(CHUNK));
        table.add("Funky chunks 2025, SPILL.TERM", chunked(&spill_term), &[], End::Refused(CHUNK));
    }
    for (source, between, size) in [
        ("Funky chunks 2025, ONE.TWO", b"\n".as_slice(), b"6".as_slice()),
        ("Funky chunks 2025, TWO.ONE", b"\r", b"4"),
        ("Funky chunks 2025, ZERO.TWO", b"", b"7"),
        ("Funky chunks 2025, TWO.ZERO", b"", b"3"),
    ] {
        table.add(source, chunked(&[size, b"\r\nAAAAA", between, b"0\r\n\r\n"].concat()), &[], End::Refused(CHUNK));
    }
    let source = "Funky chunks 2025; RFC 9112 section 7.1.1";
    let extensions: &[Bytes<'_>] = &[
        b"5;\nhello\r\n0\r\n\r\n",
        b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        b"5;a\0b\r\nhello\r\n0\r\n\r\n",
        b"5;a=\x7f\r\nhello\r\n0\r\n\r\n",
        b"5;\x0b\r\nhello\r\n0\r\n\r\n",
        b"0;\n\r\n",
    ];
    table.refused(source, EXTENSION, extensions, chunked);
    table.add(
        source,
        chunked(&[b"5;", "x".repeat(300).as_bytes(), b"\r\nhello\r\n0\r\n\r\n"].concat()),
        &[],
        End::Refused(EXTENSION),
    );
    // A line end within quotation marks is a line end.
    table.add("Funky chunks 2025, quoted line ends", chunked(b"5;a=\"\r\nhello\"\r\n0\r\n\r\n"), &[], End::Refused(CHUNK));
    let trailers: &[Bytes<'_>] = &[
        b"X: y",
        b"Content-Length: 5",
        b"Transfer-Encoding: chunked",
        b"Host: other",
        b"Data-Purpose: account",
        b"Sudare-Credential: x",
        b" X: y",
        b":",
        b"X",
        b"\0",
        b"GET /smuggled HTTP/1.1",
    ];
    table.refused("RFC 9112 section 7.1.2 (merging of trailers); HDiff 2022", TRAILERS, trailers, |field| {
        chunked(&[b"5\r\nhello\r\n0\r\n", field, b"\r\n\r\n"].concat())
    });
    table.add(
        "RFC 9112 section 7.1, an end that a line feed alone makes",
        chunked(b"5\r\nhello\r\n0\r\n\n"),
        &[],
        End::Refused(TRAILERS),
    );
    for huge in ["ffffffffffffffff", "7fffffffffffffff", "8000000000000000", "100000005", "80000005"] {
        table.add(
            "RFC 9112 section 7.1 (sizes that wrap around in 31, 32 or 63 bits)",
            chunked(format!("{huge}\r\nhello\r\n0\r\n\r\n{SMUGGLED}").as_bytes()),
            &[],
            End::Waiting,
        );
    }
    table.add("a last chunk that never comes", chunked(b"5\r\nhello\r\n"), &[], End::Waiting);
    table.add("an end that never comes", chunked(b"5\r\nhello\r\n0\r\n"), &[], End::Waiting);
}
