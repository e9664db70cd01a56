//! A database that answers what it can read and keeps every byte, and a reader of its own making: no code of the proxy, no parser
//! crate, nothing repaired. What it cannot read in exactly one way it calls malformed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// One request as it stands in the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) body: Vec<u8>,
}

impl Request {
    /// `METHOD target body`.
    pub(super) fn shown(&self) -> String {
        format!("{} {} {}", self.method, self.target, String::from_utf8_lossy(&self.body))
    }
}

/// What stands behind the last whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Nothing,
    /// The beginning of a request.
    Incomplete,
    /// What no request begins with, or has more than one reading.
    Malformed(&'static str),
}

type Read<T> = Result<T, Rest>;

/// Every request in the bytes of a connection.
pub(super) fn read_strictly(mut bytes: &[u8]) -> (Vec<Request>, Rest) {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        match request(bytes) {
            Ok((request, rest)) => {
                requests.push(request);
                bytes = rest;
            }
            Err(rest) => return (requests, rest),
        }
    }
    (requests, Rest::Nothing)
}

/// Up to the next CR LF. Neither may stand alone.
fn line(bytes: &[u8]) -> Read<(&[u8], &[u8])> {
    match bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        None => Err(Rest::Incomplete),
        Some(at) => match &bytes[at..] {
            [b'\r', b'\n', rest @ ..] => Ok((&bytes[..at], rest)),
            [b'\r'] => Err(Rest::Incomplete),
            _ => Err(Rest::Malformed("a line end that is not CR LF")),
        },
    }
}

fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn demand(holds: bool, why: &'static str) -> Read<()> {
    if holds { Ok(()) } else { Err(Rest::Malformed(why)) }
}

fn request(bytes: &[u8]) -> Read<(Request, &[u8])> {
    let (start, mut rest) = line(bytes)?;
    let parts: Vec<&[u8]> = start.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts.as_slice() else { return Err(Rest::Malformed("not three words in the first line")) };
    demand(is_token(method), "a method that is no token")?;
    demand(*version == b"HTTP/1.1", "another version")?;
    demand(target.iter().all(u8::is_ascii_graphic) && (target.starts_with(b"/") || *target == b"*"), "a target in another form")?;
    let (mut host, mut length, mut chunked) = (0, None, false);
    loop {
        let (field, behind) = line(rest)?;
        rest = behind;
        if field.is_empty() {
            break;
        }
        let colon = field.iter().position(|byte| *byte == b':').ok_or(Rest::Malformed("a field without a colon"))?;
        let (name, value) = (&field[..colon], field[colon + 1..].trim_ascii());
        demand(is_token(name), "a field name that is no token")?;
        demand(value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7F)), "a control character in a value")?;
        match name.to_ascii_lowercase().as_slice() {
            b"host" => host += 1,
            b"content-length" => {
                demand(length.is_none() && !value.is_empty() && value.iter().all(u8::is_ascii_digit), "an odd length")?;
                let digits = std::str::from_utf8(value).unwrap();
                length = Some(digits.parse::<usize>().map_err(|_digits| Rest::Malformed("a length that is no number"))?);
            }
            b"transfer-encoding" => {
                demand(!chunked && value.eq_ignore_ascii_case(b"chunked"), "an odd coding")?;
                chunked = true;
            }
            b"content_length" | b"transfer_encoding" | b"upgrade" | b"trailer" => {
                return Err(Rest::Malformed("a field that is not to pass"));
            }
            _ => {}
        }
    }
    demand(host == 1, "not one Host")?;
    demand(length.is_none() || !chunked, "a length and a coding")?;
    let (body, rest) = if chunked {
        chunks(rest)?
    } else {
        rest.split_at_checked(length.unwrap_or(0)).map(|(body, rest)| (body.to_vec(), rest)).ok_or(Rest::Incomplete)?
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    Ok((Request { method: text(method), target: text(target), body }, rest))
}

/// A chunked body without extensions and trailers, for nobody has a use for them here.
fn chunks(mut bytes: &[u8]) -> Read<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (size, rest) = line(bytes)?;
        demand(!size.is_empty() && size.len() < 16 && size.iter().all(u8::is_ascii_hexdigit), "an odd chunk size")?;
        let size = usize::from_str_radix(std::str::from_utf8(size).unwrap(), 16).unwrap();
        let (data, rest) = rest.split_at_checked(size).ok_or(Rest::Incomplete)?;
        let (between, rest) = line(rest)?;
        demand(between.is_empty(), "no line end behind a chunk")?;
        body.extend_from_slice(data);
        bytes = rest;
        if size == 0 {
            return Ok((body, rest));
        }
    }
}

/// A database that keeps what each connection carried.
pub(super) struct Database {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Bytes of each connection, and whether it is over.
    connections: Mutex<Vec<(Vec<u8>, bool)>>,
    changed: Notify,
}

impl Database {
    /// What each connection carried, once all are over and there has been one.
    pub(super) async fn ended(&self) -> Vec<Vec<u8>> {
        loop {
            let changed = self.shared.changed.notified();
            {
                let connections = self.shared.connections.lock().unwrap();
                if !connections.is_empty() && connections.iter().all(|(_, over)| *over) {
                    return connections.iter().map(|(bytes, _)| bytes.clone()).collect();
                }
            }
            changed.await;
        }
    }
}

pub(super) async fn database() -> Database {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shared = Arc::<Shared>::default();
    let keeping = Arc::clone(&shared);
    tokio::task::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let shared = Arc::clone(&keeping);
            let number = {
                let mut connections = shared.connections.lock().unwrap();
                connections.push((Vec::new(), false));
                connections.len() - 1
            };
            tokio::task::spawn(async move {
                let (mut all, mut answered) = (Vec::new(), 0);
                while stream.read_buf(&mut all).await.is_ok_and(|count| count > 0) {
                    shared.connections.lock().unwrap()[number].0.clone_from(&all);
                    let requests = read_strictly(&all).0;
                    for request in requests.iter().skip(answered) {
                        let body = if request.method == "HEAD" { "" } else { "[]" };
                        let reply =
                            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{body}");
                        let _gone = stream.write_all(reply.as_bytes()).await;
                    }
                    answered = requests.len();
                }
                shared.connections.lock().unwrap()[number].1 = true;
                shared.changed.notify_waiters();
            });
        }
    });
    Database { address, shared }
}
