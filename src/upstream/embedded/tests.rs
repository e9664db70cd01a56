//! Through `send`, as a caller of the REST API, and past it, on the file.

use std::fs;

use super::*;
use crate::upstream::{Config, Endpoint, Upstream};

struct Shop {
    dir: tempfile::TempDir,
    documents: Upstream,
}

impl Shop {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let documents = Upstream::new(&Config::new(Endpoint::Embedded(dir.path().join("d.redb")))).unwrap();
        Self { dir, documents }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("d.redb")
    }

    async fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, HeaderMap, String) {
        let mut request = ::http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body =
            if body.is_empty() { Outgoing::Empty } else { Outgoing::Passed(whole(Bytes::copy_from_slice(body.as_bytes()))) };
        let reply = self.documents.send(request.body(()).unwrap().into_parts().0, body).await.unwrap();
        let (parts, body) = reply.into_parts();
        (parts.status, parts.headers, String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    async fn status(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let (status, headers, text) = self.send(method, target, headers, body).await;
        if status.is_client_error() {
            assert_eq!(headers["content-type"], "application/problem+json");
            let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(problem["status"], status.as_u16());
        }
        status.as_u16()
    }
}

const MEI: &str = r#"{"id":"c-1", "name" : "Mei\u0020Tanaka", "n":1.0}"#;

#[tokio::test]
async fn a_document_is_stored_as_the_bytes_that_came() {
    let shop = Shop::new();
    shop.documents.reachable().await.unwrap();
    let (status, headers, body) = shop.send("POST", "/customers", &[("content-type", "application/json")], MEI).await;
    assert_eq!(
        (status, body.as_str(), &headers["location"]),
        (StatusCode::CREATED, MEI, &HeaderValue::from_static("/customers/c-1"))
    );
    let (status, read, body) = shop.send("GET", "/customers/c-1", &[], "").await;
    assert_eq!((status, body.as_str(), &read["etag"]), (StatusCode::OK, MEI, &headers["etag"]));
    assert_eq!(read["content-length"], MEI.len().to_string());
    let (_, head, body) = shop.send("HEAD", "/customers/c-1", &[], "").await;
    assert_eq!((body.as_str(), &head["content-length"]), ("", &read["content-length"]));
    assert_eq!(shop.status("POST", "/customers", &[], MEI).await, 409);
    assert_eq!(shop.status("GET", "/orders/c-1", &[], "").await, 404);
}

#[tokio::test]
async fn the_file_is_read_without_the_store_while_it_is_open() {
    let shop = Shop::new();
    assert_eq!(read_raw(&shop.path(), "customers", "c-1").unwrap(), None);
    shop.send("POST", "/customers", &[], MEI).await;
    assert_eq!(read_raw(&shop.path(), "customers", "c-1").unwrap().unwrap(), MEI);
    assert_eq!(shop.documents.documents().unwrap().read_raw("customers", "c-1").unwrap().unwrap(), MEI);
    let file = fs::read(shop.path()).unwrap();
    assert!(memchr::memmem::find(&file, MEI.as_bytes()).is_some());
    // A second handle saw the first commit; it sees the next one too.
    let other = MEI.replace("1.0", "2.0");
    shop.send("PUT", "/customers/c-1", &[], &other).await;
    assert_eq!(read_raw(&shop.path(), "customers", "c-1").unwrap().unwrap(), other);
}

#[tokio::test]
async fn a_new_file_is_for_its_owner_only_and_one_that_is_there_stays_as_it_is() {
    use std::os::unix::fs::PermissionsExt;
    let shop = Shop::new();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&shop.path()), 0o600);
    let shared = shop.dir.path().join("shared.redb");
    fs::copy(shop.path(), &shared).unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).unwrap();
    drop(Documents::open(&shared).unwrap());
    assert_eq!(mode(&shared), 0o640);
}

#[tokio::test]
async fn the_store_opens_again_with_everything_and_only_once_for_writing() {
    let shop = Shop::new();
    shop.send("POST", "/customers", &[], MEI).await;
    let (_, first, _) = shop.send("GET", "/customers/c-1", &[], "").await;
    assert!(matches!(Documents::open(&shop.path()), Err(UpstreamError::Store(_))));
    let Shop { dir, documents } = shop;
    drop(documents);
    // The writer thread closes the file once its last handle is gone.
    let path = dir.path().join("d.redb");
    let reopened = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        Upstream::new(&Config::new(Endpoint::Embedded(path.clone()))).ok()
    });
    let shop = Shop { dir, documents: reopened.unwrap() };
    let (_, second, body) = shop.send("GET", "/customers/c-1", &[], "").await;
    assert_eq!((body.as_str(), &second["etag"]), (MEI, &first["etag"]));
    // Revisions go on where they were, so that an old tag never fits a new document.
    shop.send("DELETE", "/customers/c-1", &[], "").await;
    let (_, third, _) = shop.send("POST", "/customers", &[], MEI).await;
    assert_ne!(third["etag"], first["etag"]);
}

