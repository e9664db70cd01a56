//! Live migration: a sweep seals what is clear while clients write through the proxy. The database is a double that checks `_rev`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};
use sudare::config;
use sudare::keys::{KeyRing, Rings};
use sudare::sweep::{Migrated, Migration, Pass, SweepError, Watch, migrate};
use sudare::upstream::Upstream;

use crate::support::{Proxy, Setup, Stub, StubReply, decoded, take_one};

const COLLECTIONS: &str = r#"
[collection.customers]
match   = "customers"
subject = "{id}"
strict  = false
[collection.customers.field]
name    = "$.name"
address = "$.address"
phone   = { at = "$.phones[*]", category = "phone" }
id-card = "$.id_card"
"#;

/// As much of CouchDB as the proxy and a sweep ask: documents with revisions, compare-and-swap on every write.
#[derive(Default)]
struct Couch {
    documents: Mutex<BTreeMap<String, Value>>,
    /// Somebody else is faster than so many of the bulk writes.
    races: AtomicU64,
    /// Bulk writes that fail before anything is stored.
    failures: AtomicU64,
}

impl Couch {
    fn put(&self, mut document: Value) -> Result<(String, String), String> {
        let mut documents = self.documents.lock().unwrap();
        let id = document["_id"].as_str().unwrap().to_owned();
        let there = documents.get(&id).map(|there| there["_rev"].as_str().unwrap().to_owned());
        if there.as_deref() != document.get("_rev").and_then(Value::as_str) {
            return Err(id);
        }
        let generation: u64 = there.map_or(0, |rev| rev.split_once('-').unwrap().0.parse().unwrap());
        let rev = format!("{}-{generation:032x}", generation + 1);
        document["_rev"] = json!(rev);
        documents.insert(id.clone(), document);
        Ok((id, rev))
    }

    /// What another client does between reading and writing.
    fn race(&self, id: &str) {
        let mut document = self.documents.lock().unwrap()[id].clone();
        document["count"] = json!(document["count"].as_u64().unwrap() + 1);
        self.put(document).unwrap();
    }

    fn answer(&self, method: &Method, target: &str, body: &[u8]) -> StubReply {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parameter = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).map(decoded);
        match (method.as_str(), path) {
            ("GET", "/customers") => StubReply::json(200, json!({"doc_count": self.documents.lock().unwrap().len()}).to_string()),
            ("GET", "/customers/_all_docs") => {
                let from: Option<String> = parameter("startkey").map(|key| serde_json::from_str(&key).unwrap());
                let limit: usize = parameter("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
                let documents = self.documents.lock().unwrap();
                let rows: Vec<Value> = documents
                    .iter()
                    .filter(|(id, _)| from.as_ref().is_none_or(|from| *id >= from))
                    .take(limit)
                    .map(|(id, document)| json!({"id": id, "key": id, "value": {"rev": document["_rev"]}, "doc": document}))
                    .collect();
                StubReply::json(200, json!({"total_rows": documents.len(), "offset": 0, "rows": rows}).to_string())
            }
            ("POST", "/customers/_bulk_docs") => {
                if take_one(&self.failures) {
                    return StubReply::json(503, "{\"error\":\"overloaded\"}");
                }
                let body: Value = serde_json::from_slice(body).unwrap();
                let docs = body["docs"].as_array().unwrap();
                if docs.iter().any(|document| document.get("_conflicts").is_some()) {
                    return StubReply::json(400, "{\"error\":\"doc_validation\"}");
                }
                if take_one(&self.races) {
                    self.race(docs[0]["_id"].as_str().unwrap());
                }
                let done = docs.iter().map(|document| match self.put(document.clone()) {
                    Ok((id, rev)) => json!({"ok": true, "id": id, "rev": rev}),
                    Err(id) => json!({"id": id, "error": "conflict", "reason": "Document update conflict."}),
                });
                StubReply::json(201, Value::Array(done.collect()).to_string())
            }
            ("PUT", _) => {
                let mut document: Value = serde_json::from_slice(body).unwrap();
                document["_id"] = json!(decoded(path.strip_prefix("/customers/").unwrap()));
                match self.put(document) {
                    Ok((id, rev)) => StubReply::json(201, json!({"ok": true, "id": id, "rev": rev}).to_string()),
                    Err(_) => StubReply::json(409, "{\"error\":\"conflict\",\"reason\":\"Document update conflict.\"}"),
                }
            }
            ("GET", _) => match self.documents.lock().unwrap().get(&decoded(path.strip_prefix("/customers/").unwrap())) {
                Some(document) => StubReply::json(200, document.to_string()),
                None => StubReply::json(404, "{\"error\":\"not_found\",\"reason\":\"missing\"}"),
            },
            _ => StubReply::json(405, "{\"error\":\"method_not_allowed\"}"),
        }
    }

