//! Vectors of C2SP and Wycheproof, and the `xaes-256-gcm` crate as the oracle.

use data_encoding::HEXLOWER;
use proptest::prelude::*;
use sha3::digest::{ExtendableOutput, Update, XofReader};
use sha3::{Shake128, Shake128Reader};
use xaes_256_gcm::Xaes256Gcm;
use xaes_256_gcm::aead::{Aead, KeyInit as _, Payload};

use super::*;

fn halves(nonce: &[u8; 24]) -> ([u8; 12], [u8; 12]) {
    (nonce[..12].try_into().unwrap(), nonce[12..].try_into().unwrap())
}

fn seal(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let (prefix, suffix) = halves(nonce);
    let mut out = plaintext.to_vec();
    let row = XaesKey::new(&Secret::from_bytes(*key)).row_key(&prefix);
    let tag = row.seal_in_place(&suffix, aad, &mut out).unwrap();
    out.extend_from_slice(&tag);
    out
}

fn open(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let (prefix, suffix) = halves(nonce);
    let mut data = sealed.to_vec();
    let row = XaesKey::new(&Secret::from_bytes(*key)).row_key(&prefix);
    row.open_in_place(&suffix, aad, &mut data).map(|plain| plain.to_vec())
}

#[test]
fn c2sp_vectors() {
    let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
    // MSB(L) = 0, and MSB(L) = 1: both branches of the doubling.
    for (key, aad, expected) in [
        ([1; 32], &b""[..], "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        ([3; 32], b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ] {
        let sealed = seal(&key, nonce, aad, b"XAES-256-GCM");
        assert_eq!(HEXLOWER.encode(&sealed), expected);
        assert_eq!(open(&key, nonce, aad, &sealed).unwrap(), b"XAES-256-GCM");
    }
}

fn take<const N: usize>(from: &mut Shake128Reader) -> [u8; N] {
    let mut out = [0; N];
    from.read(&mut out);
    out
}

fn take_counted(from: &mut Shake128Reader) -> Vec<u8> {
    let [len] = take::<1>(from);
    let mut out = vec![0; usize::from(len)];
    from.read(&mut out);
    out
}

/// 10 000 random cases drawn from SHAKE128 of nothing; the ciphertexts go into another SHAKE128.
#[test]
fn c2sp_accumulated_vectors() {
    let mut source = Shake128::default().finalize_xof();
    let mut sum = Shake128::default();
    for _ in 0..10_000 {
        let key = take::<32>(&mut source);
        let nonce = take::<24>(&mut source);
        let plaintext = take_counted(&mut source);
        let aad = take_counted(&mut source);
        let sealed = seal(&key, &nonce, &aad, &plaintext);
        assert_eq!(open(&key, &nonce, &aad, &sealed).unwrap(), plaintext);
        sum.update(&sealed);
    }
    let digest = take::<32>(&mut sum.finalize_xof());
    assert_eq!(HEXLOWER.encode(&digest), "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939");
}

/// All AES-GCM vectors of Wycheproof with 256-bit keys, 96-bit nonces and 128-bit tags.
#[test]
fn wycheproof_aes_256_gcm() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for group in set.test_groups.iter().filter(|g| g.key_size == 256 && g.nonce_size == 96 && g.tag_size == 128) {
        for test in &group.tests {
            let key = RowKey::of_gcm_key(test.key[..].try_into().unwrap());
            let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
            let mut data = [&test.ct[..], &test.tag[..]].concat();
            let result = key.open_in_place(&nonce, &test.aad, &mut data).map(|plain| plain.to_vec());
            if test.result.must_fail() {
                assert_eq!(result, Err(OpenError), "case {}", test.tc_id);
                refused += 1;
            } else {
                assert_eq!(result.unwrap(), test.pt[..], "case {}", test.tc_id);
                let mut sealed = test.pt.to_vec();
                let tag = key.seal_in_place(&nonce, &test.aad, &mut sealed).unwrap();
                assert_eq!((&sealed[..], &tag[..]), (&test.ct[..], &test.tag[..]), "case {}", test.tc_id);
                opened += 1;
            }
        }
    }
    assert!(opened >= 30 && refused >= 25, "{opened} opened, {refused} refused");
}

#[test]
fn t23_every_failure_is_the_one_error() {
    let sealed = seal(&[7; 32], &[9; 24], b"place", b"value");
    assert_eq!(open(&[7; 32], &[9; 24], b"other", &sealed), Err(OpenError));
    assert_eq!(open(&[8; 32], &[9; 24], b"place", &sealed), Err(OpenError));
    assert_eq!(open(&[7; 32], &[8; 24], b"place", &sealed), Err(OpenError));
    assert_eq!(open(&[7; 32], &[9; 24], b"place", &sealed[..sealed.len() - 1]), Err(OpenError));
    assert_eq!(open(&[7; 32], &[9; 24], b"place", &[]), Err(OpenError));
    assert_eq!(open(&[7; 32], &[9; 24], b"place", &sealed).unwrap(), b"value");
}

#[test]
fn debug_shows_no_bytes() {
    let key = XaesKey::new(&Secret::from_bytes([0x41; 32]));
    assert_eq!(format!("{key:?} {:?}", key.row_key(&[0x41; 12])), "XaesKey(..) RowKey(..)");
}

proptest! {
    #[test]
    fn agrees_with_the_xaes_crate(
        key: [u8; 32], nonce: [u8; 24], aad in proptest::collection::vec(any::<u8>(), 0..200), plaintext in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let oracle = Xaes256Gcm::new(&key.into());
        let expected = oracle.encrypt(&nonce.into(), Payload { msg: &plaintext, aad: &aad }).unwrap();
        prop_assert_eq!(seal(&key, &nonce, &aad, &plaintext), expected.clone());
        prop_assert_eq!(open(&key, &nonce, &aad, &expected).unwrap(), plaintext);
    }

    #[test]
    fn any_flipped_bit_fails(
        key: [u8; 32], nonce: [u8; 24], plaintext in proptest::collection::vec(any::<u8>(), 0..100), bit: prop::sample::Index,
    ) {
        let mut sealed = seal(&key, &nonce, b"aad", &plaintext);
        let bit = bit.index(sealed.len() * 8);
        sealed[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(open(&key, &nonce, b"aad", &sealed), Err(OpenError));
    }
}
