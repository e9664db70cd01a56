//! T10 from outside: every published way to hide a request in another one, sent to a whole proxy with a database behind it that
//! keeps what it is sent, byte for byte.
//!
//! What is judged is the database's side: an independent, strict reader ([`recorder`]) finds in the bytes of each connection either
//! nothing or whole requests, exactly those the case names, and no byte besides. The cases and where they were published stand in
//! [`cases`]. A control sends the same bytes past the proxy, where the same judge must find fault.

mod cases;
mod recorder;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use self::cases::{Case, End};
use self::recorder::{Rest, database, read_strictly};
use crate::support::{Proxy, Setup};

/// Generous, for slow machines; nothing waits for it unless a case fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// The case's bytes with targets of its own, so that what comes late is still told apart. Lengths stay the same.
fn numbered(bytes: &[u8], number: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (from, to) in [("/orders", format!("/o{number:05}")), ("/smuggled", format!("/smug{number:04}"))] {
        let mut at = 0;
        while let Some(found) = memchr::memmem::find(&bytes[at..], from.as_bytes()) {
            at += found;
            bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
        }
    }
    bytes
}

/// The case that a target of [`numbered`] belongs to.
fn number_of(target: &str) -> Option<usize> {
    target.strip_prefix("/smug").or_else(|| target.strip_prefix("/o"))?.parse().ok()
}

/// The same request to a protected collection by somebody who may write there; `None` where the head is too odd to tell.
fn protected(case: &Case) -> Option<Vec<u8>> {
    let (line, rest) = (b" /orders HTTP/1.1\r\n", memchr::memmem::find(&case.bytes, b" /orders HTTP/1.1\r\n")?);
    let head = format!(
        " /customers HTTP/1.1\r\nSudare-Credential: {}\r\nData-Purpose: registration\r\nContent-Type: application/json\r\n",
        Proxy::credential("shop")
    );
    Some([&case.bytes[..rest], head.as_bytes(), &case.bytes[rest + line.len()..]].concat())
}

/// Sends the bytes, waits for what the case says, and gives everything that came until the other side closed.
async fn talk(address: SocketAddr, bytes: &[u8], replies: usize, end: End) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The other side may refuse and close before all is written.
    let _written = stream.write_all(bytes).await;
    let mut came = Vec::new();
    let reading = async {
        let expected = match end {
            End::Refused(_) => usize::MAX,
            End::Problem(_) => replies + 1,
            End::Open => replies,
            End::Waiting => 0,
        };
        loop {
            if statuses(&came).len() >= expected && whole(&came) {
                let _gone = stream.shutdown().await;
                let _reset = stream.read_to_end(&mut came).await;
                return;
            }
            match stream.read_buf(&mut came).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("neither answered nor closed"));
    String::from_utf8_lossy(&came).into_owned()
}

/// The final replies, by status. A body here never holds this text at the beginning of a line.
fn statuses(came: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(came);
    let status = |part: &str| part.get(..3).and_then(|digits| digits.parse().ok());
    text.split("HTTP/1.").skip(1).filter_map(|part| status(part.get(2..)?)).filter(|status| *status >= 200).collect()
}

/// The last reply's head has come whole. (Bodies are a few bytes that come with it.)
fn whole(came: &[u8]) -> bool {
    came.is_empty() || memchr::memmem::rfind(came, b"\r\n\r\n").is_some()
}

/// What is wrong with what the client saw.
fn judge_client(case: &Case, text: &str) -> Result<(), String> {
    let mut expected = vec![200; case.seen.len()];
    match case.end {
        End::Refused(code) => {
            expected.push(if matches!(code, "head-too-large" | "too-many-header-fields") { 431 } else { 400 });
            if !text.ends_with(&format!("framing-refused: {code}\n")) {
                return Err(format!("not refused with {code}"));
            }
        }
        End::Problem(status) => expected.push(status),
        // Whoever closes in the middle of a request may still be told so.
        End::Waiting if statuses(text.as_bytes()) == [400] => return Ok(()),
        End::Open | End::Waiting => {}
    }
    let mut seen = statuses(text.as_bytes());
    seen.sort_unstable();
    expected.sort_unstable();
    if seen == expected { Ok(()) } else { Err(format!("replies {seen:?}, expected {expected:?}")) }
}

