//! Keys from keys, keys from passphrases, HMAC and SHA-256.

use std::fmt;

use ring::{digest, hkdf, hmac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Secret;

/// SHA-256 (FIPS 180-4).
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    first_32(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// HKDF-SHA-256 with an empty salt and 32 bytes of output (RFC 5869). `info` names the use, encoded with [`crate::base::enc`].
pub fn hkdf(secret: &Secret, info: &[u8]) -> Secret {
    Secret(hkdf_sha256(&[], secret.expose(), info))
}

/// True if both are equal; takes the same time wherever they differ. Lengths are not secret.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// A key for HMAC-SHA-256 (RFC 2104).
pub struct MacKey(hmac::Key);

impl MacKey {
    /// Prepares a key.
    pub fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret.expose()))
    }

    /// The 32 bytes of HMAC-SHA-256 over `message`.
    pub fn mac(&self, message: &[u8]) -> [u8; 32] {
        first_32(hmac::sign(&self.0, message).as_ref())
    }

    /// True if `mac` is the whole MAC of `message`; compared in constant time.
    pub fn verify(&self, message: &[u8], mac: &[u8]) -> bool {
        hmac::verify(&self.0, message, mac).is_ok()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

/// Cost of turning a passphrase into a key. Stands in clear beside the salt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PassphraseParams {
    /// Memory in KiB, `8 * lanes ..= 4 GiB`.
    pub memory_kib: u32,
    /// Passes over the memory, `1..=1000`.
    pub passes: u32,
    /// Lanes, `1..=64`.
    pub lanes: u32,
}

impl Default for PassphraseParams {
    /// The second recommended option of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes.
    fn default() -> Self {
        Self { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

/// Why a passphrase gives no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PassphraseError {
    /// An empty passphrase protects nothing.
    #[error("the passphrase is empty")]
    Empty,
    /// Outside what [`PassphraseParams`] allows.
    #[error("Argon2id parameters out of range: memory 8 KiB per lane to 4 GiB, 1 to 1000 passes, 1 to 64 lanes")]
    Params,
    /// The memory could not be had.
    #[error("Argon2id could not run; is there enough memory for its parameters?")]
    Failed,
}

/// A key-encryption key from a passphrase: Argon2id version 1.3 (RFC 9106), 32 bytes.
///
/// # Errors
///
/// [`PassphraseError`]; nothing about the passphrase is in it.
pub fn kek_from_passphrase(passphrase: &[u8], salt: &[u8; 16], params: PassphraseParams) -> Result<Secret, PassphraseError> {
    const MAX_MEMORY_KIB: u32 = 4 << 20;
    if passphrase.is_empty() {
        return Err(PassphraseError::Empty);
    }
    if params.memory_kib > MAX_MEMORY_KIB || params.passes > 1000 || params.lanes > 64 {
        return Err(PassphraseError::Params);
    }
    let cost = argon2::Params::new(params.memory_kib, params.passes, params.lanes, Some(32))
        .map_err(|_range| PassphraseError::Params)?;
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cost);
    let mut out = Zeroizing::new([0; 32]);
    argon.hash_password_into(passphrase, salt, out.as_mut_slice()).map_err(|_memory| PassphraseError::Failed)?;
    Ok(Secret(out))
}

/// `N` bytes of HKDF-SHA-256 (RFC 5869); `N` is at most 255 × 32.
pub(super) fn hkdf_sha256<const N: usize>(salt: &[u8], input: &[u8], info: &[u8]) -> Zeroizing<[u8; N]> {
    let mut out = Zeroizing::new([0; N]);
    let pseudorandom = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(input);
    #[expect(
        clippy::expect_used,
        reason = "refuses only more than 8160 bytes, or a buffer of another length than was asked for"
    )]
    pseudorandom
        .expand(&[info], Length(N))
        .and_then(|output| output.fill(out.as_mut_slice()))
        .expect("HKDF gives as many bytes as a key has");
    out
}

