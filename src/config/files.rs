//! What a configuration was read from: the files, and a fingerprint by which a change is noticed.
//!
//! Contents are compared, not times or inodes, so that it does not matter how a file is replaced: by an editor, a rename, or
//! the symbolic links that Kubernetes swaps. Called by `app`, which looks again and again.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::crypto;

/// More of a file is not looked at: none that Sudare reads comes near.
const MAX_BYTES: u64 = 16 << 20;

/// The state of some files. Equal fingerprints: the same names with the same contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of the files as they are now; one that cannot be read counts as such.
    pub fn of(files: &[PathBuf]) -> Self {
        Self::with(files, &[])
    }

    /// As [`Self::of`], but with texts that were read before: what was not seen of a change since must still show.
    pub(super) fn with(files: &[PathBuf], read: &[(&Path, &str)]) -> Self {
        let mut all = Vec::new();
        for file in files {
            all.extend(crypto::sha256(file.as_os_str().as_encoded_bytes()));
            let known = read.iter().find(|(name, _)| name == file);
            all.extend(known.map_or_else(|| content(file), |(_, text)| crypto::sha256(text.as_bytes())));
        }
        Self(crypto::sha256(&all))
    }
}

fn content(file: &Path) -> [u8; 32] {
    let read = || {
        // Anything but a file (a pipe, a device) could keep us waiting.
        if !std::fs::metadata(file)?.is_file() {
            return Err(std::io::ErrorKind::InvalidInput.into());
        }
        let mut bytes = zeroize::Zeroizing::new(Vec::new());
        File::open(file)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(crypto::sha256(&bytes))
    };
    read().unwrap_or_default()
}

/// The files that `settings` were read from. A module that reads another one names it here, or its changes go unnoticed.
pub(super) fn of(settings: &super::Settings) -> Vec<PathBuf> {
    let mut files = vec![settings.file.clone(), settings.policy_file.clone()];
    for ring in settings.held_rings() {
        files.extend(ring.ring.as_file().map(Path::to_path_buf));
        files.extend(ring.kek.files());
    }
    files.extend_from_slice(settings.listen.files());
    files.extend_from_slice(settings.upstream.files());
    files.extend_from_slice(settings.store.files());
    files.extend_from_slice(&settings.issuer_files);
    files
}

/// First 12 hexadecimal characters of the SHA-256 over the two files, one after the other, by which people tell which
/// configuration a node runs: `cat sudare.toml policy.toml | sha256sum`.
pub(super) fn short_hash(texts: [&str; 2]) -> String {
    let hash = crypto::sha256_of(&texts.map(str::as_bytes));
    data_encoding::HEXLOWER.encode(hash.get(..6).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_fingerprint_tells_contents_apart_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two, link) = (folder.path().join("1"), folder.path().join("2"), folder.path().join("link"));
        fs::write(&one, "a").unwrap();
        fs::write(&two, "b").unwrap();
        std::os::unix::fs::symlink(&one, &link).unwrap();
        let now = || Fingerprint::of(&[link.clone(), two.clone()]);
        let before = now();
        fs::write(&one, "a").unwrap();
        assert_eq!(now(), before, "written, but the same");
        // As Kubernetes does it: the link is replaced whole.
        let other = folder.path().join("1-new");
        fs::write(&other, "c").unwrap();
        std::os::unix::fs::symlink(&other, folder.path().join("link-new")).unwrap();
        fs::rename(folder.path().join("link-new"), &link).unwrap();
        let swapped = now();
        assert_ne!(swapped, before);
        fs::remove_file(&two).unwrap();
        let gone = now();
        assert_ne!(gone, swapped);
        let read = Fingerprint::with(&[link.clone(), two.clone()], &[(&link, "c")]);
        assert_eq!(read, gone, "a text that was read counts as the file");
        assert_ne!(Fingerprint::with(&[link.clone(), two.clone()], &[(&link, "d")]), gone, "and shows what changed since");
        assert_eq!(Fingerprint::of(&[folder.path().to_owned()]), Fingerprint::of(&[folder.path().to_owned()]));
    }
}