#[tokio::test]
async fn t10_no_published_variant_gets_a_second_request_to_the_database() {
    let database = database().await;
    let mut proxy = Setup::rest(database.address).start().await;
    let all = cases::all();
    let mut wrong = Vec::new();
    for (number, case) in all.iter().enumerate() {
        let bytes = numbered(&case.bytes, number);
        let came = talk(proxy.address, &bytes, case.seen.len(), case.end).await;
        if let Err(why) = judge_client(case, &came) {
            wrong.push(format!(
                "{} ({}): {why}\n  sent {:?}\n  came {came:?}",
                case.name,
                case.source,
                case.bytes.escape_ascii().to_string()
            ));
        }
        if let Some(bytes) = protected(case) {
            let refused = matches!(case.end, End::Refused(_)) && case.seen.is_empty();
            let end = if refused { case.end } else { End::Waiting };
            let came = talk(proxy.address, &numbered(&bytes, number), 0, end).await;
            if let (true, Err(why)) = (refused, judge_client(case, &came)) {
                wrong.push(format!("{} ({}), protected: {why}\n  came {came:?}", case.name, case.source));
            }
        }
    }
    proxy.stop().await;
    // The proxy is gone, so its connections have ended; what they carried is complete.
    let connections = tokio::time::timeout(PATIENCE, database.ended()).await.expect("the proxy's connections end");
    assert!(!connections.is_empty());
    let mut arrived: Vec<Vec<String>> = vec![Vec::new(); all.len()];
    for bytes in &connections {
        let (requests, rest) = read_strictly(bytes);
        if let Rest::Malformed(why) = rest {
            wrong.push(format!("the database was sent what is no HTTP ({why}): {}", bytes.escape_ascii()));
        }
        // What is incomplete was cut off by the proxy, and no database takes it for a request.
        for request in requests {
            match number_of(&request.target) {
                Some(number) => arrived[number].push(request.shown()),
                None => assert!(["/customers", "*"].contains(&request.target.as_str()), "{request:?}"),
            }
        }
    }
    for (number, case) in all.iter().enumerate() {
        let expected: Vec<String> = case
            .seen
            .iter()
            .filter(|seen| !seen.contains(" * "))
            .map(|seen| String::from_utf8(numbered(seen.as_bytes(), number)).unwrap())
            .collect();
        // Where the request is passed on, that to the protected collection may have brought its pipelined successor with it.
        let mut unexpected = arrived[number].clone();
        for seen in &expected {
            match unexpected.iter().position(|request| request == seen) {
                Some(at) => drop(unexpected.remove(at)),
                None => wrong.push(format!("{} ({}): {seen:?} did not arrive: {:?}", case.name, case.source, arrived[number])),
            }
        }
        unexpected.retain(|request| !expected.contains(request));
        if !unexpected.is_empty() {
            wrong.push(format!("{} ({}): {unexpected:?} arrived", case.name, case.source));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), all.len(), wrong.join("\n"));
}

/// A proxy that only copies bytes.
async fn relay(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn(async move {
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            tokio::task::spawn(async move {
                let mut to = TcpStream::connect(to).await.unwrap();
                let _ended = copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn t10_control_the_same_bytes_past_the_proxy_are_found() {
    // A judge that finds nothing here would find nothing above.
    let all = cases::all();
    let (mut found, mut missed) = (0, Vec::new());
    for case in all.iter().filter(|case| matches!(case.end, End::Refused(_))) {
        let database = database().await;
        let address = relay(database.address).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&case.bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut bin = Vec::new();
        let _reset = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bin)).await.expect("an end");
        let connections = tokio::time::timeout(PATIENCE, database.ended()).await.expect("an end");
        let (requests, rest) = read_strictly(&connections.concat());
        let shown: Vec<String> = requests.iter().map(recorder::Request::shown).collect();
        if matches!(rest, Rest::Malformed(_)) || shown != case.seen {
            found += 1;
        } else {
            missed.push(case.name.clone());
        }
    }
    assert!(found > 150 && missed.is_empty(), "{found} found, missed {missed:?}");
    // And two requests where one was sent, with nothing wrong about either.
    let two = "POST /orders HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let (requests, rest) = read_strictly(two.as_bytes());
    let shown: Vec<String> = requests.iter().map(recorder::Request::shown).collect();
    assert_eq!(
        (shown.as_slice(), rest),
        (["POST /orders hello".to_owned(), "GET /smuggled ".to_owned()].as_slice(), Rest::Nothing)
    );
}

#[test]
fn the_cases_are_many_and_told_apart() {
    let all = cases::all();
    let names: BTreeSet<&str> = all.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), all.len(), "two cases have one name");
    assert!(all.len() > 200 && all.len() < 10_000, "{}", all.len());
    assert!(all.iter().all(|case| !case.source.is_empty()));
}
