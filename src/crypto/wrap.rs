//! A key under a key: XAES-256-GCM over 32 bytes, with `aes-gcm`, so that the wrapping of keys and the sealing of values do not share
//! one implementation. `keys` calls it for the versions of a ring.

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use zeroize::Zeroizing;

use super::{NONCE_HALF_BYTES, OpenError, RandomError, Secret, TAG_BYTES, XaesKey, random};

/// Bytes of a wrapped key: nonce (24) ‖ ciphertext (32) ‖ tag (16).
pub const WRAPPED_BYTES: usize = 2 * NONCE_HALF_BYTES + 32 + TAG_BYTES;

/// Wraps `secret` under `kek`. `aad` binds it to its place in the ring.
///
/// Returns [`WRAPPED_BYTES`] bytes: nonce (24, random) ‖ ciphertext ‖ tag (16).
///
/// # Errors
///
/// [`RandomError`] if the operating system gives no randomness.
///
/// # Panics
///
/// Never: only inputs above 64 GiB cannot be sealed.
pub fn wrap(kek: &Secret, aad: &[u8], secret: &Secret) -> Result<Vec<u8>, RandomError> {
    let (prefix, suffix) = (random::<NONCE_HALF_BYTES>()?, random::<NONCE_HALF_BYTES>()?);
    let mut data = Zeroizing::new(*secret.expose());
    #[expect(
        clippy::expect_used,
        reason = "fails only for inputs above 64 GiB, and this one is 32 bytes by its type; aad is a short place"
    )]
    let tag = gcm(kek, &prefix)
        .encrypt_inout_detached(&suffix.into(), aad, data.as_mut_slice().into())
        .expect("32 bytes can be sealed");
    let mut out = Vec::with_capacity(WRAPPED_BYTES);
    out.extend_from_slice(&prefix);
    out.extend_from_slice(&suffix);
    out.extend_from_slice(data.as_slice());
    out.extend_from_slice(&tag);
    Ok(out)
}

/// Unwraps what [`wrap`] gave, under the same `kek` and `aad`.
///
/// # Errors
///
/// [`OpenError`] for every reason: another KEK, another place, changed or missing bytes.
pub fn unwrap(kek: &Secret, aad: &[u8], wrapped: &[u8]) -> Result<Secret, OpenError> {
    let (prefix, rest) = wrapped.split_first_chunk::<NONCE_HALF_BYTES>().ok_or(OpenError)?;
    let (suffix, rest) = rest.split_first_chunk::<NONCE_HALF_BYTES>().ok_or(OpenError)?;
    let (sealed, tag) = rest.split_first_chunk::<32>().ok_or(OpenError)?;
    let tag: &[u8; TAG_BYTES] = tag.try_into().map_err(|_wrong_length| OpenError)?;
    let mut data = Zeroizing::new(*sealed);
    gcm(kek, prefix)
        .decrypt_inout_detached(&(*suffix).into(), aad, data.as_mut_slice().into(), &(*tag).into())
        .map_err(|_does_not_authenticate| OpenError)?;
    Ok(Secret(data))
}

/// The AES-256-GCM instance of XAES for one nonce prefix.
fn gcm(kek: &Secret, prefix: &[u8; NONCE_HALF_BYTES]) -> Aes256Gcm {
    let derived = XaesKey::new(kek).derive(prefix);
    Aes256Gcm::new((&*derived).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use xaes_256_gcm::Xaes256Gcm;
    use xaes_256_gcm::aead::{Aead, Payload};

    #[test]
    fn wraps_and_unwraps() {
        let kek = Secret::random().unwrap();
        let secret = Secret::random().unwrap();
        let wrapped = wrap(&kek, b"ring", &secret).unwrap();
        assert_eq!(wrapped.len(), WRAPPED_BYTES);
        assert_eq!(unwrap(&kek, b"ring", &wrapped).unwrap().expose(), secret.expose());
        assert_ne!(wrapped, wrap(&kek, b"ring", &secret).unwrap(), "a fresh nonce each time");
    }

    #[test]
    fn is_xaes() {
        let kek = Secret::random().unwrap();
        let secret = Secret::random().unwrap();
        let wrapped = wrap(&kek, b"ring", &secret).unwrap();
        let nonce: [u8; 24] = wrapped[..24].try_into().unwrap();
        let opened =
            Xaes256Gcm::new(kek.expose().into()).decrypt(&nonce.into(), Payload { msg: &wrapped[24..], aad: b"ring" }).unwrap();
        assert_eq!(opened, secret.expose());
    }

    #[test]
    fn t23_every_failure_to_unwrap_is_the_one_error() {
        let kek = Secret::random().unwrap();
        let wrapped = wrap(&kek, b"ring", &Secret::random().unwrap()).unwrap();
        for at in 0..wrapped.len() {
            let mut changed = wrapped.clone();
            changed[at] ^= 1;
            assert_eq!(unwrap(&kek, b"ring", &changed).map(|_| ()), Err(OpenError), "byte {at}");
        }
        for len in 0..wrapped.len() {
            assert_eq!(unwrap(&kek, b"ring", &wrapped[..len]).map(|_| ()), Err(OpenError), "length {len}");
        }
        assert_eq!(unwrap(&kek, b"ring", &[&wrapped[..], &[0]].concat()).map(|_| ()), Err(OpenError));
        assert_eq!(unwrap(&kek, b"other", &wrapped).map(|_| ()), Err(OpenError));
        assert_eq!(unwrap(&Secret::random().unwrap(), b"ring", &wrapped).map(|_| ()), Err(OpenError));
    }
}
