//! T13: every request shape of both dialects is driven with unique values in every protected member; then everything that
//! was stored, logged, counted, recorded, refused or written is searched for them in every spelling.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use http::Method;

use crate::support::{Proxy, Setup, Stub, StubReply};

/// What must be found nowhere, and what must be found (or the search proves nothing).
struct Canaries {
    secret: Vec<String>,
    control: String,
    next: usize,
}

impl Canaries {
    fn new() -> Self {
        Self { secret: Vec::new(), control: "control-ünprotected-7c1e".to_owned(), next: 0 }
    }

    /// A new value, with characters that are written differently in URLs, JSON escapes and UTF-16.
    fn value(&mut self) -> String {
        self.next += 1;
        let value = format!("cänary/{:04}+Zq{}", self.next, self.next * 7919);
        self.secret.push(value.clone());
        value
    }

    fn document(&mut self, id: &str) -> serde_json::Value {
        serde_json::json!({
            "id": id, "_id": id, "tier": self.control,
            "name": self.value(), "address": self.value(), "phone": self.value(), "id_card": self.value(),
        })
    }
}

/// Every spelling of a value that an encoder on the way might have made of it.
pub(crate) fn spellings(value: &str) -> Vec<Vec<u8>> {
    let bytes = value.as_bytes();
    let mut out: Vec<Vec<u8>> = vec![bytes.to_vec()];
    out.push(data_encoding::HEXLOWER.encode(bytes).into_bytes());
    out.push(data_encoding::HEXUPPER.encode(bytes).into_bytes());
    let percent = |upper: bool, keep: &str| -> Vec<u8> {
        let mut text = String::new();
        for byte in bytes {
            let c = char::from(*byte);
            if c.is_ascii_alphanumeric() || keep.contains(c) {
                text.push(c);
            } else if upper {
                write!(text, "%{byte:02X}").unwrap();
            } else {
                write!(text, "%{byte:02x}").unwrap();
            }
        }
        text.into_bytes()
    };
    out.extend([percent(true, "-._~"), percent(false, "-._~"), percent(true, "-._~/+")]);
    let escaped = |slash: bool| -> Vec<u8> {
        let mut text = String::new();
        for c in value.chars() {
            match c {
                '/' if slash => text += "\\/",
                c if c.is_ascii() => text.push(c),
                c => write!(text, "\\u{:04x}", u32::from(c)).unwrap(),
            }
        }
        text.into_bytes()
    };
    out.extend([escaped(false), escaped(true), value.replace('/', "\\/").into_bytes()]);
    out.push(value.encode_utf16().flat_map(u16::to_le_bytes).collect());
    out.push(value.encode_utf16().flat_map(u16::to_be_bytes).collect());
    for shift in 0..3 {
        let mut padded = vec![0; shift];
        padded.extend_from_slice(bytes);
        let text = sudare::crypto::base64url(&padded);
        let inner = &text[(shift * 8).div_ceil(6)..padded.len() * 8 / 6];
        out.push(inner.as_bytes().to_vec());
        out.push(inner.replace('-', "+").replace('_', "/").into_bytes());
    }
    out
}

#[derive(Default)]
struct Searched {
    places: Vec<(String, Vec<u8>)>,
}

impl Searched {
    fn add(&mut self, place: &str, bytes: impl Into<Vec<u8>>) {
        self.places.push((place.to_owned(), bytes.into()));
    }

    fn folder(&mut self, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.folder(&path);
            } else {
                self.add(&path.display().to_string(), fs::read(&path).unwrap());
            }
        }
    }

    fn holding(&self, value: &str) -> Vec<&str> {
        let forms = spellings(value);
        let holds = |bytes: &[u8]| forms.iter().any(|form| memchr::memmem::find(bytes, form).is_some());
        self.places.iter().filter(|(_, bytes)| holds(bytes)).map(|(place, _)| place.as_str()).collect()
    }
}

#[test]
fn t13_the_search_finds_each_spelling() {
    let value = "cänary/1+Zq";
    for form in spellings(value) {
        let mut searched = Searched::default();
        searched.add("here", [b"..".as_slice(), &form, b".."].concat());
        assert_eq!(searched.holding(value), ["here"], "{}", String::from_utf8_lossy(&form));
    }
    let mut searched = Searched::default();
    searched.add("here", "something else");
    assert!(searched.holding(value).is_empty());
}

