//! AEAD_AES_SIV_CMAC_512 (RFC 5297) without a nonce: equal plaintexts under one key and one place give equal ciphertexts, and nothing else
//! about them shows but their length. `field` calls it for values that are protected deterministically, with keys that `keys` derived.
//!
//! The mode, its constant-time comparison and its ciphers are the `aes-siv` crate's.

use std::fmt;

use aes_siv::KeyInit;
use aes_siv::siv::Aes256Siv;
use zeroize::Zeroizing;

use super::{OpenError, Secret, kdf};

/// Bytes of a synthetic IV, which is also the authentication tag.
pub const SIV_BYTES: usize = 16;

/// A key for AEAD_AES_SIV_CMAC_512: 32 bytes for S2V, 32 bytes for the counter mode.
///
/// Its key schedules are made at each call, for the crate's instance cannot be shared between threads; they overwrite themselves.
pub struct SivKey(Zeroizing<[u8; 64]>);

impl SivKey {
    /// 64 bytes of HKDF-SHA-256 with an empty salt (RFC 5869). `info` names the use, encoded with [`crate::base::enc`].
    pub fn derive(secret: &Secret, info: &[u8]) -> Self {
        Self(kdf::hkdf_sha256(&[], secret.expose(), info))
    }

    /// Seals `data` in place and returns the synthetic IV. `aad` is the one component of associated data.
    pub fn seal_in_place(&self, aad: &[u8], data: &mut [u8]) -> [u8; SIV_BYTES] {
        self.seal_components(&[aad], data)
    }

    /// Opens `data` in place.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; what `data` holds then is not to be used.
    pub fn open_in_place(&self, aad: &[u8], siv: &[u8; SIV_BYTES], data: &mut [u8]) -> Result<(), OpenError> {
        self.open_components(&[aad], siv, data)
    }

    fn seal_components(&self, components: &[&[u8]], data: &mut [u8]) -> [u8; SIV_BYTES] {
        #[expect(clippy::expect_used, reason = "the crate refuses only more than 126 components, and we give one")]
        let siv = self.instance().encrypt_inout_detached(components, data.into()).expect("S2V takes 126 components");
        siv.into()
    }

    fn open_components(&self, components: &[&[u8]], siv: &[u8; SIV_BYTES], data: &mut [u8]) -> Result<(), OpenError> {
        self.instance().decrypt_inout_detached(components, data.into(), &(*siv).into()).map_err(|_not_authentic| OpenError)
    }

    fn instance(&self) -> Aes256Siv {
        Aes256Siv::new((&*self.0).into())
    }
}

