//! The Merkle tree over all events of a log (RFC 6962, section 2.1): its root stands for the whole log in 32 bytes.
//!
//! The entries are the events' lines without their line ends; headers are none of them, so that the tree's size is the number of
//! the last event. Only the roots of the complete subtrees are kept, one for each one-bit of the size: adding an event costs
//! two hashes on average, and what a writer has to know at a restart fits into a segment's header.

use data_encoding::HEXLOWER;

use super::chain::Hash;
use crate::crypto;

/// A tree that only grows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree {
    size: u64,
    /// Roots of the complete subtrees, the largest first.
    peaks: Vec<Hash>,
}

impl Tree {
    /// How many events it has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Adds the next event.
    pub(super) fn push(&mut self, line: &[u8]) {
        let mut node = crypto::sha256_of(&[&[0], line]);
        let mut pairs = self.size;
        while pairs & 1 == 1 {
            // As many peaks as the size has one-bits, so there is one for this bit.
            node = self.peaks.pop().map_or(node, |left| parent(&left, &node));
            pairs >>= 1;
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// The root; of no events, the hash of nothing.
    pub(super) fn root(&self) -> Hash {
        let smallest_first = self.peaks.iter().rev().copied();
        smallest_first.reduce(|right, left| parent(&left, &right)).unwrap_or_else(|| crypto::sha256(b""))
    }

    /// What a segment's header says of the tree before it: the subtrees' roots in hex.
    pub(super) fn peaks(&self) -> Vec<String> {
        self.peaks.iter().map(|peak| HEXLOWER.encode(peak)).collect()
    }

    /// The tree of which a header says this; `None` if there is no such tree.
    pub(super) fn from_peaks(size: u64, peaks: &[String]) -> Option<Self> {
        let peak = |text: &String| HEXLOWER.decode(text.as_bytes()).ok()?.try_into().ok();
        let peaks = peaks.iter().map(peak).collect::<Option<Vec<Hash>>>()?;
        (u64::from(size.count_ones()) == u64::try_from(peaks.len()).ok()?).then_some(Self { size, peaks })
    }
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    crypto::sha256_of(&[&[1], left, right])
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];

    /// The roots that implementations of Certificate Transparency test themselves with.
    #[test]
    fn roots_of_certificate_transparency() {
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::default();
        assert_eq!(HEXLOWER.encode(&tree.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (input, root) in INPUTS.iter().zip(roots) {
            tree.push(&HEXLOWER.decode(input.as_bytes()).unwrap());
            assert_eq!(HEXLOWER.encode(&tree.root()), root);
        }
    }

    /// Against the definition of RFC 6962, section 2.1, as it stands there: over the whole list, by halves.
    #[test]
    fn the_tree_is_the_one_the_definition_gives_at_every_size() {
        fn defined(entries: &[Vec<u8>]) -> Hash {
            match entries {
                [] => crypto::sha256(b""),
                [one] => crypto::sha256(&[&[0], one.as_slice()].concat()),
                many => {
                    let split = many.len().next_power_of_two() / 2;
                    let (left, right) = many.split_at(split);
                    crypto::sha256(&[&[1], defined(left).as_slice(), defined(right).as_slice()].concat())
                }
            }
        }
        let entries: Vec<Vec<u8>> = (0..200_u32).map(|number| number.to_be_bytes().to_vec()).collect();
        let mut tree = Tree::default();
        for (size, entry) in entries.iter().enumerate() {
            assert_eq!(tree.root(), defined(&entries[..size]));
            let again = Tree::from_peaks(tree.size(), &tree.peaks()).unwrap();
            assert_eq!(again, tree);
            tree.push(entry);
        }
    }

    #[test]
    fn a_tree_no_header_could_have_said_is_none() {
        let mut tree = Tree::default();
        tree.push(b"one");
        let peaks = tree.peaks();
        assert_eq!(Tree::from_peaks(0, &[]), Some(Tree::default()));
        assert_eq!(Tree::from_peaks(2, &[peaks[0].clone(), peaks[0].clone()]), None);
        assert_eq!(Tree::from_peaks(1, &[]), None);
        assert_eq!(Tree::from_peaks(1, &[peaks[0].replacen(char::is_alphanumeric, "", 1)]), None);
        assert_eq!(Tree::from_peaks(1, &[peaks[0].to_uppercase()]), None);
    }
}
