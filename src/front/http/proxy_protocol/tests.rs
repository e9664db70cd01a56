//! Headers byte for byte as the specification lays them out.

use proptest::prelude::*;
use tokio::io::AsyncWriteExt as _;

use super::*;

/// A header: version and command, family and transport, what stands behind the length.
fn header(version: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE.as_slice(), &[version, family], &length, block].concat()
}

fn tcp4(more: &[u8]) -> Vec<u8> {
    // 203.0.113.7:51234 → 192.0.2.1:443
    header(0x21, 0x11, &[&[203, 0, 113, 7, 192, 0, 2, 1, 0xC8, 0x22, 0x01, 0xBB], more].concat())
}

fn tcp6(source: [u8; 16]) -> Vec<u8> {
    header(0x21, 0x21, &[&source[..], &[0; 16], &[0xC8, 0x22, 0x01, 0xBB]].concat())
}

fn extension(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind], u16::try_from(value.len()).unwrap().to_be_bytes().as_slice(), value].concat()
}

/// A header with a checksum, right for what stands before and behind it.
fn summed(before: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut bytes = tcp4(&[before, &extension(CRC32C, &[0; 4]), behind].concat());
    let at = FIXED_BYTES + 12 + before.len() + 3;
    let sum = crc32c(&bytes, 0..0).to_be_bytes();
    bytes[at..at + 4].copy_from_slice(&sum);
    bytes
}

const V6: [u8; 16] = [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
const MAPPED: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 203, 0, 113, 7];

fn good() -> Vec<(&'static str, Vec<u8>, Option<IpAddr>)> {
    let (v4, v6): (IpAddr, IpAddr) = ("203.0.113.7".parse().unwrap(), "2001:db8::7".parse().unwrap());
    vec![
        ("TCP over IPv4", tcp4(&[]), Some(v4)),
        ("UDP over IPv4", header(0x21, 0x12, &tcp4(&[])[FIXED_BYTES..]), Some(v4)),
        ("TCP over IPv6", tcp6(V6), Some(v6)),
        ("UDP over IPv6", header(0x21, 0x22, &tcp6(V6)[FIXED_BYTES..]), Some(v6)),
        ("IPv4 written as IPv6", tcp6(MAPPED), Some(v4)),
        ("Unix stream", header(0x21, 0x31, &[b'/'; 216]), None),
        ("Unix datagram", header(0x21, 0x32, &[0; 216]), None),
        ("unspecified", header(0x21, 0x00, &[]), None),
        ("unspecified with an extension", header(0x21, 0x00, &extension(0x04, &[0; 9])), None),
        ("local", header(0x20, 0x00, &[]), None),
        ("local, whose block is not looked at", header(0x20, 0x11, &[1, 2, 3]), None),
        (
            "extensions are skipped",
            tcp4(&[extension(0x01, b"h2"), extension(0x20, b"\x01\0\0\0\0"), extension(0xEA, b"")].concat()),
            Some(v4),
        ),
        // What a load balancer says of the client's certificate changes nothing.
        ("a common name", tcp4(&extension(0x20, &[&[7, 0, 0, 0, 0][..], &extension(0x22, b"shipping")].concat())), Some(v4)),
        ("a checksum", summed(&[], &[]), Some(v4)),
        ("a checksum among others", summed(&extension(0x01, b"h2"), &extension(0x04, &[0; 5])), Some(v4)),
        ("as long as may be", tcp4(&extension(0x04, &vec![0; MOST_BYTES - FIXED_BYTES - 12 - 3])), Some(v4)),
    ]
}

