//! Keys of the token vault: what its rows are sealed under, what recognises an equal value, who uses a row.
//!
//! Always holds: the keys of two scopes, or of two controllers, have nothing in common (T17); a row opens only against a permit that the
//! state of its version allows. Keys are derived at each call: it costs microseconds beside the store's answer.

use std::sync::Arc;

use super::{KeyRing, Version};
use crate::base::Kid;
use crate::crypto::{self, MacKey, XaesKey};
use crate::keys::{KeyError, LineName, State};
use crate::purpose::Permit;

/// The key of one scope's rows under one version of the token line.
#[derive(Debug)]
pub struct TokenKey {
    /// The version's id, for the row.
    pub kid: Kid,
    /// The scope's key.
    pub xaes: XaesKey,
}

impl KeyRing {
    /// The key that seals new rows of a scope: the Active version of the token line.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoActive`].
    pub fn token_key(&self, scope: &str) -> Result<TokenKey, KeyError> {
        let mut versions = self.of_line(LineName::Token);
        let active = versions.find(|version| version.info.state.protects()).ok_or(KeyError::NoActive(LineName::Token))?;
        self.token_key_of(active, scope)
    }

    /// The key that a stored row names.
    ///
    /// # Errors
    ///
    /// Those of [`Self::open_key`].
    pub fn open_token_key(&self, kid: Kid, scope: &str, permit: Permit<'_>) -> Result<TokenKey, KeyError> {
        self.token_key_of(self.permitted(kid, &LineName::Token, permit)?, scope)
    }

    /// The keys of a scope that recognise equal values, the Active version of the lookup line first: of every version that may still
    /// show something, so that nodes on either side of a rotation recognise each other's rows. A compromised one recognises nothing: what
    /// is marked under it can be guessed at by whoever has it.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoActive`] if no version protects.
    pub fn fingerprint_keys(&self, scope: &str) -> Result<Vec<(Kid, MacKey)>, KeyError> {
        let active = self.active_lookup.ok_or(KeyError::NoActive(LineName::Lookup))?;
        let mut live: Vec<&Version> =
            self.of_line(LineName::Lookup).filter(|version| version.info.state.opens_to_reveal()).collect();
        live.sort_by_key(|version| version.info.kid != active);
        live.into_iter().map(|version| self.fingerprint_key_of(version, scope)).collect()
    }

    /// The key of a scope under a version of the lookup line, to see whether a row is marked as it should be; None for a version
    /// whose secret is gone.
    ///
    /// # Errors
    ///
    /// [`KeyError::UnknownKid`].
    pub fn fingerprint_key(&self, kid: Kid, scope: &str) -> Result<Option<MacKey>, KeyError> {
        let version = self.of_line(LineName::Lookup).find(|version| version.info.kid == kid).ok_or(KeyError::UnknownKid(kid))?;
        if version.info.state == State::Destroyed {
            return Ok(None);
        }
        self.fingerprint_key_of(version, scope).map(|(_, key)| Some(key))
    }

    /// The keys by which the audit log names data subjects, the Active one first.
    ///
    /// # Errors
    ///
    /// [`KeyError::NoActive`] if the audit line has no Active version.
    pub fn subject_keys(&self) -> Result<Vec<Arc<MacKey>>, KeyError> {
        Ok(self.audit_keys()?.into_iter().map(|(_, key, _)| key).collect())
    }

    fn of_line(&self, line: LineName) -> impl Iterator<Item = &Version> {
        self.order.iter().filter_map(|kid| self.versions.get(kid)).filter(move |version| version.info.line == line)
    }

    fn token_key_of(&self, version: &Version, scope: &str) -> Result<TokenKey, KeyError> {
        let holding = self.holding()?;
        let (kid, secret) = holding.secret(version)?;
        Ok(TokenKey { kid, xaes: XaesKey::new(&crypto::hkdf(secret, &self.label(&[b"token", scope.as_bytes()]))) })
    }