/// Collects log lines of this process.
#[derive(Clone, Default)]
struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(flavor = "current_thread")]
async fn t13_no_value_in_anything_that_is_stored_logged_counted_or_refused() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let mut canaries = Canaries::new();
    let mut searched = Searched::default();
    let mut embedded = Setup::embedded().deterministic().more(LOG).start().await;
    drive_rest(&embedded, &mut canaries, &mut searched).await;

    // A database that stores nothing but echoes everything it was sent, as an error too.
    let stub = Stub::start(|seen| {
        let status = if seen.method == Method::PUT { 409 } else { 201 };
        StubReply::json(status, if seen.body.is_empty() { b"{}".to_vec() } else { seen.body.to_vec() })
    })
    .await;
    let mut couch = Setup::couchdb(stub.address).deterministic().more(LOG).start().await;
    drive_couchdb(&couch, &mut canaries, &mut searched).await;
    for seen in stub.seen() {
        searched.add(
            "a request at the database",
            [seen.target.as_bytes(), &seen.body, format!("{:?}", seen.headers).as_bytes()].concat(),
        );
    }

    let rewritten = |target: &str, body: &[u8]| target.ends_with("_find") && memchr::memmem::find(body, b"sdr1.d.").is_some();
    assert!(stub.seen().iter().any(|seen| rewritten(&seen.target, &seen.body)), "a search came to the database, rewritten");

    for proxy in [&mut embedded, &mut couch] {
        let running = proxy.running.as_ref().unwrap();
        searched.add("metrics", running.metrics().encode());
        searched.add("Debug of the running proxy", format!("{running:?}"));
        proxy.stop().await;
        searched.folder(proxy.folder.path());
    }
    searched.add("log lines", lines.0.lock().unwrap().clone());

    assert!(canaries.secret.len() > 60, "only {} values were sent", canaries.secret.len());
    let mut leaks = Vec::new();
    for value in &canaries.secret {
        leaks.extend(searched.holding(value).into_iter().map(|place| format!("{value} in {place}")));
    }
    assert!(leaks.is_empty(), "{}", leaks.join("\n"));
    let control = searched.holding(&canaries.control);
    assert!(control.iter().any(|place| place.contains("documents.redb")), "the search must find the control value: {control:?}");
    assert!(control.contains(&"a request at the database"));
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("\"message\":\"request\"") && log.contains("caller-unknown"), "the log was really collected");
}

/// Sends a request; its answer is searched unless it is a reveal to one who may see.
async fn sent(
    proxy: &Proxy,
    searched: &mut Searched,
    who: (&str, &str),
    method: Method,
    path: &str,
    more: &[(&str, &str)],
    body: String,
) {
    let what = format!("answer to {} for {} {method}", who.0, who.1);
    match proxy.ask_with(who.0, who.1, method, path, more, body).await {
        Ok(answer) => {
            searched.add(&what, [answer.body.to_vec(), format!("{:?}", answer.headers).into_bytes()].concat());
        }
        Err(_broken_off) => {}
    }
}

const SHOP: (&str, &str) = ("shop", "registration");
const ACCOUNT: (&str, &str) = ("shop", "account");
const SUPPORT: (&str, &str) = ("helpdesk", "support");
/// Everything that can be written down of a request.
const LOG: &str = "[log]\nrequests = \"all\"\npeer = true";

