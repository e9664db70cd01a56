//! The side that accepts: our certificate, whom we take as a client, one handshake.
//!
//! Always holds: a client certificate is seen only after its chain, its dates and its purpose have been verified, anew in every handshake: where
//! clients present certificates no session is resumed, so that none outlives the authorities it was verified with. Without client
//! certificates sessions are kept in memory until the next reload. Early data, which can be replayed, is not taken (T29).
//!
//! Built by `config`, kept by `app`, called by `front` for each connection.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{Acceptor, NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{AlertDescription, CertificateError, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_rustls::LazyConfigAcceptor;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use x509_cert::der::Decode as _;
use x509_cert::time::Time;

/// A connection whose handshake is done.
pub type Secured<S> = tokio_rustls::server::TlsStream<S>;

/// What this side presents.
#[derive(Debug)]
pub struct Identity {
    /// Our certificate, and those between it and its authority.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: PrivateKeyDer<'static>,
}

/// Whose certificates clients may present.
#[derive(Debug)]
pub struct Clients {
    /// The authorities that sign them.
    pub authorities: RootCertStore,
    /// What these authorities have revoked. Unless empty, a certificate whose authority has no list here is refused.
    pub revoked: Vec<CertificateRevocationListDer<'static>>,
    /// What becomes of a client without a certificate.
    pub without: Without,
}

/// What becomes of a client that presents no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// The handshake fails.
    Refused,
    /// It must be known in another way.
    Taken,
}

/// Why a server cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The key is another certificate's.
    #[error("the key does not belong to the certificate")]
    KeyMismatch,
    /// The certificate or the key cannot be used.
    #[error("the certificate or its key cannot be used: {0}")]
    Identity(rustls::Error),
    /// The authorities or their lists cannot be used.
    #[error("client certificates cannot be verified with this: {0}")]
    Clients(VerifierBuilderError),
}

/// Accepts TLS. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    tls: Arc<ServerConfig>,
    clients: Option<Arc<Clients>>,
    /// Cancelled once other clients are trusted than those who connected under this one.
    superseded: CancellationToken,
}

impl Server {
    /// Builds it whole. `protocols` are offered by ALPN, the preferred one first.
    ///
    /// # Errors
    ///
    /// [`ServerError`]; none of them holds anything of the key.
    pub fn new(identity: Identity, clients: Option<Clients>, protocols: &[&[u8]]) -> Result<Self, ServerError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clients = clients.map(Arc::new);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(ServerError::Identity)?;
        let builder = match &clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let roots = Arc::new(clients.authorities.clone());
                let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                if !clients.revoked.is_empty() {
                    verifier = verifier.with_crls(clients.revoked.iter().cloned()).enforce_revocation_expiration();
                }
                if clients.without == Without::Taken {
                    verifier = verifier.allow_unauthenticated();
                }
                builder.with_client_cert_verifier(verifier.build().map_err(ServerError::Clients)?)
            }
        };
        let mut tls = builder.with_single_cert(identity.chain, identity.key).map_err(|error| {
            if matches!(error, rustls::Error::InconsistentKeys(_)) {
                ServerError::KeyMismatch
            } else {
                ServerError::Identity(error)
            }
        })?;
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        if clients.is_some() {
            tls.session_storage = Arc::new(NoServerSessionStorage {});
            tls.send_tls13_tickets = 0;
        }
        Ok(Self { tls: Arc::new(tls), clients, superseded: CancellationToken::new() })
    }

    /// This server, to come after `old`: where both trust the same clients, theirs is one succession.
    #[must_use]
    pub fn following(self, old: &Self) -> Self {
        if self.trusts_those_of(old) { Self { superseded: old.superseded.clone(), ..self } } else { self }
    }

    /// Tells the clients verified under this server that `new` is in its place, unless it trusts the same ones.
    pub fn retire_for(&self, new: &Self) {
        if !new.trusts_those_of(self) {
            self.superseded.cancel();
        }
    }

    /// The same authorities, with the same revoked.
    fn trusts_those_of(&self, old: &Self) -> bool {
        match (&self.clients, &old.clients) {
            (Some(new), Some(old)) => new.authorities.roots == old.authorities.roots && new.revoked == old.revoked,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    /// Ends when clients verified under this server are no longer trusted as they were.
    pub fn superseded(&self) -> WaitForCancellationFutureOwned {
        self.superseded.clone().cancelled_owned()
    }

    /// Whether that is so now.
    pub fn is_superseded(&self) -> bool {
        self.superseded.is_cancelled()
    }

    /// The rest of a handshake.
    ///
    /// # Errors
    ///
    /// [`Failed`]; the client has been told by an alert where it can be.
    pub async fn accept<S>(&self, greeting: Greeting, stream: S) -> Result<Secured<S>, Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let started = LazyConfigAcceptor::new(*greeting.0, stream).await.map_err(|error| Failed::from(&error))?;
        started.into_stream(Arc::clone(&self.tls)).await.map_err(|error| Failed::from(&error))
    }
}

