//! Compressed bodies, both ways: what a client compressed is protected like anything else, what the database compressed unasked is
//! revealed like anything else, and a bomb is a refusal, not an outage (T6, T11, T24).

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, CLEAR, Came, PERSON, Process, Proxy, Setup, SlowDatabase, Stub, StubReply, exchange_raw, send};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

fn encode(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" | "x-gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        "br" => {
            let mut out = Vec::new();
            let params = brotli::enc::BrotliEncoderParams { quality: 5, ..Default::default() };
            brotli::BrotliCompress(&mut &text[..], &mut out, &params).unwrap();
            out
        }
        "zstd" => {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
            encoder.include_checksum(true).unwrap();
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        }
        other => panic!("{other}"),
    }
}

/// What the database answers to whatever it is asked next.
#[derive(Clone, Default)]
struct Says(Arc<Mutex<Option<StubReply>>>);

impl Says {
    fn coded(&self, coding: &str, body: impl Into<Vec<u8>>) {
        self.answer(StubReply {
            status: 200,
            headers: vec![
                ("content-type", "application/json".to_owned()),
                ("content-encoding", coding.to_owned()),
                ("content-digest", "sha-256=:AA==:".to_owned()),
                ("etag", "\"1-a\"".to_owned()),
            ],
            body: body.into(),
        });
    }

    fn answer(&self, reply: StubReply) {
        *self.0.lock().unwrap() = Some(reply);
    }
}

async fn database() -> (Stub, Says) {
    let says = Says::default();
    let told = says.clone();
    let stub = Stub::start(move |seen| {
        let said = told.0.lock().unwrap().clone();
        said.unwrap_or_else(|| StubReply::json(if seen.method == Method::POST { 201 } else { 200 }, "{}"))
    })
    .await;
    (stub, says)
}

async fn behind(limits: &str) -> (Proxy, Stub, Says) {
    let (stub, says) = database().await;
    (Setup::rest(stub.address).more(limits).start().await, stub, says)
}

/// Writes for `registration`, in a coding.
async fn write(proxy: &Proxy, method: Method, path: &str, coding: &str, body: impl Into<Bytes>) -> Answer {
    proxy.ask_with("shop", "registration", method, path, &[("content-encoding", coding)], body).await.unwrap()
}

/// The document as it is stored: every protected member sealed.
async fn stored(proxy: &Proxy, stub: &Stub) -> Vec<u8> {
    let answer = proxy.ask("shop", "registration", Method::POST, "/customers", PERSON).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let body = stub.seen().last().unwrap().body.to_vec();
    assert!(String::from_utf8_lossy(&body).contains("sdr1."));
    body
}