    fn text(&self) -> String {
        serde_json::to_string(&*self.documents.lock().unwrap()).unwrap()
    }
}

/// Documents as they were before there was a proxy.
fn clear(number: usize) -> Value {
    json!({
        "_id": format!("c-{number:05}"), "name": "Canary 0", "address": format!("{number} Canary Street"),
        "phones": ["+81 Canary", null], "count": 0, "tier": "gold",
    })
}

async fn started(count: usize) -> (Arc<Couch>, Proxy) {
    let couch = Arc::new(Couch::default());
    for number in 0..count {
        couch.put(clear(number)).unwrap();
    }
    let ours = Arc::clone(&couch);
    let stub = Stub::start(move |seen| ours.answer(&seen.method, &seen.target, &seen.body)).await;
    (couch, Setup::couchdb(stub.address).collections(COLLECTIONS).start().await)
}

/// What an operator's terminal would show.
#[derive(Default)]
struct Seen {
    refused: Vec<(Option<String>, &'static str)>,
    again: usize,
}

impl Watch for Seen {
    fn begins(&mut self, _pass: u32, _total: Option<u64>) {
        self.refused.clear();
    }
    fn refused(&mut self, id: Option<&str>, code: &'static str, sentence: &str) {
        assert!(!sentence.contains("Canary"), "{sentence}");
        self.refused.push((id.map(str::to_owned), code));
    }
    fn again(&mut self, _sentence: &str) {
        self.again += 1;
    }
    fn moved(&mut self, _pass: &Pass) {}
}

async fn sweep(proxy: &Proxy, dry_run: bool, rate: Option<u32>, seen: &mut Seen) -> Migrated {
    let upstream = Upstream::new(&config::load(&proxy.file).unwrap().upstream).unwrap();
    sweep_at(upstream, proxy, dry_run, rate, seen).await
}

async fn sweep_at(upstream: Upstream, proxy: &Proxy, dry_run: bool, rate: Option<u32>, seen: &mut Seen) -> Migrated {
    try_sweep_at(upstream, proxy, dry_run, rate, seen).await.unwrap()
}

async fn try_sweep_at(
    upstream: Upstream,
    proxy: &Proxy,
    dry_run: bool,
    rate: Option<u32>,
    seen: &mut Seen,
) -> Result<Migrated, SweepError> {
    let mut settings = config::load(&proxy.file).unwrap();
    let migration = Migration {
        upstream,
        sweep: settings.dialect.sweep(0).unwrap(),
        collection: settings.collections.remove(0).field_map,
        keys: KeyRing::open(&settings.keys).unwrap().into(),
        vault: None,
        rate: rate.map(|rate| rate.try_into().unwrap()),
        parallel: 3,
        dry_run,
    };
    migrate(migration, seen).await
}

/// Adds one to a document's two counters through the proxy, the protected one and the other, until the database takes it.
async fn count_up(proxy: &Proxy, id: &str) {
    loop {
        let path = format!("/customers/{id}");
        let mut document = proxy.ask("shop", "account", Method::GET, &path, "").await.json();
        let count = document["count"].as_u64().unwrap() + 1;
        let seen: u64 = document["name"].as_str().unwrap().strip_prefix("Canary ").unwrap().parse().unwrap();
        document["count"] = json!(count);
        document["name"] = json!(format!("Canary {}", seen + 1));
        match proxy.ask("shop", "account", Method::PUT, &path, document.to_string()).await.status.as_u16() {
            201 => return,
            409 => {}
            status => panic!("{status}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn t4_documents_migrate_while_others_write_and_no_update_is_lost() {
    const DOCUMENTS: usize = 700;
    let (couch, proxy) = started(DOCUMENTS).await;
    let proxy = Arc::new(proxy);
    let dry = sweep(&proxy, true, None, &mut Seen::default()).await;
    let all = u64::try_from(DOCUMENTS).unwrap();
    assert_eq!((dry.last.documents, dry.last.clear_documents, dry.last.clear_values), (all, all, 3 * all));
    assert_eq!(couch.text().matches("sdr1.").count(), 0, "a dry run writes nothing");

    couch.races.store(3, Ordering::SeqCst);
    couch.failures.store(1, Ordering::SeqCst);
    let writes: Vec<usize> = (0..60).map(|n| n * 37 % DOCUMENTS).chain((0..20).map(|n| n % 4)).collect();
    let others = {
        let (proxy, writes) = (Arc::clone(&proxy), writes.clone());
        tokio::task::spawn(async move {
            for number in writes {
                count_up(&proxy, &format!("c-{number:05}")).await;
            }
        })
    };
    let mut seen = Seen::default();
    let migrated = sweep(&proxy, false, Some(1000), &mut seen).await;
    others.await.unwrap();
    assert!(migrated.is_complete() && seen.refused.is_empty(), "{migrated:?}");
    assert!(
        migrated.total.conflicts >= 3 && migrated.total.unanswered > 0 && seen.again > 0,
        "the double did its worst: {migrated:?}"
    );

    let stored = couch.text();
    assert_eq!(stored.matches("Canary").count(), 0, "a clear value is left");
    assert_eq!(stored.matches("sdr1.x.").count(), 3 * DOCUMENTS);
    let racing: u64 = couch.documents.lock().unwrap().values().map(|document| document["count"].as_u64().unwrap()).sum();
    assert_eq!(racing, u64::try_from(writes.len()).unwrap() + 3, "an update is lost");

    // From now on a clear value is refused; none is met.
    let text = std::fs::read_to_string(&proxy.file).unwrap().replace("strict  = false", "strict  = true");
    std::fs::write(&proxy.file, text).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    let list = proxy.ask("shop", "account", Method::GET, "/customers/_all_docs?include_docs=true", "").await.json();
    let names: u64 = list["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let name = row["doc"]["name"].as_str().unwrap();
            name.strip_prefix("Canary ").unwrap().parse::<u64>().unwrap()
        })
        .sum();
    assert_eq!(names, u64::try_from(writes.len()).unwrap(), "a protected update is lost");
    let again = sweep(&proxy, false, None, &mut Seen::default()).await;
    assert_eq!((again.passes, again.total.written, again.last.kept), (1, 0, 3 * all));
}

#[tokio::test]
async fn what_cannot_be_sealed_is_named_and_the_rest_goes_on() {
    let (couch, proxy) = started(3).await;
    let plant = |document: Value| couch.put(document).unwrap();
    plant(json!({"_id": "misfit", "phones": "Canary"}));
    plant(json!({"_id": "foreign", "name": "sdr1.x.Canary", "address": "Canary"}));
    plant(json!({"_id": "_design/names", "name": "Canary", "views": {}}));
    plant(json!({"_id": "bullet", "name": "Canary • 5"}));
    let mut seen = Seen::default();
    let migrated = sweep(&proxy, false, None, &mut seen).await;
    assert!(!migrated.is_complete());
    assert_eq!((migrated.total.written, migrated.last.refused), (4, 3));
    let mut refused: Vec<(String, &str)> = seen.refused.into_iter().map(|(id, code)| (id.unwrap(), code)).collect();
    refused.sort();
    let expected = [("_design/names", "route-refused"), ("foreign", "foreign-envelope"), ("misfit", "misfit")];
    assert_eq!(refused, expected.map(|(id, code)| (id.to_owned(), code)));
    let answer = proxy.ask("shop", "account", Method::GET, "/customers/bullet", "").await;
    assert_eq!(answer.json()["name"], "Canary • 5", "what the database held is what there is");
}

#[tokio::test]
async fn conflicting_revisions_are_told_and_not_written_back() {
    let (couch, proxy) = started(1).await;
    couch.documents.lock().unwrap().get_mut("c-00000").unwrap()["_conflicts"] = json!(["1-abc"]);
    let migrated = sweep(&proxy, true, None, &mut Seen::default()).await;
    assert_eq!(migrated.last.conflicted, 1);
    sweep(&proxy, false, None, &mut Seen::default()).await;
    assert!(!couch.text().contains("Canary"));
}

#[tokio::test]
async fn the_embedded_store_is_swept_with_its_own_validators() {
    let mut proxy = Setup::embedded().collections(&include_str!("support/lenient.toml").replace("STRICT", "false")).start().await;
    for number in 0..250 {
        let document = json!({"id": format!("c/{number}"), "name": "Canary", "tier": number});
        assert_eq!(proxy.database(Method::POST, "/customers", document.to_string()).await.status, 201);
    }
    let settings = config::load(&proxy.file).unwrap();
    assert!(Upstream::new(&settings.upstream).is_err(), "while it is served nobody else writes it");
    proxy.stop().await;
    // Tasks that are ending may hold the file a moment longer.
    let upstream = loop {
        match Upstream::new(&settings.upstream) {
            Ok(upstream) => break upstream,
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    let migrated = sweep_at(upstream, &proxy, false, None, &mut Seen::default()).await;
    assert!(migrated.is_complete(), "{migrated:?}");
    assert_eq!((migrated.passes, migrated.total.written, migrated.last.documents), (2, 250, 250));
    let sudare::upstream::Endpoint::Embedded(path) = &settings.upstream.endpoint else { panic!("embedded") };
    for number in [0, 249] {
        let stored = sudare::upstream::embedded::read_raw(path, "customers", &format!("c/{number}")).unwrap().unwrap();
        let text = String::from_utf8(stored.to_vec()).unwrap();
        assert!(text.contains("sdr1.x.") && text.contains(&format!("\"tier\":{number}")) && !text.contains("Canary"), "{text}");
    }
}

#[tokio::test]
async fn a_database_that_lists_otherwise_is_neither_swept_for_ever_nor_under_false_ids() {
    let collections = include_str!("support/lenient.toml").replace("STRICT", "false");
    let swept = async |list: Value, one: Value| {
        let stub = Stub::start(move |seen| {
            let listed = seen.target.starts_with("/customers?");
            let mut reply = StubReply::json(200, if listed { &list } else { &one }.to_string());
            reply.headers.push(("etag", "\"1\"".to_owned()));
            reply
        })
        .await;
        let proxy = Setup::rest(stub.address).collections(&collections).start().await;
        let upstream = Upstream::new(&config::load(&proxy.file).unwrap().upstream).unwrap();
        let mut seen = Seen::default();
        let sweep = try_sweep_at(upstream, &proxy, false, None, &mut seen);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(20), sweep).await.expect("it ends");
        (ended, seen, stub)
    };
    // The document that is listed as `a` is not the one at its path.
    let (ended, seen, stub) = swept(json!([{"id": "a", "name": "Canary"}]), json!({"id": "b", "name": "Canary"})).await;
    assert!(!ended.unwrap().is_complete());
    assert_eq!(seen.refused, [(Some("a".to_owned()), "id-mismatch")]);
    assert!(stub.seen().iter().all(|seen| seen.method == Method::GET), "nothing is sealed for another");
    // It knows of no pages.
    let all: Vec<Value> = (0..300).map(|number| json!({"id": number})).collect();
    let (ended, _, _) = swept(json!(all), json!({})).await;
    assert!(matches!(ended, Err(SweepError::NotUnderstood(_))));
}

/// Token fields, too: the sweep and the proxy share the vault, so one value has one token, whoever stores it.
#[tokio::test]
async fn values_become_tokens_while_the_proxy_serves() {
    let couch = Arc::new(Couch::default());
    for number in 0..40 {
        couch.put(json!({"_id": format!("c-{number}"), "name": "Canary 0", "id_card": format!("card {}", number % 4)})).unwrap();
    }
    couch.put(json!({"_id": "foreign", "id_card": "tok1_00000000000000000000000000"})).unwrap();
    let ours = Arc::clone(&couch);
    let stub = Stub::start(move |seen| ours.answer(&seen.method, &seen.target, &seen.body)).await;
    let collections = COLLECTIONS.replace(r#""$.id_card""#, r#"{ at = "$.id_card", protect = "token" }"#);
    let (proxy, store) = crate::tokens::watched(Setup::couchdb(stub.address).collections(&collections), None);
    let created = proxy.ask("shop", "registration", Method::PUT, "/customers/new", r#"{"id_card":"card 1"}"#).await;
    assert_eq!(created.status, 201, "{}", created.text());
    store.calls();
    let mut migrated = Vec::new();
    for dry_run in [true, false] {
        let mut settings = config::load(&proxy.file).unwrap();
        let keys: Arc<Rings> = KeyRing::open(&settings.keys).unwrap().into();
        let migration = Migration {
            upstream: Upstream::new(&settings.upstream).unwrap(),
            sweep: settings.dialect.sweep(0).unwrap(),
            collection: settings.collections.remove(0).field_map,
            vault: Some(sudare::vault::Vault::new(store.clone(), Arc::clone(&keys))),
            keys,
            rate: None,
            parallel: 1,
            dry_run,
        };
        let mut seen = Seen::default();
        migrated.push(migrate(migration, &mut seen).await.unwrap());
        assert_eq!(seen.refused, [(Some("foreign".to_owned()), "foreign-token")]);
        assert_eq!(store.calls().0, usize::from(!dry_run), "a dry run makes nothing, a page is one claim");
    }
    assert_eq!((migrated[0].last.clear_values, migrated[1].total.written, migrated[1].last.kept), (80, 40, 81));
    let documents = couch.documents.lock().unwrap().clone();
    let mut tokens: Vec<&str> = documents.values().filter_map(|document| document["id_card"].as_str()).collect();
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), 5, "four values, and what was no token: {tokens:?}");
    assert_eq!(documents["new"]["id_card"], documents["c-1"]["id_card"]);
    let read = proxy.ask("shop", "account", Method::GET, "/customers/c-7", "").await.json();
    assert_eq!(read["id_card"], "card 3");
}
