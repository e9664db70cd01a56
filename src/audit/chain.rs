//! How lines, segment headers and the head are spelled, linked and authenticated. Bytes only; no files.
//!
//! Every line, a header too, is JSON text that ends in a MAC over all bytes before `,"mac":"`. Its hash is the SHA-256 of its
//! bytes without the line end (what `sha256sum` prints for it), and stands in the next line as `prev`. The audit key also
//! makes pseudonyms, but of texts that begin with a zero byte, where these begin with `{`; so no MAC serves twice.

use std::io::Write as _;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::Deserialize;

use super::event::Entry;
use super::tree::Tree;
use crate::base::Kid;
use crate::crypto::{self, MacKey, SigningKey};

/// The format's name and version, in every segment's header.
const FORMAT: &str = "sudare-audit/1";
const HEAD_FORMAT: &str = "sudare-audit-head/1";
const MAC_BEFORE: &[u8] = b",\"mac\":\"";
const MAC_AFTER: &[u8] = b"\"}";
const MAC_CHARS: usize = 43;
/// The head is one sector of a disk, so that it is replaced whole: a disk writes sectors, not parts of them.
pub(super) const HEAD_BYTES: usize = 512;

/// Hash of a line.
pub(super) type Hash = [u8; 32];

/// A version of the audit line: its id, the key of the log's lines, and the one that signs checkpoints.
pub type Key = (Kid, Arc<MacKey>, Arc<SigningKey>);

/// The last line there is: its event's number (a header has that of the event before it) and its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Link {
    pub(super) seq: u64,
    pub(super) hash: Hash,
}

/// SHA-256 of a line's bytes, without its line end.
pub(super) fn hash(line: &[u8]) -> Hash {
    crypto::sha256(line)
}

/// Milliseconds since 1970 as RFC 3339 text in UTC; times no calendar has are written as its ends.
pub(super) fn rfc3339(ms: u64) -> String {
    i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX).to_string()
}

/// Appends the line of the next event, with its line end, to `out`, moves `link` to it and adds it to `tree`.
pub(super) fn push_event(out: &mut Vec<u8>, link: &mut Link, tree: &mut Tree, key: &MacKey, time: &str, body: &str) {
    let seq = link.seq.saturating_add(1);
    let start = out.len();
    let mut prev = [0; 64];
    HEXLOWER.encode_mut(&link.hash, &mut prev);
    out.extend_from_slice(b"{\"seq\":");
    push_number(out, seq);
    for part in [b",\"prev\":\"", prev.as_slice(), b"\",\"time\":\"", time.as_bytes(), b"\",", body.as_bytes()] {
        out.extend_from_slice(part);
    }
    let hash = finish(out, start, key);
    tree.push(out.get(start..out.len().saturating_sub(1)).unwrap_or_default());
    *link = Link { seq, hash };
}

/// The header of a segment, with its line end; `link` moves to it. `tree` is of the events before it.
pub(super) fn header(segment: u64, controller: &str, link: &mut Link, tree: &Tree, (kid, key, _): &Key, time: &str) -> Vec<u8> {
    let (controller, tree) = (serde_json::Value::from(controller), serde_json::Value::from(tree.peaks()));
    let mut out = format!(
        "{{\"format\":\"{FORMAT}\",\"segment\":{segment},\"kid\":\"{kid}\",\"controller\":{controller},\"after\":{},\"tree\":{tree},\"prev\":\"{}\",\"time\":\"{time}\"",
        link.seq,
        HEXLOWER.encode(&link.hash)
    )
    .into_bytes();
    link.hash = finish(&mut out, 0, key);
    out
}

/// Adds MAC and line end to the line that begins at `start`; returns the line's hash.
fn finish(out: &mut Vec<u8>, start: usize, key: &MacKey) -> Hash {
    authenticate(out, start, key);
    let hash = hash(out.get(start..).unwrap_or_default());
    out.push(b'\n');
    hash
}

/// Adds the MAC over the bytes from `start`.
fn authenticate(out: &mut Vec<u8>, start: usize, key: &MacKey) {
    let mac = key.mac(out.get(start..).unwrap_or_default());
    out.extend_from_slice(MAC_BEFORE);
    crypto::base64url_append(&mac, out);
    out.extend_from_slice(MAC_AFTER);
}

