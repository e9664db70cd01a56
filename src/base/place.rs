//! Where a value belongs: the names that are bound into what is stored, and their unambiguous encoding.

use super::{CollectionName, Controller, FieldName};

/// What a stored value is bound to besides controller, collection and field (`docs/format.md`).
///
/// Fixed per collection. Written as one byte into every payload, so that a changed configuration is diagnosed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bind {
    /// To its field only: the value opens in every document of the collection.
    Field = 0,
    /// To the data subject the document is about.
    Subject = 1,
    /// To the one document it stands in.
    Document = 2,
}

impl Bind {
    /// The byte that stands in a payload.
    pub fn byte(self) -> u8 {
        match self {
            Self::Field => 0,
            Self::Subject => 1,
            Self::Document => 2,
        }
    }

    /// Reads the byte of a payload; `None` for a byte this release does not know.
    pub fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Field),
            1 => Some(Self::Subject),
            2 => Some(Self::Document),
            _ => None,
        }
    }

    /// The word used in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Field => "field",
            Self::Subject => "subject",
            Self::Document => "document",
        }
    }
}

/// One configured field of one collection of one controller: what a subkey is derived for.
///
/// Logical names of the configuration, never selectors, so that JSON members can be renamed and data moved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldPlace {
    /// Whose data it is.
    pub controller: Controller,
    /// Logical name of the collection.
    pub collection: CollectionName,
    /// Logical name of the field.
    pub field: FieldName,
}

/// Joins parts so that no two different lists of parts give the same bytes: each part is preceded by its length as
/// 4 bytes, big-endian. Used for every context, label and fingerprint (`docs/format.md`).
///
/// A part of 4 GiB or more cannot be written; the callers' limits lie far below. Such a part is cut to its first
/// 4 GiB - 1 bytes with that length before it.
pub fn enc(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(parts.iter().map(|part| 4 + part.len()).sum());
    for part in parts {
        let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&len.to_be_bytes());
        out.extend(part.iter().take(usize::try_from(len).unwrap_or(usize::MAX)));
    }
    out
}

/// The parts that [`enc`] joined; none if the bytes are not of its making.
pub fn parts(bytes: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        let (part, behind) = behind.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
        parts.push(part);
        rest = behind;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::{enc, parts};

    #[test]
    fn parts_are_what_enc_joined_and_nothing_else() {
        let lists: [Vec<&[u8]>; 4] = [vec![], vec![b""], vec![b"ab", b"c"], vec![b"\0", b"", b"x"]];
        for joined in lists {
            assert_eq!(parts(&enc(&joined)), Some(joined));
        }
        for wrong in [&b"\0"[..], b"\0\0\0\x02a", b"\0\0\0\x01ab", b"\xff\xff\xff\xffabc"] {
            assert_eq!(parts(wrong), None);
        }
    }

    #[test]
    fn enc_tells_different_splits_apart() {
        assert_eq!(enc(&[b"ab", b"c"]), [0, 0, 0, 2, b'a', b'b', 0, 0, 0, 1, b'c']);
        assert_ne!(enc(&[b"ab", b"c"]), enc(&[b"a", b"bc"]));
        assert_ne!(enc(&[b""]), enc(&[]));
    }
}