async fn drive_rest(proxy: &Proxy, canaries: &mut Canaries, searched: &mut Searched) {
    let s = searched;
    for id in ["r-1", "r-2", "r-3"] {
        let document = canaries.document(id).to_string();
        sent(proxy, s, SHOP, Method::POST, "/customers", &[], document).await;
    }
    let list = format!("[{},{}]", canaries.document("r-4"), canaries.document("r-5"));
    sent(proxy, s, SHOP, Method::POST, "/customers", &[], list).await;
    let items = format!("{{\"items\":[{}]}}", canaries.document("r-6"));
    sent(proxy, s, SHOP, Method::POST, "/customers", &[], items).await;
    for (who, method, path) in [
        (SHOP, Method::PUT, "/customers/r-1"),
        (ACCOUNT, Method::PATCH, "/customers/r-1"),
        (SUPPORT, Method::PUT, "/customers/r-1"),
        (SUPPORT, Method::POST, "/customers"),
        (SHOP, Method::POST, "/customers/r-1"),
        (SHOP, Method::DELETE, "/customers/r-3"),
        (("nobody", "registration"), Method::POST, "/customers"),
        (("shop", "no-such-purpose"), Method::POST, "/customers"),
    ] {
        let document = canaries.document("r-1").to_string();
        sent(proxy, s, who, method, path, &[], document).await;
    }
    // Refusals whose reason lies in the value or beside it.
    let value = canaries.value();
    for body in [
        format!(r#"{{"id":"r-7","name":"{value}","name":"{value}"}}"#),
        format!(r#"{{"id":"r-7","name":"sdr1.x.{value}"}}"#),
        format!(r#"{{"id":"r-7","name":"••••{value}"}}"#),
        format!(r#"{{"id":"r-7","name":"{value}"#),
        format!(r#"{{"id":1e2,"name":"{value}"}}"#),
        format!(r#"{{"id":"r-7","id_card":["{value}"]}}"#),
        format!(r#"{{"id":"r-7","id_card":{{"{value}":1}}}}"#),
        format!(r#"{{"name":"{value}"}}"#),
        format!(r#""{value}""#),
        value.clone(),
    ] {
        sent(proxy, s, SHOP, Method::POST, "/customers", &[], body).await;
    }
    // Patches: sealed, refused for what they do, refused for what they are.
    for (format, body) in [
        ("merge-patch", r#"{"name":"V","phone":null}"#),
        ("merge-patch", r#"{"name":{"V":1},"id_card":["V"]}"#),
        ("merge-patch", r#"{"id":"V"}"#),
        ("json-patch", r#"[{"op":"replace","path":"/name","value":"V"},{"op":"add","path":"/address","value":["V"]}]"#),
        ("json-patch", r#"[{"op":"test","path":"/name","value":"V"}]"#),
        ("json-patch", r#"[{"op":"add","path":"/name/V","value":1}]"#),
        ("json-patch", r#"[{"op":"V","path":"/name","V":1}]"#),
    ] {
        let kind = format!("application/{format}+json");
        for who in [SHOP, SUPPORT] {
            let body = body.replace('V', &canaries.value());
            sent(proxy, s, who, Method::PATCH, "/customers/r-1", &[("content-type", &kind)], body).await;
        }
    }
    for more in [("content-type", "text/plain"), ("content-encoding", "br"), ("x-http-method-override", "PATCH")] {
        sent(proxy, s, SHOP, Method::POST, "/customers", &[more], canaries.document("r-8").to_string()).await;
    }
    let value = canaries.value();
    let hex = data_encoding::HEXUPPER.encode(value.as_bytes());
    let escaped = hex.as_bytes().chunks(2).fold(String::new(), |text, pair| text + "%" + std::str::from_utf8(pair).unwrap());
    for path in [format!("/customers?name={escaped}"), format!("/customers/{escaped}/x"), format!("/Customers/{escaped}")] {
        sent(proxy, s, ACCOUNT, Method::GET, &path, &[], String::new()).await;
    }
    for who in [SUPPORT, ("mailer", "marketing"), ("auditor", "custody"), SHOP] {
        // Support sees names in clear, so only the others' answers are searched; all are recorded.
        let answers = &mut Searched::default();
        sent(proxy, if who == SUPPORT { answers } else { s }, who, Method::GET, "/customers", &[], String::new()).await;
        sent(proxy, if who == SUPPORT { answers } else { s }, who, Method::GET, "/customers/r-2", &[], String::new()).await;
    }
}

async fn drive_couchdb(proxy: &Proxy, canaries: &mut Canaries, searched: &mut Searched) {
    let s = searched;
    for (method, path) in [
        (Method::PUT, "/customers/d-1"),
        (Method::POST, "/customers"),
        (Method::PUT, "/customers/d-1?rev=1-a"),
        (Method::PUT, "/customers/d-1?new_edits=false"),
        (Method::PUT, "/customers/_local/x"),
        (Method::PUT, "/customers/_design/x"),
        (Method::PUT, "/customers/d-1/attachment"),
        (Method::POST, "/customers/_find"),
        (Method::POST, "/customers/_all_docs"),
        (Method::POST, "/customers/_revs_diff"),
        (Method::POST, "/customers/_purge"),
        (Method::POST, "/_replicate"),
        (Method::PUT, "/_replicator/x"),
    ] {
        for who in [SHOP, SUPPORT] {
            let document = canaries.document("d-1").to_string();
            sent(proxy, s, who, method.clone(), path, &[], document).await;
        }
    }
    // Searches: rewritten where equal values are stored equal, else refused; never with the value in them.
    for (route, body) in [
        ("_find", r#"{"selector":{"id_card":"V"}}"#),
        ("_find", r#"{"selector":{"id_card":{"$in":["V","V"]}},"fields":["tier"]}"#),
        ("_find", r#"{"selector":{"$not":{"id_card":"V"}}}"#),
        ("_find", r#"{"selector":{"name":"V"}}"#),
        ("_find", r#"{"selector":{"name":{"$regex":"V"}}}"#),
        ("_find", r#"{"selector":{"tier":"gold"},"V":1}"#),
        ("_find", r#"{"selector":{"name.V":1}}"#),
        ("_explain", r#"{"selector":{"id_card":"V"}}"#),
        ("_index", r#"{"index":{"fields":["tier"],"partial_filter_selector":{"name":"V"}}}"#),
        ("_changes?filter=_selector", r#"{"selector":{"name":"V"}}"#),
        ("_all_docs/queries", r#"{"queries":[{"V":1}]}"#),
    ] {
        for who in [ACCOUNT, SUPPORT] {
            let (path, body) = (format!("/customers/{route}"), body.replace('V', &canaries.value()));
            sent(proxy, s, who, Method::POST, &path, &[], body).await;
        }
    }
    let bulk = format!("{{\"docs\":[{},{}]}}", canaries.document("d-2"), canaries.document("d-3"));
    sent(proxy, s, SHOP, Method::POST, "/customers/_bulk_docs", &[], bulk.clone()).await;
    sent(proxy, s, SHOP, Method::POST, "/customers/_bulk_docs", &[], bulk.replacen('{', "{\"new_edits\":false,", 1)).await;
    sent(proxy, s, SHOP, Method::POST, "/customers/_bulk_get", &[], bulk).await;
}
