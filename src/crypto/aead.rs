//! XAES-256-GCM (C2SP): AES-256-GCM with 192-bit nonces, split so that the values of one row share one key derivation.
//!
//! An [`XaesKey`] turns the first 12 bytes of a nonce into a [`RowKey`]; a row key seals and opens under the last 12 bytes. Derivation is
//! two AES blocks with the `aes` crate, the data go through `ring`. `field` calls it, with keys that `keys` prepared.

use std::fmt;

use aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes::{Aes256Enc, Block};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize, Zeroizing};

use super::Secret;

/// Bytes of either half of a nonce.
pub const NONCE_HALF_BYTES: usize = 12;
/// Bytes of an authentication tag.
pub const TAG_BYTES: usize = 16;

/// One error for every way in which a value does not open: wrong key, wrong place, changed bytes (T23).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value does not authenticate")]
pub struct OpenError;

/// The value is longer than AES-GCM can seal under one nonce (about 64 GiB). The limits of the callers lie far below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value is longer than one AES-GCM message may be")]
pub struct SealError;

/// A key for XAES-256-GCM: the AES-256 key schedule and the CMAC subkey K1 are prepared. About 256 bytes.
pub struct XaesKey {
    aes: Aes256Enc,
    k1: Zeroizing<[u8; 16]>,
}

impl XaesKey {
    /// Prepares a key.
    ///
    /// Source: XAES-256-GCM (C2SP), steps 1 and 2: L = AES(K, 0), K1 = L doubled in GF(2^128) as in CMAC (NIST SP 800-38B, 6.1).
    pub fn new(secret: &Secret) -> Self {
        let aes = Aes256Enc::new(secret.expose().into());
        let mut l = Zeroizing::new([0_u8; 16]);
        aes.encrypt_block((&mut *l).into());
        let doubled = u128::from_be_bytes(*l);
        let carry = if doubled >> 127 == 1 { 0x87 } else { 0 };
        Self { aes, k1: Zeroizing::new(((doubled << 1) ^ carry).to_be_bytes()) }
    }

    /// The AES-256-GCM key for all nonces that begin with `prefix`.
    ///
    /// Source: XAES-256-GCM (C2SP), steps 3 to 5: AES(K, M1 ⊕ K1) ‖ AES(K, M2 ⊕ K1) with Mi = 0x00 ‖ i ‖ 'X' ‖ 0x00 ‖ prefix.
    ///
    /// # Panics
    ///
    /// Never: `ring` refuses only keys of another length.
    pub fn row_key(&self, prefix: &[u8; NONCE_HALF_BYTES]) -> RowKey {
        let derived = self.derive(prefix);
        #[expect(clippy::expect_used, reason = "ring refuses only keys of another length, and this one is 32 bytes by its type")]
        let unbound = UnboundKey::new(&AES_256_GCM, derived.as_slice()).expect("an AES-256 key has 32 bytes");
        RowKey(LessSafeKey::new(unbound))
    }

    /// Steps 3 to 5: the derived key. `wrap` gives it to `aes-gcm`, [`Self::row_key`] to `ring`.
    pub(super) fn derive(&self, prefix: &[u8; NONCE_HALF_BYTES]) -> Zeroizing<[u8; 32]> {
        let k1 = u128::from_be_bytes(*self.k1);
        let mut blocks = [1_u8, 2].map(|number| {
            let mut message = [0, number, b'X', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            message.iter_mut().skip(4).zip(prefix).for_each(|(to, from)| *to = *from);
            Block::from((u128::from_be_bytes(message) ^ k1).to_be_bytes())
        });
        // Both at once: on some processors `aes` prepares wide registers at every call.
        self.aes.encrypt_blocks(&mut blocks);
        let mut out = Zeroizing::new([0; 32]);
        for (half, block) in out.as_chunks_mut::<16>().0.iter_mut().zip(&mut blocks) {
            half.copy_from_slice(block);
            block.as_mut_slice().zeroize();
        }
        out
    }
}

impl fmt::Debug for XaesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("XaesKey(..)")
    }
}

impl Drop for XaesKey {
    fn drop(&mut self) {
        // The key schedule overwrites itself (feature `zeroize` of `aes`).
        self.k1.zeroize();
    }
}

/// AES-256-GCM under the key that one [`XaesKey`] gives for one 12-byte nonce prefix: made once for the values of a row.
pub struct RowKey(LessSafeKey);

impl RowKey {
    /// Seals `data` in place and returns the tag. `suffix` is the last half of the nonce and must not come twice with one row key.
    ///
    /// # Errors
    ///
    /// [`SealError`] above about 64 GiB; `data` is then unchanged.
    pub fn seal_in_place(
        &self,
        suffix: &[u8; NONCE_HALF_BYTES],
        aad: &[u8],
        data: &mut [u8],
    ) -> Result<[u8; TAG_BYTES], SealError> {
        let tag = self
            .0
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(*suffix), Aad::from(aad), data)
            .map_err(|_unspecified| SealError)?;
        tag.as_ref().try_into().map_err(|_wrong_length| SealError)
    }

    /// Opens `data`, ciphertext ‖ tag (16), in place and returns the plaintext, a prefix of it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]; what `data` holds then is not to be used.
    pub fn open_in_place<'a>(
        &self,
        suffix: &[u8; NONCE_HALF_BYTES],
        aad: &[u8],
        data: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        self.0.open_in_place(Nonce::assume_unique_for_key(*suffix), Aad::from(aad), data).map_err(|_unspecified| OpenError)
    }

    /// For vectors of AES-256-GCM itself.
    #[cfg(test)]
    pub(super) fn of_gcm_key(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap()))
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowKey(..)")
    }
}

#[cfg(test)]
mod tests;