/// In decimal. Writing to memory does not fail.
fn push_number(out: &mut Vec<u8>, number: u64) {
    write!(out, "{number}").ok();
}

/// Does the MAC at the end of a line fit? `None` if there is none.
pub(super) fn mac_fits(line: &[u8], key: &MacKey) -> Option<bool> {
    let rest = line.strip_suffix(MAC_AFTER)?;
    let (rest, mac) = rest.split_at_checked(rest.len().checked_sub(MAC_CHARS)?)?;
    let covered = rest.strip_suffix(MAC_BEFORE)?;
    Some(key.verify(covered, &crypto::from_base64url(mac).ok()?))
}

/// A segment's header as read.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    format: String,
    pub(super) segment: u64,
    kid: String,
    pub(super) controller: String,
    pub(super) after: u64,
    /// Logs of earlier releases have none.
    #[serde(default)]
    tree: Vec<String>,
    prev: String,
}

impl Header {
    pub(super) fn read(line: &[u8]) -> Option<(Self, Kid)> {
        let header: Self = serde_json::from_slice(line).ok().filter(|header: &Self| header.format == FORMAT)?;
        let kid = header.kid.parse().ok()?;
        Some((header, kid))
    }

    /// The tree of all events before the segment, if the header says it.
    pub(super) fn tree(&self) -> Option<Tree> {
        Tree::from_peaks(self.after, &self.tree)
    }

    pub(super) fn follows(&self, link: &Link) -> bool {
        is_hash(&self.prev, &link.hash)
    }
}

impl Entry {
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    pub(super) fn follows(&self, link: &Link) -> bool {
        is_hash(&self.prev, &link.hash)
    }
}

fn is_hash(text: &str, hash: &Hash) -> bool {
    text == HEXLOWER.encode(hash)
}

/// How far the log goes: what the writer vouches for after each commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// The segment of the last line,
    pub(super) segment: u64,
    /// the line's number in it, from 1,
    pub(super) line: u64,
    /// where it begins,
    pub(super) from: u64,
    /// and where the next one will.
    pub(super) bytes: u64,
    pub(super) link: Link,
}

#[derive(Deserialize)]
struct RawHead {
    kid: String,
    segment: u64,
    line: u64,
    from: u64,
    bytes: u64,
    seq: u64,
    hash: String,
}

/// Why a head is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadError {
    Forged,
    UnknownKey(Kid),
}

impl Head {
    /// The head's one spelling: [`HEAD_BYTES`] bytes, filled up with spaces before the line end.
    pub(super) fn write(&self, (kid, key, _): &Key) -> Option<[u8; HEAD_BYTES]> {
        let Self { segment, line, from, bytes, link: Link { seq, hash } } = self;
        let mut out = format!(
            "{{\"format\":\"{HEAD_FORMAT}\",\"kid\":\"{kid}\",\"segment\":{segment},\"line\":{line},\"from\":{from},\"bytes\":{bytes},\"seq\":{seq},\"hash\":\"{}\"",
            HEXLOWER.encode(hash)
        )
        .into_bytes();
        authenticate(&mut out, 0, key);
        if out.len() >= HEAD_BYTES {
            return None; // cannot be: six numbers of 20 digits leave room for 60 bytes more
        }
        out.resize(HEAD_BYTES - 1, b' ');
        out.push(b'\n');
        out.try_into().ok()
    }

    /// Reads a head and believes it only if it is, byte for byte, what one of `keys` writes.
    pub(super) fn read(bytes: &[u8], keys: &[Key]) -> Result<Self, HeadError> {
        let raw: RawHead = serde_json::from_slice(bytes).map_err(|_not_json| HeadError::Forged)?;
        let kid: Kid = raw.kid.parse().map_err(|_not_a_kid| HeadError::Forged)?;
        let hash = HEXLOWER.decode(raw.hash.as_bytes()).ok().and_then(|hash| hash.try_into().ok()).ok_or(HeadError::Forged)?;
        let head =
            Self { segment: raw.segment, line: raw.line, from: raw.from, bytes: raw.bytes, link: Link { seq: raw.seq, hash } };
        let key = keys.iter().find(|(id, ..)| *id == kid).ok_or(HeadError::UnknownKey(kid))?;
        let sound = head.write(key).is_some_and(|sound| crypto::constant_time_eq(&sound, bytes));
        if sound { Ok(head) } else { Err(HeadError::Forged) }
    }
}
