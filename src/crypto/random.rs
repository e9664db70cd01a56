//! Randomness, straight from the operating system at every call. Nothing is kept in the process, so that clones and forks of a machine
//! cannot repeat a draw (T18).

use ring::rand::{SecureRandom, SystemRandom};

/// The operating system gave no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no randomness; nothing can be sealed until it does")]
pub struct RandomError;

/// `N` random bytes.
///
/// # Errors
///
/// [`RandomError`] if the operating system gives none.
pub fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    fill_random(&mut bytes)?;
    Ok(bytes)
}

/// Fills `bytes` in one call; used once for all rows of a body.
///
/// # Errors
///
/// [`RandomError`] if the operating system gives none; `bytes` is then not to be used.
pub fn fill_random(bytes: &mut [u8]) -> Result<(), RandomError> {
    SystemRandom::new().fill(bytes).map_err(|_unspecified| RandomError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t18_two_draws_differ() {
        assert_ne!(random::<24>().unwrap(), random::<24>().unwrap());
        let mut many = [0; 24 * 300];
        fill_random(&mut many).unwrap();
        let mut rows: Vec<&[u8]> = many.chunks(24).collect();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 300);
    }
}