#[tokio::test]
async fn put_replaces_under_conditions() {
    let shop = Shop::new();
    let doc = |n| format!(r#"{{"id":"c-1","n":{n}}}"#);
    assert_eq!(shop.status("PUT", "/customers/c-1", &[("if-match", "*")], &doc(0)).await, 412);
    let (status, headers, body) = shop.send("PUT", "/customers/c-1", &[("if-none-match", "*")], &doc(1)).await;
    assert_eq!((status, body, headers.contains_key("location")), (StatusCode::CREATED, doc(1), true));
    let etag = headers["etag"].to_str().unwrap().to_string();
    assert_eq!(shop.status("PUT", "/customers/c-1", &[("if-none-match", "*")], &doc(2)).await, 412);
    let (status, headers, _) = shop.send("PUT", "/customers/c-1", &[("if-match", &format!("\"x\", {etag}"))], &doc(3)).await;
    assert_eq!((status, headers.contains_key("location")), (StatusCode::OK, false));
    assert_eq!(shop.status("PUT", "/customers/c-1", &[("if-match", &etag)], &doc(4)).await, 412);
    assert_eq!(shop.status("DELETE", "/customers/c-1", &[("if-match", &etag)], "").await, 412);
    assert_eq!(shop.send("GET", "/customers/c-1", &[], "").await.2, doc(3));
    let newest = headers["etag"].to_str().unwrap();
    assert_eq!(shop.status("GET", "/customers/c-1", &[("if-none-match", newest)], "").await, 304);
    assert_eq!(shop.status("GET", "/customers/c-1", &[("if-none-match", &etag)], "").await, 200);
    assert_eq!(shop.status("DELETE", "/customers/c-1", &[("if-match", newest)], "").await, 204);
    assert_eq!(shop.status("DELETE", "/customers/c-1", &[], "").await, 404);
}

#[tokio::test]
async fn lists_page_through_a_collection_in_order() {
    let shop = Shop::new();
    let empty = shop.send("GET", "/customers", &[], "").await;
    assert_eq!((empty.0, empty.2.as_str(), &empty.1["content-type"]), (StatusCode::OK, "[]", &JSON));
    for id in ["b", "a", "c"] {
        shop.send("POST", "/customers", &[], &format!(r#"{{"id":"{id}"}}"#)).await;
    }
    shop.send("POST", "/customerz", &[], r#"{"id":7}"#).await;
    let list = |target: &'static str| async { shop.send("GET", target, &[], "").await.2 };
    assert_eq!(list("/customers").await, r#"[{"id":"a"},{"id":"b"},{"id":"c"}]"#);
    assert_eq!(list("/customers?limit=2").await, r#"[{"id":"a"},{"id":"b"}]"#);
    assert_eq!(list("/customers?limit=2&after=b").await, r#"[{"id":"c"}]"#);
    assert_eq!(list("/customers?after=c").await, "[]");
    assert_eq!(list("/customerz").await, r#"[{"id":7}]"#);
    assert_eq!(shop.status("GET", "/customers?limit=x", &[], "").await, 400);
}

#[tokio::test]
async fn a_long_list_streams_in_pieces_from_one_snapshot() {
    let shop = Shop::new();
    let text = "x".repeat(50_000);
    for id in 100..110 {
        shop.send("POST", "/customers", &[], &format!(r#"{{"id":{id},"text":"{text}"}}"#)).await;
    }
    let request = ::http::Request::get("/customers").body(()).unwrap().into_parts().0;
    let mut body = shop.documents.send(request, Outgoing::Empty).await.unwrap().into_body();
    let mut all = Vec::new();
    let mut pieces = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        assert!(data.len() < 120_000, "{}", data.len());
        all.extend_from_slice(&data);
        pieces += 1;
        if pieces == 1 {
            assert_eq!(shop.status("DELETE", "/customers/109", &[], "").await, 204);
        }
    }
    assert!(pieces >= 5, "{pieces}");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&all).unwrap().as_array().unwrap().len(), 10);
}

#[tokio::test]
async fn what_is_not_a_document_is_refused() {
    let shop = Shop::new();
    for body in [
        "",
        "[]",
        "nonsense",
        "{}",
        r#"{"id":null}"#,
        r#"{"id":""}"#,
        r#"{"id":1e2}"#,
        r#"{"id":1.0}"#,
        r#"{"id":9007199254740992}"#,
        r#"{"id":true}"#,
    ] {
        assert_eq!(shop.status("POST", "/customers", &[], body).await, 400, "{body}");
    }
    assert_eq!(shop.status("POST", "/customers", &[], &format!(r#"{{"id":"{}"}}"#, "x".repeat(513))).await, 400);
    assert_eq!(shop.status("PUT", "/customers/c-2", &[], MEI).await, 400);
    assert_eq!(shop.status("POST", "/customers", &[("content-type", "text/plain")], MEI).await, 415);
    assert_eq!(shop.status("POST", "/customers", &[("content-encoding", "gzip")], MEI).await, 415);
    assert_eq!(shop.status("POST", "/customers", &[("content-type", "application/vnd.x+json; charset=utf-8")], MEI).await, 201);
    assert_eq!(shop.status("POST", "/customers", &[], &format!(r#"{{"id":"l","t":"{}"}}"#, "x".repeat(16 << 20))).await, 413);
    for (method, target, status) in [
        ("PATCH", "/customers/c-1", 405),
        ("DELETE", "/customers", 405),
        ("POST", "/customers/c-1", 405),
        ("GET", "/", 404),
        ("GET", "/a/b/c", 404),
        ("GET", "/a%20b", 400),
    ] {
        assert_eq!(shop.status(method, target, &[], "").await, status, "{method} {target}");
    }
    let (_, headers, _) = shop.send("PATCH", "/customers/c-1", &[], "").await;
    assert_eq!(headers["allow"], "GET, HEAD, PUT, DELETE");
}

#[tokio::test]
async fn ids_that_need_encoding_come_back_through_their_location() {
    let shop = Shop::new();
    let body = r#"{"id":"a/b c@é"}"#;
    let (_, headers, _) = shop.send("POST", "/customers", &[], body).await;
    let location = headers["location"].to_str().unwrap().to_string();
    assert_eq!(location, "/customers/a%2Fb%20c%40%C3%A9");
    assert_eq!(shop.send("GET", &location, &[], "").await.2, body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_get_one_create_and_every_write_its_own_revision() {
    let shop = Arc::new(Shop::new());
    let mut tasks = tokio::task::JoinSet::new();
    for at in 0..64 {
        let shop = Arc::clone(&shop);
        tasks.spawn(async move {
            let same = shop.status("POST", "/customers", &[], MEI).await;
            let (_, headers, _) = shop.send("POST", "/customers", &[], &format!(r#"{{"id":{at}}}"#)).await;
            (same, headers["etag"].clone())
        });
    }
    let outcomes = tasks.join_all().await;
    assert_eq!(outcomes.iter().filter(|(status, _)| *status == 201).count(), 1);
    assert_eq!(outcomes.iter().filter(|(status, _)| *status == 409).count(), 63);
    let etags: std::collections::HashSet<_> = outcomes.iter().map(|(_, etag)| etag.clone()).collect();
    assert_eq!(etags.len(), 64);
}

#[tokio::test]
async fn lists_are_asked_for_members_at_the_top() {
    let store = Shop::new();
    for (id, rest) in [
        ("1", r#""tier":"gold","tags":["a","b"]"#),
        ("2", r#""tier":"s lver","tags":["b"]"#),
        ("3", r#""tier":7,"x":{"tier":"gold"}"#),
        ("4", r#""ti\u0065r":"gold","tags":"a""#),
    ] {
        assert_eq!(store.status("POST", "/people", &[], &format!(r#"{{"id":"{id}",{rest}}}"#)).await, 201);
    }
    for (query, expected) in [
        ("tier=gold", "1,4"),
        ("tier=gold&tier=s%20lver", "1,2,4"),
        ("tags=a", "1,4"),
        ("tags=b&tier=gold", "1"),
        ("tier=7", ""),
        ("nothing=gold", ""),
        ("tier=gold&limit=1", "1"),
        ("tier=gold&after=1", "4"),
        ("%74ier=gold", "1,4"),
    ] {
        let (status, _, body) = store.send("GET", &format!("/people?{query}"), &[], "").await;
        let rows: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
        let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!((status, ids.join(",").as_str()), (StatusCode::OK, expected), "{query}");
    }
    for wrong in ["tier=", "=x", "_tier=x", "a.b=x", "a[]=x", "limit=x"] {
        assert_eq!(store.status("GET", &format!("/people?{wrong}"), &[], "").await, 400, "{wrong}");
    }
}

/// Few of many: pieces without documents keep the array whole.
#[tokio::test]
async fn a_search_through_many_documents_comes_in_pieces() {
    let store = Shop::new();
    for number in 0..300 {
        let body = format!(r#"{{"id":"{number:05}","tier":"t{}"}}"#, number % 100);
        assert_eq!(store.status("POST", "/people", &[], &body).await, 201);
    }
    let (_, _, body) = store.send("GET", "/people?tier=t99", &[], "").await;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&body).unwrap();
    assert_eq!(rows.len(), 3);
}
