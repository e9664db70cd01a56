//! A root under an AES key in a hardware security module, or any token behind a PKCS#11 library (OASIS, version 2.40 and later). Only with
//! the feature `pkcs11`.
//!
//! The root is *encrypted* with `CKM_AES_GCM`, the binding as its associated data: 12 bytes of IV, 32 of ciphertext, 16 of tag. Wrapping
//! mechanisms (`CKM_AES_KEY_WRAP_KWP` and its like) bind to nothing, and many devices do not unwrap a key in such a way that anybody may
//! see it. Devices that choose the IV themselves write it where ours stood.
//!
//! Always holds: every call is made on a thread of its own, whose session it does not share, for sessions belong to one thread; a library
//! that hangs is given up after the time-out, and asked again only once it has come back. The PIN is read for each call. Called through
//! [`Provider`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use super::provider::{Binding, Provider, ProviderError, ProviderName, Wrapped};
use super::source::{Refused, Source};
use crate::crypto::{self, Secret};

const IV_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
const WRAPPED_BYTES: usize = IV_BYTES + 32 + TAG_BYTES;

/// Which key, where, and how it is opened.
#[derive(Debug, Clone)]
pub struct Config {
    /// The library of the device.
    pub module: PathBuf,
    /// Which of its tokens.
    pub which: Which,
    /// The label of the AES key on it, of 256 bits.
    pub key: String,
    /// The user's PIN.
    pub pin: Source,
    /// Longest wait for the library.
    pub timeout: Duration,
}

/// How a token is told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// By the label that it was initialised with.
    Label(String),
    /// By the serial number of the device.
    Serial(String),
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(label) => write!(f, "with the label \"{label}\""),
            Self::Serial(serial) => write!(f, "with the serial number \"{serial}\""),
        }
    }
}

/// The provider `pkcs11`.
pub struct Token {
    config: Config,
    /// A call is with the library, perhaps for ever.
    busy: Arc<AtomicBool>,
    /// A PIN that was wrong is never tried again: a few, and the device locks itself.
    refused: Arc<Refused>,
}

/// What is done with the key.
enum Act {
    Wrap(Secret),
    Unwrap(Vec<u8>),
}

impl Token {
    /// Loads nothing yet.
    pub fn new(config: Config) -> Self {
        Self { config, busy: Arc::default(), refused: Arc::new(Refused::new(None)) }
    }

    fn done(&self, binding: &Binding, act: Act) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let pin = self.config.pin.read()?;
        if self.refused.is(&pin) {
            return Err(wrong_pin());
        }
        if self.busy.swap(true, Ordering::AcqRel) {
            return Err(ProviderError::Outage("its library has not come back from an earlier call".to_owned()));
        }
        let (config, aad, busy) = (self.config.clone(), binding.aad(), Arc::clone(&self.busy));
        let refused = Arc::clone(&self.refused);
        let (tell, told) = mpsc::sync_channel(1);
        let spawned = std::thread::Builder::new().name("pkcs11".to_owned()).spawn(move || {
            let done = with_key(&config, &pin, |session, key| act.with(session, key, &aad));
            if matches!(done, Err(ProviderError::Credentials(_))) {
                refused.note(&pin);
            }
            busy.store(false, Ordering::Release);
            // Nobody waits any more if it took too long.
            let _told = tell.send(done);
        });
        if let Err(error) = spawned {
            self.busy.store(false, Ordering::Release);
            return Err(ProviderError::Local(format!("no thread can be started for it: {error}")));
        }
        told.recv_timeout(self.config.timeout).unwrap_or_else(|error| {
            Err(ProviderError::Outage(match error {
                RecvTimeoutError::Timeout => format!("its library did not answer within {:?}", self.config.timeout),
                RecvTimeoutError::Disconnected => "its library broke off".to_owned(),
            }))
        })
    }
}