impl fmt::Debug for SivKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SivKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use aes_siv::siv::Aes128Siv;
    use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
    use proptest::prelude::*;

    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER_PERMISSIVE.decode(text.as_bytes()).unwrap()
    }

    fn key(bytes: &[u8]) -> SivKey {
        SivKey(Zeroizing::new(bytes.try_into().unwrap()))
    }

    /// RFC 5297, appendix A. Its examples have 256-bit keys, so they prove the crate; [`wycheproof_aead_aes_siv_cmac_512`] proves ours.
    #[test]
    fn rfc_5297_appendix_a() {
        for (key, components, plaintext, expected) in [
            (
                "fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
                &["101112131415161718191a1b1c1d1e1f2021222324252627"][..],
                "112233445566778899aabbccddee",
                "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c",
            ),
            (
                "7f7e7d7c7b7a79787776757473727170404142434445464748494a4b4c4d4e4f",
                &[
                    "00112233445566778899aabbccddeeffdeaddadadeaddadaffeeddccbbaa99887766554433221100",
                    "102030405060708090a0",
                    "09f911029d74e35bd84156c5635688c0",
                ],
                "7468697320697320736f6d6520706c61696e7465787420746f20656e6372797074207573696e67205349562d414553",
                "7bdb6e3b432667eb06f4d14bff2fbd0fcb900f2fddbe404326601965c889bf17dba77ceb094fa663b7a3f748ba8af829ea64ad544a272e9c485b62a3fd5c0d",
            ),
        ] {
            let key: [u8; 32] = hex(key).try_into().unwrap();
            let components: Vec<Vec<u8>> = components.iter().map(|component| hex(component)).collect();
            let mut data = hex(plaintext);
            let siv = Aes128Siv::new(&key.into()).encrypt_inout_detached(&components, data.as_mut_slice().into()).unwrap();
            assert_eq!(HEXLOWER.encode(&[&siv[..], &data[..]].concat()), expected);
        }
    }

    /// All of Wycheproof with 512-bit keys. AEAD_AES_SIV_CMAC_512 has the nonce as the last component (RFC 5297, section 3).
    #[test]
    fn wycheproof_aead_aes_siv_cmac_512() {
        let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesSivCmac).unwrap();
        let (mut opened, mut refused) = (0, 0);
        for group in set.test_groups.iter().filter(|group| group.key_size == 512) {
            for test in &group.tests {
                let key = key(&test.key);
                let components = [&test.aad[..], &test.nonce[..]];
                let siv: [u8; 16] = test.tag[..].try_into().unwrap();
                let mut data = test.ct.to_vec();
                let result = key.open_components(&components, &siv, &mut data);
                if test.result.must_fail() {
                    assert_eq!(result, Err(OpenError), "case {}", test.tc_id);
                    refused += 1;
                } else {
                    assert_eq!((result, &data[..]), (Ok(()), &test.pt[..]), "case {}", test.tc_id);
                    assert_eq!(
                        (key.seal_components(&components, &mut data), &data[..]),
                        (siv, &test.ct[..]),
                        "case {}",
                        test.tc_id
                    );
                    opened += 1;
                }
            }
        }
        assert!(opened >= 30 && refused >= 25, "{opened} opened, {refused} refused");
    }

    #[test]
    fn t23_every_failure_is_the_one_error() {
        let mut sealed = b"\"value\"".to_vec();
        let siv = key(&[7; 64]).seal_in_place(b"place", &mut sealed);
        let open = |with: u8, aad: &[u8], sealed: &[u8]| {
            let mut data = sealed.to_vec();
            key(&[with; 64]).open_in_place(aad, &siv, &mut data).map(|()| data)
        };
        assert_eq!(open(7, b"place", &sealed).unwrap(), b"\"value\"");
        assert_eq!(open(8, b"place", &sealed), Err(OpenError));
        assert_eq!(open(7, b"other", &sealed), Err(OpenError));
        assert_eq!(open(7, b"place", sealed.split_last().unwrap().1), Err(OpenError));
        assert_eq!(open(7, b"place", &[]), Err(OpenError));
    }

    #[test]
    fn derivation_tells_uses_apart_and_debug_shows_no_bytes() {
        let secret = Secret::from_bytes([5; 32]);
        let seal = |info: &[u8]| SivKey::derive(&secret, info).seal_in_place(b"", &mut [0; 8]);
        assert_eq!(seal(b"a"), seal(b"a"));
        assert_ne!(seal(b"a"), seal(b"b"));
        assert_eq!(format!("{:?}", SivKey::derive(&secret, b"a")), "SivKey(..)");
    }

    proptest! {
        #[test]
        fn equal_gives_equal_and_any_flipped_bit_fails(
            bytes in proptest::collection::vec(any::<u8>(), 64..=64), aad in proptest::collection::vec(any::<u8>(), 0..100),
            plaintext in proptest::collection::vec(any::<u8>(), 0..100), bit: prop::sample::Index,
        ) {
            let key = key(&bytes);
            let (mut one, mut two) = (plaintext.clone(), plaintext.clone());
            let siv = key.seal_in_place(&aad, &mut one);
            prop_assert_eq!(siv, key.seal_in_place(&aad, &mut two));
            prop_assert_eq!(&one, &two);
            prop_assert_eq!(key.open_in_place(&aad, &siv, &mut two), Ok(()));
            prop_assert_eq!(&two, &plaintext);
            let mut payload = [&siv[..], &one[..]].concat();
            let bit = bit.index(payload.len() * 8);
            payload[bit / 8] ^= 1 << (bit % 8);
            let (siv, data) = payload.split_first_chunk_mut::<SIV_BYTES>().unwrap();
            prop_assert_eq!(key.open_in_place(&aad, siv, data), Err(OpenError));
        }
    }
}
