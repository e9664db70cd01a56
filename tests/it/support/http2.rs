//! Both kinds of HTTP/2 client: one of hyper's, which keeps the rules, and one that writes whatever frames a test wants.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Answer, Proxy};

/// A machine may be ten times slower than ours.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that keeps the rules.
pub(crate) struct Http2 {
    sender: SendRequest<Full<Bytes>>,
    pub(crate) ended: tokio::task::JoinHandle<Result<(), hyper::Error>>,
}

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }

    pub(crate) async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        Self { sender, ended: tokio::task::spawn(connection) }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, hyper::Error> {
        let mut request = Request::builder().method(method).uri(format!("http://customers.example{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let asked = async {
            let (parts, body) = self.sender.clone().send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("an answer or an end")
    }

    /// Asks as `caller` for `purpose`; JSON if there is a body.
    pub(crate) async fn ask(&self, caller: &str, purpose: &str, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let (body, credential) = (body.into(), Proxy::credential(caller));
        let mut headers = vec![("sudare-credential", credential.as_str()), ("data-purpose", purpose)];
        if !body.is_empty() {
            headers.push(("content-type", "application/json"));
        }
        self.send(method, path, &headers, body).await.expect("a whole reply")
    }
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

pub(crate) const NO_ERROR: u32 = 0;
pub(crate) const PROTOCOL_ERROR: u32 = 1;
pub(crate) const INTERNAL_ERROR: u32 = 2;
pub(crate) const REFUSED_STREAM: u32 = 7;
pub(crate) const CANCEL: u32 = 8;
pub(crate) const COMPRESSION_ERROR: u32 = 9;
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error of RST_STREAM or GOAWAY.
    pub(crate) fn error(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }

    /// The status of the first HEADERS of a connection, which begin with it (RFC 7541: indexed, or a literal whose digits
    /// are Huffman-coded).
    pub(crate) fn status(&self) -> u16 {
        match self.payload[..] {
            [indexed @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)],
            [0x48 | 0x08, length, ref rest @ ..] if length & 0x80 != 0 => {
                let mut bits =
                    rest[..usize::from(length & 0x7f)].iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1));
                let mut take = |count| (0..count).fold(0_u8, |code, _| code << 1 | bits.next().unwrap());
                let mut digit = || match take(5) {
                    code @ 0..=2 => code,
                    code => (code << 1 | take(1)) - 0x19 + 3,
                };
                (0..3).fold(0, |status, _| status * 10 + u16::from(digit()))
            }
            [0x48 | 0x08, 3, ref digits @ ..] => std::str::from_utf8(&digits[..3]).unwrap().parse().unwrap(),
            _ => panic!("not a status: {:?}", self.payload),
        }
    }
}

/// How a stream or a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A reply with this status, whole.
    Answered(u16),
    /// RST_STREAM.
    Reset(u32),
    /// GOAWAY with an error.
    GoneAway(u32),
    /// The connection closed without a word.
    Closed,
}

/// Writes any frames.
pub(crate) struct Wire {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Wire {
    /// A connection on which nothing has been said.
    pub(crate) async fn silent(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.unwrap(), bytes: Vec::new() }
    }