/// How many bytes of HKDF are wanted, for `ring`.
struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// `ring` gives digests as slices; those of SHA-256 have 32 bytes.
fn first_32(bytes: &[u8]) -> [u8; 32] {
    bytes.first_chunk().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn sha256_of_fips_180() {
        assert_eq!(HEXLOWER.encode(&sha256(b"abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(HEXLOWER.encode(&sha256(b"")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    /// RFC 5869, appendix A, cases 1 to 3: the first 42 bytes of each OKM.
    #[test]
    fn hkdf_of_rfc_5869() {
        let counting = |from: u8, to: u8| (from..=to).collect::<Vec<u8>>();
        for (salt, input, info, expected) in [
            (
                counting(0, 0x0c),
                vec![0x0b; 22],
                counting(0xf0, 0xf9),
                "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
            ),
            (
                counting(0x60, 0xaf),
                counting(0x00, 0x4f),
                counting(0xb0, 0xff),
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb",
            ),
            (
                vec![],
                vec![0x0b; 22],
                vec![],
                "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
            ),
        ] {
            assert_eq!(HEXLOWER.encode(hkdf_sha256::<42>(&salt, &input, &info).as_slice()), expected);
        }
    }

    #[test]
    fn hkdf_tells_uses_apart() {
        let secret = Secret::from_bytes([5; 32]);
        assert_eq!(hkdf(&secret, b"a").expose(), hkdf(&secret, b"a").expose());
        assert_ne!(hkdf(&secret, b"a").expose(), hkdf(&secret, b"b").expose());
        // With an empty salt, as the format says.
        assert_eq!(hkdf(&secret, b"a").expose(), &*hkdf_sha256(&[], &[5; 32], b"a"));
    }

    /// RFC 4231, cases 1 to 4, 6 and 7. Case 5 is truncated output, which we do not use.
    #[test]
    fn hmac_of_rfc_4231() {
        for (key, message, expected) in [
            (vec![0x0b; 20], b"Hi There".to_vec(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (b"Jefe".to_vec(), b"what do ya want for nothing?".to_vec(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (vec![0xaa; 20], vec![0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            ((1..=25).collect(), vec![0xcd; 50], "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
            (
                vec![0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First".to_vec(),
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                vec![0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.".to_vec(),
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ] {
            let key = MacKey(hmac::Key::new(hmac::HMAC_SHA256, &key));
            assert_eq!(HEXLOWER.encode(&key.mac(&message)), expected);
            assert!(key.verify(&message, &hex(expected)));
            assert!(!key.verify(&message, &hex(expected)[..31]));
            assert!(!key.verify(b"other", &hex(expected)));
        }
    }

    #[test]
    fn mac_key_is_the_secret() {
        let key = MacKey::new(&Secret::from_bytes([0x0b; 32]));
        assert_eq!(key.mac(b"x"), first_32(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[0x0b; 32]), b"x").as_ref()));
        assert_eq!(format!("{key:?}"), "MacKey(..)");
    }

    #[test]
    fn constant_time_eq_compares() {
        assert!(constant_time_eq(b"same", b"same"));
        assert!(!constant_time_eq(b"same", b"sbme"));
        assert!(!constant_time_eq(b"same", b"sam"));
        assert!(constant_time_eq(b"", b""));
    }

    /// The expected key comes from the reference implementation in C (through argon2-cffi). The vector of RFC 9106 itself has a secret
    /// and associated data, which this call does not take.
    #[test]
    fn argon2id_agrees_with_the_reference_implementation() {
        let params = PassphraseParams { memory_kib: 64, passes: 3, lanes: 4 };
        let one = kek_from_passphrase(b"correct horse", b"0123456789abcdef", params).unwrap();
        assert_eq!(HEXLOWER.encode(one.expose()), "d0266a319d5004c687423de9f9af630e2c0d70ba0b1eee8de6383bdeae80fcce");
        let again = kek_from_passphrase(b"correct horse", b"0123456789abcdef", params).unwrap();
        let other_salt = kek_from_passphrase(b"correct horse", b"0123456789abcdeF", params).unwrap();
        let other_pass = kek_from_passphrase(b"correct Horse", b"0123456789abcdef", params).unwrap();
        assert_eq!(one.expose(), again.expose());
        assert_ne!(one.expose(), other_salt.expose());
        assert_ne!(one.expose(), other_pass.expose());
    }

    #[test]
    fn argon2id_parameters_out_of_range_are_refused() {
        let salt = [0; 16];
        let with = |memory_kib, passes, lanes| {
            kek_from_passphrase(b"x", &salt, PassphraseParams { memory_kib, passes, lanes }).map(|_| ())
        };
        assert_eq!(with(8, 1, 1), Ok(()));
        for (memory, passes, lanes) in [(7, 1, 1), (8, 0, 1), (8, 1, 0), (u32::MAX, 1, 1), (1024, 1001, 1), (1024, 1, 65)] {
            assert_eq!(with(memory, passes, lanes), Err(PassphraseError::Params), "{memory} {passes} {lanes}");
        }
        assert_eq!(kek_from_passphrase(b"", &salt, PassphraseParams::default()).map(|_| ()), Err(PassphraseError::Empty));
    }
}