impl Act {
    fn with(self, session: &Session, key: ObjectHandle, aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
        let bits = |bytes: usize| u64::try_from(8 * bytes).unwrap_or_default().into();
        match self {
            Self::Wrap(root) => {
                let random = crypto::random::<IV_BYTES>();
                let mut iv = random.map_err(|error| ProviderError::Local(error.to_string()))?;
                let params = GcmParams::new(&mut iv, aad, bits(TAG_BYTES)).map_err(|error| of_call(&error))?;
                let sealed = session.encrypt(&Mechanism::AesGcm(params), key, root.expose());
                let sealed = sealed.map_err(|error| of_call(&error))?;
                Ok(Zeroizing::new([&iv, sealed.as_slice()].concat()))
            }
            Self::Unwrap(wrapped) => {
                let (iv, sealed) = wrapped.split_first_chunk::<IV_BYTES>().ok_or(ProviderError::NotOurs)?;
                let mut iv = *iv;
                let params = GcmParams::new(&mut iv, aad, bits(TAG_BYTES)).map_err(|error| of_call(&error))?;
                let opened = session.decrypt(&Mechanism::AesGcm(params), key, sealed);
                // What of these a device says to a wrong tag is its own choice.
                let wrong_tag = |code: &RvError| {
                    matches!(
                        code,
                        RvError::EncryptedDataInvalid
                            | RvError::EncryptedDataLenRange
                            | RvError::GeneralError
                            | RvError::FunctionFailed
                            | RvError::DataInvalid
                    )
                };
                opened.map(Zeroizing::new).map_err(|error| {
                    let not_ours = matches!(&error, Error::Pkcs11(code, _) if wrong_tag(code));
                    if not_ours { ProviderError::NotOurs } else { of_call(&error) }
                })
            }
        }
    }
}

impl Provider for Token {
    fn name(&self) -> ProviderName {
        ProviderName::Pkcs11
    }

    fn key(&self) -> &str {
        &self.config.key
    }

    fn may_have_wrapped(&self, wrapped: &Wrapped) -> bool {
        wrapped.key == self.config.key
    }

    fn wrap(&self, binding: &Binding, root: &Secret) -> Result<Wrapped, ProviderError> {
        let wrapped = self.done(binding, Act::Wrap(Secret::from_bytes(*root.expose())))?;
        if wrapped.len() != WRAPPED_BYTES {
            return Err(ProviderError::Lied("it wrapped the root to something that is not AES-GCM of it"));
        }
        Ok(Wrapped { key: self.config.key.clone(), root: crypto::base64url(&wrapped) })
    }

    fn unwrap(&self, binding: &Binding, wrapped: &Wrapped) -> Result<Secret, ProviderError> {
        let bytes = crypto::from_base64url(wrapped.root.as_bytes()).map_err(|_spelling| ProviderError::NotOurs)?;
        if bytes.len() != WRAPPED_BYTES {
            return Err(ProviderError::NotOurs);
        }
        let opened = self.done(binding, Act::Unwrap(bytes))?;
        let root: &[u8; 32] = opened
            .as_slice()
            .try_into()
            .map_err(|_length| ProviderError::Lied("what it unwrapped is not 32 bytes, as every root is"))?;
        Ok(Secret::from_bytes(*root))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("module", &self.config.module).field("key", &self.config.key).finish_non_exhaustive()
    }
}