/// When a certificate or a list of revocations holds, in seconds since 1970-01-01T00:00:00Z, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first.
    pub from: u64,
    /// The last.
    pub until: u64,
}

impl Validity {
    /// That of a certificate. `None` if it is none that can be read.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Option<Self> {
        let validity = x509_cert::Certificate::from_der(certificate).ok()?.tbs_certificate.validity;
        Some(Self::between(validity.not_before, validity.not_after))
    }

    /// That of a list of revocations. `None` if it is none that can be read, or does not say when the next one is due.
    pub fn of_list(list: &CertificateRevocationListDer<'_>) -> Option<Self> {
        let list = x509_cert::crl::CertificateList::from_der(list).ok()?.tbs_cert_list;
        Some(Self::between(list.this_update, list.next_update?))
    }

    fn between(first: Time, last: Time) -> Self {
        Self { from: first.to_unix_duration().as_secs(), until: last.to_unix_duration().as_secs() }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

/// A handshake of which the first byte has come.
pub struct Greeting(Box<Acceptor>);

/// What a connection begins with.
pub enum Begins {
    /// A TLS record with a handshake in it.
    Tls(Greeting),
    /// A capital letter: a request of HTTP in clear, most likely.
    Http,
    /// Neither.
    Other,
    /// The client closed it without a word.
    Closed,
}

impl fmt::Debug for Greeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Greeting")
    }
}

impl fmt::Debug for Begins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls(_) => "Tls",
            Self::Http => "Http",
            Self::Other => "Other",
            Self::Closed => "Closed",
        })
    }
}

/// Takes the first byte of a connection, so that one without TLS can be told so in its own language.
///
/// # Errors
///
/// Those of reading.
pub async fn begins<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Begins> {
    /// The content type of a handshake record, in every version of TLS.
    const HANDSHAKE: u8 = 22;
    let mut first = [0];
    if stream.read(&mut first).await? == 0 {
        return Ok(Begins::Closed);
    }
    Ok(match first {
        [HANDSHAKE] => {
            let mut acceptor = Acceptor::default();
            acceptor.read_tls(&mut first.as_slice())?;
            Begins::Tls(Greeting(Box::new(acceptor)))
        }
        [b'A'..=b'Z'] => Begins::Http,
        _ => Begins::Other,
    })
}

/// Why a handshake failed: a word for metrics and log, without anything the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.word())]
pub enum Failed {
    /// The client went away.
    Closed,
    /// It presented no certificate, and must.
    NoCertificate,
    /// No authority we trust has signed its certificate.
    UnknownAuthority,
    /// Its certificate has expired, or does not hold yet.
    Expired,
    /// Its certificate was revoked, or nothing recent says that it was not.
    Revoked,
    /// Its certificate is no good in another way: not for clients, for example, or broken.
    Certificate,
    /// It does not take our certificate.
    RefusesUs,
    /// No version, cipher or key exchange in common.
    NothingInCommon,
    /// No application protocol in common.
    NoProtocol,
    /// It does not speak TLS as it should.
    Malformed,
}

impl Failed {
    /// The word in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::NoCertificate => "no-certificate",
            Self::UnknownAuthority => "unknown-authority",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Certificate => "certificate",
            Self::RefusesUs => "refuses-us",
            Self::NothingInCommon => "nothing-in-common",
            Self::NoProtocol => "no-protocol",
            Self::Malformed => "malformed",
        }
    }
}

impl From<&io::Error> for Failed {
    #[expect(clippy::wildcard_enum_match_arm, reason = "of a library that adds to them; the rest is one word")]
    fn from(error: &io::Error) -> Self {
        let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return Self::Closed;
        };
        match error {
            rustls::Error::NoCertificatesPresented => Self::NoCertificate,
            rustls::Error::InvalidCertificate(certificate) => of_certificate(certificate),
            rustls::Error::AlertReceived(alert) => of_alert(*alert),
            rustls::Error::PeerIncompatible(_) => Self::NothingInCommon,
            rustls::Error::NoApplicationProtocol => Self::NoProtocol,
            _ => Self::Malformed,
        }
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of a library that adds to them; the rest is one word")]
fn of_certificate(error: &CertificateError) -> Failed {
    use CertificateError as E;
    match error {
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => Failed::Expired,
        E::UnknownIssuer => Failed::UnknownAuthority,
        E::Revoked | E::UnknownRevocationStatus | E::ExpiredRevocationList | E::ExpiredRevocationListContext { .. } => {
            Failed::Revoked
        }
        _ => Failed::Certificate,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "of a library that adds to them; the rest is one word")]
fn of_alert(alert: AlertDescription) -> Failed {
    use AlertDescription as A;
    match alert {
        A::BadCertificate
        | A::UnsupportedCertificate
        | A::CertificateRevoked
        | A::CertificateExpired
        | A::CertificateUnknown
        | A::UnknownCA => Failed::RefusesUs,
        A::ProtocolVersion | A::HandshakeFailure | A::InsufficientSecurity => Failed::NothingInCommon,
        A::CloseNotify | A::UserCanceled => Failed::Closed,
        _ => Failed::Malformed,
    }
}
