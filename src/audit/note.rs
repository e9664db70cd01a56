//! Signed notes and checkpoints as C2SP specifies them (signed-note, tlog-checkpoint): what is printed, stored and read back.
//!
//! A checkpoint is three lines (the log's name, how many events, the root of their Merkle tree), an empty line and a signature:
//! whoever keeps one can later prove that the log was put back, cut or rewritten since, by the public key alone. Bytes only; no files.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64, HEXLOWER};

use super::chain::Hash;
use super::tree::Tree;
use crate::base::Controller;
use crate::crypto::{self, PublicKey, SigningKey};

/// Signature type of Ed25519, in key ids and verifier keys.
const ED25519: u8 = 1;
/// Longest note that is read; witnesses add signatures to a checkpoint, and may add large ones.
pub(super) const MAX_NOTE_BYTES: usize = 1 << 18;

/// The name of a log: its checkpoints' first line, and the name of the keys that sign them. The first line of a log is as no
/// other's, so two logs under one ring have two names.
pub(super) fn origin(controller: &Controller, first_line: &Hash) -> String {
    format!("sudare/{controller}/{}", HEXLOWER.encode(first_line.first_chunk::<8>().unwrap_or(&[0; 8])))
}

/// The public half of a key with its name, as `NAME+ID+KEY` in one word: what an outsider checks a log's checkpoints with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: PublicKey,
}

impl VerifierKey {
    pub(super) fn new(name: &str, public: PublicKey) -> Self {
        Self { name: name.to_owned(), public }
    }

    fn id(&self) -> [u8; 4] {
        let hash = crypto::sha256_of(&[self.name.as_bytes(), b"\n", &[ED25519], &self.public.0]);
        *hash.first_chunk().unwrap_or(&[0; 4])
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = BASE64.encode(&[&[ED25519], self.public.0.as_slice()].concat());
        write!(f, "{}+{}+{key}", self.name, HEXLOWER.encode(&self.id()))
    }
}

/// The word is not a verifier key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a verifier key: expected NAME+ID+KEY of an Ed25519 key, as `sudare audit key` prints it")]
pub struct VerifierKeyError;

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;
    fn from_str(word: &str) -> Result<Self, VerifierKeyError> {
        let mut parts = word.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else { return Err(VerifierKeyError) };
        let key = BASE64.decode(key.as_bytes()).map_err(|_not_base64| VerifierKeyError)?;
        let [ED25519, public @ ..] = key.as_slice() else { return Err(VerifierKeyError) };
        let public = PublicKey(public.try_into().map_err(|_not_32_bytes| VerifierKeyError)?);
        let key = Self::new(name, public);
        (is_name(name) && id == HEXLOWER.encode(&key.id())).then_some(key).ok_or(VerifierKeyError)
    }
}

/// A text with its signature, as it is printed and stored.
pub(super) fn sign(text: &str, name: &str, key: &SigningKey) -> String {
    let id = VerifierKey::new(name, key.public()).id();
    let signature = BASE64.encode(&[id.as_slice(), &key.sign(text.as_bytes())].concat());
    format!("{text}\n\u{2014} {name} {signature}\n")
}

/// The checkpoint of a log, signed.
pub(super) fn checkpoint(origin: &str, tree: &Tree, key: &SigningKey) -> String {
    sign(&format!("{origin}\n{}\n{}\n", tree.size(), BASE64.encode(&tree.root())), origin, key)
}

/// A note as read; nothing in it is believed before [`Self::signed_by`].
pub(super) struct Note<'n> {
    text: &'n str,
    /// Name, key id, signature.
    signatures: Vec<(&'n str, [u8; 4], Vec<u8>)>,
}

/// Who signed a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    /// A key we know.
    Known,
    /// Only keys we do not know.
    Unknown,
    /// A key we know, but the signature does not fit the text.
    Forged,
}

impl<'n> Note<'n> {
    /// Reads a note; `None` if it is none.
    pub(super) fn read(bytes: &'n [u8]) -> Option<Self> {
        let note = std::str::from_utf8(bytes).ok().filter(|note| note.len() <= MAX_NOTE_BYTES)?;
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return None;
        }
        // The last empty line is the one between text and signatures.
        let (text, signatures) = note.split_at_checked(note.rfind("\n\n")? + 1)?;
        let signatures = signatures.strip_prefix('\n')?.strip_suffix('\n')?.split('\n');
        let signatures = signatures.map(|line| {
            let (name, signature) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
            let signature = BASE64.decode(signature.as_bytes()).ok()?;
            let (id, signature) = signature.split_first_chunk::<4>()?;
            is_name(name).then(|| (name, *id, signature.to_vec()))
        });
        Some(Self { text, signatures: signatures.collect::<Option<_>>()? })
    }

    /// One signature that does not fit spoils a note; those of keys we do not know are passed over.
    pub(super) fn signed_by(&self, known: &[VerifierKey]) -> Signed {
        let mut signed = Signed::Unknown;
        for (name, id, signature) in &self.signatures {
            for key in known.iter().filter(|key| key.name == *name && key.id() == *id) {
                if !key.public.verify(self.text.as_bytes(), signature) {
                    return Signed::Forged;
                }
                signed = Signed::Known;
            }
        }
        signed
    }

    /// What the text says, if it is that of a checkpoint. Lines after the third are not ours and say nothing to us.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint<'n>> {
        let mut lines = self.text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        if origin.is_empty() || lines.any(str::is_empty) {
            return None;
        }
        let number: u64 = size.parse().ok()?;
        let root = BASE64.decode(root.as_bytes()).ok()?.try_into().ok()?;
        (number.to_string() == size).then_some(Checkpoint { origin, size: number, root })
    }
}