/// The last thing the database saw is plain JSON with its exact length, without a clear value.
fn arrived_sealed(stub: &Stub) -> Value {
    let seen = stub.seen().pop().unwrap();
    let text = std::str::from_utf8(&seen.body).unwrap();
    for header in ["content-encoding", "transfer-encoding", "content-digest", "digest", "content-md5"] {
        assert!(!seen.headers.contains_key(header), "{header}");
    }
    assert_eq!(seen.headers["content-length"], text.len().to_string());
    for value in CLEAR {
        assert!(!text.contains(value), "{text}");
    }
    assert!(text.contains("sdr1."), "{text}");
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn a_compressed_write_is_protected_like_any_other() {
    let (proxy, stub, _) = behind("").await;
    for coding in ["gzip", "x-gzip", "GZIP", "br", "zstd", "identity, gzip"] {
        let how = coding.to_ascii_lowercase().replace("identity, ", "");
        let digest = [("content-encoding", coding), ("content-digest", "sha-256=:AA==:"), ("content-md5", "AA==")];
        let body = encode(&how, PERSON.as_bytes());
        let answer = proxy.ask_with("shop", "registration", Method::POST, "/customers", &digest, body.clone()).await.unwrap();
        assert_eq!(answer.status, 201, "{coding}: {}", answer.text());
        assert_eq!(arrived_sealed(&stub)["tier"], "gold");
        let answer = write(&proxy, Method::PUT, "/customers/c-1", coding, body).await;
        assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
        arrived_sealed(&stub);
        // Many rows, long enough to be decoded off the runtime.
        let rows: Vec<Value> =
            (0..3_000).map(|n| json!({"id": format!("c-{n}"), "name": CLEAR[0], "tier": n.to_string()})).collect();
        let body = encode(&how, Value::from(rows).to_string().as_bytes());
        assert!(body.len() > 4_096, "{}", body.len());
        let answer = write(&proxy, Method::POST, "/customers", coding, body).await;
        assert_eq!(answer.status, 201, "{coding}: {}", answer.text());
        assert_eq!(arrived_sealed(&stub).as_array().unwrap().len(), 3_000);
        let patch = [("content-encoding", coding), ("content-type", "application/merge-patch+json")];
        let body = encode(&how, format!("{{\"name\":\"{}\"}}", CLEAR[0]).as_bytes());
        let answer = proxy.ask_with("shop", "registration", Method::PATCH, "/customers/c-1", &patch, body).await.unwrap();
        assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
        arrived_sealed(&stub);
    }
    let answer = write(&proxy, Method::POST, "/customers", "identity", PERSON).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    arrived_sealed(&stub);
}

#[tokio::test]
async fn compressed_bulk_writes_and_searches_on_couchdb() {
    let (stub, says) = database().await;
    let proxy = Setup::couchdb(stub.address).deterministic().start().await;
    let person = PERSON.replace("\"id\"", "\"_id\"");
    for coding in CODINGS {
        says.answer(StubReply::json(201, r#"[{"ok":true,"id":"c-1","rev":"1-a"}]"#));
        let bulk = encode(coding, format!("{{\"docs\":[{person}]}}").as_bytes());
        let answer = write(&proxy, Method::POST, "/customers/_bulk_docs", coding, bulk).await;
        assert_eq!(answer.status, 201, "{coding}: {}", answer.text());
        let sealed = arrived_sealed(&stub)["docs"][0]["id_card"].clone();
        // The search is rewritten to what is stored, and its reply may be compressed.
        says.coded(coding, encode(coding, br#"{"docs":[],"bookmark":"nil"}"#));
        let search = encode(coding, json!({"selector": {"id_card": "123456789018"}}).to_string().as_bytes());
        let more = [("content-encoding", coding)];
        let path = "/customers/_find";
        let answer = proxy.ask_with("shop", "account", Method::POST, path, &more, search).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.json()["bookmark"]), (200, &json!("nil")), "{coding}");
        assert!(arrived_sealed(&stub).to_string().contains(sealed.as_str().unwrap()), "{coding}");
    }
}

#[tokio::test]
async fn attachments_and_other_routes_keep_their_coding() {
    let (stub, says) = database().await;
    let collections = "[collection.customers]\nmatch = \"customers\"\nattachments = \"pass\"\n[collection.customers.field]\nname = \"$.name\"\n";
    let proxy = Setup::couchdb(stub.address).collections(collections).start().await;
    let coded = encode("gzip", b"as it is");
    says.coded("gzip", coded.clone());
    for path in ["/customers/c-1/photo.txt?rev=1-a", "/orders/o-1"] {
        let more = [("content-encoding", "gzip"), ("content-type", "text/plain"), ("accept-encoding", "gzip")];
        let answer = proxy.ask_with("shop", "account", Method::PUT, path, &more, coded.clone()).await.unwrap();
        let seen = stub.seen().pop().unwrap();
        assert_eq!((&seen.body[..], &seen.headers["content-encoding"]), (&coded[..], &"gzip".parse().unwrap()), "{path}");
        assert_eq!((&answer.body[..], &answer.headers["content-encoding"]), (&coded[..], &"gzip".parse().unwrap()), "{path}");
        assert_eq!(seen.headers["accept-encoding"], "gzip", "{path}");
    }
}

#[tokio::test]
async fn t6_a_coding_that_is_not_decoded_is_415_and_says_which_are() {
    let (proxy, stub, _) = behind("").await;
    let body = encode("gzip", PERSON.as_bytes());
    for coding in ["deflate", "compress", "gzip, gzip", "br, gzip", "gzip,", "", "x", "dcb", "dcz", "gzip;q=1", "aws-chunked"] {
        let answer = write(&proxy, Method::POST, "/customers", coding, body.clone()).await;
        assert_eq!(answer.outcome(), (415, "encoding-unknown".to_owned()), "{coding}");
        assert_eq!(answer.headers["accept-encoding"], "gzip, br, zstd", "{coding}");
        assert!(answer.text().contains("gzip, br, zstd"), "{}", answer.text());
    }
    let twice = [("content-encoding", "gzip"), ("content-encoding", "gzip")];
    let spelled = [("content_encoding", "gzip")];
    for headers in [&twice[..], &spelled[..]] {
        let answer = proxy.ask_with("shop", "registration", Method::POST, "/customers", headers, body.clone()).await.unwrap();
        assert_eq!(answer.outcome(), (415, "encoding-unknown".to_owned()), "{headers:?}");
    }
    // Bare deflate that is JSON's bytes, or zlib: one name, two readings.
    for stored in [
        {
            let mut e = DeflateEncoder::new(Vec::new(), Compression::default());
            e.write_all(PERSON.as_bytes()).unwrap();
            e.finish().unwrap()
        },
        {
            let mut e = ZlibEncoder::new(Vec::new(), Compression::default());
            e.write_all(PERSON.as_bytes()).unwrap();
            e.finish().unwrap()
        },
    ] {
        assert_eq!(write(&proxy, Method::POST, "/customers", "deflate", stored.clone()).await.status, 415);
        assert_eq!(
            write(&proxy, Method::POST, "/customers", "gzip", stored).await.outcome(),
            (400, "malformed-encoding".to_owned())
        );
    }
    let answer = proxy.ask_with("shop", "registration", Method::POST, "/customers", &[("content-type", "text/plain")], "x").await;
    let answer = answer.unwrap();
    assert_eq!(answer.outcome(), (415, "not-json".to_owned()));
    assert!(!answer.headers.contains_key("accept-encoding"), "the coding is not what was wrong");
    assert!(stub.seen().is_empty());
    // A read has no body to be in a coding.
    let answer =
        proxy.ask_with("shop", "account", Method::GET, "/customers/c-1", &[("content-encoding", "x")], "").await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(!stub.seen().pop().unwrap().headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn t6_a_coded_body_that_does_not_decode_reaches_nobody() {
    let (proxy, stub, _) = behind("").await;
    for coding in CODINGS {
        let body = encode(coding, PERSON.as_bytes());
        let others: Vec<Vec<u8>> =
            CODINGS.into_iter().filter(|other| *other != coding).map(|other| encode(other, PERSON.as_bytes())).collect();
        let mut wrong = vec![
            PERSON.as_bytes().to_vec(),
            body[..body.len() - 1].to_vec(),
            body[..body.len() / 2].to_vec(),
            body[..1].to_vec(),
            [&body[..], b"\n"].concat(),
            [&body[..], &body[..]].concat(),
            [&body[..], PERSON.as_bytes()].concat(),
        ];
        wrong.extend(others);
        if coding != "br" {
            let mut changed = body.clone();
            let at = changed.len() - 1;
            changed[at] ^= 0x80;
            wrong.push(changed);
        }
        for body in wrong {
            let answer = write(&proxy, Method::POST, "/customers", coding, body.clone()).await;
            assert_eq!(answer.outcome(), (400, "malformed-encoding".to_owned()), "{coding} {body:?}");
        }
        // Decoded once: what comes of it is JSON or refused.
        let answer = write(&proxy, Method::POST, "/customers", coding, encode(coding, &body)).await;
        assert_eq!(answer.outcome(), (400, "malformed-json".to_owned()), "{coding}");
        let answer = write(&proxy, Method::POST, "/customers", coding, "").await;
        assert_eq!(answer.status, 415, "no body, no type");
    }
    // A caller that is not known has nothing decoded.
    let headers = [("content-type", "application/json"), ("content-encoding", "x")];
    let answer = send(proxy.address, Method::POST, "/customers", &headers, "x").await.unwrap();
    assert_eq!(answer.outcome(), (401, "caller-unknown".to_owned()));
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn t10_a_coded_body_in_chunks_is_framed_anew() {
    let (proxy, stub, _) = behind("").await;
    let body = encode("gzip", PERSON.as_bytes());
    let head = format!(
        "POST /customers HTTP/1.1\r\nHost: x\r\nSudare-Credential: {}\r\nData-Purpose: registration\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nConnection: close\r\n",
        Proxy::credential("shop")
    );
    let mut chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(7) {
        chunked.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        chunked.extend([piece, b"\r\n"].concat());
    }
    chunked.extend(b"0\r\n\r\n");
    let reply = exchange_raw(proxy.address, &chunked, Duration::from_secs(30)).await;
    assert!(reply.starts_with("HTTP/1.1 201"), "{reply}");
    arrived_sealed(&stub);
    // A transfer coding is not a content coding.
    let coded = [format!("{head}Transfer-Encoding: gzip, chunked\r\n\r\n").into_bytes(), b"0\r\n\r\n".to_vec()].concat();
    let reply = exchange_raw(proxy.address, &coded, Duration::from_secs(30)).await;
    assert!(reply.starts_with("HTTP/1.1 400"), "{reply}");
    assert_eq!(stub.seen().len(), 1);
}

#[tokio::test]
async fn what_the_database_compressed_unasked_is_revealed() {
    let (stub, says) = database().await;
    let tagged = Setup::rest(stub.address);
    let collections = tagged.collections.replace("subject =", "revision = \"etag\"\nsubject =");
    let proxy = tagged.collections(&collections).start().await;
    let one = stored(&proxy, &stub).await;
    let many: Vec<Value> = (0..2_000)
        .map(|n: u64| {
            let mut row: Value = serde_json::from_slice(&one).unwrap();
            // What repeats itself all along would be a bomb.
            row["tier"] = json!(format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            row
        })
        .collect();
    let many = Value::from(many).to_string().into_bytes();
    for coding in CODINGS {
        says.coded(coding, encode(coding, &one));
        let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-1", "").await;
        assert_eq!(answer.json(), serde_json::from_str::<Value>(PERSON).unwrap(), "{coding}");
        for header in ["content-encoding", "content-digest"] {
            assert!(!answer.headers.contains_key(header), "{header}");
        }
        assert_eq!(answer.headers["content-length"], answer.body.len().to_string());
        assert_eq!(answer.headers["etag"], "\"1-a\"");
        assert_eq!(stub.seen().pop().unwrap().headers["accept-encoding"], "identity");
        // In windows, as it comes.
        says.coded(coding, encode(coding, &many));
        let answer = proxy.ask("shipping", "delivery", Method::GET, "/customers", "").await;
        let rows = answer.json();
        assert_eq!(rows.as_array().unwrap().len(), 2_000, "{coding}");
        assert_eq!((&rows[1_999]["name"], &rows[1_999]["id_card"]), (&json!("Mei Tanaka"), &json!("••••9018")));
        // What is stored is read in the coding it comes in, and carried over.
        says.coded(coding, encode(coding, &one));
        let view = r#"{"id":"c-1","name":"Mei Tanaka","tier":"silver"}"#;
        let answer = proxy.ask("helpdesk", "support", Method::PUT, "/customers/c-1", view).await;
        assert_eq!(answer.status, 200, "{coding}: {}", answer.text());
        assert_eq!(arrived_sealed(&stub)["id_card"], serde_json::from_slice::<Value>(&one).unwrap()["id_card"], "{coding}");
        // An error of the database's stays one.
        let mut error = StubReply::json(404, encode(coding, br#"{"error":"not_found"}"#));
        error.headers.push(("content-encoding", coding.to_owned()));
        says.answer(error);
        let answer = proxy.ask("shop", "account", Method::GET, "/customers/c-9", "").await;
        assert_eq!((answer.status.as_u16(), &answer.json()["error"]), (404, &json!("not_found")), "{coding}");
        // A HEAD tells the coding of a body that does not come.
        says.coded(coding, "");
        let answer = proxy.ask("shop", "account", Method::HEAD, "/customers/c-1", "").await;
        assert_eq!(answer.status, 200, "{coding}");
        assert!(!answer.headers.contains_key("content-encoding"));
    }
}

#[tokio::test]
async fn t27_a_coded_reply_that_breaks_never_ends_cleanly() {
    let (proxy, stub, says) = behind("").await;
    let one = stored(&proxy, &stub).await;
    let many: Vec<Value> = (0..20_000).map(|n| json!({"id": format!("c-{n}"), "tier": format!("{:x}", n * 7_919)})).collect();
    let many = Value::from(many).to_string().into_bytes();
    let ask = async || proxy.ask_with("shop", "account", Method::GET, "/customers", &[], "").await;
    for coding in CODINGS {
        let (small, large) = (encode(coding, &one), encode(coding, &many));
        for wrong in [one.clone(), small[..small.len() - 1].to_vec(), [&small[..], b"x"].concat(), [&small[..], &small].concat()]
        {
            says.coded(coding, wrong);
            assert_eq!(ask().await.unwrap().outcome(), (502, "reply-unreadable".to_owned()), "{coding}");
        }
        says.coded(coding, large.clone());
        assert_eq!(ask().await.unwrap().body.len(), many.len(), "{coding}: whole, it is fine");
        for wrong in [large[..large.len() - 1].to_vec(), [&large[..], b"x"].concat()] {
            says.coded(coding, wrong);
            assert!(ask().await.is_err(), "{coding}: the head had left, so the connection is reset");
        }
        says.coded(coding, encode(coding, &vec![b' '; 32 << 20]));
        assert_eq!(ask().await.unwrap().outcome(), (502, "reply-unreadable".to_owned()), "{coding}: a bomb");
    }
    for unknown in ["deflate", "gzip, br", "x"] {
        says.coded(unknown, one.clone());
        assert_eq!(ask().await.unwrap().outcome(), (502, "reply-unreadable".to_owned()), "{unknown}");
    }
}

#[tokio::test]
async fn rows_of_a_compressed_feed_leave_when_they_come() {
    let database = SlowDatabase::start().await;
    let proxy = Setup::couchdb(database.address).start().await;
    let begin = async {
        let mut waiting = database.asked().await;
        waiting.begin("application/json\r\nContent-Encoding: gzip").await;
        waiting
    };
    let (mut live, mut waiting) =
        tokio::join!(proxy.open("shop", "account", Method::GET, "/customers/_changes?feed=continuous", ""), begin);
    assert_eq!(live.status, 200);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    for seq in 1..4 {
        let row = format!("{{\"seq\":{seq},\"id\":\"c-1\",\"changes\":[]}}\n");
        encoder.write_all(row.as_bytes()).unwrap();
        encoder.flush().unwrap();
        waiting.say(std::mem::take(encoder.get_mut())).await;
        assert_eq!(live.next(Duration::from_secs(30)).await, Came::Text(row));
    }
}

/// `kB` of a line of `/proc/PID/status`.
fn memory(process: &Process, line: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find_map(|text| text.strip_prefix(line)).unwrap_or_else(|| panic!("{status}"));
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// About 1 MiB that decodes to 1 GiB: one block of deflate, again and again.
fn gzip_gigabyte() -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&vec![b' '; 16 << 20]).unwrap();
    encoder.flush().unwrap();
    let block = encoder.get_ref()[10..].to_vec();
    [encode("gzip", b"")[..10].to_vec(), block.repeat(64)].concat()
}

/// One spelling of every kind of bomb, and what it is.
fn bombs() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let spaces = vec![b' '; 64 << 20];
    let brotli = encode("br", &spaces);
    assert!(brotli.len() < 1_000, "{}", brotli.len());
    let frame = |descriptor: u8, rest: &[u8]| [&[0x28, 0xb5, 0x2f, 0xfd, descriptor][..], rest, &[0x09, 0, 0, b'{']].concat();
    vec![
        ("1 MiB of gzip, 1 GiB decoded", "gzip", gzip_gigabyte()),
        ("64 MiB in gzip", "gzip", encode("gzip", &spaces)),
        ("a few bytes of brotli, 64 MiB decoded", "br", brotli),
        ("64 MiB in zstd", "zstd", encode("zstd", &spaces)),
        ("zstd that declares a window of 2 GiB", "zstd", frame(0, &[21 << 3])),
        ("zstd that declares 2^62 bytes", "zstd", frame(0xe0, &(1_u64 << 62).to_le_bytes())),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn t24_bombs_are_413_and_memory_stays() {
    let (stub, _) = database().await;
    let (_folder, file) = Setup::rest(stub.address).files();
    let process = Process::start(&file, "");
    let address = process.address.parse().unwrap();
    let credential = Proxy::credential("shop");
    let headers = |coding: &'static str| {
        [
            ("sudare-credential", credential.clone()),
            ("data-purpose", "registration".to_owned()),
            ("content-type", "application/json".to_owned()),
            ("content-encoding", coding.to_owned()),
        ]
    };
    let ask = async |coding: &'static str, body: Vec<u8>| {
        let headers = headers(coding);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        send(address, Method::POST, "/customers", &headers, body).await.unwrap()
    };
    // What any body takes, so that only the bombs are counted.
    assert_eq!(ask("gzip", encode("gzip", PERSON.as_bytes())).await.status, 201);
    let before = memory(&process, "VmRSS");
    let bombs = bombs();
    for (what, coding, body) in &bombs {
        let started = Instant::now();
        let answer = ask(coding, body.clone()).await;
        println!("{what}: {} in {:?}, {} kB", answer.status, started.elapsed(), memory(&process, "VmHWM") - before);
        assert_eq!(answer.outcome(), (413, "too-large".to_owned()), "{what}: {}", answer.text());
        assert!(started.elapsed() < Duration::from_mins(1), "{what}: {:?}", started.elapsed());
    }
    let grown = memory(&process, "VmHWM") - before;
    assert!(grown < 32 << 10, "{grown} kB");
    assert_eq!(ask("gzip", encode("gzip", PERSON.as_bytes())).await.status, 201, "the next one is served");
    assert_eq!(stub.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn t24_bombs_at_once_take_no_more_than_their_turns() {
    let (stub, _) = database().await;
    // A bomb takes at most twice what a body may have, and as many are decoded at once as there are cores.
    let (_folder, file) = Setup::rest(stub.address).more("[limits]\nbody_bytes = 1048576\n").files();
    let process = Process::start(&file, "");
    let address = process.address.parse().unwrap();
    let credential = Proxy::credential("shop");
    let bombs = bombs();
    let ask = |coding: &'static str, body: Vec<u8>| {
        let credential = credential.clone();
        async move {
            let headers = [
                ("sudare-credential", credential.as_str()),
                ("data-purpose", "registration"),
                ("content-type", "application/json"),
                ("content-encoding", coding),
            ];
            send(address, Method::POST, "/customers", &headers, body).await.unwrap()
        }
    };
    assert_eq!(ask("gzip", encode("gzip", PERSON.as_bytes())).await.status, 201);
    let before = memory(&process, "VmRSS");
    let all: Vec<_> = (0..8)
        .flat_map(|_| {
            bombs.iter().map(|(_, coding, body)| tokio::task::spawn(ask(coding, body[..body.len().min(200_000)].to_vec())))
        })
        .collect();
    for one in all {
        let answer = one.await.unwrap();
        assert_eq!(answer.outcome(), (413, "too-large".to_owned()), "{}", answer.text());
    }
    let cores = std::thread::available_parallelism().unwrap().get();
    let grown = memory(&process, "VmHWM") - before;
    println!("48 bombs at once: {grown} kB");
    assert!(grown < (32 + cores * 16) << 10, "{grown} kB");
    assert_eq!(ask("br", encode("br", PERSON.as_bytes())).await.status, 201, "the next one is served");
}

#[tokio::test]
async fn the_ratio_is_the_operators() {
    let (proxy, stub, _) = behind("[limits]\ndecompress_ratio = 3\n").await;
    let rows: Vec<Value> = (0..3_000).map(|n| json!({"id": format!("c-{n}"), "name": "x", "tier": "gold"})).collect();
    for coding in CODINGS {
        let small = encode(coding, Value::from(rows[..100].to_vec()).to_string().as_bytes());
        assert_eq!(write(&proxy, Method::POST, "/customers", coding, small).await.status, 201, "{coding}: what is small may");
        let large = encode(coding, Value::from(rows.clone()).to_string().as_bytes());
        let answer = write(&proxy, Method::POST, "/customers", coding, large).await;
        assert_eq!(answer.outcome(), (413, "too-large".to_owned()), "{coding}");
        assert!(answer.text().contains("decompress_ratio"), "{}", answer.text());
    }
    assert_eq!(stub.seen().len(), 3);
}