    /// A connection that has begun as it should, with these settings.
    pub(crate) async fn with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut wire = Self::silent(address).await;
        let settings: Vec<u8> =
            settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        wire.write(&[b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(SETTINGS, 0, 0, &settings)].concat()).await;
        let theirs = wire.read().await.expect("their settings");
        assert_eq!((theirs.kind, theirs.flags), (SETTINGS, 0));
        wire.write(&frame(SETTINGS, ACK, 0, b"")).await;
        wire
    }

    pub(crate) async fn open(address: SocketAddr) -> Self {
        Self::with(address, &[]).await
    }

    /// Writes; the other side may have closed.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await.expect("room or an end").is_ok()
    }

    /// The next frame; `None` when the connection has closed.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        let read = async {
            loop {
                if let Some((head, rest)) = self.bytes.split_at_checked(9) {
                    let length = usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap();
                    if rest.len() >= length {
                        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
                        let frame = Frame { kind: head[3], flags: head[4], stream, payload: rest[..length].to_vec() };
                        self.bytes.drain(..9 + length);
                        return Some(frame);
                    }
                }
                if !matches!(self.stream.read_buf(&mut self.bytes).await, Ok(1..)) {
                    return None;
                }
            }
        };
        tokio::time::timeout(PATIENCE, read).await.expect("a frame or an end")
    }

    /// The next frame that fits.
    pub(crate) async fn read_until(&mut self, fits: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.read().await?;
            if fits(&frame) {
                return Some(frame);
            }
        }
    }

    /// Sends a request without a body.
    pub(crate) async fn request(&mut self, stream: u32, fields: &[(&str, &str)]) {
        self.write(&frame(HEADERS, END_HEADERS | END_STREAM, stream, &hpack(fields))).await;
    }

    /// How a stream ends, or the connection if that comes first.
    pub(crate) async fn end_of(&mut self, stream: u32) -> End {
        let mut status = 0;
        loop {
            let Some(frame) = self.read().await else { return End::Closed };
            match frame.kind {
                GOAWAY if frame.error() != NO_ERROR => return End::GoneAway(frame.error()),
                RST_STREAM if frame.stream == stream => {
                    // After a whole reply the rest of a request is not wanted.
                    return End::Reset(frame.error());
                }
                HEADERS if frame.stream == stream => status = frame.status(),
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.stream == stream && frame.flags & END_STREAM != 0 {
                return End::Answered(status);
            }
        }
    }

    /// How the connection ends.
    pub(crate) async fn end(&mut self) -> End {
        let mut end = End::Closed;
        while let Some(frame) = self.read().await {
            if frame.kind == GOAWAY {
                end = End::GoneAway(frame.error());
            }
        }
        end
    }

    /// Writes `bytes` again and again until the other side has had enough, but at most `times`; reads what comes meanwhile.
    pub(crate) async fn flood(mut self, bytes: impl Fn(u32) -> Vec<u8>, times: u32) -> Option<End> {
        let (mut reader, mut writer) = self.stream.into_split();
        let reading = tokio::task::spawn(async move {
            let mut piece = [0; 1 << 13];
            while let Ok(count @ 1..) = reader.read(&mut piece).await {
                self.bytes.extend_from_slice(&piece[..count]);
            }
            self.bytes
        });
        let mut sent = 0;
        while sent < times && !reading.is_finished() {
            let burst: Vec<u8> = (sent..times.min(sent + 20)).flat_map(&bytes).collect();
            sent += 20;
            if !matches!(tokio::time::timeout(PATIENCE, writer.write_all(&burst)).await, Ok(Ok(()))) {
                break;
            }
        }
        // It may have had enough and still be about to say so.
        let mut bytes = tokio::time::timeout(PATIENCE, reading).await.ok()?.unwrap();
        let mut end = End::Closed;
        while bytes.len() >= 9 {
            let length = usize::try_from(u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])).unwrap();
            if bytes[3] == GOAWAY && bytes.len() >= 17 {
                end = End::GoneAway(u32::from_be_bytes(bytes[13..17].try_into().unwrap()));
            }
            bytes.drain(..bytes.len().min(9 + length));
        }
        Some(end)
    }
}

/// One frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Literal fields, without indexing and without Huffman (RFC 7541, section 6.2.2): any bytes can stand in them.
pub(crate) fn hpack<T: AsRef<[u8]>>(fields: &[(T, T)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_ref(), value.as_ref()] {
            hpack_integer(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

/// A number with a prefix of seven bits.
fn hpack_integer(block: &mut Vec<u8>, number: usize) {
    if number < 127 {
        return block.push(u8::try_from(number).unwrap());
    }
    block.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 0x80);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}

/// What every request has, and more.
pub(crate) fn get<'a>(path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&[(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "customers.example")][..], more].concat()
}
