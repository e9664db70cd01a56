//! The PROXY protocol, version 2: a load balancer in front says, before anything else, for whom it opened the connection.
//!
//! Always holds: [`read`] is pure and takes the header only, never a byte behind it; the address is for logs, never for
//! decisions; what else a header may say of the client (names, certificates) is not used, for nobody has verified it.
//! From a listed sender the header is required, from any other it is no HTTP and [`super::wire`] refuses it.
//!
//! Source: "The PROXY protocol, versions 1 & 2", sections 2.2 and 2.3. Called by [`super::connection`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Largest header, extensions included. Senders in use stay far below it.
pub(super) const MOST_BYTES: usize = 4096;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with.
const TEXT: &[u8] = b"PROXY ";
/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;
/// The type of the extension that is a checksum of the header.
const CRC32C: u8 = 0x03;

/// Why a header is refused. Nothing is answered, for the sender reads no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("no PROXY header: the sender is listed in [listen] proxy_protocol, so it must send one (version 2)")]
    Missing,
    #[error("a PROXY header of version 1: set the sender to version 2 (haproxy: send-proxy-v2)")]
    Text,
    #[error("neither version 2 nor a command of it")]
    Version,
    #[error("an address family or transport that version 2 does not have")]
    Family,
    #[error("a PROXY header of more than {MOST_BYTES} bytes: let the sender leave out extensions")]
    TooLong,
    #[error("too short for the addresses of its family")]
    Short,
    #[error("its extensions do not end where it ends, or the checksum is there twice")]
    Extension,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("the PROXY header did not come in time")]
    Late,
    #[error("the connection ended within the PROXY header")]
    Cut,
}

impl Fault {
    /// For metrics.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Missing => "proxy-header-missing",
            Self::Text => "proxy-header-version-1",
            Self::Version => "proxy-header-version",
            Self::Family => "proxy-header-family",
            Self::TooLong => "proxy-header-too-long",
            Self::Short => "proxy-header-short",
            Self::Extension => "proxy-header-extension",
            Self::Checksum => "proxy-header-checksum",
            Self::Late => "proxy-header-late",
            Self::Cut => "proxy-header-cut",
        }
    }
}

/// What a header that has come this far says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// It is not whole; it has at least this many bytes.
    Wants(usize),
    /// Whole. The client's address; `None` where the sender speaks for itself (a health check) or names no IP address.
    Whole(Option<IpAddr>),
}

/// Reads the bytes that have come. To be asked again with as many as it wants, and no more.
pub(super) fn read(bytes: &[u8]) -> Result<Header, Fault> {
    let begins = SIGNATURE.starts_with(bytes) || bytes.starts_with(SIGNATURE);
    if !begins {
        return match bytes.starts_with(TEXT) {
            true => Err(Fault::Text),
            false if TEXT.starts_with(bytes) => Ok(Header::Wants(FIXED_BYTES)),
            false => Err(Fault::Missing),
        };
    }
    let Some(([.., version, family, high, low], rest)) = bytes.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(Header::Wants(FIXED_BYTES));
    };
    let speaks_for_itself = match version {
        0x20 => true,
        0x21 => false,
        _ => return Err(Fault::Version),
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if FIXED_BYTES + length > MOST_BYTES {
        return Err(Fault::TooLong);
    }
    if rest.len() < length {
        return Ok(Header::Wants(FIXED_BYTES + length));
    }
    if speaks_for_itself {
        // Such a header says nothing else, whatever stands in it.
        return Ok(Header::Whole(None));
    }
    let (address, extensions) = source(*family, rest)?;
    check_extensions(bytes, extensions)?;
    Ok(Header::Whole(address))
}

/// The client's address, and what stands behind the addresses. Streams and datagrams (HTTP/3 in front) are named alike.
fn source(family: u8, block: &[u8]) -> Result<(Option<IpAddr>, &[u8]), Fault> {
    match family {
        0x00 => Ok((None, block)),
        0x11 | 0x12 => {
            let (addresses, rest) = block.split_first_chunk::<12>().ok_or(Fault::Short)?;
            let [a, b, c, d, ..] = *addresses;
            Ok((Some(Ipv4Addr::new(a, b, c, d).into()), rest))
        }
        0x21 | 0x22 => {
            let (addresses, rest) = block.split_first_chunk::<36>().ok_or(Fault::Short)?;
            let (from, _to_and_ports) = addresses.split_first_chunk::<16>().ok_or(Fault::Short)?;
            Ok((Some(IpAddr::from(Ipv6Addr::from(*from)).to_canonical()), rest))
        }
        0x31 | 0x32 => block.split_at_checked(216).map(|(_paths, rest)| (None, rest)).ok_or(Fault::Short),
        _ => Err(Fault::Family),
    }
}

/// Extensions (type, length of two bytes, value) fill what is left; of all only the checksum is looked at.
fn check_extensions(header: &[u8], extensions: &[u8]) -> Result<(), Fault> {
    let (mut rest, mut sum) = (extensions, None);
    while let Some(([kind, high, low], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, behind) = behind.split_at_checked(length).ok_or(Fault::Extension)?;
        if *kind == CRC32C {
            let value = <[u8; 4]>::try_from(value).map_err(|_wrong_length| Fault::Extension)?;
            let at = header.len() - behind.len() - length;
            if sum.replace((at, u32::from_be_bytes(value))).is_some() {
                return Err(Fault::Extension);
            }
        }
        rest = behind;
    }
    if !rest.is_empty() {
        return Err(Fault::Extension);
    }
    match sum {
        Some((at, sum)) if crc32c(header, at..at + 4) != sum => Err(Fault::Checksum),
        Some(_) | None => Ok(()),
    }
}

/// CRC-32C (RFC 3385) of bytes of which those of `zeroed` count as zero.
fn crc32c(bytes: &[u8], zeroed: std::ops::Range<usize>) -> u32 {
    let step = |sum: u32, byte: u8| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _bit| sum >> 1 ^ if sum & 1 == 1 { 0x82F6_3B78 } else { 0 })
    };
    let byte = |(at, byte): (usize, &u8)| if zeroed.contains(&at) { 0 } else { *byte };
    !bytes.iter().enumerate().map(byte).fold(!0, step)
}

/// Takes the header off a connection. The outer `None`: the sender closed without a word, as health checks do.
///
/// # Errors
///
/// The fault of the header; a connection that fails is one that is cut.
pub(super) async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Option<IpAddr>>, Fault> {
    let mut bytes = Vec::new();
    loop {
        match read(&bytes)? {
            Header::Whole(address) => return Ok(Some(address)),
            Header::Wants(wanted) => {
                let before = bytes.len();
                bytes.resize(wanted, 0);
                let came: io::Result<usize> = stream.read(bytes.get_mut(before..).unwrap_or_default()).await;
                match came {
                    Ok(0) | Err(_) if before == 0 => return Ok(None),
                    Ok(0) | Err(_) => return Err(Fault::Cut),
                    Ok(came) => bytes.truncate(before + came),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
