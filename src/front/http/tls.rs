//! The TLS handshake of a connection, and who the client is by its certificate.
//!
//! Always holds: it takes at most `handshake_timeout`; a failure is counted by a fixed word and says nothing of the client.
//! Called by [`super::connection`].

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::accept::Config;
use crate::caller::Certificate;
use crate::net::tls::server::{Begins, Failed, Secured, Server, Validity, begins};

/// A client that has presented a certificate, which was verified.
pub(super) struct Client {
    pub(super) certificate: Certificate,
    /// The last second at which it holds, since 1970-01-01T00:00:00Z.
    pub(super) until: u64,
}

/// Sent to who speaks HTTP where TLS is expected.
const NOT_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 61\r\n\
    Cache-Control: no-store\r\nConnection: close\r\n\r\ntls-expected: this port speaks TLS; begin the URL with https\n";
/// What such a client may still send while it is told so, in bytes; to close earlier could keep the answer from it.
const LINGER_BYTES: u64 = 1 << 16;

/// Makes the handshake. `None`: there is none, and the connection is over.
pub(super) async fn handshake<S>(server: &Server, stream: S, config: &Config) -> Option<(Secured<S>, Option<Client>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let word = match tokio::time::timeout(config.handshake_timeout, attempt(server, stream)).await {
        Ok(Ok(stream)) => {
            let client = client(&stream);
            return Some((stream, client));
        }
        Ok(Err(word)) => word,
        Err(_elapsed) => "timeout",
    };
    config.metrics.tls_refused(word);
    tracing::debug!(reason = word, "a TLS handshake failed");
    None
}

async fn attempt<S>(server: &Server, mut stream: S) -> Result<Secured<S>, &'static str>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match begins(&mut stream).await {
        Ok(Begins::Tls(greeting)) => server.accept(greeting, stream).await.map_err(Failed::word),
        Ok(Begins::Http) => {
            if stream.write_all(NOT_TLS).await.is_ok() && stream.shutdown().await.is_ok() {
                let _end = tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await;
            }
            Err("http")
        }
        Ok(Begins::Other) => Err("not-tls"),
        Ok(Begins::Closed) | Err(_) => Err(Failed::Closed.word()),
    }
}

fn client<S>(stream: &Secured<S>) -> Option<Client> {
    let der = stream.get_ref().1.peer_certificates()?.first()?;
    let until = Validity::of_certificate(der).map_or(0, |validity| validity.until);
    Some(Client { certificate: Certificate::of(der), until })
}
