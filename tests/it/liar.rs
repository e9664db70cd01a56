//! A database that lies: about lengths, about where a reply ends, about whose document it is. For each lie, what the client
//! sees, that it is never a wrong value, never a hang and never a reply cut short that looks whole, and what is recorded.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use sudare::audit;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Answer, CLEAR, PERSON, Proxy, Setup};

const OTHER: &str =
    r#"{"id":"c-2","name":"Kenji Sato","address":"220-0012 Minatomirai","phone":"+81455550000","id_card":"987654321098"}"#;
const OTHERS_CLEAR: [&str; 4] = ["Kenji Sato", "220-0012 Minatomirai", "+81455550000", "987654321098"];

/// What the database does after it has said its piece.
#[derive(Clone, Copy)]
enum Then {
    Closes,
    Waits,
}

/// A database that says what it is told to, byte for byte.
struct Liar {
    proxy: Proxy,
    says: Arc<Mutex<(Vec<u8>, Then)>>,
    /// Bodies of the requests, and how many connections there were.
    heard: Arc<Mutex<(Vec<Vec<u8>>, usize)>>,
    /// The documents of [`PERSON`] and [`OTHER`] as they are stored.
    mine: Value,
    others: Value,
}

/// What the client saw.
#[derive(Debug)]
enum Saw {
    Whole(Answer),
    /// The reply began and was broken off.
    Reset,
}

impl Liar {
    async fn new() -> Self {
        Self::of(Setup::rest, "id").await
    }