/// Opens a session of its own, and ends it.
fn with_key<T>(
    config: &Config,
    pin: &str,
    act: impl FnOnce(&Session, ObjectHandle) -> Result<T, ProviderError>,
) -> Result<T, ProviderError> {
    let library = library(&config.module)?;
    let slot = slot(&library, &config.which)?;
    let session = library.open_ro_session(slot).map_err(|error| of_call(&error))?;
    match session.login(UserType::User, Some(&AuthPin::from(pin.to_owned()))) {
        // Another call of this process is logged in, which counts for all.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
        Err(error) => return Err(of_call(&error)),
    }
    let wanted = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(config.key.as_bytes().to_vec()),
    ];
    let found = session.find_objects(&wanted).map_err(|error| of_call(&error))?;
    match found.as_slice() {
        [key] => act(&session, *key),
        [] => {
            Err(ProviderError::Denied("there is no AES key with this label on the token, or this user may not see it".to_owned()))
        }
        [_, _, ..] => {
            Err(ProviderError::Denied("there are several AES keys with this label on the token: give one another".to_owned()))
        }
    }
}

fn slot(library: &Pkcs11, which: &Which) -> Result<Slot, ProviderError> {
    let slots = library.get_slots_with_token().map_err(|error| of_call(&error))?;
    let is_meant = |slot: &Slot| {
        library.get_token_info(*slot).is_ok_and(|token| match which {
            Which::Label(label) => token.label().trim_end() == label,
            Which::Serial(serial) => token.serial_number().trim_end() == serial,
        })
    };
    let found: Vec<Slot> = slots.into_iter().filter(is_meant).collect();
    match found.as_slice() {
        [slot] => Ok(*slot),
        [] => Err(ProviderError::Outage(format!(
            "there is no token {which}: it may not be plugged in, or the library does not find it"
        ))),
        [_, _, ..] => Err(ProviderError::Outage(format!("there are several tokens {which}: name it by `serial`"))),
    }
}

/// The library, loaded and initialised once for the process: the standard lets nobody initialise it twice, and ending it would end it for
/// everybody.
fn library(path: &Path) -> Result<Pkcs11, ProviderError> {
    static LOADED: Mutex<Vec<(PathBuf, Pkcs11)>> = Mutex::new(Vec::new());
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, library)) = loaded.iter().find(|(known, _)| known == path) {
        return Ok(library.clone());
    }
    let unusable = |error: &Error| {
        let why = if let Error::LibraryLoading(why) = error { why.to_string() } else { error.to_string() };
        ProviderError::Local(format!("{}: cannot be used as a PKCS#11 library: {why}", path.display()))
    };
    let library = Pkcs11::new(path).map_err(|error| unusable(&error))?;
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(unusable(&error)),
    }
    loaded.push((path.to_owned(), library.clone()));
    Ok(library)
}

fn wrong_pin() -> ProviderError {
    ProviderError::Credentials(
        "the PIN is wrong; it is not tried again until it is changed, for devices lock themselves after a few".to_owned(),
    )
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the standard has a hundred; those without a remedy of ours are told by their names"
)]
fn of_call(error: &Error) -> ProviderError {
    let Error::Pkcs11(code, _) = error else { return ProviderError::Outage(format!("its library failed: {error}")) };
    match code {
        RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange => ProviderError::Credentials(
            "the PIN is wrong: mind that many devices lock themselves after a few wrong ones".to_owned(),
        ),
        RvError::PinLocked => ProviderError::Credentials("the PIN is locked: a security officer must reset it".to_owned()),
        RvError::PinExpired => ProviderError::Credentials("the PIN has expired: set another".to_owned()),
        RvError::UserPinNotInitialized => ProviderError::Credentials("the token has no user PIN yet".to_owned()),
        RvError::KeyFunctionNotPermitted | RvError::KeyTypeInconsistent | RvError::KeySizeRange => {
            ProviderError::Denied("the key is not an AES key that may encrypt and decrypt (CKA_ENCRYPT, CKA_DECRYPT)".to_owned())
        }
        RvError::MechanismInvalid | RvError::MechanismParamInvalid => {
            ProviderError::Denied("the token does not do CKM_AES_GCM with 12 bytes of IV".to_owned())
        }
        RvError::UserNotLoggedIn => ProviderError::Denied("the user may not use the key".to_owned()),
        other => ProviderError::Outage(format!("its library answered {other:?}")),
    }
}
