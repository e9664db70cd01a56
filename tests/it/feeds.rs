//! Feeds of changes: rows leave when they come, under what holds when they come, and a feed ends when it should.

use std::fs;
use std::time::{Duration, Instant};

use http::Method;
use sudare::audit::Filter;

use crate::support::{Came, Live, PERSON, Proxy, Setup, SlowDatabase, Waiting};

const SOON: Duration = Duration::from_secs(3);
const A_WHILE: Duration = Duration::from_millis(300);

async fn behind(more: &str, upstream: &str) -> (Proxy, SlowDatabase) {
    let database = SlowDatabase::start().await;
    (Setup::couchdb(database.address).more(more).upstream(upstream).start().await, database)
}

/// The customer of most tests as the database holds it.
async fn stored(proxy: &Proxy, database: &SlowDatabase, id: &str) -> String {
    let person = PERSON.replace("\"id\":\"c-1\"", &format!("\"_id\":\"{id}\""));
    let path = format!("/customers/{id}");
    let write = async {
        let waiting = database.asked().await;
        let body = waiting.body.clone();
        waiting.answer(201, r#"{"ok":true}"#).await;
        body
    };
    let (answer, stored) = tokio::join!(proxy.ask("shop", "registration", Method::PUT, &path, person), write);
    assert_eq!(answer.status, 201);
    assert!(stored.contains("sdr1.") && !stored.contains("Mei"));
    stored
}

/// Opens a feed, which begins in the database too.
async fn feed(proxy: &Proxy, database: &SlowDatabase, caller: &str, purpose: &str, query: &str) -> (Live, Waiting) {
    let path = format!("/customers/_changes?{query}");
    let begin = async {
        let mut waiting = database.asked().await;
        waiting.begin(if query.contains("eventsource") { "text/event-stream" } else { "application/json" }).await;
        waiting
    };
    let (live, waiting) = tokio::join!(proxy.open(caller, purpose, Method::GET, &path, ""), begin);
    assert_eq!(live.status, 200);
    (live, waiting)
}

fn text(came: Came) -> String {
    match came {
        Came::Text(text) => text,
        other @ (Came::Nothing | Came::End | Came::Broken) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_and_heartbeats_of_a_continuous_feed_leave_when_they_come() {
    let (proxy, database) = behind("", "").await;
    let doc = stored(&proxy, &database, "c-1").await;
    let started = Instant::now();
    let (mut live, mut waiting) =
        feed(&proxy, &database, "shipping", "delivery", "feed=continuous&include_docs=true&heartbeat=1000").await;
    assert!(started.elapsed() < Duration::from_secs(2), "the head does not wait for a row");
    assert!(live.headers["data-view"].to_str().unwrap().contains("masked=(id-card)"));
    assert_eq!(live.headers["cache-control"], "no-store");
    for seq in 1..4 {
        waiting.say("\n").await;
        assert_eq!(live.next(SOON).await, Came::Text("\n".to_owned()));
        waiting.say(&format!("{{\"seq\":{seq},\"id\":\"c-1\",\"changes\":[{{\"rev\":\"1-a\"}}],\"doc\":{doc}}}\n")).await;
        let row = text(live.next(SOON).await);
        let row: serde_json::Value = serde_json::from_str(&row).unwrap();
        assert_eq!((row["doc"]["name"].as_str(), row["doc"]["id_card"].as_str()), (Some("Mei Tanaka"), Some("••••9018")));
        assert_eq!((row["seq"].as_u64(), row["doc"]["tier"].as_str()), (Some(seq), Some("gold")));
    }
    // Half a row waits for its other half.
    let (half, rest) = doc.split_at(doc.len() / 2);
    waiting.say(&format!("{{\"seq\":4,\"doc\":{half}")).await;
    let (early, _) = live.all(A_WHILE).await;
    assert!(!early.contains("Mei") && !early.contains("sdr1") && "{\"seq\":4,\"doc\":".starts_with(&early), "{early}");
    waiting.say(&format!("{rest}}}\n")).await;
    assert!(live.all(A_WHILE).await.0.contains("Mei Tanaka"));
    waiting.say("{\"last_seq\":4,\"pending\":0}\n").await;
    waiting.end().await;
    assert_eq!(live.all(SOON).await, ("{\"last_seq\":4,\"pending\":0}\n".to_owned(), Came::End));
}

#[tokio::test]
async fn a_longpoll_and_an_event_stream_are_flushed_too() {
    let (proxy, database) = behind("", "").await;
    let doc = stored(&proxy, &database, "c-1").await;
    let (mut live, mut waiting) = feed(&proxy, &database, "helpdesk", "support", "feed=longpoll&include_docs=true").await;
    let mut said = String::new();
    for piece in ["{\"results\":[\n", "\n", "\n"] {
        waiting.say(piece).await;
        said += &text(live.next(SOON).await);
    }
    waiting.say(&format!("{{\"seq\":1,\"id\":\"c-1\",\"doc\":{doc}}}")).await;
    waiting.say("\n],\n\"last_seq\":1}\n").await;
    waiting.end().await;
    let (rest, end) = live.all(SOON).await;
    assert_eq!(end, Came::End);
    let whole: serde_json::Value = serde_json::from_str(&(said + &rest)).unwrap();
    assert_eq!(whole["results"][0]["doc"]["name"], "Mei Tanaka");
    assert_eq!(whole["results"][0]["doc"].get("address"), None);

    let (mut live, mut waiting) = feed(&proxy, &database, "helpdesk", "support", "feed=eventsource&include_docs=true").await;
    waiting.say("event: heartbeat\ndata: \n\n").await;
    assert_eq!(live.next(SOON).await, Came::Text("event: heartbeat\ndata: \n\n".to_owned()));
    waiting.say(&format!("data: {{\"seq\":1,\"id\":\"c-1\",\"doc\":{doc}}}\nid: 1-g1AAA\n\n")).await;
    let event = text(live.next(SOON).await);
    let data = event.lines().next().unwrap().strip_prefix("data: ").unwrap();
    let row: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!((row["doc"]["name"].as_str(), row["doc"]["phone"].as_str()), (Some("Mei Tanaka"), Some("••••1234")));
    assert!(event.ends_with("\nid: 1-g1AAA\n\n"), "{event}");
}

#[tokio::test]
async fn ids_and_revisions_pass_and_so_do_the_databases_errors() {
    let (proxy, database) = behind("", "").await;
    let path = "/customers/_changes?feed=continuous&since=now";
    let error = async { database.asked().await.answer(400, "{\n  \"error\": \"bad_request\"\n}").await };
    let (mut live, ()) = tokio::join!(proxy.open("mailer", "marketing", Method::GET, path, ""), error);
    assert_eq!(live.status, 400);
    assert_eq!(live.all(SOON).await, ("{\n  \"error\": \"bad_request\"\n}".to_owned(), Came::End));

    let rows =
        "{\"results\":[{\"seq\":\"1-x\",\"id\":\"c-1\",\"changes\":[{\"rev\":\"2-b\"}],\"deleted\":true}],\"last_seq\":\"1-x\"}";
    let answer = async {
        let waiting = database.asked().await;
        assert_eq!(
            (waiting.target.as_str(), waiting.body.as_str()),
            ("/customers/_changes?filter=_doc_ids", "{\"doc_ids\":[\"c-1\"]}")
        );
        waiting.answer(200, rows).await;
    };
    let path = "/customers/_changes?filter=_doc_ids";
    let (answer, ()) = tokio::join!(proxy.ask("mailer", "marketing", Method::POST, path, "{\"doc_ids\":[\"c-1\"]}"), answer);
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (200, rows));
}

#[tokio::test]
async fn t25_rows_of_a_feed_are_on_record_before_they_leave() {
    let (proxy, database) = behind("", "").await;
    let doc = stored(&proxy, &database, "c-1").await;
    let (mut live, mut waiting) = feed(&proxy, &database, "shipping", "delivery", "feed=continuous&include_docs=true").await;
    let reveals = || proxy.events(&Filter::default()).iter().filter(|event| event.kind == "reveal").count();
    for row in 1..=5 {
        waiting.say("\n").await;
        waiting.say(&format!("{{\"seq\":{row},\"doc\":{doc}}}\n")).await;
        while !text(live.next(SOON).await).contains("Mei Tanaka") {}
        assert_eq!(reveals(), row, "as soon as the row is here its event is there");
    }
}

#[tokio::test]
async fn t27_a_feed_that_is_not_what_it_should_be_is_broken_off() {
    let (proxy, database) = behind("", "").await;
    for (query, piece) in [
        ("feed=continuous", "{\"seq\":1,\n\"doc\":{\"name\":\"Mei\"}}\n"),
        ("feed=continuous", "{\"seq\":1} {\"seq\":2}\n"),
        ("feed=eventsource", "{\"seq\":1,\"doc\":{\"name\":\"Mei\"}}\n"),
        ("feed=eventsource", "id: 1\rdata: {\"doc\":{\"name\":\"Mei\"}}\n\n"),
        ("feed=longpoll", "{\"results\":[]} Mei"),
        // Clear where an envelope belongs (T4).
        ("feed=continuous", "{\"seq\":1,\"doc\":{\"_id\":\"c-1\",\"name\":\"Mei\"}}\n"),
    ] {
        let (mut live, mut waiting) = feed(&proxy, &database, "shipping", "delivery", query).await;
        waiting.say("\n").await;
        assert_eq!(live.next(SOON).await, Came::Text("\n".to_owned()), "{query}");
        waiting.say(piece).await;
        let (shown, end) = live.all(SOON).await;
        assert_eq!(end, Came::Broken, "{piece}");
        assert!(!shown.contains("Mei"), "{piece}: {shown}");
        assert!(waiting.closed(SOON).await, "{piece}");
    }
}

/// Puts another policy in force.
fn reload(proxy: &Proxy, from: &str, to: &str) {
    let file = proxy.folder.path().join("policy.toml");
    let policy = fs::read_to_string(&file).unwrap();
    assert!(policy.contains(from));
    fs::write(&file, policy.replace(from, to)).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn t33_a_feed_ends_when_its_purpose_is_taken_away() {
    let (proxy, database) = behind("", "").await;
    let doc = stored(&proxy, &database, "c-1").await;
    let row = format!("{{\"seq\":1,\"doc\":{doc}}}\n");
    let (mut busy, mut busy_waiting) = feed(&proxy, &database, "shipping", "delivery", "feed=continuous&include_docs=true").await;
    let (mut idle, mut idle_waiting) = feed(&proxy, &database, "shipping", "delivery", "feed=continuous&include_docs=true").await;
    busy_waiting.say(&row).await;
    assert!(text(busy.next(SOON).await).contains("Mei Tanaka"));
    reload(&proxy, "callers = [\"shipping\", \"carrier\"]", "callers = [\"carrier\"]");
    let started = Instant::now();
    for _ in 0..20 {
        busy_waiting.say(&row).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    idle_waiting.say(&row).await;
    // What was on its way when the policy changed may still come, nothing after it.
    let (_, end) = busy.all(SOON).await;
    assert_eq!(end, Came::Broken);
    assert_eq!(idle.all(SOON).await, (String::new(), Came::Broken), "an idle feed shows nothing after that");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(busy_waiting.closed(SOON).await && idle_waiting.closed(SOON).await);
    let answer = proxy.ask("shipping", "delivery", Method::GET, "/customers/_changes", "").await;
    assert_eq!(answer.outcome(), (403, "purpose-refused".to_owned()));
}

#[tokio::test]
async fn t19_a_feed_goes_on_with_new_keys_after_it_connects_again() {
    let (proxy, database) = behind("", "").await;
    let (mut live, mut waiting) = feed(&proxy, &database, "shipping", "delivery", "feed=continuous&include_docs=true").await;
    let settings = sudare::config::load(&proxy.file).unwrap();
    sudare::keys::rotate(&settings.keys, &sudare::keys::LineName::Seal, &sudare::base::SystemClock).unwrap();
    proxy.running.as_ref().unwrap().reload(&proxy.file).unwrap();
    assert_eq!(live.next(SOON).await, Came::Broken, "its keys are the old ones");
    assert!(waiting.closed(SOON).await);
    let doc = stored(&proxy, &database, "c-2").await;
    let (mut live, mut waiting) = feed(&proxy, &database, "shipping", "delivery", "feed=continuous&include_docs=true").await;
    waiting.say(&format!("{{\"seq\":2,\"doc\":{doc}}}\n")).await;
    assert!(text(live.next(SOON).await).contains("Mei Tanaka"));
}

#[tokio::test]
async fn a_client_that_goes_releases_the_database_at_once() {
    let (proxy, database) = behind("", "").await;
    for query in ["feed=continuous", "feed=longpoll", "feed=eventsource"] {
        let (live, mut waiting) = feed(&proxy, &database, "shipping", "delivery", query).await;
        assert!(!waiting.closed(A_WHILE).await, "{query}");
        drop(live);
        assert!(waiting.closed(SOON).await, "{query}: the feed is idle, and nobody reads it");
    }
    // Also where the database has not even sent its head.
    let opening = proxy.open("shipping", "delivery", Method::GET, "/customers/_changes?feed=longpoll", "");
    let mut waiting = tokio::select! {
        _ = opening => panic!("no head yet"),
        waiting = async { let waiting = database.asked().await; tokio::time::sleep(A_WHILE).await; waiting } => waiting,
    };
    assert!(waiting.closed(SOON).await);
}

#[tokio::test]
async fn a_drain_ends_feeds() {
    let (mut proxy, database) = behind("", "").await;
    let (mut live, mut waiting) = feed(&proxy, &database, "shipping", "delivery", "feed=continuous").await;
    let (headless, running) = (database.asked(), proxy.running.take().unwrap());
    let opening = proxy.open("shipping", "delivery", Method::GET, "/customers/_changes?feed=longpoll", "");
    let stopping = async {
        let _silent = headless.await;
        let started = Instant::now();
        running.stop().await;
        started.elapsed()
    };
    let (mut refused, took) = tokio::join!(opening, stopping);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(live.next(SOON).await, Came::Broken);
    assert!(waiting.closed(SOON).await);
    assert_eq!(refused.status, 503);
    assert!(refused.all(SOON).await.0.contains("feed-ended"));
}

#[tokio::test]
async fn t24_a_feed_outlives_the_limits_of_replies_but_not_its_own() {
    let upstream = "reply_timeout_ms = 200\nidle_timeout_ms = 200\nfeed_timeout_ms = 1500";
    let (proxy, database) = behind("[limits]\ntotal_timeout_ms = 400\n", upstream).await;
    let path = "/customers/_changes?feed=continuous";
    let slow = async {
        let mut waiting = database.asked().await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        waiting.begin("application/json").await;
        waiting
    };
    let (mut live, mut waiting) = tokio::join!(proxy.open("shipping", "delivery", Method::GET, path, ""), slow);
    assert_eq!(live.status, 200, "a head may take its time");
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        waiting.say("\n").await;
        assert_eq!(live.next(SOON).await, Came::Text("\n".to_owned()));
    }
    let started = Instant::now();
    assert_eq!(live.next(SOON).await, Came::Broken, "silence");
    assert!(started.elapsed() > Duration::from_secs(1));
    assert!(waiting.closed(SOON).await);
    // Before the head, silence has a status.
    let (live, _silent) = tokio::join!(proxy.open("shipping", "delivery", Method::GET, path, ""), database.asked());
    assert_eq!(live.status, 504);
}