fn bad() -> Vec<(Fault, Vec<u8>)> {
    let wrong_sum = {
        let mut bytes = summed(&[], &[]);
        bytes[FIXED_BYTES] ^= 1;
        bytes
    };
    vec![
        (Fault::Missing, b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec()),
        (Fault::Missing, b"POST / HTTP/1.1\r\n".to_vec()),
        (Fault::Missing, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        (Fault::Missing, b"\x16\x03\x01\x02\0".to_vec()),
        (Fault::Missing, b"\r\n\r\n\0\r\nQUIT\r".to_vec()),
        (Fault::Missing, b"\r\nGET / HTTP/1.1\r\n".to_vec()),
        (Fault::Text, b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 443\r\n".to_vec()),
        (Fault::Text, b"PROXY UNKNOWN\r\n".to_vec()),
        (Fault::Version, header(0x11, 0x11, &[0; 12])),
        (Fault::Version, header(0x31, 0x11, &[0; 12])),
        (Fault::Version, header(0x22, 0x11, &[0; 12])),
        (Fault::Version, header(0x2F, 0x11, &[0; 12])),
        (Fault::Family, header(0x21, 0x10, &[0; 12])),
        (Fault::Family, header(0x21, 0x01, &[0; 12])),
        (Fault::Family, header(0x21, 0x13, &[0; 12])),
        (Fault::Family, header(0x21, 0x41, &[0; 216])),
        (Fault::Short, header(0x21, 0x11, &[0; 11])),
        (Fault::Short, header(0x21, 0x21, &[0; 35])),
        (Fault::Short, header(0x21, 0x31, &[0; 215])),
        (Fault::TooLong, tcp4(&vec![0; MOST_BYTES - FIXED_BYTES - 12 + 1])),
        (Fault::TooLong, [SIGNATURE.as_slice(), &[0x21, 0x11, 0xFF, 0xFF]].concat()),
        (Fault::TooLong, [SIGNATURE.as_slice(), &[0x20, 0x00, 0xFF, 0xFF]].concat()),
        (Fault::Extension, tcp4(&[0x04])),
        (Fault::Extension, tcp4(&[0x04, 0, 2, 9])),
        (Fault::Extension, tcp4(&extension(CRC32C, &[0; 3]))),
        (Fault::Extension, tcp4(&extension(CRC32C, &[0; 4]).repeat(2))),
        (Fault::Checksum, wrong_sum),
        (Fault::Checksum, tcp4(&extension(CRC32C, &[0; 4]))),
    ]
}

/// Reads as the connection does: never more than is wanted.
fn read_all(bytes: &[u8]) -> Result<(Header, usize), Fault> {
    let mut taken = 0;
    loop {
        match read(&bytes[..taken])? {
            Header::Wants(wanted) if taken < bytes.len() => {
                assert!(wanted > taken, "it wants more than it has");
                taken = wanted.min(bytes.len());
            }
            header @ (Header::Wants(_) | Header::Whole(_)) => return Ok((header, taken)),
        }
    }
}

#[test]
fn every_kind_of_header_is_read_and_nothing_behind_it() {
    for (name, bytes, address) in good() {
        let length = bytes.len();
        let with_request = [bytes, b"GET / HTTP/1.1\r\n".to_vec()].concat();
        assert_eq!(read_all(&with_request), Ok((Header::Whole(address), length)), "{name}");
    }
}

#[test]
fn a_header_may_come_in_any_pieces() {
    for (name, bytes, address) in good() {
        for end in 0..bytes.len() {
            assert!(
                matches!(read(&bytes[..end]), Ok(Header::Wants(wanted)) if wanted > end && wanted <= bytes.len()),
                "{name} at {end}"
            );
        }
        assert_eq!(read(&bytes), Ok(Header::Whole(address)), "{name}");
    }
}

#[test]
fn what_is_no_header_is_refused_with_its_reason() {
    for (fault, bytes) in bad() {
        assert_eq!(read_all(&bytes).unwrap_err(), fault, "{bytes:?}");
        // However it is cut; what comes first decides.
        let by_byte = (0..=bytes.len()).find_map(|end| read(&bytes[..end]).err());
        assert_eq!(by_byte, Some(fault), "{bytes:?} byte by byte");
    }
}

#[test]
fn the_checksum_is_the_one_of_the_rfc() {
    // The check value of CRC-32C, and RFC 3720 appendix B.4: 32 bytes of zeros, of ones, and counting up.
    assert_eq!(crc32c(b"123456789", 0..0), 0xE306_9283);
    assert_eq!(crc32c(&[0; 32], 0..0), 0x8A91_36AA);
    assert_eq!(crc32c(&[0xFF; 32], 0..0), 0x62A8_AB43);
    assert_eq!(crc32c(&[0xFF; 32], 0..32), 0x8A91_36AA);
    assert_eq!(crc32c(&(0..32).collect::<Vec<u8>>(), 0..0), 0x46DD_794E);
}

#[test]
fn faults_name_themselves_once() {
    let codes: std::collections::BTreeSet<_> = bad().iter().map(|(fault, _)| fault.code()).collect();
    assert_eq!(codes.len(), 8, "{codes:?}");
    assert!(codes.iter().all(|code| code.starts_with("proxy-header-")));
}

#[tokio::test]
async fn a_connection_is_left_where_the_request_begins() {
    for (name, bytes, address) in good() {
        let (mut ours, mut theirs) = tokio::io::duplex(1 << 16);
        let client = async {
            for byte in &bytes {
                ours.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            ours.write_all(b"GET / HTTP/1.1").await.unwrap();
            drop(ours);
        };
        let (received, ()) = tokio::join!(receive(&mut theirs), client);
        assert_eq!(received, Ok(Some(address)), "{name}");
        let mut rest = String::new();
        theirs.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "GET / HTTP/1.1", "{name}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_is_a_health_check_or_cut() {
    let mut nothing: &[u8] = b"";
    assert_eq!(receive(&mut nothing).await, Ok(None));
    let whole = tcp4(&[]);
    for end in 1..whole.len() {
        assert_eq!(receive(&mut &whole[..end]).await, Err(Fault::Cut), "at {end}");
    }
}

proptest! {
    #[test]
    fn any_bytes_end_in_a_header_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..300), signed in any::<bool>(), cut in 0..300_usize) {
        let bytes = if signed { [SIGNATURE.as_slice(), &bytes].concat() } else { bytes };
        match read_all(&bytes) {
            Ok((Header::Whole(_), taken)) => prop_assert!(taken <= MOST_BYTES && read(&bytes[..taken - 1]).is_ok_and(|header| matches!(header, Header::Wants(_)))),
            Ok((Header::Wants(wanted), taken)) => prop_assert!(taken == bytes.len() && wanted > taken && wanted <= MOST_BYTES),
            Err(_) => {}
        }
        // What is refused whole is not taken in pieces.
        let part = &bytes[..cut.min(bytes.len())];
        if let Err(fault) = read(part) {
            prop_assert_eq!(read_all(&bytes).unwrap_err(), fault);
        }
    }

    #[test]
    fn any_changed_bit_of_a_summed_header_is_found(bit in 0..(FIXED_BYTES + 12 + 7) * 8) {
        let mut bytes = summed(&[], &[]);
        // Under another type the checksum is none.
        prop_assume!(bit / 8 != FIXED_BYTES + 12);
        bytes[bit / 8] ^= 1 << (bit % 8);
        // A bit of the command makes it a LOCAL header, whose block says nothing; one of the length makes it wait for more.
        let said = read(&bytes);
        prop_assert!(!matches!(said, Ok(Header::Whole(Some(_)))), "{:?}", said);
    }
}
