//! TLS towards a service behind us: whom we believe, which name it must have, and what we present.
//!
//! Always holds: the peer's certificate is verified at every handshake, by its chain, its dates and its subject alternative
//! names (T21). There is no switch that turns that off, and no session is resumed, for a resumed one is not verified again.
//! Two [`Client`]s are equal if they verify and present the same, wherever it was read: a reload compares content, not paths.
//!
//! Called by [`crate::net`]; `config` makes a [`Client`].

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What hyper's client speaks over it; a peer that negotiates otherwise is refused.
const ALPN: &[u8] = b"http/1.1";

/// How connections to one service are secured. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    identity: Arc<Identity>,
}

/// What it was made from. The key is not here: a chain has only one that fits it.
struct Identity {
    name: ServerName<'static>,
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    files: Vec<PathBuf>,
}

/// A certificate chain, its end entity first, with its key and the files both came from.
pub type Presented = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Client {
    /// Believes `roots`, demands a certificate for `name`, and presents a certificate to a peer that asks for one.
    ///
    /// `files` is where all of it was read, for whoever watches them.
    ///
    /// # Errors
    ///
    /// The key does not fit the certificate, or is of a kind that cannot sign.
    pub fn new(
        roots: RootCertStore,
        name: ServerName<'static>,
        presented: Option<Presented>,
        files: Vec<PathBuf>,
    ) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_root_certificates(roots.clone());
        let (mut config, chain) = match presented {
            None => (builder.with_no_client_auth(), Vec::new()),
            Some((chain, key)) => (builder.with_client_auth_cert(chain.clone(), key)?, chain),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config), identity: Arc::new(Identity { name, roots, chain, files }) })
    }

    /// The same for a peer of another protocol, by its ALPN name, for those who do the handshake themselves.
    pub(crate) fn speaking(&self, protocol: &[u8]) -> ClientConfig {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.to_vec()];
        config
    }

    /// The name that the peer's certificate must be for.
    pub(crate) fn name(&self) -> String {
        self.identity.name.to_str().into_owned()
    }

    /// The files it was read from; none where the system's authorities are believed.
    pub fn files(&self) -> &[PathBuf] {
        &self.identity.files
    }

    /// Makes a connection of any kind secure; the error is as rustls has it.
    ///
    /// # Errors
    ///
    /// The peer is not to be trusted, or the connection broke.
    pub(in crate::net) async fn handshake<S>(&self, socket: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        TlsConnector::from(Arc::clone(&self.config)).connect(self.identity.name.clone(), socket).await
    }

    /// Makes a connection secure.
    ///
    /// # Errors
    ///
    /// One that holds a [`Refused`], or what the operating system said.
    pub(in crate::net) async fn secure(&self, socket: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.handshake(socket).await.map_err(|error| match Refused::of(&error) {
            Some(refused) => io::Error::new(io::ErrorKind::InvalidData, refused),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                io::Error::new(error.kind(), Refused("it closed the connection in the middle of the TLS handshake".to_owned()))
            }
            None => error,
        })
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.identity, &other.identity);
        ours.name == theirs.name && ours.chain == theirs.chain && ours.roots.roots == theirs.roots.roots
    }
}

impl Eq for Client {}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.identity.name).finish_non_exhaustive()
    }
}

/// Says that we have nothing more to send and waits for the peer's last word. With TLS 1.3 a handshake is over for us before
/// the peer has judged our certificate; if it refuses, this is where it says so.
///
/// # Errors
///
/// What the peer refused with. A peer that just goes away has refused nothing.
pub(in crate::net) async fn part(mut stream: TlsStream<TcpStream>) -> io::Result<()> {
    let asked = async {
        stream.shutdown().await?;
        stream.read(&mut [0; 1]).await
    };
    match asked.await {
        Err(error) if Refused::of(&error).is_some() => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Why a peer is not talked to, or will not talk to us, with what to do about it. For the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// What an error of a TLS connection says, if it is about TLS. Looks through its causes.
    pub fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refused) = error.downcast_ref::<Self>() {
                return Some(refused.clone());
            }
            if let Some(error) = error.downcast_ref::<Error>() {
                return Some(Self(explained(error)));
            }
            // An error of the operating system's kind shows what it wraps to nobody who asks for its source.
            next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(wrapped) => Some(wrapped),
                None => error.source(),
            };
        }
        None
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may add kinds; those without a remedy of ours are told in its words"
)]
fn explained(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => untrusted(why),
        Error::NoCertificatesPresented => "it presents no certificate".to_owned(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a certificate of ours: set `certificate` and `key` in [upstream] tls".to_owned()
        }
        Error::AlertReceived(
            alert @ (AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied),
        ) => {
            format!("it refuses our certificate ({alert:?}): set `certificate` and `key` in [upstream] tls to a pair it accepts")
        }
        Error::AlertReceived(AlertDescription::NoApplicationProtocol) | Error::NoApplicationProtocol => {
            "it does not speak HTTP/1.1 over TLS".to_owned()
        }
        Error::AlertReceived(alert) => format!(
            "it ended the TLS handshake or connection with {alert:?}: it may want a certificate of ours, another server_name, or have no TLS version or cipher in common with us"
        ),
        Error::InvalidMessage(_) => "it does not speak TLS: write http:// if that is so, or the port where it does".to_owned(),
        Error::PeerIncompatible(why) => {
            format!("it has no TLS version or cipher in common with us ({why:?}): it must offer TLS 1.2 or 1.3")
        }
        other => format!("TLS failed: {other}"),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library may add kinds; those without a remedy of ours are told in its words"
)]
fn untrusted(why: &CertificateError) -> String {
    let explained = match why {
        CertificateError::NotValidForNameContext { expected, presented } if presented.is_empty() => format!(
            "its certificate has no subject alternative name, and a common name does not count: it needs one for {}",
            expected.to_str()
        ),
        CertificateError::NotValidForNameContext { expected, presented } => format!(
            "its certificate is not for {}, but for {}: set server_name in [upstream] tls to a name it is for, or have it issued for this one",
            expected.to_str(),
            presented.join(", ")
        ),
        CertificateError::NotValidForName => "its certificate is for another name: set server_name in [upstream] tls".to_owned(),
        CertificateError::UnknownIssuer => {
            "no authority that is believed signed its certificate: set ca in [upstream] tls to the file of the one that did"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired: renew it there (and see that the clock of this machine is right)".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: see that the clocks of both machines are right".to_owned()
        }
        CertificateError::BadSignature => {
            "a signature in its certificate chain is wrong: another authority of the same name may have made it; compare ca in [upstream] tls".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its certificate is not for servers (extended key usage serverAuth): have it issued for one".to_owned()
        }
        other => format!("its certificate cannot be believed ({other}): have it issued anew by the authority that ca in [upstream] tls names"),
    };
    format!("it is not trusted: {explained}")
}

/// The certificate authorities of this machine.
///
/// # Errors
///
/// There are none, with what was looked for.
pub fn system_authorities() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Systems carry a few that no library reads any more; one that is left out signs nothing for us.
    let (_added, _left_out) = roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(format!("this system has no certificate authorities{why}"));
    }
    // The same authorities in another order are the same.
    roots
        .roots
        .sort_by(|one, two| (&*one.subject, &*one.subject_public_key_info).cmp(&(&*two.subject, &*two.subject_public_key_info)));
    Ok(roots)
}