    fn fingerprint_key_of(&self, version: &Version, scope: &str) -> Result<(Kid, MacKey), KeyError> {
        let holding = self.holding()?;
        let (kid, secret) = holding.secret(version)?;
        Ok((kid, MacKey::new(&crypto::hkdf(secret, &self.label(&[b"fingerprint", scope.as_bytes()])))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Controller, enc};
    use crate::crypto::Secret;
    use crate::purpose::Upkeep;

    fn kid(n: u8) -> Kid {
        Kid::from_random([n; 5])
    }

    fn ring(controller: &str) -> KeyRing {
        let versions = vec![
            (LineName::Token, kid(1), State::Deactivated, [1; 32]),
            (LineName::Token, kid(2), State::Active, [2; 32]),
            (LineName::Token, kid(3), State::Destroyed, [3; 32]),
            (LineName::Lookup, kid(4), State::PreActive, [4; 32]),
            (LineName::Lookup, kid(5), State::Active, [5; 32]),
            (LineName::Lookup, kid(6), State::Compromised, [6; 32]),
            (LineName::Lookup, kid(7), State::Destroyed, [7; 32]),
        ];
        KeyRing::with_versions(Controller::new(controller), versions)
    }

    #[test]
    fn vault_keys_are_derived_as_the_format_says() {
        let ring = ring("shop");
        let label = |using: &[u8], scope: &[u8]| enc(&[b"sudare/v1", using, b"shop", scope]);
        let by_hand = XaesKey::new(&crypto::hkdf(&Secret::from_bytes([2; 32]), &label(b"token", b"ids")));
        let seal = |key: &XaesKey| {
            let mut data = b"value".to_vec();
            let tag = key.row_key(&[7; 12]).seal_in_place(&[8; 12], b"", &mut data).unwrap();
            (data, tag)
        };
        assert_eq!(seal(&ring.token_key("ids").unwrap().xaes), seal(&by_hand));
        assert_ne!(seal(&ring.token_key("idz").unwrap().xaes), seal(&by_hand));
        let mac = MacKey::new(&crypto::hkdf(&Secret::from_bytes([5; 32]), &label(b"fingerprint", b"ids"))).mac(b"value");
        assert_eq!(ring.fingerprint_keys("ids").unwrap()[0].1.mac(b"value"), mac);
    }

    #[test]
    fn t17_fingerprints_have_nothing_in_common_between_scopes_and_controllers() {
        let of = |controller, scope| ring(controller).fingerprint_keys(scope).unwrap()[0].1.mac(b"value");
        assert_eq!(of("shop", "ids"), of("shop", "ids"));
        assert_ne!(of("shop", "ids"), of("shop", "others"));
        assert_ne!(of("shop", "ids"), of("market", "ids"));
    }

    #[test]
    fn every_live_lookup_version_recognises_the_active_one_first() {
        let kids: Vec<Kid> = ring("shop").fingerprint_keys("ids").unwrap().into_iter().map(|(kid, _)| kid).collect();
        assert_eq!(kids, [kid(5), kid(4)]);
        assert!(ring("shop").fingerprint_key(kid(6), "ids").unwrap().is_some());
        assert!(ring("shop").fingerprint_key(kid(7), "ids").unwrap().is_none());
        assert!(matches!(ring("shop").fingerprint_key(kid(2), "ids"), Err(KeyError::UnknownKid(_))));
        let none = KeyRing::with_versions(Controller::new("shop"), vec![(LineName::Token, kid(2), State::Active, [2; 32])]);
        assert!(matches!(none.fingerprint_keys("ids"), Err(KeyError::NoActive(LineName::Lookup))));
    }

    #[test]
    fn rows_open_by_the_state_of_their_version() {
        let upkeep = Upkeep::dangerous_for("a test");
        let open = |number| ring("shop").open_token_key(kid(number), "ids", Permit::Upkeep(&upkeep)).map(|key| key.kid);
        assert_eq!((open(1).unwrap(), open(2).unwrap()), (kid(1), kid(2)));
        assert!(matches!(open(3), Err(KeyError::Destroyed(_))));
        assert!(matches!(open(5), Err(KeyError::UnknownKid(_))), "a key of another line opens no row");
        let none = KeyRing::with_versions(Controller::new("shop"), vec![]);
        assert!(matches!(none.token_key("ids"), Err(KeyError::NoActive(LineName::Token))));
    }
}
