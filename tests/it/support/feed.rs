//! Both ends of a feed, moved by hand: a database that says what a test tells it to, when; a client that takes what is there.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::Proxy;

/// A database that hands each connection to the test.
pub(crate) struct SlowDatabase {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

/// One request that waits for its answer.
pub(crate) struct Waiting {
    pub(crate) target: String,
    pub(crate) body: String,
    stream: TcpStream,
}

impl SlowDatabase {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    /// The next request.
    pub(crate) async fn asked(&self) -> Waiting {
        let (mut stream, _) = self.listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        let (head, length) = loop {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a request");
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                break (head.to_owned(), length.unwrap_or(0));
            }
        };
        let from = head.len() + 4;
        while bytes.len() < from + length {
            assert!(stream.read_buf(&mut bytes).await.unwrap() > 0, "a body");
        }
        let target = head.split(' ').nth(1).unwrap().to_owned();
        Waiting { target, body: String::from_utf8(bytes.split_off(from)).unwrap(), stream }
    }
}

impl Waiting {
    /// Answers at once and closes.
    pub(crate) async fn answer(mut self, status: u16, body: &str) {
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        self.stream.write_all((head + body).as_bytes()).await.unwrap();
    }

    /// Sends the head of a feed.
    pub(crate) async fn begin(&mut self, media_type: &str) {
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await.unwrap();
    }

    /// Sends one piece. A proxy that is gone does not matter.
    pub(crate) async fn say(&mut self, piece: impl AsRef<[u8]>) {
        let piece = piece.as_ref();
        let _gone = self.stream.write_all(&[format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()).await;
    }

    /// Ends the feed in good order.
    pub(crate) async fn end(&mut self) {
        self.stream.write_all(b"0\r\n\r\n").await.unwrap();
    }

    /// Has the proxy closed the connection within this time?
    pub(crate) async fn closed(&mut self, patience: Duration) -> bool {
        let mut bin = [0; 64];
        matches!(tokio::time::timeout(patience, self.stream.read(&mut bin)).await, Ok(Ok(0) | Err(_)))
    }
}

/// A reply that is read as it comes. Dropping it closes the connection.
pub(crate) struct Live {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    driver: JoinHandle<()>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// What came of a reply within some time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Came {
    Text(String),
    Nothing,
    /// The reply ended as it should.
    End,
    /// The connection was reset, or closed in the middle.
    Broken,
}

impl Proxy {
    /// Asks and gives the reply as soon as its head is there.
    pub(crate) async fn open(&self, caller: &str, purpose: &str, method: Method, path: &str, body: &str) -> Live {
        let headers = [("sudare-credential", &*Self::credential(caller)), ("data-purpose", purpose)];
        Live::open(self.address, &headers, method, path, body).await
    }
}

impl Live {
    /// Asks and gives the reply as soon as its head is there.
    pub(crate) async fn open(address: SocketAddr, headers: &[(&str, &str)], method: Method, path: &str, body: &str) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::task::spawn(async move {
            let _ended = connection.await;
        });
        let mut request = Request::builder().method(method).uri(path).header("host", "customers.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        Self { status: parts.status, headers: parts.headers, body, driver }
    }

    /// The next piece, or what else happens first.
    pub(crate) async fn next(&mut self, patience: Duration) -> Came {
        match tokio::time::timeout(patience, self.body.frame()).await {
            Err(_elapsed) => Came::Nothing,
            Ok(None) => Came::End,
            Ok(Some(Err(_))) => Came::Broken,
            Ok(Some(Ok(frame))) => Came::Text(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()),
        }
    }

    /// Everything that comes until nothing more does for a while; with what ended it.
    pub(crate) async fn all(&mut self, patience: Duration) -> (String, Came) {
        let mut text = String::new();
        loop {
            match self.next(patience).await {
                Came::Text(more) => text += &more,
                other @ (Came::Nothing | Came::End | Came::Broken) => return (text, other),
            }
        }
    }
}
