//! One connection: made secure, and set so that it waits no longer than it may.
//!
//! Always holds: with TLS configured nothing is sent in clear, and the server's certificate is verified (T21). Called by the pool and
//! by whoever listens.

use std::time::Duration;

use deadpool_postgres::Connect;
use futures_core::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::net::tls::client;

/// What PostgreSQL calls itself where TLS asks for the protocol (since its version 17).
const ALPN: &[u8] = b"postgresql";

/// Connects as the configuration says.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) tls: Option<client::Client>,
    pub(super) statement_timeout: Duration,
}

/// TLS for one name, whatever the host is called.
#[derive(Clone)]
struct Named {
    inner: MakeRustlsConnect,
    name: String,
}

impl MakeTlsConnect<Socket> for Named {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
    type Error = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Error;

    fn make_tls_connect(&mut self, _host: &str) -> Result<Self::TlsConnect, Self::Error> {
        <MakeRustlsConnect as MakeTlsConnect<Socket>>::make_tls_connect(&mut self.inner, &self.name)
    }
}

impl Connect for Connector {
    fn connect(&self, config: &tokio_postgres::Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let config = config.clone();
        Box::pin(async move { self.ready(&config, None).await })
    }
}

impl Connector {
    /// A connection that is ready; what it is notified of is told to `notified`.
    pub(super) async fn ready(
        &self,
        config: &tokio_postgres::Config,
        notified: Option<mpsc::Sender<()>>,
    ) -> Result<(Client, JoinHandle<()>), Error> {
        let (client, task) = if let Some(tls) = &self.tls {
            let named = Named { inner: MakeRustlsConnect::new(tls.speaking(ALPN)), name: tls.name() };
            let (client, connection) = config.connect(named).await?;
            (client, Handle::current().spawn(drive(connection, notified)))
        } else {
            let (client, connection) = config.connect(NoTls).await?;
            (client, Handle::current().spawn(drive(connection, notified)))
        };
        let timeout = self.statement_timeout.as_millis();
        client.batch_execute(&format!("set statement_timeout = {timeout}")).await?;
        // Plans are made while tables are small and kept while they grow: they shall look rows up from the beginning. An engine that
        // has no such setting has no such planner.
        if let Err(error) = client.batch_execute("set enable_seqscan = off").await
            && error.as_db_error().is_none()
        {
            return Err(error);
        }
        Ok((client, task))
    }
}

/// Moves bytes until the connection ends.
async fn drive<S, T>(mut connection: Connection<S, T>, notified: Option<mpsc::Sender<()>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notification(_)) => {
                // One that waits already says as much.
                if let Some(notified) = &notified {
                    let _told = notified.try_send(());
                }
            }
            Ok(_) => {}
            // Whoever asks next is told.
            Err(_) => return,
        }
    }
}
