//! The PROXY protocol: who must send a header, what becomes of what it says, and what it never is.

use std::net::SocketAddr;
use std::time::Duration;

use sudare::config::{self, Endpoint};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{Process, Proxy, Setup, Stub, StubReply};

/// Generous, for slow machines.
const PATIENCE: Duration = Duration::from_mins(1);

/// 203.0.113.7:51234 → 192.0.2.1:443, and what else stands in the header.
fn header(extensions: &[u8]) -> Vec<u8> {
    let length = u16::try_from(12 + extensions.len()).unwrap().to_be_bytes();
    let fixed =
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x11".as_slice(), &length, &[203, 0, 113, 7, 192, 0, 2, 1, 0xC8, 0x22, 1, 0xBB]].concat();
    [fixed.as_slice(), extensions].concat()
}

fn get(target: &str, more: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{more}\r\n").into_bytes()
}

/// Files whose listener believes these senders.
fn files(database: SocketAddr, senders: &str, limits: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let (folder, file) = Setup::rest(database).more(limits).files();
    let text = std::fs::read_to_string(&file).unwrap();
    let listen = "admin = \"127.0.0.1:0\"\n";
    assert!(text.contains(listen));
    std::fs::write(&file, text.replacen(listen, &format!("{listen}proxy_protocol = [{senders}]\n"), 1)).unwrap();
    (folder, file)
}

async fn proxy(senders: &str, limits: &str) -> (Proxy, Stub) {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let (folder, file) = files(stub.address, senders, limits);
    let running = sudare::app::start(config::load(&file).unwrap()).unwrap();
    let Endpoint::Tcp(address) = *running.address() else { panic!("TCP expected") };
    (Proxy { folder, file, address, running: Some(running) }, stub)
}

/// Sends, and reads until the other side closes.
async fn talk(address: SocketAddr, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        let _closed_already = stream.write_all(piece).await;
        tokio::task::yield_now().await;
    }
    let mut came = Vec::new();
    let _reset = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut came)).await.expect("closed");
    String::from_utf8_lossy(&came).into_owned()
}

fn refusals(proxy: &Proxy) -> Vec<String> {
    let text = proxy.running.as_ref().unwrap().metrics().encode();
    text.lines().filter(|line| line.starts_with("sudare_wire_refusals_total{")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_listed_sender_is_believed_and_must_introduce_every_connection() {
    let (proxy, stub) = proxy("\"127.0.0.0/8\", \"::1/128\"", "").await;
    let (introduced, request) = (header(&[]), get("/orders", ""));
    let reply = talk(proxy.address, &[&introduced, &request]).await;
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
    // However it is cut, also in the middle of the request.
    let all = [introduced.as_slice(), &request].concat();
    let single: Vec<&[u8]> = all.chunks(1).collect();
    assert!(talk(proxy.address, &single).await.starts_with("HTTP/1.1 200"));
    assert!(talk(proxy.address, &[&all]).await.starts_with("HTTP/1.1 200"));
    assert_eq!(refusals(&proxy), [""; 0]);
    for (code, bytes) in [
        ("missing", request.clone()),
        ("version-1", [b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 443\r\n".as_slice(), &request].concat()),
        ("version", [b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0".as_slice(), &request].concat()),
        ("extension", [header(&[4, 0, 9]).as_slice(), &request].concat()),
        ("cut", header(&[])[..20].to_vec()),
    ] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let _closed_already = stream.write_all(&bytes).await;
        stream.shutdown().await.unwrap();
        let mut came = Vec::new();
        let _reset = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut came)).await.expect("closed");
        assert_eq!(came, b"", "{code}: whoever sends a header reads no answer");
        let counted = format!("sudare_wire_refusals_total{{reason=\"proxy-header-{code}\"}} 1");
        assert!(refusals(&proxy).contains(&counted), "{code}: {:?}", refusals(&proxy));
    }
    // A second header is no request.
    let twice = talk(proxy.address, &[&introduced, &introduced, &request]).await;
    assert!(twice.contains("framing-refused: empty-lines-before-request"), "{twice}");
    assert_eq!(stub.seen().len(), 3);
}

#[tokio::test]
async fn a_sender_that_is_not_listed_cannot_introduce_anybody() {
    let (proxy, stub) = proxy("\"192.0.2.0/24\"", "").await;
    let request = get("/orders", "");
    assert!(talk(proxy.address, &[&request]).await.starts_with("HTTP/1.1 200"));
    for introduction in [header(&[]), b"PROXY TCP4 203.0.113.7 192.0.2.1 51234 443\r\n".to_vec()] {
        let reply = talk(proxy.address, &[&introduction, &request]).await;
        assert!(reply.starts_with("HTTP/1.1 400") && reply.contains("framing-refused: "), "{reply}");
    }
    assert_eq!((stub.seen().len(), refusals(&proxy).len()), (1, 2));
}

#[tokio::test]
async fn a_header_that_does_not_come_in_time_ends_the_connection_and_one_that_never_begins_is_a_health_check() {
    let (proxy, _stub) = proxy("\"127.0.0.1/32\"", "[limits]\nheader_timeout_ms = 200\n").await;
    assert_eq!(talk(proxy.address, &[&header(&[])[..20]]).await, "");
    assert_eq!(talk(proxy.address, &[]).await, "");
    assert_eq!(refusals(&proxy), ["sudare_wire_refusals_total{reason=\"proxy-header-late\"} 2"]);
    // Opened and closed, as load balancers do to see whether somebody is there.
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
    assert_eq!(refusals(&proxy), ["sudare_wire_refusals_total{reason=\"proxy-header-late\"} 2"]);
}

#[tokio::test]
async fn what_a_header_says_of_a_client_identifies_nobody() {
    let (proxy, stub) = proxy("\"127.0.0.0/8\"", "").await;
    // A verified certificate with the name of a caller, as a load balancer tells it: common name and all.
    let name = [&[0x22, 0, 8][..], b"helpdesk"].concat();
    let verified = [&[7, 0, 0, 0, 0][..], &name].concat();
    let certificate = [&[0x20, 0, u8::try_from(verified.len()).unwrap()][..], &verified].concat();
    let request = get("/customers/c-1", "Data-Purpose: support\r\n");
    let reply = talk(proxy.address, &[&header(&certificate), &request]).await;
    assert!(reply.starts_with("HTTP/1.1 401"), "{reply}");
    // Nor does a Unix socket whose user id would be one's own.
    let unix = [b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8".as_slice(), &[0; 216]].concat();
    assert!(talk(proxy.address, &[&unix, &request]).await.starts_with("HTTP/1.1 401"));
    assert!(stub.seen().is_empty());
    let known =
        get("/customers/c-1", &format!("Data-Purpose: support\r\nSudare-Credential: {}\r\n", Proxy::credential("helpdesk")));
    assert!(talk(proxy.address, &[&header(&certificate), &known]).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_tells_the_client_behind_the_load_balancer() {
    let stub = Stub::start(|_| StubReply::json(200, "[]")).await;
    let (folder, file) = files(stub.address, "\"127.0.0.1/32\"", "");
    let log = folder.path().join("log");
    let process = Process::logging(&file, &log);
    let address = process.address.parse().unwrap();
    assert!(talk(address, &[&header(&[]), &get("/orders", "")]).await.starts_with("HTTP/1.1 200"));
    assert_eq!(talk(address, &[b"PROXY UNKNOWN\r\n"]).await, "");
    let told = async {
        loop {
            let text = std::fs::read_to_string(&log).unwrap();
            if text.contains("203.0.113.7") && text.contains("proxy-header-version-1") && text.contains("send-proxy-v2") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the log tells both");
}