    /// `id` is the member that names a document.
    async fn of(setup: fn(SocketAddr) -> Setup, id: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let says = Arc::new(Mutex::new((reply(201, "", ""), Then::Waits)));
        let heard = Arc::new(Mutex::new((Vec::new(), 0)));
        let (script, log) = (Arc::clone(&says), Arc::clone(&heard));
        tokio::task::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                log.lock().unwrap().1 += 1;
                tokio::task::spawn(converse(stream, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        let proxy = setup(address).upstream("reply_timeout_ms = 1500\nidle_timeout_ms = 1500").start().await;
        for person in [PERSON, OTHER].map(|person| person.replacen("id", id, 1)) {
            let answer = proxy.ask("shop", "registration", Method::POST, "/customers", person).await;
            assert_eq!(answer.status, 201, "{}", answer.text());
        }
        let stored = |at: usize| serde_json::from_slice(&heard.lock().unwrap().0[at]).unwrap();
        let (mine, others) = (stored(0), stored(1));
        Self { proxy, says, heard, mine, others }
    }

    /// Asks for a document (or, for `/customers`, all of them) while the database says these bytes.
    async fn read(&self, path: &str, bytes: impl Into<Vec<u8>>, then: Then) -> Saw {
        self.ask("account", Method::GET, path, "", bytes.into(), then).await
    }

    async fn ask(&self, purpose: &str, method: Method, path: &str, body: &str, bytes: Vec<u8>, then: Then) -> Saw {
        *self.says.lock().unwrap() = (bytes, then);
        let asked = self.proxy.ask_with("shop", purpose, method, path, &[], body.to_owned());
        match tokio::time::timeout(Duration::from_secs(20), asked).await.expect("no lie may hang a client") {
            Ok(answer) => Saw::Whole(answer),
            Err(_reset) => Saw::Reset,
        }
    }

    /// What the log says of the last exchange.
    fn last_events(&self) -> Vec<audit::Entry> {
        let events = self.proxy.events(&audit::Filter::default());
        let exchange = events.iter().rev().find_map(|event| event.exchange.clone());
        events.into_iter().filter(|event| event.exchange == exchange).collect()
    }

    /// The client was told this and no value, and the log says so.
    async fn told(&self, what: &str, saw: Saw, status: u16, code: &str) {
        let Saw::Whole(answer) = saw else { panic!("{what}: broken off") };
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{what}: {}", answer.text());
        assert!(
            !answer.text().contains("sdr1.") && CLEAR.iter().chain(&OTHERS_CLEAR).all(|value| !answer.text().contains(value)),
            "{what}"
        );
        self.recorded(what, code).await;
        self.still_serves(what).await;
    }

    async fn recorded(&self, what: &str, code: &str) {
        let mut events = Vec::new();
        // Closing events are not waited for.
        for _ in 0..100 {
            events = self.last_events();
            if events.iter().any(|event| event.code.as_deref() == Some(code)) {
                if code == "value-not-authentic" {
                    assert!(events.iter().any(|event| event.kind == "alarm"), "{what}: an alarm");
                }
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{what}: no event says {code}: {events:?}");
    }

    /// The next exchange is not touched by the last one.
    async fn still_serves(&self, after: &str) {
        let Saw::Whole(answer) = self.read("/customers/c-1", reply(200, JSON, &self.mine.to_string()), Then::Waits).await else {
            panic!("after {after}: broken off")
        };
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["name"]),
            (200, &json!("Mei Tanaka")),
            "after {after}: {}",
            answer.text()
        );
    }
}

/// Reads whole requests and answers each as the script says.
async fn converse(mut stream: TcpStream, says: Arc<Mutex<(Vec<u8>, Then)>>, heard: Arc<Mutex<(Vec<Vec<u8>>, usize)>>) {
    let mut buffer = Vec::new();
    loop {
        let start = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8_lossy(&buffer[..start]).to_lowercase();
        let length =
            text.split_once("content-length: ").map_or(0, |(_, rest)| rest.split("\r\n").next().unwrap().parse().unwrap());
        while buffer.len() < start + length {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let rest = buffer.split_off(start + length);
        heard.lock().unwrap().0.push(buffer.split_off(start));
        buffer = rest;
        let (bytes, then) = says.lock().unwrap().clone();
        let _sent = stream.write_all(&bytes).await;
        if matches!(then, Then::Closes) {
            return;
        }
    }
}

const JSON: &str = "Content-Type: application/json\r\n";

/// An honest reply.
fn reply(status: u16, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn chunked(chunks: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{JSON}Transfer-Encoding: chunked\r\n\r\n{chunks}")
}

#[tokio::test]
async fn t27_lies_about_where_a_reply_ends_are_told_and_never_believed() {
    let liar = Liar::new().await;
    let whole = liar.mine.to_string();
    let half = &whole[..whole.len() / 2];
    let length = |length: usize, body: &str| format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: {length}\r\n\r\n{body}");
    let hex = |text: &str| format!("{:x}", text.len());
    for (what, bytes, then, status, code) in [
        ("nothing at all", String::new(), Then::Closes, 502, "database-unavailable"),
        ("half a head", "HTTP/1.1 200 OK\r\nContent-Ty".into(), Then::Closes, 502, "database-unavailable"),
        ("the head alone", length(whole.len(), ""), Then::Closes, 502, "database-unavailable"),
        ("half the document", length(whole.len(), half), Then::Closes, 502, "database-unavailable"),
        ("a length too long", length(whole.len() + 1, &whole), Then::Closes, 502, "database-unavailable"),
        ("a length too long, and silence", length(whole.len() + 1, &whole), Then::Waits, 504, "database-timeout"),
        ("silence", String::new(), Then::Waits, 504, "database-timeout"),
        ("a length too short", length(whole.len() - 1, &whole), Then::Waits, 502, "reply-unreadable"),
        ("no length, half the document", format!("HTTP/1.1 200 OK\r\n{JSON}\r\n{half}"), Then::Closes, 502, "reply-unreadable"),
        ("no last chunk", chunked(&format!("{}\r\n{whole}\r\n", hex(&whole))), Then::Closes, 502, "database-unavailable"),
        ("half a chunk", chunked(&format!("{}\r\n{half}", hex(&whole))), Then::Closes, 502, "database-unavailable"),
        ("a chunk of no number", chunked(&format!("zz\r\n{whole}\r\n0\r\n\r\n")), Then::Waits, 502, "database-unavailable"),
        ("an end after half", chunked(&format!("{}\r\n{half}\r\n0\r\n\r\n", hex(half))), Then::Waits, 502, "reply-unreadable"),
        (
            "two lengths",
            format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 5\r\nContent-Length: {}\r\n\r\n{whole}", whole.len()),
            Then::Waits,
            502,
            "database-unavailable",
        ),
        (
            "a length and chunks",
            format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            Then::Waits,
            502,
            "database-unavailable",
        ),
        (
            "a negative length",
            format!("HTTP/1.1 200 OK\r\n{JSON}Content-Length: -1\r\n\r\n{whole}"),
            Then::Waits,
            502,
            "database-unavailable",
        ),
        ("another protocol", "SSH-2.0-OpenSSH_9.2\r\n".into(), Then::Waits, 502, "database-unavailable"),
        (
            "a switch of protocols",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(),
            Then::Waits,
            502,
            "database-unavailable",
        ),
        (
            "a head without end",
            format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "x".repeat(1 << 20)),
            Then::Closes,
            502,
            "database-unavailable",
        ),
        (
            "a thousand headers",
            format!("HTTP/1.1 200 OK\r\n{}\r\n{whole}", "X: x\r\n".repeat(1000)),
            Then::Closes,
            502,
            "database-unavailable",
        ),
    ] {
        let saw = liar.read("/customers/c-1", bytes, then).await;
        liar.told(what, saw, status, code).await;
    }
    // These are unusual, but true.
    for (what, bytes, then) in [
        ("no length, closed", format!("HTTP/1.1 200 OK\r\n{JSON}\r\n{whole}"), Then::Closes),
        ("an old protocol", format!("HTTP/1.0 200 OK\r\n{JSON}\r\n{whole}"), Then::Closes),
        (
            "hints before it",
            format!("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n{}", length(whole.len(), &whole)),
            Then::Waits,
        ),
        ("trailers", chunked(&format!("{}\r\n{whole}\r\n0\r\nX-Name: Mei Tanaka\r\n\r\n", hex(&whole))), Then::Waits),
    ] {
        let Saw::Whole(answer) = liar.read("/customers/c-1", bytes, then).await else { panic!("{what}: broken off") };
        assert_eq!((answer.status.as_u16(), &answer.json()["name"]), (200, &json!("Mei Tanaka")), "{what}");
        assert!(!answer.headers.contains_key("x-name"), "{what}");
    }
}

/// Once rows have left, a lie can only be answered by breaking off: the client must not take the rest for all there is.
#[tokio::test]
async fn t27_a_list_that_turns_out_a_lie_is_broken_off() {
    let liar = Liar::new().await;
    let mut swapped = liar.mine.clone();
    swapped["name"] = liar.others["name"].clone();
    let rows = format!("{},", json!({"id": "c-0", "tier": "gold"})).repeat(3_000);
    let alarm = Some("value-not-authentic");
    for (what, length, tail, then, alarm) in [
        ("cut off", "Content-Length: 9999999\r\n", String::new(), Then::Closes, None),
        ("silence", "Content-Length: 9999999\r\n", String::new(), Then::Waits, None),
        ("cut off where no length was told", "", String::new(), Then::Closes, None),
        ("not JSON at the end", "", "{\"id\":}]".to_owned(), Then::Closes, None),
        ("a name twice at the end", "", r#"{"id":"c-1","tier":1,"tier":2}]"#.to_owned(), Then::Closes, None),
        ("more after the end", "", format!("{}] []", liar.mine), Then::Closes, None),
        ("an envelope of another row at the end", "", format!("{swapped}]"), Then::Closes, alarm),
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{JSON}{length}\r\n[{rows}{tail}");
        let saw = liar.read("/customers", bytes, then).await;
        assert!(matches!(saw, Saw::Reset), "{what}: {saw:?}");
        liar.recorded(what, "reply-broken-off").await;
        if let Some(alarm) = alarm {
            liar.recorded(what, alarm).await;
        }
        liar.still_serves(what).await;
    }
}

/// Bytes after a reply are not the next one's beginning, whoever asks next.
#[tokio::test]
async fn t28_a_second_reply_nobody_asked_for_reaches_nobody() {
    let liar = Liar::new().await;
    for extra in [
        String::from_utf8(reply(200, JSON, &liar.others.to_string())).unwrap(),
        "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
        liar.others.to_string(),
        "\r\n".to_owned(),
    ] {
        for first in
            [reply(200, JSON, &liar.mine.to_string()), b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), reply(404, JSON, "{}")]
        {
            let saw = liar.read("/customers/c-1", [first, extra.clone().into_bytes()].concat(), Then::Waits).await;
            let Saw::Whole(answer) = saw else { panic!("broken off") };
            assert!(OTHERS_CLEAR.iter().all(|value| !answer.text().contains(value)), "{}", answer.text());
            for _ in 0..3 {
                liar.still_serves(&format!("{extra:?}")).await;
            }
        }
    }
    // A reply before the question: it waits on the connection when the next one is asked.
    let saw =
        liar.ask("account", Method::HEAD, "/customers/c-1", "", reply(200, JSON, &liar.others.to_string()), Then::Waits).await;
    let Saw::Whole(answer) = saw else { panic!("broken off") };
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, ""));
    liar.still_serves("a body after HEAD").await;
    assert!(liar.heard.lock().unwrap().1 > 12, "such a connection is not used again");
}

#[tokio::test]
async fn t1_the_document_of_another_and_exchanged_envelopes_do_not_open() {
    let liar = Liar::new().await;
    let (mine, others) = (&liar.mine, &liar.others);
    let with = |changes: &[(&str, &Value)]| {
        let mut document = mine.clone();
        for (member, value) in changes {
            document[*member] = (*value).clone();
        }
        document
    };
    let bound = |envelope: &str| Value::from(envelope);
    let name = mine["name"].as_str().unwrap();
    let (kid, payload) = name.strip_prefix("sdr1.x.").unwrap().split_once('.').unwrap();
    for (what, document) in [
        ("another's document", others.clone()),
        ("another's document under this id", {
            let mut document = others.clone();
            document["id"] = json!("c-1");
            document
        }),
        (
            "this document under another's id, which the URL does not name",
            with(&[("id", &json!("c-2")), ("name", &others["name"])]),
        ),
        ("another's name", with(&[("name", &others["name"])])),
        ("name and address exchanged", with(&[("name", &mine["address"]), ("address", &mine["name"])])),
        ("an envelope where another member stands", with(&[("phone", &mine["id_card"])])),
        ("an unknown key", with(&[("name", &bound(&format!("sdr1.x.00000000.{payload}")))])),
        ("an unknown suite", with(&[("name", &bound(&format!("sdr1.z.{kid}.{payload}")))])),
        ("a payload cut short", with(&[("name", &bound(&name[..name.len() - 4]))])),
        ("an empty payload", with(&[("name", &bound(&format!("sdr1.x.{kid}.")))])),
        ("clear text", with(&[("name", &json!("Kenji Sato"))])),
        ("a clear number", with(&[("phone", &json!(1))])),
        ("an object", with(&[("name", &json!({"name": name}))])),
        ("a list", with(&[("name", &json!([name]))])),
    ] {
        let saw = liar.read("/customers/c-1", reply(200, JSON, &document.to_string()), Then::Waits).await;
        liar.told(what, saw, 500, "value-not-authentic").await;
    }
    // In a list, rows count by their own ids.
    let exchanged = {
        let mut rows = [mine.clone(), others.clone()];
        (rows[0]["id"], rows[1]["id"]) = (json!("c-2"), json!("c-1"));
        json!(rows)
    };
    for (what, rows) in
        [("ids exchanged", exchanged), ("a row twice, once under another id", json!([mine, with(&[("id", &json!("c-3"))])]))]
    {
        let saw = liar.read("/customers", reply(200, JSON, &rows.to_string()), Then::Waits).await;
        liar.told(what, saw, 500, "value-not-authentic").await;
    }
    // Out of order, twice, or fewer than there are: what is shown is each row's own.
    for rows in [json!([others, mine]), json!([mine, mine, others]), json!([others])] {
        let Saw::Whole(answer) = liar.read("/customers", reply(200, JSON, &rows.to_string()), Then::Waits).await else {
            panic!()
        };
        for row in answer.json().as_array().unwrap() {
            let own = if row["id"] == "c-1" { "Mei Tanaka" } else { "Kenji Sato" };
            assert_eq!(row["name"], own);
        }
    }
}

#[tokio::test]
async fn t7_replies_that_two_readers_read_differently_are_withheld() {
    let liar = Liar::new().await;
    let (mine, others) = (liar.mine.to_string(), &liar.others);
    let name = &liar.mine["name"];
    let open = mine.strip_suffix('}').unwrap();
    for (what, body) in [
        ("a page of HTML", "<!doctype html><title>Mei Tanaka</title>".to_owned()),
        ("nothing but a word", "ok".to_owned()),
        ("a name twice", format!("{open},\"name\":{}}}", others["name"])),
        ("a name twice, once escaped", format!("{open},\"n\\u0061me\":{}}}", others["name"])),
        ("the id twice", format!("{open},\"id\":\"c-2\"}}")),
        ("an unprotected member twice", format!("{open},\"tier\":\"x\"}}")),
        ("two documents", format!("{mine}{others}")),
        ("text after the document", format!("{mine}x")),
        ("a comma too many", format!("{open},}}")),
        ("a byte-order mark", format!("\u{feff}{mine}")),
        ("a lone surrogate", format!("{open},\"x\":\"\\ud800\"}}")),
        ("a number beyond all numbers", format!("{open},\"x\":1e999}}")),
        ("too deep", format!("{open},\"x\":{}{}}}", "[".repeat(200), "]".repeat(200))),
        ("a bare control character", format!("{open},\"x\":\"\u{1}\"}}")),
        ("single quotes", mine.replace('"', "'")),
        ("not a number", format!("{open},\"x\":NaN}}")),
    ] {
        let saw = liar.read("/customers/c-1", reply(200, JSON, &body), Then::Waits).await;
        liar.told(what, saw, 502, "reply-unreadable").await;
    }
    let saw = liar
        .read("/customers/c-1", [reply(200, &format!("{JSON}Content-Encoding: gzip\r\n"), &mine)].concat(), Then::Waits)
        .await;
    liar.told("compressed", saw, 502, "reply-unreadable").await;
    let latin =
        [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"id\":\"c-1\",\"tier\":\"\xe9\"}".to_vec()].concat();
    let saw = liar.read("/customers/c-1", latin, Then::Closes).await;
    liar.told("another alphabet", saw, 502, "reply-unreadable").await;
    assert!(name.as_str().unwrap().starts_with("sdr1."));
}

/// What a reply says it is does not matter: it is read as what it must be, or not at all.
#[tokio::test]
async fn t6_a_type_or_status_of_the_database_switches_nothing_off() {
    let liar = Liar::new().await;
    let mine = liar.mine.to_string();
    for kind in [
        "",
        "Content-Type: text/plain\r\n",
        "Content-Type: text/html\r\n",
        "Content-Type: application/octet-stream\r\n",
        "Content-Type: image/png\r\n",
    ] {
        let Saw::Whole(answer) = liar.read("/customers/c-1", reply(200, kind, &mine), Then::Waits).await else {
            panic!("{kind}")
        };
        assert!(!answer.text().contains("sdr1."), "{kind}");
        assert!(answer.status == 502 || answer.json()["name"] == "Mei Tanaka", "{kind}: {}", answer.text());
        let saw = liar.read("/customers/c-1", reply(200, kind, &liar.others.to_string()), Then::Waits).await;
        let Saw::Whole(answer) = saw else { panic!("{kind}") };
        assert!(!answer.status.is_success(), "{kind}: {}", answer.text());
    }
    // Shown as the grant says, and never more, whatever the status; and another's values under none.
    for status in [200, 201, 202, 203, 206, 226, 299, 400, 404, 409, 418, 500, 503, 599] {
        for (purpose, shown) in [("account", true), ("registration", false)] {
            let method = if shown { Method::GET } else { Method::PUT };
            let body = if shown { "" } else { PERSON };
            let saw = liar.ask(purpose, method.clone(), "/customers/c-1", body, reply(status, JSON, &mine), Then::Waits).await;
            let Saw::Whole(answer) = saw else { panic!("{status}: broken off") };
            assert_eq!(answer.status, status, "{}", answer.text());
            assert_eq!(answer.json().get("name"), shown.then(|| json!("Mei Tanaka")).as_ref(), "{status} {purpose}");
            let theirs = reply(status, JSON, &liar.others.to_string());
            let saw = liar.ask(purpose, method, "/customers/c-1", body, theirs, Then::Waits).await;
            let Saw::Whole(answer) = saw else { panic!("{status}: broken off") };
            let text = answer.text();
            assert!(
                !text.contains("sdr1.") && OTHERS_CLEAR.iter().all(|value| !text.contains(value)),
                "{status} {purpose}: {text}"
            );
        }
    }
}

/// T15: a database that quotes another's document in its error, or the one that was sent.
#[tokio::test]
async fn t15_what_an_error_or_the_reply_to_a_write_quotes_is_shown_as_the_grant_says() {
    let liar = Liar::new().await;
    let (mine, others) = (liar.mine.to_string(), liar.others.to_string());
    let put =
        |purpose: &'static str, bytes: Vec<u8>| liar.ask(purpose, Method::PUT, "/customers/c-1", PERSON, bytes, Then::Waits);
    // The caller sees all of it in clear, but it is not the document of this URL.
    let saw = put("account", reply(200, JSON, &others)).await;
    liar.told("a write answered with another's document", saw, 500, "value-not-authentic").await;
    let saw = put("account", reply(409, JSON, &others)).await;
    liar.told("a conflict that quotes another's document", saw, 500, "value-not-authentic").await;
    // Where no document can be, nothing that looks like one is shown.
    for quoted in
        [format!(r#"{{"error":"conflict","detail":{mine}}}"#), format!(r#"{{"error":"conflict","detail":{}}}"#, json!(mine))]
    {
        for purpose in ["account", "registration"] {
            let Saw::Whole(answer) = put(purpose, reply(409, JSON, &quoted)).await else { panic!() };
            let text = answer.text();
            assert!(CLEAR.iter().all(|value| !text.contains(value)), "{purpose}: {text}");
        }
    }
    for text in ["Key (name)=(Mei Tanaka) already exists", "<h1>Mei Tanaka</h1>"] {
        let saw = put("account", reply(409, "Content-Type: text/plain\r\n", text)).await;
        liar.told("an error in prose", saw, 409, "reply-unreadable").await;
    }
}

#[tokio::test]
async fn t11_a_reply_to_a_condition_or_range_that_was_not_asked_is_no_reply() {
    let liar = Liar::new().await;
    let mine = liar.mine.to_string();
    let saw = liar.read("/customers/c-1", b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n".to_vec(), Then::Waits).await;
    liar.told("not modified, though no condition was asked", saw, 502, "reply-unreadable").await;
    let part = format!(
        "HTTP/1.1 206 Partial Content\r\n{JSON}Content-Range: bytes 0-20/999\r\nContent-Length: 21\r\n\r\n{}",
        &mine[..21]
    );
    let saw = liar.read("/customers/c-1", part, Then::Waits).await;
    liar.told("a part, though no range was asked", saw, 502, "reply-unreadable").await;
}

#[tokio::test]
async fn t1_couchdb_answers_with_the_document_of_another() {
    let liar = Liar::of(Setup::couchdb, "_id").await;
    let (mine, others) = (&liar.mine, &liar.others);
    let renamed = |document: &Value, id: &str| {
        let mut document = document.clone();
        document["_id"] = json!(id);
        document
    };
    let row = |id: &str, document: &Value| json!({"id": id, "key": id, "value": {"rev": "1-a"}, "doc": document});
    let list = |rows: Vec<Value>| json!({"total_rows": 2, "offset": 0, "rows": rows}).to_string();
    for (what, path, body) in [
        ("another's document", "/customers/c-1", others.to_string()),
        ("another's document under this id", "/customers/c-1", renamed(others, "c-1").to_string()),
        (
            "ids exchanged in a list",
            "/customers/_all_docs?include_docs=true",
            list(vec![row("c-1", &renamed(others, "c-1")), row("c-2", &renamed(mine, "c-2"))]),
        ),
    ] {
        let saw = liar.read(path, reply(200, JSON, &body), Then::Waits).await;
        liar.told(what, saw, 500, "value-not-authentic").await;
    }
    let asked = r#"{"docs":[{"id":"c-1"}]}"#;
    let answer = json!({"results": [{"id": "c-1", "docs": [{"ok": renamed(others, "c-1")}]}]}).to_string();
    let saw = liar.ask("account", Method::POST, "/customers/_bulk_get", asked, reply(200, JSON, &answer), Then::Waits).await;
    liar.told("another's document in a bulk", saw, 500, "value-not-authentic").await;
    // A row whose document is another's is still that other's document, and says so.
    let body = list(vec![row("c-1", others)]);
    let saw = liar.read("/customers/_all_docs?include_docs=true", reply(200, JSON, &body), Then::Waits).await;
    let Saw::Whole(answer) = saw else { panic!("broken off") };
    let document = &answer.json()["rows"][0]["doc"];
    assert!(
        answer.status != 200 || (&document["_id"], &document["name"]) == (&json!("c-2"), &json!("Kenji Sato")),
        "{}",
        answer.text()
    );
}
