//! The database and the client of a proxy whose instructions are counted, outside of what is counted.
//!
//! The database answers `POST` with 201 and remembers the body, `GET /customers/…` with the last body, every other `GET` with the clear document.
//! The client sends, on one connection and one after the other, what each line of standard input asks for, and prints `done`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

use crate::setup::DOCUMENT;

/// The last body that was written.
static STORED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Never returns before standard input ends.
pub(crate) fn run(upstream: u16, proxy: u16, secret: &str) {
    let listener = TcpListener::bind(("127.0.0.1", upstream)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || answer(stream));
        }
    });
    println!("ready");
    let mut connection: Option<BufReader<TcpStream>> = None;
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (kind, count) = line.split_once(' ').unwrap();
        let connection = connection.get_or_insert_with(|| {
            let stream = TcpStream::connect(("127.0.0.1", proxy)).unwrap();
            stream.set_nodelay(true).unwrap();
            BufReader::new(stream)
        });
        for _ in 0..count.parse().unwrap() {
            ask(connection, kind, secret);
        }
        println!("done");
    }
}

fn ask(connection: &mut BufReader<TcpStream>, kind: &str, secret: &str) {
    let (method, target, body) = match kind {
        "pass-read" => ("GET", "/plain/document", ""),
        "pass-write" => ("POST", "/plain", DOCUMENT),
        "read" => ("GET", "/customers/c-100482", ""),
        "write" => ("POST", "/customers", DOCUMENT),
        _ => panic!("no kind {kind}"),
    };
    let framing = if body.is_empty() {
        String::new()
    } else {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    };
    let text = format!(
        "{method} {target} HTTP/1.1\r\nhost: shop\r\nsudare-credential: shop.{secret}\r\ndata-purpose: registration\r\n{framing}\r\n{body}"
    );
    connection.get_mut().write_all(text.as_bytes()).unwrap();
    let (head, reply) = message(connection).unwrap();
    assert!(head.starts_with("HTTP/1.1 20"), "{head}{}", String::from_utf8_lossy(&reply));
    if matches!(kind, "pass-read" | "read") {
        assert_eq!(reply, DOCUMENT.as_bytes());
    }
}

fn answer(stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    while let Some((head, body)) = message(&mut stream) {
        let (status, reply) = if head.starts_with("POST /customers") {
            assert!(!String::from_utf8_lossy(&body).contains("Tanaka"), "what arrives is sealed");
            *STORED.lock().unwrap() = body;
            ("201 Created", br#"{"ok":true}"#.to_vec())
        } else if head.starts_with("POST") {
            ("201 Created", br#"{"ok":true}"#.to_vec())
        } else if head.starts_with("GET /customers/") {
            ("200 OK", STORED.lock().unwrap().clone())
        } else {
            ("200 OK", DOCUMENT.as_bytes().to_vec())
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", reply.len());
        stream.get_mut().write_all(&[head.as_bytes(), &reply].concat()).unwrap();
    }
}

/// One message: its head and its body, which has a length or comes in chunks. None at the end of the connection.
fn message(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    let (mut length, mut chunked) = (0, false);
    loop {
        let start = head.len();
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
        let line = head.split_at(start).1.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        chunked |= line == "transfer-encoding: chunked";
    }
    let mut body = Vec::new();
    if chunked {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).unwrap();
            length = usize::from_str_radix(size.trim(), 16).unwrap();
            let mut part = vec![0; length + 2];
            stream.read_exact(&mut part).unwrap();
            body.extend_from_slice(part.split_at(length).0);
            if length == 0 {
                return Some((head, body));
            }
        }
    }
    body.resize(length, 0);
    stream.read_exact(&mut body).unwrap();
    Some((head, body))
}