/// What a checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checkpoint<'n> {
    pub(super) origin: &'n str,
    pub(super) size: u64,
    pub(super) root: Hash,
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('+') && !name.chars().any(char::is_whitespace)
}

/// The file of a log's checkpoints: notes, each followed by an empty line. Returns the whole ones, and how many bytes they take;
/// what follows is one that was not finished.
pub(super) fn stored(bytes: &[u8]) -> (Vec<&[u8]>, usize) {
    let mut notes = Vec::new();
    let (mut start, mut text_ended, mut at) = (0, false, 0);
    while let Some(found) = memchr::memmem::find(bytes.get(at..).unwrap_or_default(), b"\n\n") {
        at += found + 2;
        if text_ended {
            notes.extend(bytes.get(start..at - 1));
            start = at;
        }
        text_ended = !text_ended;
    }
    (notes, start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;

    fn key(byte: u8) -> SigningKey {
        SigningKey::new(&Secret::from_bytes([byte; 32]))
    }

    fn tree(size: u64) -> Tree {
        let mut tree = Tree::default();
        (0..size).for_each(|number| tree.push(&number.to_be_bytes()));
        tree
    }

    /// The key and the note that Go's note package documents itself with: name, id, verifier key and signature, byte for byte.
    #[test]
    fn a_note_is_the_one_go_signs() {
        let seed = HEXLOWER.decode(b"810a1402d5146c8d84f2443330f54080ebf98ee17d9c74f6252fc5d5c7283173").unwrap();
        let key = SigningKey::new(&Secret::from_bytes(seed.try_into().unwrap()));
        let verifier = VerifierKey::new("PeterNeumann", key.public());
        assert_eq!(verifier.to_string(), "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
        assert_eq!(verifier.to_string().parse(), Ok(verifier.clone()));
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n".to_owned();
        let note = sign(&text, "PeterNeumann", &key);
        assert_eq!(
            note,
            text + "\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        );
        assert_eq!(Note::read(note.as_bytes()).unwrap().signed_by(&[verifier]), Signed::Known);
    }

    /// The examples of the two specifications; their keys are not published, so these are signatures of keys we do not know.
    #[test]
    fn the_examples_of_the_specifications_are_read() {
        let poem = "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n\u{2014} quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n";
        let note = Note::read(poem.as_bytes()).unwrap();
        assert!(note.text.ends_with("sera.\n") && note.signatures.len() == 1);
        assert_eq!(note.signed_by(&[VerifierKey::new("quasimodo.example/salvatore", key(1).public())]), Signed::Unknown);
        assert_eq!(note.checkpoint(), None);
        let sofa = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
        let note = Note::read(sofa.as_bytes()).unwrap();
        let said = note.checkpoint().unwrap();
        assert_eq!((said.origin, said.size, said.root[0]), ("example.com/behind-the-sofa", 20_852_163, 0x0a));
    }

    #[test]
    fn a_checkpoint_is_three_lines_and_a_signature() {
        let origin = origin(&Controller::new("shop"), &[0x1f; 32]);
        assert_eq!(origin, "sudare/shop/1f1f1f1f1f1f1f1f");
        let note = checkpoint(&origin, &tree(5), &key(1));
        let lines: Vec<&str> = note.lines().collect();
        assert_eq!((lines.len(), lines[0], lines[1], lines[3]), (5, origin.as_str(), "5", ""));
        assert!(lines[4].starts_with("\u{2014} sudare/shop/1f1f1f1f1f1f1f1f "));
        let read = Note::read(note.as_bytes()).unwrap();
        let known = VerifierKey::new(&origin, key(1).public());
        assert_eq!(read.signed_by(&[known]), Signed::Known);
        assert_eq!(read.checkpoint(), Some(Checkpoint { origin: &origin, size: 5, root: tree(5).root() }));
    }

    #[test]
    fn a_witness_may_add_its_signature_and_a_false_one_spoils_the_note() {
        let ours = VerifierKey::new("log", key(1).public());
        let witness = VerifierKey::new("witness", key(2).public());
        let note = checkpoint("log", &tree(3), &key(1));
        let text = note.split("\n\n").next().unwrap().to_owned() + "\n";
        let seconded = note.clone() + sign(&text, "witness", &key(2)).rsplit("\n\n").next().unwrap();
        let read = Note::read(seconded.as_bytes()).unwrap();
        for known in [vec![ours.clone()], vec![witness.clone()], vec![ours.clone(), witness.clone()]] {
            assert_eq!(read.signed_by(&known), Signed::Known);
        }
        assert_eq!(read.signed_by(&[]), Signed::Unknown);
        let false_one = note + sign("another text\n", "witness", &key(2)).rsplit("\n\n").next().unwrap();
        let read = Note::read(false_one.as_bytes()).unwrap();
        assert_eq!(read.signed_by(std::slice::from_ref(&ours)), Signed::Known);
        assert_eq!(read.signed_by(&[ours, witness]), Signed::Forged);
    }

    /// Changed anywhere, a checkpoint is none, or none of ours, or says so; never is it taken for what was signed.
    #[test]
    fn no_byte_of_a_checkpoint_can_be_changed() {
        let known = [VerifierKey::new("log", key(1).public())];
        let note = checkpoint("log", &tree(3), &key(1));
        for at in 0..note.len() {
            for flip in [1, 4, 32, 128] {
                let mut changed = note.clone().into_bytes();
                changed[at] ^= flip;
                let believed = Note::read(&changed).is_some_and(|read| read.signed_by(&known) == Signed::Known);
                assert!(!believed, "byte {at} with {flip}: {}", String::from_utf8_lossy(&changed));
            }
            let cut = Note::read(&note.as_bytes()[..at]);
            assert!(cut.is_none_or(|cut| cut.signed_by(&known) != Signed::Known), "cut at {at}");
        }
    }

    #[test]
    fn what_is_no_checkpoint_is_not_taken_for_one() {
        let root = BASE64.encode(&[7; 32]);
        for text in [
            format!("log\n05\n{root}\n"),
            format!("log\n+5\n{root}\n"),
            format!("log\n5\n{}\n", BASE64.encode(&[7; 31])),
            format!("\n5\n{root}\n"),
            format!("log\n5\n{root}\n\nmore\n"),
            format!("log\n18446744073709551616\n{root}\n"),
            "log\n5\n".to_owned(),
        ] {
            let note = sign(&text, "log", &key(1));
            assert_eq!(Note::read(note.as_bytes()).and_then(|note| note.checkpoint()), None, "{text:?}");
        }
        // Lines of a later release say nothing to this one.
        let note = sign(&format!("log\n5\n{root}\nlater\n"), "log", &key(1));
        assert_eq!(Note::read(note.as_bytes()).unwrap().checkpoint().unwrap().size, 5);
        for wrong in
            ["", "log", "log\n5\n", "log\n\n- log AAAA\n", "log\n\n\u{2014} log\n", "log\n\n\u{2014} l+g AAAAAAAA\n", "a\tb\n\n"]
        {
            assert!(Note::read(wrong.as_bytes()).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_verifier_key_is_read_in_its_one_spelling() {
        let good = VerifierKey::new("log", key(1).public()).to_string();
        assert!(good.parse::<VerifierKey>().is_ok());
        let [name, id, _] = good.splitn(3, '+').collect::<Vec<_>>().try_into().unwrap();
        let wrong_id = good.replacen(id, "00000000", 1);
        let other_type = format!("{name}+{id}+{}", BASE64.encode(&[&[2], [7; 32].as_slice()].concat()));
        for wrong in ["", "log", "log+12345678", good.get(..good.len() - 1).unwrap(), &format!("x{good}"), &wrong_id, &other_type]
        {
            assert_eq!(wrong.parse::<VerifierKey>(), Err(VerifierKeyError), "{wrong}");
        }
    }

    #[test]
    fn stored_checkpoints_are_told_apart_and_an_unfinished_one_is_left() {
        let notes: Vec<String> = (1..=3).map(|size| checkpoint("log", &tree(size), &key(1))).collect();
        let file = notes.join("\n") + "\n";
        for cut in 0..=file.len() {
            let (whole, bytes) = stored(&file.as_bytes()[..cut]);
            let ends = [notes[0].len() + 1, notes[0].len() + notes[1].len() + 2, file.len()];
            let expected = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(whole, notes[..expected].iter().map(String::as_bytes).collect::<Vec<_>>(), "cut at {cut}");
            assert_eq!(bytes, expected.checked_sub(1).map_or(0, |last| ends[last]));
        }
    }
}
